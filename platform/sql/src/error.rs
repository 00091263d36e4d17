//! What can go wrong in a store, as a closed set that both engines are mapped to.

use std::borrow::Cow;

use kit::{BoxError, Code, Fault};

/// An error of the store. After any of them the transaction is over: it can only be dropped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique rule does not allow the row.
    #[error("a row with this value exists already ({})", constraint.as_deref().unwrap_or("unnamed"))]
    Conflict {
        /// The broken rule, spelled as PostgreSQL names a rule that has no name of its own: `TABLE_COLUMN_key`,
        /// `TABLE_COLUMN_COLUMN_key`, `TABLE_pkey`. Leave unique rules unnamed, or name an index so, and both
        /// engines agree.
        constraint: Option<String>,
    },
    /// Another transaction was in the way: deadlock, serialization, lock or statement timeout. Do it again.
    #[error("the store is busy")]
    Busy(#[source] BoxError),
    /// There is no room left; reads go on, and writes do as soon as there is room.
    #[error("the storage is full")]
    Full(#[source] BoxError),
    /// The store does not answer, or no connection was free in time. After a commit the outcome is unknown.
    #[error("the store does not answer")]
    Unavailable(#[source] BoxError),
    /// The store holds what it never wrote.
    #[error("the store is damaged")]
    Corrupt(#[source] BoxError),
    /// Reading or writing the file failed. What reached the disk is unknown, so the store takes no more writes:
    /// stop the process and look at the disk.
    #[error("the file system failed under the store")]
    Fatal(#[source] BoxError),
    /// The store cannot be used as it is; the text is for the person who runs the server.
    #[error("{0}")]
    Refused(String),
    /// The values are not what the table takes: a broken rule other than a unique one, a number out of range, text that
    /// is none.
    #[error("the store does not take these values")]
    Values(#[source] BoxError),
    /// A defect of ours: a wrong statement, a wrong type.
    #[error("a statement failed")]
    Other(#[source] BoxError),
}

impl Error {
    /// Whether the whole transaction may succeed when it is done again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Full(_) | Self::Unavailable(_))
    }

    /// Whether the process has to stop: nothing it does can be trusted to be stored.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(_) | Self::Corrupt(_))
    }

    /// Whether the values are to blame: other values may be stored meanwhile.
    pub fn is_about_values(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Values(_))
    }

    /// The label of this error in metrics.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Busy(_) => "busy",
            Self::Full(_) => "full",
            Self::Unavailable(_) => "unavailable",
            Self::Corrupt(_) => "corrupt",
            Self::Fatal(_) => "fatal",
            Self::Refused(_) => "refused",
            Self::Values(_) => "values",
            Self::Other(_) => "other",
        }
    }

    /// A defect in the use of this crate.
    pub(crate) fn misuse(text: &'static str) -> Self {
        Self::Other(text.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(cause) = &error else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed
                | sqlx::Error::InvalidSavePointStatement => Self::Unavailable(error.into()),
                _ => Self::Other(error.into()),
            };
        };
        let code = cause.code().unwrap_or(Cow::Borrowed(""));
        if cause
            .try_downcast_ref::<sqlx::sqlite::SqliteError>()
            .is_some()
        {
            let code = code.parse().unwrap_or(0);
            let constraint = constraint_of_message(code, cause.message());
            return from_sqlite(code, constraint, error);
        }
        let code = code.into_owned();
        let constraint = cause.constraint().map(str::to_owned);
        from_postgres(&code, constraint, error)
    }
}

/// Result codes of <https://sqlite.org/rescode.html>; the low byte is the primary code.
fn from_sqlite(code: i32, constraint: Option<String>, error: sqlx::Error) -> Error {
    const CONSTRAINT_PRIMARYKEY: i32 = 1555;
    const CONSTRAINT_UNIQUE: i32 = 2067;
    const CONSTRAINT_ROWID: i32 = 2579;
    const IOERR_SHMSIZE: i32 = 4874;
    let source = error.into();
    match (code, code & 0xff) {
        (CONSTRAINT_PRIMARYKEY | CONSTRAINT_UNIQUE | CONSTRAINT_ROWID, _) => {
            Error::Conflict { constraint }
        }
        (IOERR_SHMSIZE, _) | (_, 13) => Error::Full(source),
        (_, 5 | 6) => Error::Busy(source),
        (_, 8 | 14) => Error::Unavailable(source),
        (_, 10) => Error::Fatal(source),
        (_, 11 | 26) => Error::Corrupt(source),
        // too big, constraint, mismatch
        (_, 18..=20) => Error::Values(source),
        _ => Error::Other(source),
    }
}

/// Turns `UNIQUE constraint failed: person.a, person.b` into `person_a_b_key`, the name PostgreSQL gives.
fn constraint_of_message(code: i32, message: &str) -> Option<String> {
    let (_, columns) = message.split_once("constraint failed: ")?;
    if let Some(index) = columns.strip_prefix("index '") {
        return Some(index.trim_end_matches('\'').to_owned());
    }
    let (table, _) = columns.split_once('.')?;
    if code != 2067 {
        return Some(format!("{table}_pkey"));
    }
    let columns: Vec<&str> = columns
        .split(", ")
        .filter_map(|column| Some(column.split_once('.')?.1))
        .collect();
    Some(format!("{table}_{}_key", columns.join("_")))
}

/// SQLSTATE codes of the PostgreSQL manual, appendix A.
fn from_postgres(code: &str, constraint: Option<String>, error: sqlx::Error) -> Error {
    let source = error.into();
    match code {
        "23505" => Error::Conflict { constraint },
        // serialization failure, deadlock, lock timeout, statement timeout
        "40001" | "40P01" | "55P03" | "57014" => Error::Busy(source),
        "53100" => Error::Full(source),
        "XX001" | "XX002" => Error::Corrupt(source),
        // data exception, integrity constraint violation
        _ if code.starts_with("22") || code.starts_with("23") => Error::Values(source),
        // no memory, no connection left, out of locks; connection lost; wrong login; no such database; server stops
        _ if ["53", "08", "28", "3D", "57", "25P0"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Error::Unavailable(source)
        }
        _ => Error::Other(source),
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict { .. } => {
                Self::new(Code::Conflict, "it exists already").with_source(error)
            }
            Error::Full(_) => Self::new(
                Code::Unavailable,
                "the storage of the server is full; try again later",
            )
            .reason("storage_full")
            .with_source(error),
            Error::Busy(_) | Error::Unavailable(_) => Self::unavailable(error),
            Error::Corrupt(_)
            | Error::Fatal(_)
            | Error::Refused(_)
            | Error::Values(_)
            | Error::Other(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::constraint_of_message;

    #[test]
    fn a_broken_unique_rule_has_the_name_that_postgresql_would_give_it() {
        for (code, message, name) in [
            (
                2067,
                "UNIQUE constraint failed: person.email_key",
                "person_email_key_key",
            ),
            (
                2067,
                "UNIQUE constraint failed: event.chat, event.o",
                "event_chat_o_key",
            ),
            (
                2067,
                "UNIQUE constraint failed: index 'person_folded_key'",
                "person_folded_key",
            ),
            (
                1555,
                "UNIQUE constraint failed: event.chat, event.o",
                "event_pkey",
            ),
        ] {
            assert_eq!(constraint_of_message(code, message).as_deref(), Some(name));
        }
        assert_eq!(constraint_of_message(2067, "something else"), None);
    }
}
