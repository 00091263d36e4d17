//! Bindings: what the guards know of each, when they are due, whose call is open.

use contracts::{ChatId, RunId, ThreadId, UserId, ai::Why, chat::BindingMode};
use serde::{Deserialize, Serialize};
use sql::{Row, Tx, args};
use uuid::Uuid;

use super::{Error, Store, from_word, limit, word};
use crate::{dialect, domain::kernel};

/// How far a binding has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BindingState {
    /// The provider is still to be tried.
    Pending,
    /// It works.
    Ready,
    /// The provider did not work.
    Failed,
    /// The binding was removed.
    Gone,
}

/// One binding.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) id: ThreadId,
    pub(crate) chat: ChatId,
    pub(crate) owner: UserId,
    pub(crate) mode: BindingMode,
    pub(crate) state: BindingState,
    pub(crate) reason: Option<Why>,
    pub(crate) binding_o: i64,
    pub(crate) version: i64,
    pub(crate) kernel: kernel::State,
    pub(crate) probe_ms: Option<i64>,
    pub(crate) tries: i64,
    pub(crate) calling: Option<RunId>,
    pub(crate) worker: Option<String>,
}

impl Thread {
    /// A binding that nobody knew yet.
    pub(crate) fn new(id: ThreadId, chat: ChatId, owner: UserId, mode: BindingMode) -> Self {
        Self {
            id,
            chat,
            owner,
            mode,
            state: BindingState::Ready,
            reason: None,
            binding_o: 0,
            version: 0,
            kernel: kernel::State::default(),
            probe_ms: None,
            tries: 0,
            calling: None,
            worker: None,
        }
    }
}

impl Store {
    /// Takes the lock on a thread for the rest of the transaction.
    pub(crate) async fn lock_thread(
        &self,
        tx: &mut Tx,
        id: ThreadId,
    ) -> Result<Option<Thread>, Error> {
        let row = tx
            .fetch_optional(dialect::lock_thread(tx.engine()), args![id.0])
            .await?;
        row.as_ref().map(thread).transpose()
    }

    /// Makes the thread if there is none, then locks it.
    pub(crate) async fn ensure_thread(
        &self,
        tx: &mut Tx,
        new: Thread,
        due_ms: Option<i64>,
    ) -> Result<Thread, Error> {
        tx.execute(
            "INSERT INTO thread (thread_id, chat_id, owner, mode, state, binding_o, version, kernel, due_ms, tries)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0) ON CONFLICT (thread_id) DO NOTHING",
            args![
                new.id.0,
                new.chat.0,
                new.owner.0,
                word(&new.mode),
                word(&new.state),
                new.binding_o,
                new.version,
                serde_json::to_string(&new.kernel)?,
                due_ms
            ],
        )
        .await?;
        Ok(self.lock_thread(tx, new.id).await?.unwrap_or(new))
    }

    pub(crate) async fn save_thread(
        &self,
        tx: &mut Tx,
        thread: &Thread,
        due_ms: Option<i64>,
    ) -> Result<(), Error> {
        tx.execute(
            "UPDATE thread SET mode = $2, state = $3, reason = $4, binding_o = $5, version = $6, kernel = $7, due_ms = $8,
                    probe_ms = $9, tries = $10 WHERE thread_id = $1",
            args![
                thread.id.0,
                word(&thread.mode),
                word(&thread.state),
                thread.reason.as_ref().map(word),
                thread.binding_o,
                thread.version,
                serde_json::to_string(&thread.kernel)?,
                due_ms,
                thread.probe_ms,
                thread.tries
            ],
        )
        .await?;
        Ok(())
    }

