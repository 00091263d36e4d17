//! One call to the provider for one run: claim it, build what the model is shown, listen, keep what came.
//!
//! No transaction is open while the provider writes. A thread has one open call at most, which the row of
//! the thread says, so calls never overlap, not even of two processes.

use std::time::Duration;

use contracts::{
    RunId, ThreadId,
    ai::{RunState, Why},
    chat::BindingMode,
    message::{Message, MessageClient},
    pipeline,
};
use kit::{Backoff, Call, CancellationToken, Code, Fault};

use super::{
    bindings::{After, Bindings},
    live::{Live, PIECE},
    names::Names,
    writer::{Meter, Writer},
};
use crate::{
    config::{Context, millis},
    domain::{
        kernel::Event,
        prompt::{Prompt, Quote, Role, Task},
    },
    metrics as names,
    store::{Error, RunRow, Thread},
};

/// How often the chat is asked for its messages before the run fails.
const READS: usize = 3;
/// What a call may take beside the provider: reading the chat, looking up names, storing.
const SLACK: Duration = Duration::from_mins(1);

/// What calls stand on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) bindings: Bindings,
    pub(crate) writer: Writer,
    pub(crate) message: MessageClient,
    pub(crate) names: Names,
    pub(crate) context: Context,
    pub(crate) token: CancellationToken,
}

/// A run that this process has claimed.
#[derive(Debug)]
pub(crate) struct Claimed {
    run: RunRow,
}

/// How a call ended.
enum End {
    /// The text, and the newest message that it takes into account.
    Written(String, i64),
    Failed(Why),
    /// The binding is gone, and with it the right to read.
    Gone,
    /// Nobody wants it any more.
    Stopped,
    /// The process stops; somebody else makes the call.
    Abandoned,
}

impl Calls {
    /// Claims a run; `None` when it is not waiting any more or its thread has an open call.
    pub(crate) async fn claim(
        &self,
        run: RunId,
        thread: ThreadId,
    ) -> Result<Option<Claimed>, Error> {
        let bindings = &self.bindings;
        let Some((mut tx, thread)) = bindings.lock(thread).await? else {
            return Ok(None);
        };
        let Some(mut row) = bindings.store.run_in(&mut tx, run).await? else {
            return Ok(None);
        };
        if thread.calling.is_some() || row.state != RunState::Queued {
            return Ok(None);
        }
        let now_ms = bindings.clock.now_ms();
        row.state = RunState::Running;
        row.model = Some(self.writer.model().to_owned());
        bindings.store.save_run(&mut tx, &row, now_ms).await?;
        let call = (run, &*bindings.worker, now_ms + self.lease_ms());
        bindings
            .store
            .set_calling(&mut tx, thread.id, Some(call))
            .await?;
        bindings.tell(&mut tx, &row, RunState::Queued).await?;
        tx.commit().await?;
        bindings.outbox.wake();
        Ok(Some(Claimed { run: row }))
    }

    /// How long a call may be without a word from its worker before another one takes it over: longer than
    /// everything that a call waits for.
    pub(crate) fn lease_ms(&self) -> i64 {
        millis(self.writer.longest() + SLACK)
    }

