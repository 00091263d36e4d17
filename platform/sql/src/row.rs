//! What comes out of a statement.

use sqlx::{Row as _, TypeInfo, ValueRef, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::Error;

/// One row of an answer; columns are read by name.
pub struct Row(Inner);

enum Inner {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl Row {
    /// The value of column `name`.
    ///
    /// # Errors
    /// [`Error::Other`] when there is no such column, when it holds another kind of value, or NULL where `T` is no
    /// `Option`.
    pub fn get<T: Column>(&self, name: &str) -> Result<T, Error> {
        T::read(self, name)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self(Inner::Postgres(row))
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self(Inner::Sqlite(row))
    }
}

/// A type that a column can be read as: `i64`, `bool`, `String`, `Vec<u8>`, `Uuid` and `Option` of each.
pub trait Column: Sized {
    /// Reads column `name` of `row`.
    fn read(row: &Row, name: &str) -> Result<Self, Error>;
}

/// The driver reads a NULL of SQLite as zero or as empty text, so everything is read as an `Option` first.
macro_rules! columns {
    ($($rust:ty, |$row:ident, $name:ident| $postgres:expr;)*) => {$(
        impl Column for Option<$rust> {
            fn read(row: &Row, $name: &str) -> Result<Self, Error> {
                Ok(match &row.0 {
                    Inner::Postgres($row) => $postgres,
                    Inner::Sqlite(row) => row.try_get($name)?,
                })
            }
        }

        impl Column for $rust {
            fn read(row: &Row, name: &str) -> Result<Self, Error> {
                row.get::<Option<Self>>(name)?.ok_or_else(|| Error::Other(format!("column {name} is NULL").into()))
            }
        }
    )*};
}

columns! {
    i64, |row, name| {
        // Integers of PostgreSQL come in three widths (a bare `1` is `INT4`); all of them fit.
        let narrow = matches!(row.try_get_raw(name)?.type_info().name(), "INT2" | "INT4");
        if narrow { row.try_get_unchecked(name)? } else { row.try_get(name)? }
    };
    bool, |row, name| row.try_get(name)?;
    String, |row, name| row.try_get(name)?;
    Vec<u8>, |row, name| row.try_get(name)?;
    Uuid, |row, name| row.try_get(name)?;
}
