//! Runs: what was asked, what came of it, and which of them wait for a call.

use contracts::{
    ChatId, RunId, ThreadId, UserId,
    ai::{Run, RunState, Why},
    chat::BindingMode,
};
use sql::{Row, Tx, args};

use super::{Error, Store, from_word, limit, word};

/// A run that begins.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    pub(crate) id: RunId,
    pub(crate) thread: ThreadId,
    pub(crate) chat: ChatId,
    pub(crate) owner: UserId,
    pub(crate) kind: BindingMode,
    pub(crate) trigger_o: i64,
    pub(crate) question: Option<String>,
    pub(crate) now_ms: i64,
}

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub(crate) id: RunId,
    pub(crate) thread: ThreadId,
    pub(crate) chat: ChatId,
    pub(crate) owner: UserId,
    pub(crate) kind: BindingMode,
    pub(crate) state: RunState,
    pub(crate) trigger_o: i64,
    pub(crate) question: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) why: Option<Why>,
    pub(crate) model: Option<String>,
    pub(crate) at_ms: Option<i64>,
    pub(crate) approved: bool,
    pub(crate) edited: bool,
    pub(crate) created_ms: i64,
}

impl RunRow {
    /// As its owner is told.
    pub(crate) fn shown(&self) -> Run {
        Run {
            run: self.id,
            chat: self.chat,
            kind: self.kind,
            state: self.state,
            trigger_o: self.trigger_o,
            text: self.text.clone(),
            why: self.why,
            model: self.model.clone(),
            at: self.at_ms.map(time),
            created_at: time(self.created_ms),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

impl Store {
    /// Makes a run in the state `queued`; `false` when there is one with this id already.
    pub(crate) async fn insert_run(&self, tx: &mut Tx, run: &NewRun) -> Result<bool, Error> {
        let inserted = tx
            .execute(
                "INSERT INTO run (run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, approved, edited,
                                  created_ms, changed_ms)
                 VALUES ($1, $2, $3, $4, $5, 'queued', $6, $7, FALSE, FALSE, $8, $8) ON CONFLICT (run_id) DO NOTHING",
                args![
                    run.id.0,
                    run.thread.0,
                    run.chat.0,
                    run.owner.0,
                    word(&run.kind),
                    run.trigger_o,
                    run.question.clone(),
                    run.now_ms
                ],
            )
            .await?;
        Ok(inserted == 1)
    }

    pub(crate) async fn save_run(
        &self,
        tx: &mut Tx,
        run: &RunRow,
        now_ms: i64,
    ) -> Result<(), Error> {
        tx.execute(
            "UPDATE run SET state = $2, trigger_o = $3, text = $4, why = $5, model = $6, at_ms = $7, approved = $8,
                    edited = $9, changed_ms = $10 WHERE run_id = $1",
            args![
                run.id.0,
                word(&run.state),
                run.trigger_o,
                run.text.clone(),
                run.why.as_ref().map(word),
                run.model.clone(),
                run.at_ms,
                run.approved,
                run.edited,
                now_ms
            ],
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn run_in(&self, tx: &mut Tx, id: RunId) -> Result<Option<RunRow>, Error> {
        let row = tx
            .fetch_optional(
                "SELECT run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, text, why, model, at_ms,
                        approved, edited, created_ms FROM run WHERE run_id = $1",
                args![id.0],
            )
            .await?;
        row.as_ref().map(run).transpose()
    }

    pub(crate) async fn run(&self, id: RunId) -> Result<Option<RunRow>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, text, why, model, at_ms,
                        approved, edited, created_ms FROM run WHERE run_id = $1",
                args![id.0],
            )
            .await?;
        row.as_ref().map(run).transpose()
    }

    /// An owner's runs, newest first, of one chat or of all.
    pub(crate) async fn runs_of(
        &self,
        owner: UserId,
        chat: Option<ChatId>,
        count: usize,
    ) -> Result<Vec<RunRow>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, text, why, model, at_ms,
                        approved, edited, created_ms FROM run
                 WHERE owner = $1 AND ($2 IS NULL OR chat_id = $2) ORDER BY created_ms DESC, run_id DESC LIMIT $3",
                args![owner.0, chat.map(|chat| chat.0), limit(count)],
            )
            .await?;
        rows.iter().map(run).collect()
    }

