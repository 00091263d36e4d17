//! What owners can do with their runs and bindings.

use async_trait::async_trait;
use contracts::{
    ChatId, RunId, UserId,
    ai::{AiApi, Delta, Run, RunState},
    pipeline,
};
use kit::{Call, Code, Fault};

use super::bindings::{After, Bindings};
use crate::{
    domain::kernel::{Decision, Event, Settings},
    store::{Error, RunRow},
};

/// How many runs a list holds.
const LIST: usize = 50;
const DAY_MS: i64 = 86_400_000;

/// The owner's side of the service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) bindings: Bindings,
}

impl Desk {
    /// The owner's runs, newest first; only those that have not ended when `open`.
    pub(crate) async fn runs(
        &self,
        owner: UserId,
        chat: Option<ChatId>,
        open: bool,
    ) -> Result<Vec<Run>, Fault> {
        let store = &self.bindings.store;
        let rows = if open {
            store.open_runs_of(owner, chat, LIST).await?
        } else {
            store.runs_of(owner, chat, LIST).await?
        };
        Ok(rows.iter().map(RunRow::shown).collect())
    }

    /// One run of the owner.
    pub(crate) async fn run(&self, owner: UserId, run: RunId) -> Result<Run, Fault> {
        Ok(self.row(owner, run).await?.shown())
    }

    async fn row(&self, owner: UserId, run: RunId) -> Result<RunRow, Fault> {
        let row = self.bindings.store.run(run).await?;
        row.filter(|row| row.owner == owner)
            .ok_or_else(|| Fault::not_found("run"))
    }

    /// Sends a draft. Another text than the draft's counts as edited. Approving again changes nothing.
    pub(crate) async fn approve(
        &self,
        owner: UserId,
        run: RunId,
        text: Option<String>,
    ) -> Result<Run, Fault> {
        if let Some(text) = &text {
            pipeline::check_text(text)?;
        }
        self.decide(owner, run, Decision::Approve, text).await
    }

    /// Decides about a run; the same decision again changes nothing.
    pub(crate) async fn decide(
        &self,
        owner: UserId,
        run: RunId,
        decision: Decision,
        text: Option<String>,
    ) -> Result<Run, Fault> {
        let thread = self.row(owner, run).await?.thread;
        let store = &self.bindings.store;
        let Some((mut tx, mut thread)) = self.bindings.lock(thread).await? else {
            return Err(Fault::not_found("run"));
        };
        let Some(mut row) = store.run_in(&mut tx, run).await.map_err(Fault::from)? else {
            return Err(Fault::not_found("run"));
        };
        if is_decided(&row, decision) {
            return Ok(row.shown());
        }
        if decision == Decision::Approve {
            row.edited = text.is_some() && text != row.text;
            row.text = text.or(row.text);
            store
                .save_run(&mut tx, &row, self.bindings.clock.now_ms())
                .await?;
        }
        let mut after = After::default();
        self.bindings
            .apply(
                &mut tx,
                &mut thread,
                Event::Decided(run, decision),
                &mut after,
            )
            .await?;
        if after.refused.contains(&run) {
            // Dropping the transaction undoes the edit.
            drop(tx);
            return Err(self.refusal(&row).await?);
        }
        self.bindings.save(&mut tx, &thread).await?;
        let decided = store.run_in(&mut tx, run).await?.unwrap_or(row);
        tx.commit().await.map_err(Error::from)?;
        self.bindings.settle(&after);
        Ok(decided.shown())
    }

    /// Why a decision came too late or too early; with the draft that took the place of a stale one.
    async fn refusal(&self, row: &RunRow) -> Result<Fault, Error> {
        if row.state != RunState::Superseded {
            let state = crate::metrics::state(row.state);
            return Ok(Fault::new(
                Code::Conflict,
                format!("the run is {state}; that cannot be decided any more"),
            ));
        }
        let newer = self
            .bindings
            .store
            .newest_reply(row.thread)
            .await?
            .filter(|newer| newer.id != row.id);
        let detail = match newer {
            Some(RunRow {
                id,
                text: Some(text),
                ..
            }) => {
                format!("a newer message made this draft stale; the newer draft is {id}: {text}")
            }
            Some(newer) => format!(
                "a newer message made this draft stale; the newer draft will be {}",
                newer.id
            ),
            None => "a newer message made this draft stale".to_owned(),
        };
        Ok(Fault::new(Code::Conflict, detail).reason("superseded"))
    }

    /// What the owner chose for the binding in a chat.
    pub(crate) async fn settings(&self, owner: UserId, chat: ChatId) -> Result<Settings, Fault> {
        let thread = self.bindings.store.thread_of(owner, chat).await?;
        thread
            .map(|thread| thread.kernel.settings)
            .ok_or_else(|| Fault::not_found("binding"))
    }

    /// Chooses.
    pub(crate) async fn configure(
        &self,
        owner: UserId,
        chat: ChatId,
        settings: Settings,
    ) -> Result<Settings, Fault> {
        let thread = self.bindings.store.thread_of(owner, chat).await?;
        let thread = thread.ok_or_else(|| Fault::not_found("binding"))?;
        self.bindings
            .on(thread.id, Event::Configured(settings))
            .await?;
        Ok(settings)
    }
}

fn is_decided(row: &RunRow, decision: Decision) -> bool {
    match decision {
        Decision::Approve => {
            row.approved && matches!(row.state, RunState::Sending | RunState::Done)
        }
        Decision::Discard | Decision::Cancel => row.state == RunState::Cancelled,
    }
}

#[async_trait]
impl AiApi for Desk {
    async fn follow(
        &self,
        _call: &Call,
        owner: UserId,
        run: RunId,
    ) -> Result<Option<Delta>, Fault> {
        if let Some(delta) = self.bindings.lives.snapshot(owner, run) {
            return Ok(Some(delta));
        }
        self.row(owner, run).await.map(|_| None)
    }

    async fn cancel(&self, _call: &Call, owner: UserId, run: RunId) -> Result<Run, Fault> {
        self.decide(owner, run, Decision::Cancel, None).await
    }

    async fn open_runs(&self, _call: &Call, owner: UserId) -> Result<Vec<Run>, Fault> {
        self.runs(owner, None, true).await
    }

    async fn may_ask(&self, _call: &Call, owner: UserId) -> Result<(), Fault> {
        let now_ms = self.bindings.clock.now_ms();
        let spent = self.bindings.store.spent(owner, now_ms).await?;
        let limits = &self.bindings.limits;
        if spent.calls < limits.calls_per_day && spent.tokens < limits.tokens_per_day {
            return Ok(());
        }
        let left_ms = DAY_MS - now_ms.rem_euclid(DAY_MS);
        let left = std::time::Duration::from_millis(left_ms.unsigned_abs());
        Err(
            Fault::new(Code::Exhausted, "the AI calls of this day are used up")
                .reason("quota")
                .retry_in(left),
        )
    }
}
