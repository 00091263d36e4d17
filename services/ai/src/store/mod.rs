//! The tables of the AI. One SQL text for both engines, but for [`crate::dialect`].
//!
//! [`threads`] holds bindings and whose call is open, [`runs`] the work, [`ledger`] budgets, positions and
//! the outbox.

mod ledger;
mod runs;
mod threads;

use serde::{Serialize, de::DeserializeOwned};
use sql::Db;

pub(crate) use ledger::{Outgoing, Spent, positions};
#[cfg(test)]
pub(crate) use runs::time;
pub(crate) use runs::{NewRun, RunRow};
pub(crate) use threads::{BindingState, Thread};

/// The migrations of this service.
pub const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_threads");

/// The store.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) db: Db,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// Somebody else moved the position: this consumer no longer owns the partition, or it was rewound.
    #[error("another consumer has moved the position")]
    Fenced,
    /// A row does not read as it was written.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    pub(crate) async fn check(&self) -> Result<(), sql::Error> {
        self.db.check().await
    }
}

impl Error {
    /// Whether the same transaction may succeed a little later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Sql(error) if error.is_retryable())
    }
}

impl From<Error> for kit::Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Sql(error) => error.into(),
            Error::Fenced => Self::unavailable("the partition has moved"),
            Error::Unreadable(_) => Self::internal(error),
        }
    }
}

/// The word that stands for a unit variant in a column.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, Error> {
    Ok(serde_json::from_value(serde_json::Value::String(word))?)
}

/// An unsigned length as a column holds it.
fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
