//! From the outbox to the log: at once after a commit, and by a sweep for what was left behind.

use std::{sync::Arc, time::Duration};

use contracts::ChatId;
use eventlog::{EventLog, Record};
use kit::{BoxError, CancellationToken, Clock};
use parking_lot::Mutex;

use crate::{metrics as names, store::Store};

/// Publishes the rows of the outbox.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Rows that are appended and wait for the log's flush.
    pub(crate) appended: Arc<Mutex<Vec<(ChatId, i64)>>>,
}

/// How often what is older is looked for.
const FORGETS: Duration = Duration::from_hours(1);

impl Publisher {
    /// How often rows are marked and left-overs looked for.
    const EVERY: Duration = Duration::from_millis(500);

    /// Publishes everything of one chat that waits, lower rows first: whoever publishes a version has
    /// published those before it. Repeating one does no harm.
    pub(crate) async fn publish(&self, chat: ChatId) -> Result<(), BoxError> {
        let mut done = Vec::new();
        kit::failpoint!("chat.publish.before");
        for row in self.store.waiting(chat).await? {
            let record = Record {
                key: row.key.into(),
                value: row.payload.into(),
            };
            self.log.append(&row.topic, vec![record]).await?;
            if !row.decision {
                done.push((chat, row.n));
            }
        }
        kit::failpoint!("chat.publish.after");
        self.appended.lock().extend(done);
        Ok(())
    }

    /// Forgets which questions were asked longer ago than `kept`, until the node stops.
    pub(crate) async fn forget(
        self,
        kept: Duration,
        token: CancellationToken,
    ) -> Result<(), BoxError> {
        let keep_ms = i64::try_from(kept.as_millis())?;
        loop {
            self.store
                .forget_asked(self.clock.now_ms() - keep_ms)
                .await?;
            let wait = token.run_until_cancelled(tokio::time::sleep(FORGETS));
            if wait.await.is_none() {
                return Ok(());
            }
        }
    }

    /// Marks what the log has flushed and sweeps, until the node stops.
    pub(crate) async fn run(self, token: CancellationToken) -> Result<(), BoxError> {
        let mut tick = tokio::time::interval(Self::EVERY);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = token.cancelled() => return Ok(()),
            }
            let appended = std::mem::take(&mut *self.appended.lock());
            if !appended.is_empty() {
                self.log.flush().await?;
                self.store.forget(&appended).await?;
            }
            for chat in self.store.overdue(self.clock.now_ms()).await? {
                metrics::counter!(names::SWEPT).increment(1);
                self.publish(chat).await?;
            }
        }
    }
}
