//! Applies events to bindings: lock the thread, ask the kernel, store what it says; all in one transaction.

use std::{collections::VecDeque, sync::Arc};

use contracts::{
    RunId, UserId,
    ai::{RunState, Why},
    chat::BindingMode,
    events::{Autoreply, ThreadCreated, Topics},
    frames,
    message::Via,
    pipeline,
};
use kit::{Clock, Ids};
use sql::Tx;
use tokio::sync::Notify;

use super::live::Lives;
use crate::{
    config::{Limits, millis},
    domain::kernel::{self, Action, Event, Moment, Phase},
    metrics as names,
    outbox::Outbox,
    store::{Error, NewRun, Outgoing, RunRow, Spent, Store, Thread},
};

/// What every part of the service that changes a binding stands on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bindings {
    pub(crate) store: Store,
    pub(crate) outbox: Outbox,
    pub(crate) lives: Lives,
    /// Tells the scheduler that something may be due.
    pub(crate) due: Arc<Notify>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) worker: Arc<str>,
}

/// What is to be done once the transaction is committed.
#[derive(Debug, Default)]
pub(crate) struct After {
    stopped: Vec<RunId>,
    /// Runs whose decision came too late or too early.
    pub(crate) refused: Vec<RunId>,
}

impl Bindings {
    /// Applies one event to a thread that is locked, and everything that follows from it. The thread is not
    /// saved yet, see [`Self::save`].
    pub(crate) async fn apply(
        &self,
        tx: &mut Tx,
        thread: &mut Thread,
        event: Event,
        after: &mut After,
    ) -> Result<(), Error> {
        let limits = self.limits.for_kernel();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let before = std::mem::take(&mut thread.kernel);
            let (state, actions) = kernel::step(&limits, before, event, self.moment());
            thread.kernel = state;
            for action in actions {
                if let Some(event) = self.perform(tx, thread, action, after).await? {
                    events.push_back(event);
                }
            }
        }
        Ok(())
    }

    /// Stores a thread with the moment at which its guards want to be woken.
    pub(crate) async fn save(&self, tx: &mut Tx, thread: &Thread) -> Result<(), Error> {
        let due_ms = thread.kernel.due_ms(&self.limits.for_kernel());
        self.store.save_thread(tx, thread, due_ms).await
    }

    /// After the commit: stops calls that nobody wants any more, wakes the publisher and the scheduler.
    pub(crate) fn settle(&self, after: &After) {
        for run in &after.stopped {
            self.lives.stop(*run);
        }
        self.outbox.wake();
        self.due.notify_one();
    }

    fn moment(&self) -> Moment {
        let span =
            millis(self.limits.delay_max.saturating_sub(self.limits.delay_min)).saturating_add(1);
        // The last bits of an id are random.
        let random = i64::try_from(self.ids.next().as_u128() & 0xffff_ffff).unwrap_or(0);
        let delay_ms = millis(self.limits.delay_min) + random % span;
        Moment {
            now_ms: self.clock.now_ms(),
            run: RunId(self.ids.next()),
            delay_ms,
        }
    }

    async fn perform(
        &self,
        tx: &mut Tx,
        thread: &Thread,
        action: Action,
        after: &mut After,
    ) -> Result<Option<Event>, Error> {
        match action {
            Action::Open {
                run,
                kind,
                trigger_o,
            } => {
                let now_ms = self.clock.now_ms();
                let (thread, chat, owner) = (thread.id, thread.chat, thread.owner);
                let new = NewRun {
                    id: run,
                    thread,
                    chat,
                    owner,
                    kind,
                    trigger_o,
                    question: None,
                    now_ms,
                };
                self.store.insert_run(tx, &new).await?;
            }
            Action::Reserve(run) => {
                let granted = self.reserve(tx, thread.owner).await?;
                return Ok(Some(Event::Reserved { run, granted }));
            }
            // The row is in the queue; the scheduler is woken after the commit.
            Action::Start(_) => {}
            Action::Stop(run) => after.stopped.push(run),
            Action::Mark { run, state, why } => self.mark(tx, thread, run, state, why).await?,
            Action::Advise(run) => self.advise(tx, run).await?,
            Action::Release { run, approved } => self.release(tx, run, approved).await?,
            Action::Refuse(run) => after.refused.push(run),
        }
        Ok(None)
    }

    /// Guard 7: takes one call out of the owner's day, if there is one left.
    pub(crate) async fn reserve(&self, tx: &mut Tx, owner: UserId) -> Result<bool, Error> {
        let most = Spent {
            calls: self.limits.calls_per_day,
            tokens: self.limits.tokens_per_day,
        };
        self.store
            .reserve(tx, owner, self.clock.now_ms(), most)
            .await
    }

    async fn mark(
        &self,
        tx: &mut Tx,
        thread: &Thread,
        run: RunId,
        state: RunState,
        why: Option<Why>,
    ) -> Result<(), Error> {
        let Some(mut row) = self.store.run_in(tx, run).await? else {
            return Ok(());
        };
        let was = row.state;
        if was == RunState::Done {
            return Ok(());
        }
        row.state = state;
        // A failure keeps the words of who failed.
        row.why = match why {
            Some(why) => Some(why),
            None if state == RunState::Failed => row.why,
            None => None,
        };
        row.at_ms = thread
            .kernel
            .open
            .filter(|open| open.run == run)
            .and_then(|open| match open.phase {
                Phase::Sending(at) => Some(at),
                Phase::Working | Phase::Held | Phase::Released(_) => None,
            });
        self.store.save_run(tx, &row, self.clock.now_ms()).await?;
        if why == Some(Why::Quota) {
            metrics::counter!(names::QUOTA, "kind" => names::kind(row.kind)).increment(1);
        }
        self.tell(tx, &row, was).await
    }

    /// Hints the owner about a run that was in the state `was`. What is done is told by who delivers it: advice by
    /// `ws-ai-advice`, a stored reply by `ws-autoreply`.
    pub(crate) async fn tell(&self, tx: &mut Tx, row: &RunRow, was: RunState) -> Result<(), Error> {
        metrics::counter!(names::RUNS, "kind" => names::kind(row.kind), "state" => names::state(row.state)).increment(1);
        if row.state == RunState::Done {
            return Ok(());
        }
        let is_draft = row.state == RunState::Held || was == RunState::Held;
        let frame = if is_draft {
            frames::AI_HOLD
        } else {
            frames::AI_RUN
        };
        let out = Outgoing {
            topic: self.topics.forward_message.clone(),
            key: frames::user_key(row.owner),
            payload: frames::ephemeral(frame, &row.shown()),
        };
        self.post(tx, out).await
    }

    async fn advise(&self, tx: &mut Tx, run: RunId) -> Result<(), Error> {
        let Some(row) = self.store.run_in(tx, run).await? else {
            return Ok(());
        };
        let out = Outgoing {
            topic: self.topics.ai_advice_response.clone(),
            key: row.thread.to_string().into(),
            payload: pipeline::encode(&contracts::ai::Advice {
                owner: row.owner,
                run: row.shown(),
            }),
        };
        self.post(tx, out).await
    }

    async fn release(&self, tx: &mut Tx, run: RunId, approved: bool) -> Result<(), Error> {
        let Some(mut row) = self.store.run_in(tx, run).await? else {
            return Ok(());
        };
        row.approved = approved;
        self.store.save_run(tx, &row, self.clock.now_ms()).await?;
        let via = Via {
            mode: BindingMode::Autoreply,
            run,
            model: row.model.unwrap_or_default(),
            approved_by: approved.then_some(row.owner),
            edited: Some(row.edited),
        };
        let (thread, text) = (row.thread, row.text.unwrap_or_default());
        let reply = Autoreply {
            thread,
            run,
            text,
            via,
            trigger_o: row.trigger_o,
        };
        kit::failpoint!("ai.release");
        let out = Outgoing {
            topic: self.topics.ai_autoreply.clone(),
            key: thread.to_string().into(),
            payload: pipeline::encode(&reply),
        };
        self.post(tx, out).await
    }

    /// Tells `chat` what became of a binding.
    pub(crate) async fn announce(&self, tx: &mut Tx, thread: &Thread) -> Result<(), Error> {
        let created = ThreadCreated {
            thread: thread.id,
            chat: thread.chat,
            owner: thread.owner,
            failed: thread.reason,
        };
        let out = Outgoing {
            topic: self.topics.ai_thread_created.clone(),
            key: thread.chat.to_string().into(),
            payload: pipeline::encode(&created),
        };
        self.post(tx, out).await
    }

    pub(crate) async fn post(&self, tx: &mut Tx, out: Outgoing) -> Result<(), Error> {
        self.store
            .post(tx, &self.worker, self.clock.now_ms(), out)
            .await
    }

    /// Begins a transaction that holds the lock on a thread; `None` when there is no such thread.
    pub(crate) async fn lock(
        &self,
        id: contracts::ThreadId,
    ) -> Result<Option<(Tx, Thread)>, Error> {
        let mut tx = self.store.db.write_tx().await?;
        Ok(self
            .store
            .lock_thread(&mut tx, id)
            .await?
            .map(|thread| (tx, thread)))
    }

    /// Applies one event to one thread in a transaction of its own.
    pub(crate) async fn on(&self, id: contracts::ThreadId, event: Event) -> Result<After, Error> {
        let mut after = After::default();
        if let Some((mut tx, mut thread)) = self.lock(id).await? {
            self.apply(&mut tx, &mut thread, event, &mut after).await?;
            self.save(&mut tx, &thread).await?;
            tx.commit().await?;
            self.settle(&after);
        }
        Ok(after)
    }
}