    /// Makes the call and keeps what came of it.
    pub(crate) async fn make(self, claimed: Claimed) {
        let Claimed { run } = claimed;
        let begun = self.bindings.lives.begin(run.id, run.chat, run.owner);
        let live = &begun.live;
        let meter = Meter::default();
        let end = tokio::select! {
            end = self.write(&run, live, &meter) => end,
            () = live.stopped() => End::Stopped,
            () = self.token.cancelled() => End::Abandoned,
        };
        kit::failpoint!("ai.call.ended");
        let tokens = meter.tokens();
        metrics::counter!(names::TOKENS).increment(tokens.unsigned_abs());
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while let Err(error) = self.keep(&run, &end, tokens).await {
            tracing::warn!(%error, run.id = %run.id, "the outcome of a call could not be stored; trying again");
            if self.token.is_cancelled() {
                // The lease ends by itself, or at the next start.
                break;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn write(&self, run: &RunRow, live: &Live, meter: &Meter) -> End {
        let messages = match self.read(run).await {
            Ok(messages) => messages,
            Err(fault) if fault.is(Code::NotFound) => return End::Gone,
            Err(_) => return End::Failed(Why::ChatUnavailable),
        };
        if run.kind == BindingMode::Autoreply && messages.is_empty() {
            return End::Failed(Why::NothingShared);
        }
        let newest_o = messages.last().map_or(0, |newest| newest.o);
        let prompt = self.prompt(run, messages).await;
        let heard = live.clone();
        let writing = self
            .writer
            .write(&prompt, meter, move |words| heard.push(words));
        let mut writing = std::pin::pin!(writing);
        let mut pieces = tokio::time::interval(PIECE);
        pieces.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let written = loop {
            tokio::select! {
                written = writing.as_mut() => break written,
                _ = pieces.tick() => self.bindings.lives.show(live).await,
            }
        };
        match written {
            Ok(text) => {
                self.bindings.lives.show(live).await;
                End::Written(text, newest_o)
            }
            Err(failure) => {
                tracing::info!(run.id = %run.id, class = failure.as_str(), "the provider failed for run {}", run.id);
                End::Failed(failure.why())
            }
        }
    }

    /// Reads the newest messages that every present member may read, anew for each call: who joined or left
    /// since the last one changes what may be said here.
    async fn read(&self, run: &RunRow) -> Result<Vec<Message>, Fault> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let limit = self.context.bounds().messages;
        let mut tries = 0;
        let mut messages = loop {
            tries += 1;
            match self
                .message
                .thread_messages(&Call::internal("ai call"), run.thread, 0, limit)
                .await
            {
                Err(fault) if fault.code().is_retryable() && tries < READS => {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                result => break result?,
            }
        };
        // A reply answers what the guards know of; what is newer makes it stale anyway.
        messages.retain(|message| run.kind == BindingMode::Advice || message.o <= run.trigger_o);
        Ok(messages)
    }

    async fn prompt(&self, run: &RunRow, messages: Vec<Message>) -> Prompt {
        let people = messages
            .iter()
            .map(|message| message.author)
            .chain([run.owner])
            .collect();
        let names = self.names.of(&Call::internal("ai call"), people).await;
        let name = |user| names.get(&user).cloned().unwrap_or_default();
        let quotes = messages
            .into_iter()
            .map(|message| {
                let role = match pipeline::is_automatic(&message) {
                    true => Role::Ai,
                    false if message.author == run.owner => Role::Owner,
                    false => Role::Member,
                };
                Quote {
                    role,
                    name: name(message.author),
                    text: message.text,
                }
            })
            .collect();
        let task = match run.kind {
            BindingMode::Advice => Task::Advise(run.question.clone()),
            BindingMode::Autoreply => Task::Reply,
        };
        let nonce = self.bindings.ids.next().simple().to_string();
        Prompt::new(task, &name(run.owner), quotes, self.context.bounds(), nonce)
    }

    /// Closes the call and tells the guards; a call that was taken over meanwhile changes nothing.
    async fn keep(&self, run: &RunRow, end: &End, tokens: i64) -> Result<(), Error> {
        let bindings = &self.bindings;
        let Some((mut tx, mut thread)) = bindings.lock(run.thread).await? else {
            return Ok(());
        };
        if thread.calling != Some(run.id) || thread.worker.as_deref() != Some(&*bindings.worker) {
            return Ok(());
        }
        bindings.store.set_calling(&mut tx, thread.id, None).await?;
        bindings
            .store
            .settle(&mut tx, run.owner, bindings.clock.now_ms(), tokens)
            .await?;
        let mut after = After::default();
        if let Some(row) = bindings.store.run_in(&mut tx, run.id).await?
            && row.state == RunState::Running
        {
            self.conclude(&mut tx, &mut thread, row, end, &mut after)
                .await?;
            bindings.save(&mut tx, &thread).await?;
        }
        tx.commit().await?;
        bindings.settle(&after);
        Ok(())
    }

    async fn conclude(
        &self,
        tx: &mut sql::Tx,
        thread: &mut Thread,
        mut row: RunRow,
        end: &End,
        after: &mut After,
    ) -> Result<(), Error> {
        let event = match end {
            End::Written(text, newest_o) => {
                row.text = Some(text.clone());
                row.trigger_o = row.trigger_o.max(*newest_o);
                Event::Finished(row.id)
            }
            End::Failed(why) => {
                row.why = Some(*why);
                Event::Failed(row.id)
            }
            End::Gone => {
                row.why = Some(Why::BindingRemoved);
                Event::Failed(row.id)
            }
            End::Stopped | End::Abandoned => {
                row.state = RunState::Queued;
                return self
                    .bindings
                    .store
                    .save_run(tx, &row, self.bindings.clock.now_ms())
                    .await;
            }
        };
        self.bindings
            .store
            .save_run(tx, &row, self.bindings.clock.now_ms())
            .await?;
        self.bindings.apply(tx, thread, event, after).await?;
        if let End::Failed(why) = end {
            self.bindings.bury(tx, &row, *why).await?;
        }
        Ok(())
    }

    /// Gives a call that is over without a word back to the queue; one that this process still makes is not.
    pub(crate) async fn give_back(&self, thread: ThreadId) -> Result<(), Error> {
        let bindings = &self.bindings;
        let Some((mut tx, thread)) = bindings.lock(thread).await? else {
            return Ok(());
        };
        let Some(run) = thread.calling.filter(|run| !bindings.lives.holds(*run)) else {
            return Ok(());
        };
        bindings.store.set_calling(&mut tx, thread.id, None).await?;
        if let Some(mut row) = bindings.store.run_in(&mut tx, run).await?
            && row.state == RunState::Running
        {
            row.state = RunState::Queued;
            bindings
                .store
                .save_run(&mut tx, &row, bindings.clock.now_ms())
                .await?;
        }
        tx.commit().await?;
        tracing::info!(run.id = %run, "run {run} is called again");
        Ok(())
    }

    /// Tries whether the provider works for a new binding, and says so to `chat`.
    pub(crate) async fn probe(&self, thread: ThreadId, most: u32) -> Result<(), Error> {
        let prompt = Prompt::probe();
        let meter = Meter::default();
        let result = tokio::select! {
            result = self.writer.write(&prompt, &meter, |_| {}) => result,
            () = self.token.cancelled() => return Ok(()),
        };
        let tokens = meter.tokens();
        metrics::counter!(names::TOKENS).increment(tokens.unsigned_abs());
        self.bindings
            .probed(thread, result.err(), tokens, most)
            .await
    }
}
