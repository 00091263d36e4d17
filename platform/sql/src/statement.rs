//! Running one statement on one connection, and the texts of statements that take many rows.

use std::{fmt::Write, pin::Pin};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr, SqliteConnection};

use crate::{Args, Engine, Error, Row, Value, value};

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

    /// Runs an insert of many rows.
    pub(crate) fn insert(self, sql: SqlStr, rows: Vec<Args>) -> Running<'a, u64> {
        Box::pin(async move {
            Ok(match self {
                Self::Postgres(connection) => sqlx::query_with(sql, value::columns(rows)?)
                    .execute(connection)
                    .await?
                    .rows_affected(),
                Self::Sqlite(connection) => {
                    let args = flatten(Vec::new(), rows.into_iter());
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

/// The most rows that one insert takes: on SQLite, where each value is a parameter, and on PostgreSQL, where each column is.
const MOST_ROWS: (usize, usize) = (256, 1024);
/// The sizes of lists; a list is filled up to the next one.
const LIST_SIZES: [usize; 4] = [1, 8, 32, 128];
/// SQLite's limit; that of PostgreSQL is 65535.
const MOST_PARAMETERS: usize = 32_766;
/// Where a list stands in a statement.
const LIST_MARKER: &str = "{list}";

/// Cuts `rows` into inserts.
///
/// On SQLite their sizes are powers of two, so that the same few statements are prepared once. PostgreSQL is given an array
/// for each column: one statement for any number of rows.
pub(crate) fn inserts(
    engine: Engine,
    head: &str,
    columns: usize,
    tail: &str,
    rows: Vec<Args>,
) -> Result<Vec<(SqlStr, Vec<Args>)>, Error> {
    if columns == 0 || columns > MOST_PARAMETERS || rows.iter().any(|row| row.len() != columns) {
        return Err(Error::misuse(
            "every row of an insert needs exactly the stated columns",
        ));
    }
    let mut statements = Vec::new();
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let (mut sql, size) = (
            head.to_owned(),
            match engine {
                Engine::Postgres => rows.len().min(MOST_ROWS.1),
                Engine::Sqlite => {
                    1 << rows
                        .len()
                        .min(MOST_ROWS.0)
                        .min(MOST_PARAMETERS / columns)
                        .ilog2()
                }
            },
        );
        match engine {
            Engine::Postgres => {
                sql.push_str(" SELECT * FROM UNNEST(");
                push_numbers(&mut sql, 1, columns);
                sql.push(')');
            }
            // SQLite looks up the name of each parameter by walking over all the others; nameless ones it just counts.
            Engine::Sqlite => {
                sql.push_str(" VALUES ");
                push_nameless_tuples(&mut sql, columns, size);
            }
        }
        sql.push_str(tail);
        let rows = rows.by_ref().take(size).collect();
        statements.push((AssertSqlSafe(sql).into_sql_str(), rows));
    }
    Ok(statements)
}

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

fn push_numbers(sql: &mut String, first: usize, count: usize) {
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

fn push_nameless_tuples(sql: &mut String, columns: usize, rows: usize) {
    let tuple = format!("({})", vec!["?"; columns].join(","));
    sql.push_str(&vec![tuple; rows].join(","));
}

#[cfg(test)]
mod tests {
    use super::{inserts, lists};
    use crate::{Args, Engine, args};

    fn rows(count: i64) -> Vec<Args> {
        (0..count).map(|n| args![n, "x"]).collect()
    }

    #[test]
    fn an_insert_on_sqlite_uses_statements_whose_sizes_are_powers_of_two() {
        for count in 0..1000 {
            let statements =
                inserts(Engine::Sqlite, "INSERT INTO t (a, b)", 2, "", rows(count)).unwrap();
            let sizes: Vec<usize> = statements.iter().map(|(_, rows)| rows.len()).collect();
            assert!(
                sizes
                    .iter()
                    .all(|size| size.is_power_of_two() && *size <= 256),
                "{sizes:?}"
            );
            assert_eq!(sizes.iter().sum::<usize>(), usize::try_from(count).unwrap());
        }
    }

    #[test]
    fn an_insert_takes_a_parameter_for_each_value_on_sqlite_and_for_each_column_on_postgresql() {
        let text = |engine| {
            let statements = inserts(
                engine,
                "INSERT INTO t (a, b)",
                2,
                " ON CONFLICT DO NOTHING",
                rows(2),
            )
            .unwrap();
            statements[0].0.as_str().to_owned()
        };
        assert_eq!(
            text(Engine::Postgres),
            "INSERT INTO t (a, b) SELECT * FROM UNNEST($1,$2) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            text(Engine::Sqlite),
            "INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn an_insert_never_has_more_parameters_than_the_engines_take() {
        let wide: Vec<Args> = (0..300_i64)
            .map(|n| Args::from(vec![n.into(); 500]))
            .collect();
        let statements = inserts(Engine::Sqlite, "INSERT INTO t", 500, "", wide).unwrap();
        assert!(
            statements
                .iter()
                .all(|(_, rows)| rows.len() * 500 <= 32_766)
        );
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
        assert!(inserts(Engine::Sqlite, "INSERT INTO t (a)", 1, "", rows(1)).is_err());
        assert!(lists("{list}", &Args::none(), 3, &rows(1)).is_err());
    }
}
