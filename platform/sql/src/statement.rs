//! Running one statement on one connection, and the texts of statements that take many rows.

use std::{fmt::Write, pin::Pin};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr, SqliteConnection};

use crate::{Args, Error, Row, Value, value};

/// A connection of either engine, in a transaction or not.
pub(crate) enum Connection<'a> {
    Postgres(&'a mut PgConnection),
    Sqlite(&'a mut SqliteConnection),
}

/// A statement under way; boxed, since what it consists of is large and callers hold several.
pub(crate) type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'a>>;

impl<'a> Connection<'a> {
    pub(crate) fn execute(self, sql: SqlStr, args: Args) -> Running<'a, u64> {
        Box::pin(async move {
            Ok(match self {
                Self::Postgres(connection) => sqlx::query_with(sql, args.into_postgres()?)
                    .execute(connection)
                    .await?
                    .rows_affected(),
                Self::Sqlite(connection) => sqlx::query_with(sql, args.into_sqlite()?)
                    .execute(connection)
                    .await?
                    .rows_affected(),
            })
        })
    }

    /// Runs inserts that are one statement, of the rows of each.
    pub(crate) fn insert(self, sql: SqlStr, rows: Vec<Vec<Args>>) -> Running<'a, u64> {
        Box::pin(async move {
            Ok(match self {
                Self::Postgres(connection) => sqlx::query_with(sql, value::columns(rows)?)
                    .execute(connection)
                    .await?
                    .rows_affected(),
                Self::Sqlite(connection) => {
                    let args = flatten(Vec::new(), rows.into_iter().flatten());
                    sqlx::query_with(sql, args.into_sqlite()?)
                        .execute(connection)
                        .await?
                        .rows_affected()
                }
            })
        })
    }

    pub(crate) fn fetch_all(self, sql: SqlStr, args: Args) -> Running<'a, Vec<Row>> {
        Box::pin(async move {
            Ok(match self {
                Self::Postgres(connection) => {
                    let rows = sqlx::query_with(sql, args.into_postgres()?)
                        .fetch_all(connection)
                        .await?;
                    rows.into_iter().map(Row::from).collect()
                }
                Self::Sqlite(connection) => {
                    let rows = sqlx::query_with(sql, args.into_sqlite()?)
                        .fetch_all(connection)
                        .await?;
                    rows.into_iter().map(Row::from).collect()
                }
            })
        })
    }

    /// The rows one by one, as they come.
    pub(crate) fn fetch(self, sql: SqlStr) -> BoxStream<'a, Result<Row, sqlx::Error>> {
        match self {
            Self::Postgres(connection) => {
                sqlx::query(sql).fetch(connection).map_ok(Row::from).boxed()
            }
            Self::Sqlite(connection) => {
                sqlx::query(sql).fetch(connection).map_ok(Row::from).boxed()
            }
        }
    }

    pub(crate) fn fetch_optional(self, sql: SqlStr, args: Args) -> Running<'a, Option<Row>> {
        Box::pin(async move {
            Ok(match self {
                Self::Postgres(connection) => sqlx::query_with(sql, args.into_postgres()?)
                    .fetch_optional(connection)
                    .await?
                    .map(Row::from),
                Self::Sqlite(connection) => sqlx::query_with(sql, args.into_sqlite()?)
                    .fetch_optional(connection)
                    .await?
                    .map(Row::from),
            })
        })
    }
}

/// The sizes of lists; a list is filled up to the next one.
const LIST_SIZES: [usize; 4] = [1, 8, 32, 128];
/// SQLite's limit; that of PostgreSQL is 65535.
pub(crate) const MOST_PARAMETERS: usize = 32_766;
/// Where a list stands in a statement.
const LIST_MARKER: &str = "{list}";

/// Cuts `rows` into lists of a few sizes, the last one filled up with its last row, and writes them over the marker.
pub(crate) fn lists(
    sql: &str,
    args: &Args,
    columns: usize,
    rows: &[Args],
) -> Result<Vec<(SqlStr, Args)>, Error> {
    let Some((before, after)) = sql.split_once(LIST_MARKER) else {
        return Err(Error::misuse("the statement has no {list}"));
    };
    let largest = LIST_SIZES[LIST_SIZES.len() - 1];
    if columns == 0
        || columns * largest + args.len() > MOST_PARAMETERS
        || rows.iter().any(|row| row.len() != columns)
    {
        return Err(Error::misuse(
            "every row of a list needs exactly the stated columns",
        ));
    }
    let mut statements = Vec::new();
    for chunk in rows.chunks(largest) {
        let size = LIST_SIZES
            .into_iter()
            .find(|size| *size >= chunk.len())
            .unwrap_or(largest);
        let mut sql = before.to_owned();
        if columns == 1 {
            push_numbers(&mut sql, args.len() + 1, size);
        } else {
            push_tuples(&mut sql, args.len() + 1, columns, size);
        }
        sql.push_str(after);
        let filling = chunk.last().into_iter().cycle().take(size - chunk.len());
        let values = flatten(args.0.clone(), chunk.iter().chain(filling).cloned());
        statements.push((AssertSqlSafe(sql).into_sql_str(), values));
    }
    Ok(statements)
}

fn flatten(mut values: Vec<Value>, rows: impl Iterator<Item = Args>) -> Args {
    values.extend(rows.flat_map(|row| row.0));
    Args(values)
}

pub(crate) fn push_numbers(sql: &mut String, first: usize, count: usize) {
    for number in first..first + count {
        let comma = if number == first { "" } else { "," };
        write!(sql, "{comma}${number}").expect("writing to a string cannot fail");
    }
}

fn push_tuples(sql: &mut String, first: usize, columns: usize, rows: usize) {
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        push_numbers(sql, first + row * columns, columns);
        sql.push(')');
    }
}

#[cfg(test)]
mod tests {
    use super::lists;
    use crate::{Args, args};

    fn rows(count: i64) -> Vec<Args> {
        (0..count).map(|n| args![n, "x"]).collect()
    }

    #[test]
    fn a_list_is_filled_up_with_its_last_row() {
        let sql = "SELECT a FROM t WHERE c = $1 AND a IN ({list}) ORDER BY a";
        let three: Vec<Args> = (1..=3_i64).map(|n| args![n]).collect();
        let statements = lists(sql, &args![true], 1, &three).unwrap();
        assert_eq!(statements.len(), 1);
        assert_eq!(
            statements[0].0.as_str(),
            "SELECT a FROM t WHERE c = $1 AND a IN ($2,$3,$4,$5,$6,$7,$8,$9) ORDER BY a"
        );
        let filled = args![true, 1_i64, 2_i64, 3_i64, 3_i64, 3_i64, 3_i64, 3_i64, 3_i64];
        assert_eq!(statements[0].1, filled);
        assert!(lists(sql, &Args::none(), 1, &[]).unwrap().is_empty());
        assert!(lists("SELECT 1", &Args::none(), 1, &rows(1)).is_err());
    }

    #[test]
    fn a_row_of_the_wrong_width_is_refused() {
        assert!(lists("{list}", &Args::none(), 3, &rows(1)).is_err());
    }
}
