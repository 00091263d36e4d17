//! Removes what is too old or too much, never what a group has not read yet; and reports lag.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    engine::Engine,
    memory::{Slot, State},
    store::{self, Head, Level},
};
use crate::{Error, metrics};

/// Records removed in one transaction.
const CHUNK: usize = 2000;

/// What of a partition may go, oldest first.
#[derive(Clone, Copy)]
enum Goes {
    /// What was appended before this time, in milliseconds.
    Before(i64),
    /// So many bytes.
    Bytes(u64),
}

impl Goes {
    /// How many of `heads` that is.
    fn count(self, heads: &[Head]) -> usize {
        let mut sum = 0;
        let goes = |head: &&Head| match self {
            Self::Before(time) => head.at < time,
            Self::Bytes(bytes) => {
                let is_needed = sum < bytes;
                sum += head.bytes;
                is_needed
            }
        };
        heads.iter().take_while(goes).count()
    }
}

/// How often the records are looked through.
const RETENTION_PERIOD: Duration = Duration::from_mins(1);
/// How often lag is reported.
const REPORT_PERIOD: Duration = Duration::from_secs(5);

impl Engine {
    /// Removes records that are older than the age, then the oldest while the file is too large.
    pub(super) async fn retain(&self) -> Result<(), Error> {
        let age = i64::try_from(self.config.retention_age.as_millis()).unwrap_or(i64::MAX);
        let cutoff = self.clock.now_ms().saturating_sub(age);
        let slots = self.memory.lock().len();
        for slot in 0..slots {
            while self.trim(slot, Goes::Before(cutoff)).await? {}
        }
        loop {
            let excess = self
                .live_bytes()
                .await?
                .saturating_sub(self.config.retention_bytes);
            if excess == 0 {
                return Ok(());
            }
            let Some(slot) = self.oldest(slots).await? else {
                tracing::warn!(
                    "the event log is over its size and every record in it still has a reader"
                );
                return Ok(());
            };
            self.trim(slot, Goes::Bytes(excess)).await?;
        }
    }

    async fn live_bytes(&self) -> Result<u64, Error> {
        store::live_bytes(&self.file.readers)
            .await
            .map_err(|error| unreadable(&error))
    }

    /// The partition whose oldest removable record is older than that of all others.
    async fn oldest(&self, slots: usize) -> Result<Option<Slot>, Error> {
        let mut oldest = None;
        for slot in 0..slots {
            if let Some(head) = self.removable(slot, 1).await?.first()
                && oldest.is_none_or(|(_, at)| head.at < at)
            {
                oldest = Some((slot, head.at));
            }
        }
        Ok(oldest.map(|(slot, _)| slot))
    }

    /// The oldest records, as far as every group has read them and the file has them.
    async fn removable(&self, slot: Slot, count: usize) -> Result<Vec<Head>, Error> {
        let (row, low, end) = {
            let floor = self.groups.lock().floor(slot);
            let memory = self.memory.lock();
            let end = memory.written_end(slot);
            (
                memory.row(slot),
                memory.bounds(slot).0,
                floor.map_or(end, |floor| floor.min(end)),
            )
        };
        if low >= end {
            return Ok(Vec::new());
        }
        let mut heads = store::heads(&self.file.readers, row, low, count)
            .await
            .map_err(|error| unreadable(&error))?;
        heads.retain(|head| head.offset < end);
        Ok(heads)
    }

    /// Removes at most a chunk of what goes; `true` when there may be more.
    async fn trim(&self, slot: Slot, goes: Goes) -> Result<bool, Error> {
        let heads = self.removable(slot, CHUNK).await?;
        let count = goes.count(&heads);
        let Some(Head { offset: last, .. }) = heads[..count].last() else {
            return Ok(false);
        };
        // Readers lose sight first, so that none sees half of it. A position that went back meanwhile
        // counts: both locks are held.
        let low = {
            let groups = self.groups.lock();
            let low = groups
                .floor(slot)
                .map_or(last + 1, |floor| floor.min(last + 1));
            self.memory.lock().raise_low(slot, low);
            low
        };
        let removed = self.remove(slot, low).await?;
        let topic = Arc::clone(&self.memory.lock().partition(slot).topic);
        ::metrics::counter!(metrics::RETENTION_DELETED, "topic" => topic).increment(removed);
        Ok(count == heads.len() && count == CHUNK)
    }

    async fn remove(&self, slot: Slot, low: i64) -> Result<u64, Error> {
        let mut writer = self.writer.lock().await;
        // The positions that allow the removal have to be in the file before it or with it.
        let (row, positions) = {
            let positions = self.groups.lock().all_positions();
            let memory = self.memory.lock();
            memory.check_writable()?;
            let of_slot = positions.into_iter().filter(|(_, of, _)| *of == slot);
            let stored = of_slot.map(|(group, _, next)| store::StoredPosition {
                group: group.to_string(),
                row: memory.row(slot),
                position: next,
            });
            (memory.row(slot), stored.collect::<Vec<_>>())
        };
        self.transact(&mut writer, async |connection| {
            store::begin(connection, Level::Process).await?;
            store::save_positions(connection, &positions).await?;
            let removed = store::trim(connection, row, low).await?;
            store::commit(connection).await?;
            Ok(removed)
        })
        .await
    }

    /// Sets the lag of every group in every topic.
    fn report_lag(&self) {
        let positions = self.groups.lock().all_positions();
        let mut lags: HashMap<(Arc<str>, Arc<str>), i64> = HashMap::new();
        {
            let memory = self.memory.lock();
            for (group, slot, next) in positions {
                let topic = Arc::clone(&memory.partition(slot).topic);
                *lags.entry((group, topic)).or_default() += (memory.bounds(slot).1 - next).max(0);
            }
        }
        for ((group, topic), lag) in lags {
            ::metrics::gauge!(metrics::LAG, "group" => group, "topic" => topic)
                .set(metrics::level(lag.unsigned_abs()));
        }
    }
}

fn unreadable(error: &sqlx::Error) -> Error {
    Error::Unavailable(format!("reading the file failed: {error}"))
}

/// Starts the task of this file; it ends with the node or with the log.
pub(super) fn start(engine: &Arc<Engine>) {
    let stop = engine.spawner.token().clone();
    engine
        .spawner
        .spawn("event log retention", run(Arc::downgrade(engine), stop));
}

async fn run(engine: Weak<Engine>, stop: CancellationToken) {
    let mut report = tokio::time::interval(REPORT_PERIOD);
    let mut retention = tokio::time::interval(RETENTION_PERIOD);
    loop {
        let is_time_to_retain = tokio::select! {
            _ = retention.tick() => true,
            _ = report.tick() => false,
            () = stop.cancelled() => return,
        };
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if matches!(engine.memory.lock().state, State::Closed) {
            return;
        }
        if is_time_to_retain {
            if let Err(error) = engine.retain().await {
                tracing::warn!(error = %error, "old records could not be removed; trying again later");
            }
        } else {
            engine.report_lag();
        }
    }
}
