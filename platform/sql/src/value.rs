//! What goes into a statement: six kinds of values that mean the same on both engines.

use sqlx::{Arguments, postgres::PgArguments, sqlite::SqliteArguments};
use uuid::Uuid;

/// The kind of a value. A NULL needs one too, else PostgreSQL cannot prepare the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `BIGINT`; `INTEGER` on SQLite.
    Int,
    /// `BOOLEAN`; `INTEGER` (0, 1) on SQLite.
    Bool,
    /// `TEXT`. U+0000 is not text for PostgreSQL; the doors refuse it.
    Text,
    /// `BYTEA`; `BLOB` on SQLite.
    Bytes,
    /// `UUID`; a `BLOB` of 16 bytes on SQLite. Both order it by its bytes.
    Uuid,
}

/// One argument of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value of a kind.
    Null(Type),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Text`].
    Text(String),
    /// See [`Type::Bytes`].
    Bytes(Vec<u8>),
    /// See [`Type::Uuid`].
    Uuid(Uuid),
}

impl Value {
    fn kind(&self) -> Type {
        match self {
            Self::Null(kind) => *kind,
            Self::Int(_) => Type::Int,
            Self::Bool(_) => Type::Bool,
            Self::Text(_) => Type::Text,
            Self::Bytes(_) => Type::Bytes,
            Self::Uuid(_) => Type::Uuid,
        }
    }
}

/// A Rust type whose absence has a kind, so that `Option` of it can be an argument.
pub trait Typed {
    /// The kind of the NULL.
    const TYPE: Type;
}

macro_rules! values {
    ($($rust:ty => $kind:ident, |$value:ident| $make:expr;)*) => {$(
        impl Typed for $rust {
            const TYPE: Type = Type::$kind;
        }

        impl From<$rust> for Value {
            fn from($value: $rust) -> Self {
                Self::$kind($make)
            }
        }
    )*};
}

values! {
    i64 => Int, |value| value;
    i32 => Int, |value| value.into();
    u32 => Int, |value| value.into();
    bool => Bool, |value| value;
    &str => Text, |value| value.to_owned();
    &String => Text, |value| value.clone();
    String => Text, |value| value;
    &[u8] => Bytes, |value| value.to_vec();
    Vec<u8> => Bytes, |value| value;
    Uuid => Uuid, |value| value;
}

impl<T: Typed + Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::TYPE), Into::into)
    }
}

/// The arguments `$1`, `$2`, ... of a statement, or the columns of a row. Made by [`args!`](crate::args).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(pub(crate) Vec<Value>);

impl Args {
    /// No arguments.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds one argument at the end.
    pub fn push(&mut self, value: impl Into<Value>) {
        self.0.push(value.into());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Value>> for Args {
    fn from(values: Vec<Value>) -> Self {
        Self(values)
    }
}

/// Arguments of any mix of types that are a [`Value`]: `args![chat_id, 7_i64, None::<String>]`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        $crate::Args::from(::std::vec![$($crate::Value::from($value)),*])
    };
}

macro_rules! encode {
    ($values:expr, $arguments:ty) => {{
        let mut arguments = <$arguments>::default();
        arguments.reserve($values.len(), $values.len() * 16);
        for value in $values {
            match value {
                Value::Int(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
                Value::Uuid(value) => arguments.add(value),
                Value::Null(Type::Int) => arguments.add(None::<i64>),
                Value::Null(Type::Bool) => arguments.add(None::<bool>),
                Value::Null(Type::Text) => arguments.add(None::<String>),
                Value::Null(Type::Bytes) => arguments.add(None::<Vec<u8>>),
                Value::Null(Type::Uuid) => arguments.add(None::<Uuid>),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }};
}

impl Args {
    pub(crate) fn into_postgres(self) -> Result<PgArguments, sqlx::Error> {
        encode!(self.0, PgArguments)
    }

    pub(crate) fn into_sqlite(self) -> Result<SqliteArguments, sqlx::Error> {
        encode!(self.0, SqliteArguments)
    }
}

/// The columns of the rows of each table, which are equally long, as arrays of PostgreSQL.
pub(crate) fn columns(tables: Vec<Vec<Args>>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for rows in tables {
        let mut columns: Vec<Vec<Value>> = Vec::new();
        for row in rows {
            columns.resize_with(row.len(), Vec::new);
            for (column, value) in columns.iter_mut().zip(row.0) {
                column.push(value);
            }
        }
        for column in columns {
            push_column(&mut arguments, column)?;
        }
    }
    Ok(arguments)
}

fn push_column(arguments: &mut PgArguments, column: Vec<Value>) -> Result<(), sqlx::Error> {
    macro_rules! array {
        ($kind:ident) => {{
            let values = column.into_iter().map(|value| match value {
                Value::$kind(value) => Ok(Some(value)),
                Value::Null(Type::$kind) => Ok(None),
                _ => Err(sqlx::Error::Encode(
                    "a column has values of two kinds".into(),
                )),
            });
            arguments.add(values.collect::<Result<Vec<_>, _>>()?)
        }};
    }
    let kind = column.first().map_or(Type::Int, Value::kind);
    let added = match kind {
        Type::Int => array!(Int),
        Type::Bool => array!(Bool),
        Type::Text => array!(Text),
        Type::Bytes => array!(Bytes),
        Type::Uuid => array!(Uuid),
    };
    added.map_err(sqlx::Error::Encode)
}
