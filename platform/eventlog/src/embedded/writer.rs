//! The way to the file: groups of records, flushes, reservations, checkpoints.
//!
//! Whoever needs something written takes the writer's lock and writes everything that waits; those who
//! come meanwhile find their work done. A task does so for appends that nobody flushes.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kit::{BoxError, OnFailure, Spawner};
use sqlx::SqliteConnection;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    engine::Engine,
    file::Mark,
    groups::Groups,
    memory::{Limits, Memory, Reservation, Row, Slot, State},
    store::{self, Level, StoredPosition},
};
use crate::{Error, metrics};

/// One transaction of the writer.
const GROUP: Limits = Limits {
    records: 4096,
    bytes: 4 << 20,
};
/// The write-ahead log is moved into the database when it is larger.
const CHECKPOINT_BYTES: u64 = 16 << 20;
/// How long the task waits for more records before it writes; nobody waits for it.
const LINGER: Duration = Duration::from_millis(5);
/// How often the task looks for positions to save, and tries again after trouble.
const TICK: Duration = Duration::from_secs(1);

/// The connection that writes; absent after an error, since its transaction is in doubt.
pub(super) struct Writer(pub(super) Option<SqliteConnection>);

/// What one transaction carries.
struct Group {
    rows: Vec<Row>,
    positions: Vec<(Arc<str>, Slot, i64)>,
    stored: Vec<StoredPosition>,
    reservations: Vec<Reservation>,
    highest: i64,
    level: Level,
}

impl Group {
    /// What waits now. `level` is for the transaction that is the last up to `target`.
    fn collect(groups: &Groups, memory: &Memory, target: u64, level: Level) -> Self {
        let rows = memory.unwritten(GROUP);
        let reservations = memory.reservations();
        let highest = reservations
            .iter()
            .map(|reservation| reservation.end)
            .max()
            .unwrap_or(0);
        let is_last = memory.written_total() + rows.len() as u64 >= target;
        let to_disk = !reservations.is_empty() || (is_last && level == Level::Disk);
        let positions = groups.unsaved();
        let stored = positions
            .iter()
            .map(|(group, slot, next)| StoredPosition {
                group: group.to_string(),
                row: memory.row(*slot),
                position: *next,
            })
            .collect();
        Self {
            rows,
            positions,
            stored,
            reservations,
            highest: highest.max(memory.highest_reserved()),
            level: if to_disk { Level::Disk } else { Level::Process },
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.positions.is_empty() && self.level == Level::Process
    }

    async fn write(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        store::begin(connection, self.level).await?;
        store::insert(connection, &mut self.rows).await?;
        store::save_positions(connection, &self.stored).await?;
        store::reserve(connection, &self.reservations).await?;
        store::commit(connection).await
    }
}

impl Engine {
    /// Returns when everything appended before is in the file, and on the disk for [`Level::Disk`].
    pub(super) async fn write(&self, level: Level) -> Result<(), Error> {
        let target = self.memory.lock().appended();
        let mut writer = self.writer.lock().await;
        self.write_to(&mut writer, target, level).await
    }

    async fn write_to(&self, writer: &mut Writer, target: u64, level: Level) -> Result<(), Error> {
        loop {
            let mut group = {
                let groups = self.groups.lock();
                let memory = self.memory.lock();
                memory.check_writable()?;
                if level == Level::Disk
                    && memory.durable() >= target
                    && memory.reservations().is_empty()
                {
                    return Ok(());
                }
                Group::collect(&groups, &memory, target, level)
            };
            if group.is_empty() {
                break;
            }
            self.transact(writer, async |connection| group.write(connection).await)
                .await?;
            if !group.reservations.is_empty() {
                self.set_mark(group.highest).await?;
            }
            let is_done = self.note_written(&group) >= target;
            if is_done {
                break;
            }
        }
        if self.file.wal_bytes() > CHECKPOINT_BYTES {
            self.transact(writer, async |connection| {
                store::checkpoint(connection).await
            })
            .await?;
        }
        self.note_success();
        Ok(())
    }

    /// Runs `work` on the writing connection and judges its error.
    pub(super) async fn transact<T>(
        &self,
        writer: &mut Writer,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let judge = |error: sqlx::Error| {
            let why = format!("writing the file failed: {error}");
            self.note_failure(&why, is_final(&error))
        };
        let mut connection = match writer.0.take() {
            Some(connection) => connection,
            None => self.file.connect().await.map_err(judge)?,
        };
        let result = work(&mut connection).await.map_err(judge)?;
        writer.0 = Some(connection);
        Ok(result)
    }

    /// Puts the mark on the disk, before any offset below `reserved` is given.
    pub(super) async fn set_mark(&self, reserved: i64) -> Result<(), Error> {
        let mark = Mark {
            generation: self.generation,
            reserved,
        };
        self.file.set_mark(mark).await.map_err(|error| {
            let is_final = error.kind() != std::io::ErrorKind::StorageFull;
            self.note_failure(&format!("writing the lock file failed: {error}"), is_final)
        })
    }

