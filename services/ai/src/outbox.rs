//! From the tables to the log: records leave after the transaction that made them, in its order.
//!
//! Each process publishes the rows that it committed as soon as it is woken, and rows that others left behind
//! after two seconds. A row goes when the log has flushed its record; a crash in between repeats the record,
//! and every reader can bear that.

use std::{sync::Arc, time::Duration};

use eventlog::{EventLog, Record};
use kit::{Backoff, BoxError, CancellationToken, Clock};
use tokio::sync::Notify;

use crate::store::Store;

/// How often rows of others are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// When a row of another process counts as left behind.
const LEFT_BEHIND_MS: i64 = 2_000;
/// Rows at a time.
const BATCH: usize = 200;

/// The publisher of the outbox.
#[derive(Clone)]
pub(crate) struct Outbox {
    store: Store,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    worker: Arc<str>,
    woken: Arc<Notify>,
}

impl Outbox {
    pub(crate) fn new(
        store: Store,
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        worker: Arc<str>,
    ) -> Self {
        Self {
            store,
            log,
            clock,
            worker,
            woken: Arc::default(),
        }
    }

    /// Says that rows were committed.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Publishes until the node stops; then once more, so that nothing committed waits for the next start.
    pub(crate) async fn run(self, token: CancellationToken) -> Result<(), BoxError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), SWEEP);
        loop {
            match self.publish().await {
                Ok(BATCH) => continue,
                Ok(_) => backoff = Backoff::new(Duration::from_millis(50), SWEEP),
                Err(error) => {
                    tracing::warn!(error, "publishing the outbox failed; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                    self.wake();
                }
            }
            if token.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
                () = token.cancelled() => {}
            }
        }
    }

    /// Publishes the next rows and says how many there were.
    async fn publish(&self) -> Result<usize, BoxError> {
        let before_ms = self.clock.now_ms() - LEFT_BEHIND_MS;
        let rows = self
            .store
            .unpublished(&self.worker, before_ms, BATCH)
            .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let numbers: Vec<i64> = rows.iter().map(|row| row.n).collect();
        for row in rows {
            let record = Record {
                key: row.outgoing.key,
                value: row.outgoing.payload,
            };
            self.log.append(&row.outgoing.topic, vec![record]).await?;
        }
        kit::failpoint!("ai.outbox.appended");
        self.log.flush().await?;
        self.store.remove_published(&numbers).await?;
        Ok(numbers.len())
    }
}
