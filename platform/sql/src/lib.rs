#![doc = include_str!("../README.md")]

mod db;
mod error;
mod insert;
mod mark;
mod metrics;
mod migrate;
mod postgres;
mod row;
mod sqlite;
mod statement;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transfer;
mod tx;
mod value;

use std::{fmt, path::PathBuf, time::Duration};

pub use db::Db;
pub use error::Error;
pub use insert::Insert;
pub use mark::Mark;
pub use migrate::{
    Migration, Migrations, migrate_down, migrate_up, schema_version, version_of, wait_for,
};
pub use row::{Column, Row};
pub use tx::Tx;
pub use uuid::Uuid;
pub use value::{Args, Type, Typed, Value};

/// The database behind a [`Db`]. Only `dialect.rs` of a service asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL 15 or newer; one schema per service.
    Postgres,
    /// The built-in SQLite; one file per service.
    Sqlite,
}

impl Engine {
    /// The engine that `url` names by its scheme: `sqlite:` or `postgres:`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the schemes there are. The address itself is not repeated: it may hold a password.
    pub fn of(url: &str) -> Result<Self, Error> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(Error::Refused(
                "the sql address must begin with sqlite:FOLDER or postgres://HOST/DATABASE"
                    .to_owned(),
            )),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// How many connections a store keeps and how long it waits for anything.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Connections to PostgreSQL at most, per service and process.
    pub max_connections: u32,
    /// Reading connections to a SQLite file; one more writes.
    pub sqlite_readers: u32,
    /// The longest wait for a free connection.
    #[serde(with = "kit::config::duration")]
    pub acquire_timeout: Duration,
    /// The longest a statement may run on PostgreSQL.
    #[serde(with = "kit::config::duration")]
    pub statement_timeout: Duration,
    /// The longest wait for a lock: of a row on PostgreSQL, of the file on SQLite.
    #[serde(with = "kit::config::duration")]
    pub lock_timeout: Duration,
    /// How long PostgreSQL lets a transaction stand idle before it ends the session.
    #[serde(with = "kit::config::duration")]
    pub idle_in_transaction_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections: 10,
            sqlite_readers: 4,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(30),
        }
    }
}

/// Refuses an address that can never be opened; gives the folder that an embedded store needs. Nothing is touched.
///
/// # Errors
/// [`Error::Refused`] in one line for people.
pub fn check(url: &str) -> Result<Option<PathBuf>, Error> {
    match Engine::of(url)? {
        Engine::Postgres => postgres::address(url).map(|_| None),
        Engine::Sqlite => sqlite::folder(url).map(|folder| Some(folder.into())),
    }
}

/// Opens the store of `service` at `url`: `sqlite:FOLDER` keeps `FOLDER/SERVICE.db`, `postgres://...` the
/// schema SERVICE. Nothing is migrated; see [`migrate_up`] and [`wait_for`].
///
/// A SQLite store is opened and checked here and now. PostgreSQL is asked at the first statement, so that a process
/// can start before its database; [`Db::check`] tells whether it answers.
///
/// # Errors
/// [`Error::Refused`] in one line for people: wrong address, folder not writable, foreign file, file in use.
pub async fn open(url: &str, service: &str, config: &PoolConfig) -> Result<Db, Error> {
    let name_is_plain = service
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if service.is_empty() || !name_is_plain {
        return Err(Error::Refused(format!(
            "`{service}` cannot name a store: use a-z, 0-9, _ and -"
        )));
    }
    match Engine::of(url)? {
        Engine::Postgres => postgres::open(url, service, config),
        Engine::Sqlite => sqlite::open(url, service, config).await,
    }
}