    fn note_written(&self, group: &Group) -> u64 {
        self.groups.lock().mark_saved(&group.positions);
        let mut memory = self.memory.lock();
        memory.mark_written(group.rows.len());
        memory.mark_reserved(&group.reservations);
        if group.level == Level::Disk {
            memory.mark_durable();
        }
        memory.written_total()
    }

    /// See [`crate::EventLog::flush`].
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), Error> {
        let begun = Instant::now();
        {
            let memory = self.memory.lock();
            memory.check_writable()?;
            if memory.durable() >= memory.appended() {
                return Ok(());
            }
        }
        let engine = Arc::clone(self);
        self.to_the_end(
            "event log flush",
            async move { engine.write(Level::Disk).await },
        )
        .await?;
        ::metrics::histogram!(metrics::FLUSH_SECONDS).record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// See [`crate::EventLog::close`].
    pub(super) async fn close(&self) {
        let mut writer = self.writer.lock().await;
        let target = self.memory.lock().appended();
        let mut result = self.write_to(&mut writer, target, Level::Disk).await;
        let ends = {
            // From here on nothing is appended, and what came since the write above is written below.
            let mut memory = self.memory.lock();
            if matches!(memory.state, State::Open) {
                memory.state = State::Closed;
            }
            memory.ends()
        };
        if result.is_ok() {
            result = self.write_rest(&mut writer, &ends).await;
        }
        if let Err(error) = result {
            self.memory.lock().state = State::Closed;
            tracing::error!(error = %error, "the event log could not be closed in order");
        }
        if let Some(connection) = writer.0.take() {
            use sqlx::Connection as _;
            // All is committed; an error of the closing itself changes nothing.
            let _ = connection.close().await;
        }
        self.file.close().await;
        self.wake.notify_one();
    }

    async fn write_rest(&self, writer: &mut Writer, ends: &[(i64, i64)]) -> Result<(), Error> {
        loop {
            let mut group = {
                let groups = self.groups.lock();
                Group::collect(&groups, &self.memory.lock(), u64::MAX, Level::Disk)
            };
            let is_last = group.rows.is_empty();
            self.transact(writer, async |connection| group.write(connection).await)
                .await?;
            self.note_written(&group);
            if is_last {
                break;
            }
        }
        self.transact(writer, async |connection| {
            store::begin(connection, Level::Disk).await?;
            store::set_clean(connection, ends).await?;
            store::commit(connection).await?;
            store::checkpoint(connection).await
        })
        .await
    }
}

/// Whether the file must not be written after this error: a second fsync after a failed one may report
/// success for data that is gone. A full disk and a busy file pass.
fn is_final(error: &sqlx::Error) -> bool {
    // https://www.sqlite.org/rescode.html: the low byte is the primary code.
    const PASSING: [i32; 5] = [5, 6, 7, 13, 14]; // BUSY, LOCKED, NOMEM, FULL, CANTOPEN
    const PASSING_IO: [i32; 2] = [3082, 4874]; // IOERR_NOMEM, IOERR_SHMSIZE: no room for shared memory
    let sqlx::Error::Database(error) = error else {
        return true;
    };
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    !PASSING.contains(&(code & 0xff)) && !PASSING_IO.contains(&code)
}

/// Starts the task that writes what is appended. It ends with the node or with the log, and stops the
/// node when the log has failed for good.
pub(super) fn start(engine: &Arc<Engine>) {
    let spawner = engine.spawner.clone();
    let (weak, wake) = (Arc::downgrade(engine), Arc::clone(&engine.wake));
    let failed = engine.failed.clone();
    spawner
        .clone()
        .task("event log writer", OnFailure::Fatal, move || {
            run(
                Weak::clone(&weak),
                Arc::clone(&wake),
                failed.clone(),
                spawner.clone(),
            )
        });
}

async fn run(
    engine: Weak<Engine>,
    wake: Arc<Notify>,
    failed: CancellationToken,
    spawner: Spawner,
) -> Result<(), BoxError> {
    let stop = spawner.token();
    while !stop.is_cancelled() {
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            () = failed.cancelled() => return Err("the event log has failed for good".into()),
            () = stop.cancelled() => break,
        }
        tokio::time::sleep(LINGER).await;
        let Some(engine) = engine.upgrade() else {
            break;
        };
        if matches!(engine.memory.lock().state, State::Closed) {
            break;
        }
        // The outcome is in the log's state, where appends and readiness see it.
        let _ = engine.write(Level::Process).await;
    }
    stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("code {0}")]
    struct Coded(i32);

    impl sqlx::error::DatabaseError for Coded {
        fn message(&self) -> &'static str {
            "a code"
        }
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    #[test]
    fn a_failed_fsync_is_final_and_a_full_disk_is_not() {
        let is_final = |code| is_final(&sqlx::Error::Database(Box::new(Coded(code))));
        for code in [10, 1034, 1290, 778, 11, 26] {
            assert!(is_final(code), "{code}");
        }
        for code in [13, 5, 517, 14, 4874] {
            assert!(!is_final(code), "{code}");
        }
    }
}