    /// A thread as it is now, without a lock.
    pub(crate) async fn thread(&self, id: ThreadId) -> Result<Option<Thread>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT thread_id, chat_id, owner, mode, state, reason, binding_o, version, kernel, probe_ms, tries, calling,
                        worker FROM thread WHERE thread_id = $1",
                args![id.0],
            )
            .await?;
        row.as_ref().map(thread).transpose()
    }

    /// The owner's binding in a chat.
    pub(crate) async fn thread_of(
        &self,
        owner: UserId,
        chat: ChatId,
    ) -> Result<Option<Thread>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT thread_id, chat_id, owner, mode, state, reason, binding_o, version, kernel, probe_ms, tries, calling,
                        worker FROM thread WHERE owner = $1 AND chat_id = $2 AND state <> 'gone'
                 ORDER BY binding_o DESC, thread_id DESC LIMIT 1",
                args![owner.0, chat.0],
            )
            .await?;
        row.as_ref().map(thread).transpose()
    }

    /// Threads whose guards want to be woken, the longest due first.
    pub(crate) async fn due(&self, now_ms: i64, count: usize) -> Result<Vec<ThreadId>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT thread_id FROM thread WHERE due_ms IS NOT NULL AND due_ms <= $1 ORDER BY due_ms LIMIT $2",
                args![now_ms, limit(count)],
            )
            .await?;
        ids(&rows)
    }

    /// When the next thread is due, by its guards or for a try of the provider.
    pub(crate) async fn next_due_ms(&self) -> Result<Option<i64>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT MIN(at) AS at FROM (SELECT MIN(due_ms) AS at FROM thread WHERE due_ms IS NOT NULL
                 UNION ALL SELECT MIN(probe_ms) AS at FROM thread WHERE probe_ms IS NOT NULL) AS due",
                args![],
            )
            .await?;
        Ok(row.map(|row| row.get("at")).transpose()?.flatten())
    }

    /// Threads whose provider is to be tried.
    pub(crate) async fn to_probe(&self, now_ms: i64, count: usize) -> Result<Vec<ThreadId>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT thread_id FROM thread WHERE probe_ms IS NOT NULL AND probe_ms <= $1 ORDER BY probe_ms LIMIT $2",
                args![now_ms, limit(count)],
            )
            .await?;
        ids(&rows)
    }

    /// Notes who tries the provider for a binding.
    pub(crate) async fn set_prober(
        &self,
        tx: &mut Tx,
        thread: ThreadId,
        worker: &str,
    ) -> Result<(), Error> {
        let args = args![thread.0, worker.to_owned()];
        tx.execute("UPDATE thread SET prober = $2 WHERE thread_id = $1", args)
            .await?;
        Ok(())
    }

    /// Tries of `worker` that a restart has ended are due now.
    pub(crate) async fn give_probes_back(&self, worker: &str, now_ms: i64) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "UPDATE thread SET probe_ms = $2 WHERE prober = $1 AND probe_ms > $2",
            args![worker.to_owned(), now_ms],
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Notes whose call is open, or that none is.
    pub(crate) async fn set_calling(
        &self,
        tx: &mut Tx,
        thread: ThreadId,
        call: Option<(RunId, &str, i64)>,
    ) -> Result<(), Error> {
        let (run, worker, lease_ms) = match call {
            Some((run, worker, lease_ms)) => (Some(run.0), Some(worker.to_owned()), Some(lease_ms)),
            None => (None, None, None),
        };
        tx.execute(
            "UPDATE thread SET calling = $2, worker = $3, lease_ms = $4 WHERE thread_id = $1",
            args![thread.0, run, worker, lease_ms],
        )
        .await?;
        Ok(())
    }

    /// Threads whose open call is over without a word: those of `worker`, and those whose lease ended.
    pub(crate) async fn orphans(
        &self,
        worker: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<ThreadId>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT thread_id FROM thread WHERE calling IS NOT NULL AND (worker = $1 OR lease_ms <= $2)",
                args![worker.map(str::to_owned), now_ms],
            )
            .await?;
        ids(&rows)
    }
}

fn ids(rows: &[Row]) -> Result<Vec<ThreadId>, Error> {
    rows.iter()
        .map(|row| Ok(ThreadId(row.get("thread_id")?)))
        .collect()
}

fn thread(row: &Row) -> Result<Thread, Error> {
    Ok(Thread {
        id: ThreadId(row.get("thread_id")?),
        chat: ChatId(row.get("chat_id")?),
        owner: UserId(row.get("owner")?),
        mode: from_word(row.get("mode")?)?,
        state: from_word(row.get("state")?)?,
        reason: row
            .get::<Option<String>>("reason")?
            .map(from_word)
            .transpose()?,
        binding_o: row.get("binding_o")?,
        version: row.get("version")?,
        kernel: serde_json::from_str(&row.get::<String>("kernel")?)?,
        probe_ms: row.get("probe_ms")?,
        tries: row.get("tries")?,
        calling: row.get::<Option<Uuid>>("calling")?.map(RunId),
        worker: row.get("worker")?,
    })
}
