//! The file of the log: who may open it, what it is, and the mark beside it.
//!
//! Beside `PATH` lies `PATH.lock`. Its lock keeps a second process out; its content is the mark: how
//! often the log was opened and the highest offset ever reserved. When an older copy of the file is put
//! back, the mark tells, and no offset is given twice.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::open::OpenError;

/// "Mlog": marks a file as ours in the header that SQLite keeps for this purpose.
const APPLICATION: u32 = 0x4d6c_6f67;
/// The version of the tables below.
const VERSION: u32 = 1;
/// Connections for readers of what has left memory.
const READERS: u32 = 2;

const SCHEMA: &str = "
CREATE TABLE state (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL, -- how often the log was opened
    is_clean   INTEGER NOT NULL, -- 1 after an orderly stop
    flushes    INTEGER NOT NULL  -- gives every flush something to commit
) STRICT;
INSERT INTO state VALUES (1, 0, 1, 0);

CREATE TABLE topics (
    name       TEXT PRIMARY KEY,
    id         BLOB NOT NULL,
    partitions INTEGER NOT NULL
) STRICT;

CREATE TABLE partitions (
    id       INTEGER PRIMARY KEY,
    topic    TEXT NOT NULL REFERENCES topics (name),
    number   INTEGER NOT NULL,
    low      INTEGER NOT NULL, -- the oldest offset held
    next     INTEGER NOT NULL, -- the next offset; true only when state.is_clean
    reserved INTEGER NOT NULL, -- no offset at or above this one was ever given
    UNIQUE (topic, number)
) STRICT;

-- `place` is the partition's id times 2^40 plus the offset: one b-tree, read along each partition.
CREATE TABLE records (
    place INTEGER PRIMARY KEY,
    at    INTEGER NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE positions (
    consumer_group TEXT NOT NULL,
    partition      INTEGER NOT NULL REFERENCES partitions (id),
    position       INTEGER NOT NULL, -- the next offset to read
    PRIMARY KEY (consumer_group, partition)
) STRICT, WITHOUT ROWID;
";

/// What the lock file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: i64,
    pub(super) reserved: i64,
}

/// An open log file that nobody else has.
pub(super) struct File {
    path: PathBuf,
    pub(super) readers: SqlitePool,
    lock: Arc<Mutex<Option<fs::File>>>,
    #[cfg(test)]
    pub(super) page_limit: std::sync::atomic::AtomicU32,
}

impl File {
    /// Locks, checks or makes the file at `path`, and reads back that the settings hold.
    pub(super) async fn open(path: PathBuf) -> Result<(Self, SqliteConnection), OpenError> {
        let lock = lock(&path)?;
        if identify(&path)? == Identity::Absent {
            create(&path).await.map_err(|error| storage(&path, error))?;
        }
        let mut connection = writer_options(&path)
            .connect()
            .await
            .map_err(|error| storage(&path, error))?;
        check_settings(&mut connection)
            .await
            .map_err(|error| storage(&path, error))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(base_options(&path).read_only(true));
        let file = Self {
            path,
            readers,
            lock: Arc::new(Mutex::new(Some(lock))),
            #[cfg(test)]
            page_limit: std::sync::atomic::AtomicU32::new(0),
        };
        Ok((file, connection))
    }

    /// A connection that may write.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = writer_options(&self.path);
        #[cfg(test)]
        let options = match self.page_limit.load(std::sync::atomic::Ordering::SeqCst) {
            0 => options,
            pages => options.pragma("max_page_count", pages.to_string()),
        };
        options.connect().await
    }

    /// Bytes of the write-ahead log, which grows until the next checkpoint.
    pub(super) fn wal_bytes(&self) -> u64 {
        fs::metadata(beside(&self.path, "-wal")).map_or(0, |file| file.len())
    }

    /// What the lock file said when it was written last; `None` when it never was.
    pub(super) fn mark(&self) -> std::io::Result<Option<Mark>> {
        let mut lock = self.lock.lock();
        let Some(file) = lock.as_mut() else {
            return Ok(None);
        };
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let (Some(Ok(generation)), Some(Ok(reserved))) = (numbers.next(), numbers.next()) else {
            return Ok(None);
        };
        Ok(Some(Mark {
            generation,
            reserved,
        }))
    }

    /// Writes the mark and returns when the disk has it.
    pub(super) async fn set_mark(&self, mark: Mark) -> std::io::Result<()> {
        let lock = Arc::clone(&self.lock);
        let write = move || {
            let mut lock = lock.lock();
            let Some(file) = lock.as_mut() else {
                return Ok(());
            };
            // Fixed width: a shorter text never leaves the end of a longer one.
            let text = format!("{:020} {:020}\n", mark.generation, mark.reserved);
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::other)?
    }

    /// Lets another process in.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.lock.lock().take();
    }

    /// A failure of start-up.
    pub(super) fn storage(&self, error: impl std::fmt::Display) -> OpenError {
        storage(&self.path, error)
    }
}

fn storage(path: &Path, error: impl std::fmt::Display) -> OpenError {
    OpenError::Storage {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(|error| storage(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(storage(path, error)),
    }
}

#[derive(PartialEq, Eq)]
enum Identity {
    Absent,
    Ours,
}

/// Looks at the header without SQLite, which would change a foreign file by opening it our way.
fn identify(path: &Path) -> Result<Identity, OpenError> {
    let foreign = |found: &str| OpenError::Foreign {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Identity::Absent),
        Err(error) => return Err(storage(path, error)),
    };
    let mut header = [0; 100];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it is no SQLite database"));
    }
    // https://www.sqlite.org/fileformat2.html section 1.3: offsets 60 and 68, big-endian.
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if number(68) != APPLICATION {
        return Err(foreign("it is another SQLite database"));
    }
    if number(60) != VERSION {
        return Err(foreign(&format!(
            "its format is version {} and not {VERSION}",
            number(60)
        )));
    }
    Ok(Identity::Ours)
}

/// Makes the file under another name first, so that it is there as a whole or not at all.
async fn create(path: &Path) -> Result<(), kit::BoxError> {
    let draft = beside(path, ".new");
    for left in [
        draft.clone(),
        beside(&draft, "-journal"),
        beside(path, "-wal"),
        beside(path, "-shm"),
    ] {
        match fs::remove_file(left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) | Ok(()) => {}
        }
    }
    // What people wrote stands in it: nobody else on the machine reads it.
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    let mut connection = SqliteConnectOptions::new()
        .filename(&draft)
        .create_if_missing(true)
        .connect()
        .await?;
    let identity = format!(
        "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {SCHEMA} COMMIT"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(identity))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(&draft, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn base_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(2))
        .disable_statement_logging()
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    base_options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        // The writer makes checkpoints itself, since SQLite hides the errors of automatic ones.
        .pragma("wal_autocheckpoint", "0")
        .thread_name(|_| "eventlog-writer".to_owned())
}

/// SQLite answers a setting that it cannot fulfil with another value and no error.
async fn check_settings(connection: &mut SqliteConnection) -> Result<(), kit::BoxError> {
    let (journal,): (String,) = sqlx::query_as("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous")
        .fetch_one(&mut *connection)
        .await?;
    if journal != "wal" || synchronous != 1 {
        let found =
            format!("this file system gives journal_mode={journal}, synchronous={synchronous}");
        return Err(found.into());
    }
    Ok(())
}