    /// An owner's runs that have not ended, newest first, of one chat or of all.
    pub(crate) async fn open_runs_of(
        &self,
        owner: UserId,
        chat: Option<ChatId>,
        count: usize,
    ) -> Result<Vec<RunRow>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, text, why, model, at_ms,
                        approved, edited, created_ms FROM run
                 WHERE owner = $1 AND ($2 IS NULL OR chat_id = $2)
                   AND state IN ('queued', 'running', 'held', 'sending')
                 ORDER BY created_ms DESC, run_id DESC LIMIT $3",
                args![owner.0, chat.map(|chat| chat.0), limit(count)],
            )
            .await?;
        rows.iter().map(run).collect()
    }

    /// The newest reply of a thread.
    pub(crate) async fn newest_reply(&self, thread: ThreadId) -> Result<Option<RunRow>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT run_id, thread_id, chat_id, owner, kind, state, trigger_o, question, text, why, model, at_ms,
                        approved, edited, created_ms FROM run
                 WHERE thread_id = $1 AND kind = 'autoreply' ORDER BY trigger_o DESC LIMIT 1",
                args![thread.0],
            )
            .await?;
        row.as_ref().map(run).transpose()
    }

    /// The runs that may be called now: the oldest first, none of a thread whose call is open.
    pub(crate) async fn callable(&self, count: usize) -> Result<Vec<(RunId, ThreadId)>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT r.run_id, r.thread_id FROM run r JOIN thread t ON t.thread_id = r.thread_id
                 WHERE r.state = 'queued' AND t.calling IS NULL ORDER BY r.created_ms, r.run_id LIMIT $1",
                args![limit(count)],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((RunId(row.get("run_id")?), ThreadId(row.get("thread_id")?))))
            .collect()
    }

    /// Removes runs that ended before `before_ms`, at most `count`; returns how many.
    pub(crate) async fn remove_ended(&self, before_ms: i64, count: usize) -> Result<u64, Error> {
        let mut tx = self.db.write_tx().await?;
        let removed = tx
            .execute(
                "DELETE FROM run WHERE run_id IN (
                     SELECT run_id FROM run
                     WHERE state IN ('done', 'failed', 'cancelled', 'superseded', 'blocked') AND changed_ms < $1
                     ORDER BY changed_ms LIMIT $2)",
                args![before_ms, limit(count)],
            )
            .await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// How many runs wait for a call.
    pub(crate) async fn queue_length(&self) -> Result<i64, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT COUNT(*) AS waiting FROM run WHERE state = 'queued'",
                args![],
            )
            .await?;
        Ok(row.map(|row| row.get("waiting")).transpose()?.unwrap_or(0))
    }
}

fn run(row: &Row) -> Result<RunRow, Error> {
    Ok(RunRow {
        id: RunId(row.get("run_id")?),
        thread: ThreadId(row.get("thread_id")?),
        chat: ChatId(row.get("chat_id")?),
        owner: UserId(row.get("owner")?),
        kind: from_word(row.get("kind")?)?,
        state: from_word(row.get("state")?)?,
        trigger_o: row.get("trigger_o")?,
        question: row.get("question")?,
        text: row.get("text")?,
        why: row
            .get::<Option<String>>("why")?
            .map(from_word)
            .transpose()?,
        model: row.get("model")?,
        at_ms: row.get("at_ms")?,
        approved: row.get("approved")?,
        edited: row.get("edited")?,
        created_ms: row.get("created_ms")?,
    })
}
