//! Opening a SQLite store: one file per service, one process, one writer, everything on the disk at commit.

use std::{
    fs::{self, DirBuilder, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Db, Error, PoolConfig, db::Place};

/// Marks a file as ours (`Msgr`); see <https://sqlite.org/fileformat2.html#application_id>.
const APPLICATION_ID: i64 = 0x4D73_6772;
/// Prepared statements kept per connection; a service has fewer.
pub(crate) const STATEMENT_CACHE: usize = 512;
/// The write-ahead log shrinks to this many bytes after a burst.
const WAL_LIMIT: &str = "67108864";
/// How long a write waits for its turn: the writers stand in one line.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct File {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    path: PathBuf,
    /// Device and inode: a file that was replaced under us is not our store.
    identity: (u64, u64),
    lock: Mutex<Option<fs::File>>,
}

pub(crate) async fn open(url: &str, service: &str, config: &PoolConfig) -> Result<Db, Error> {
    let folder = folder(url)?;
    let path = Path::new(folder).join(format!("{service}.db"));
    let lock = claim(Path::new(folder), &path)?;
    let refuse = |error: &dyn std::fmt::Display| {
        Error::Refused(format!("cannot open {}: {error}", path.display()))
    };
    let fresh = probe(&path).await?;
    let base = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(config.lock_timeout)
        .pragma("journal_size_limit", WAL_LIMIT)
        .statement_cache_capacity(STATEMENT_CACHE)
        .disable_statement_logging();
    let writer = pool(1, TURN_TIMEOUT)
        .connect_with(base.clone())
        .await
        .map_err(|error| refuse(&error))?;
    let readers = pool(config.sqlite_readers.max(1), config.acquire_timeout)
        .connect_with(base.pragma("query_only", "ON"))
        .await
        .map_err(|error| refuse(&error))?;
    for pool in [&writer, &readers] {
        let mut connection = pool.acquire().await?;
        verify(&mut connection, &path).await?;
    }
    if fresh {
        let mut connection = writer.acquire().await?;
        let mark = AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"));
        sqlx::raw_sql(mark).execute(&mut *connection).await?;
    }
    let metadata = path.metadata().map_err(|error| refuse(&error))?;
    let identity = (metadata.dev(), metadata.ino());
    let file = File {
        writer,
        readers,
        path,
        identity,
        lock: Mutex::new(Some(lock)),
    };
    Ok(Db::new(service, Place::Sqlite(file)))
}

/// The folder that an address names.
pub(crate) fn folder(url: &str) -> Result<&str, Error> {
    let folder = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if folder.is_empty() || folder.starts_with(':') {
        return Err(Error::Refused(
            "the sql address sqlite: needs a folder, as in sqlite:./data".to_owned(),
        ));
    }
    Ok(folder)
}

fn pool(connections: u32, acquire_timeout: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(acquire_timeout)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .after_release(|connection, _| {
            Box::pin(async move {
                // SQLite undoes a transaction by itself when the disk is full; the driver still counts it as open
                // then, and the connection could never begin another one.
                if connection.is_in_transaction() {
                    connection.ping().await?;
                }
                Ok(!connection.is_in_transaction())
            })
        })
}

/// Makes the folder and the file when they are not there, and takes the lock that keeps other processes away.
fn claim(folder: &Path, path: &Path) -> Result<fs::File, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            Error::Refused(format!(
                "cannot make the folder {}: {error}",
                folder.display()
            ))
        })?;
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let not_writable = |error: io::Error| {
        Error::Refused(format!(
            "the folder {} is not writable: {error}",
            folder.display()
        ))
    };
    let lock = open(&path.with_extension("db.lock")).map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Refused(format!(
                "{} is in use by another running messenger",
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => {
            return Err(Error::Refused(format!(
                "cannot lock {}: {error}",
                path.display()
            )));
        }
    }
    open(path)
        .map_err(|error| Error::Refused(format!("{} is not writable: {error}", path.display())))?;
    Ok(lock)
}

/// Looks at a file without changing it: ours (false), empty (true), or not a store of ours (refused)?
async fn probe(path: &Path) -> Result<bool, Error> {
    let foreign = |what: String| {
        Error::Refused(format!(
            "{} is not a store of messenger: {what}",
            path.display()
        ))
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging();
    let id = async {
        let mut connection = options.connect().await?;
        let id: i64 = sqlx::query_scalar("PRAGMA application_id")
            .fetch_one(&mut connection)
            .await?;
        let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>((id, tables))
    };
    match id.await.map_err(Error::from) {
        Ok((APPLICATION_ID, _)) => Ok(false),
        // Also what a process leaves that was killed between making the file and marking it.
        Ok((0, 0)) => Ok(true),
        Ok((id, tables)) => Err(foreign(format!(
            "it has the application id {id} and {tables} tables"
        ))),
        Err(Error::Corrupt(error)) => Err(foreign(error.to_string())),
        Err(error) => Err(error),
    }
}

/// A pragma that does not exist or cannot be set is ignored by SQLite, so each one is read back.
async fn verify(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await?;
    let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys")
        .fetch_one(&mut *connection)
        .await?;
    if (mode.as_str(), synchronous, foreign_keys) == ("wal", 2, 1) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} cannot be used safely: journal_mode is {mode}, synchronous {synchronous}, foreign_keys {foreign_keys}; \
         wal, 2 and 1 are needed",
        path.display()
    )))
}

impl File {
    /// A connection of its own for migrations: rules between tables are checked at the end, not on the way.
    pub(crate) async fn dedicated(
        &self,
        lock_timeout: Duration,
    ) -> Result<SqliteConnection, Error> {
        let options = SqliteConnectOptions::clone(&self.writer.connect_options());
        Ok(options
            .foreign_keys(false)
            .busy_timeout(lock_timeout)
            .connect()
            .await?)
    }

    /// Whether the file is still there, still the same and still writable.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let unavailable = |error: io::Error| {
            Error::Unavailable(
                io::Error::new(error.kind(), format!("{}: {error}", self.path.display())).into(),
            )
        };
        let file = tokio::fs::OpenOptions::new()
            .write(true)
            .open(&self.path)
            .await
            .map_err(unavailable)?;
        let metadata = file.metadata().await.map_err(unavailable)?;
        if (metadata.dev(), metadata.ino()) != self.identity {
            return Err(unavailable(io::Error::other(
                "another file has taken its place",
            )));
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        // The last connection to close writes the log back into the file, and that must be the one that may write.
        self.readers.close().await;
        self.writer.close().await;
        self.lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}
