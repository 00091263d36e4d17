//! The life of a new binding until its provider has answered once, or was given up.

use contracts::{ThreadId, ai::Why};

use super::bindings::{After, Bindings};
use crate::{
    domain::kernel::Event,
    metrics as names,
    ports::Failure,
    store::{BindingState, Error, Outgoing, RunRow, Thread},
};

/// The wait before the second try; it doubles with each one.
const FIRST_WAIT_MS: i64 = 500;

impl Bindings {
    /// A binding was made, or is to be tried again. The record may come twice: what works is not tried again, and what
    /// is being tried goes on as it is.
    pub(crate) async fn begin(
        &self,
        tx: &mut sql::Tx,
        new: Thread,
        after: &mut After,
    ) -> Result<(), Error> {
        let mode = new.mode;
        let new = Thread {
            state: BindingState::Pending,
            ..new
        };
        let mut thread = self.store.ensure_thread(tx, new, None).await?;
        match thread.state {
            BindingState::Gone => return Ok(()),
            // `chat` may not know it yet.
            BindingState::Ready => return self.announce(tx, &thread).await,
            BindingState::Pending if thread.probe_ms.is_some() => return Ok(()),
            BindingState::Pending | BindingState::Failed => {}
        }
        thread.state = BindingState::Pending;
        thread.reason = None;
        thread.tries = 0;
        thread.probe_ms = Some(self.clock.now_ms());
        // What the chat's stream has said meanwhile is newer.
        if thread.binding_o == 0 {
            thread.mode = mode;
            self.apply(tx, &mut thread, Event::Bound(mode), after)
                .await?;
        }
        self.save(tx, &thread).await
    }

    /// Takes a due probe for `lease_ms`, should the process end before; `false` when somebody else did, or when the
    /// owner's budget does not allow it: then the binding has failed.
    pub(crate) async fn claim_probe(&self, id: ThreadId, lease_ms: i64) -> Result<bool, Error> {
        let Some((mut tx, mut thread)) = self.lock(id).await? else {
            return Ok(false);
        };
        let now_ms = self.clock.now_ms();
        if thread.probe_ms.is_none_or(|at| at > now_ms) {
            return Ok(false);
        }
        let granted = self.reserve(&mut tx, thread.owner).await?;
        if granted {
            thread.probe_ms = Some(now_ms + lease_ms);
            self.store.set_prober(&mut tx, id, &self.worker).await?;
        } else {
            metrics::counter!(names::PROBES, "outcome" => "quota").increment(1);
            thread.probe_ms = None;
            thread.state = BindingState::Failed;
            thread.reason = Some(Why::Quota);
            self.announce(&mut tx, &thread).await?;
        }
        self.save(&mut tx, &thread).await?;
        tx.commit().await?;
        self.outbox.wake();
        Ok(granted)
    }

    /// A probe is over: the binding is ready, has failed, or is tried again.
    pub(crate) async fn probed(
        &self,
        id: ThreadId,
        failure: Option<Failure>,
        tokens: i64,
        most: u32,
    ) -> Result<(), Error> {
        let Some((mut tx, mut thread)) = self.lock(id).await? else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        self.store
            .settle(&mut tx, thread.owner, now_ms, tokens)
            .await?;
        if thread.state != BindingState::Pending {
            tx.commit().await?;
            return Ok(());
        }
        thread.tries += 1;
        thread.probe_ms = None;
        let outcome = match failure {
            None => {
                thread.state = BindingState::Ready;
                "ready"
            }
            Some(failure) if failure.is_passing() && thread.tries < i64::from(most) => {
                let wait_ms = FIRST_WAIT_MS << (thread.tries - 1).min(6);
                thread.probe_ms = Some(now_ms + wait_ms);
                "again"
            }
            Some(failure) => {
                thread.state = BindingState::Failed;
                thread.reason = Some(failure.why());
                "failed"
            }
        };
        metrics::counter!(names::PROBES, "outcome" => outcome).increment(1);
        if thread.probe_ms.is_none() {
            self.announce(&mut tx, &thread).await?;
        }
        self.save(&mut tx, &thread).await?;
        tx.commit().await?;
        self.settle(&After::default());
        Ok(())
    }

    /// A run that nobody could answer goes to the dead letters as well, without any text of the chat.
    pub(crate) async fn bury(&self, tx: &mut sql::Tx, row: &RunRow, why: Why) -> Result<(), Error> {
        metrics::counter!(names::DEAD, "group" => crate::RUNS_GROUP).increment(1);
        let payload = serde_json::json!({
            "run": row.id, "thread": row.thread, "chat": row.chat, "owner": row.owner, "kind": row.kind,
            "trigger_o": row.trigger_o, "why": why,
        });
        let out = Outgoing {
            topic: self.topics.dead_letters(crate::RUNS_GROUP),
            key: row.thread.to_string().into(),
            payload: contracts::pipeline::encode(&payload),
        };
        self.post(tx, out).await
    }
}
