//! Inserts of many rows, and of several tables at once.

use std::vec::IntoIter;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::{
    Args, Engine, Error,
    statement::{MOST_PARAMETERS, push_numbers},
};

/// The most rows that one insert takes: on SQLite, where each value is a parameter, and on PostgreSQL, where each column is.
const MOST_ROWS: (usize, usize) = (256, 1024);

/// Any number of rows for one table.
#[derive(Debug)]
pub struct Insert {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    rows: IntoIter<Args>,
}

impl Insert {
    /// `head` is `INSERT INTO t (a, b)`, `tail` is empty or begins with a blank, as ` ON CONFLICT DO NOTHING`. Each row has `columns`
    /// values. A column has values of one kind, and nulls.
    pub fn new(
        head: &'static str,
        columns: usize,
        tail: &'static str,
        rows: impl IntoIterator<Item = Args>,
    ) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        Self {
            head,
            columns,
            tail,
            rows: rows.into_iter(),
        }
    }

    fn is_well_formed(&self) -> bool {
        let is_whole = |row: &Args| row.len() == self.columns;
        (1..=MOST_PARAMETERS).contains(&self.columns) && self.rows.as_slice().iter().all(is_whole)
    }

    /// Takes the rows of the next statement and writes it; its first parameter has the number `first`.
    ///
    /// On SQLite the sizes are powers of two, so that the same few statements are prepared once. PostgreSQL is given an array
    /// for each column: one statement for any number of rows.
    fn cut(&mut self, engine: Engine, first: usize) -> (String, Vec<Args>) {
        let mut sql = self.head.to_owned();
        let left = self.rows.len();
        let size = match engine {
            Engine::Postgres => {
                sql.push_str(" SELECT * FROM UNNEST(");
                push_numbers(&mut sql, first, self.columns);
                sql.push(')');
                left.min(MOST_ROWS.1)
            }
            // SQLite looks up the name of each parameter by walking over all the others; nameless ones it just counts.
            Engine::Sqlite => {
                let most = left.min(MOST_ROWS.0).min(MOST_PARAMETERS / self.columns);
                let size = 1 << most.ilog2();
                let tuple = format!("({})", vec!["?"; self.columns].join(","));
                sql.push_str(" VALUES ");
                sql.push_str(&vec![tuple; size].join(","));
                size
            }
        };
        sql.push_str(self.tail);
        (sql, self.rows.by_ref().take(size).collect())
    }
}

/// A statement, and the rows for each of its tables.
type Statement = (SqlStr, Vec<Vec<Args>>);

/// Cuts inserts into statements, each with the rows of its tables: PostgreSQL is given those of different tables together.
pub(crate) fn statements(
    engine: Engine,
    mut inserts: Vec<Insert>,
) -> Result<Vec<Statement>, Error> {
    if !inserts.iter().all(Insert::is_well_formed) {
        return Err(Error::misuse(
            "every row of an insert needs exactly the stated columns",
        ));
    }
    let at_once = match engine {
        Engine::Postgres => usize::MAX,
        Engine::Sqlite => 1,
    };
    let mut statements = Vec::new();
    loop {
        inserts.retain(|insert| insert.rows.len() > 0);
        if inserts.is_empty() {
            return Ok(statements);
        }
        let together = inserts.len().min(at_once);
        let (mut texts, mut rows, mut first) = (Vec::new(), Vec::new(), 1);
        for insert in &mut inserts[..together] {
            let (text, cut) = insert.cut(engine, first);
            texts.push(text);
            rows.push(cut);
            first += insert.columns;
        }
        let sql = as_one(texts);
        statements.push((AssertSqlSafe(sql).into_sql_str(), rows));
    }
}

/// Several inserts as one statement, the last of which the others come before by name.
fn as_one(mut texts: Vec<String>) -> String {
    let last = texts.pop().unwrap_or_default();
    let others: Vec<_> = (1..)
        .zip(texts)
        .map(|(n, text)| format!("t{n} AS ({text})"))
        .collect();
    if others.is_empty() {
        last
    } else {
        format!("WITH {} {last}", others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Insert, statements};
    use crate::{Args, Engine, args};

    fn rows(count: i64) -> Vec<Args> {
        (0..count).map(|n| args![n, "x"]).collect()
    }

    fn texts(engine: Engine, inserts: Vec<Insert>) -> Vec<String> {
        let statements = statements(engine, inserts).unwrap();
        let texts = statements.iter().map(|(sql, _)| sql.as_str().to_owned());
        texts.collect()
    }

    #[test]
    fn an_insert_on_sqlite_uses_statements_whose_sizes_are_powers_of_two() {
        for count in 0..1000 {
            let insert = Insert::new("INSERT INTO t (a, b)", 2, "", rows(count));
            let statements = statements(Engine::Sqlite, vec![insert]).unwrap();
            let sizes: Vec<usize> = statements.iter().map(|(_, rows)| rows[0].len()).collect();
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
        let insert = || {
            let tail = " ON CONFLICT DO NOTHING";
            vec![Insert::new("INSERT INTO t (a, b)", 2, tail, rows(2))]
        };
        assert_eq!(
            texts(Engine::Postgres, insert()),
            ["INSERT INTO t (a, b) SELECT * FROM UNNEST($1,$2) ON CONFLICT DO NOTHING"]
        );
        assert_eq!(
            texts(Engine::Sqlite, insert()),
            ["INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING"]
        );
    }

    #[test]
    fn several_tables_are_one_statement_on_postgresql_only_and_empty_ones_are_left_out() {
        let inserts = |long| {
            vec![
                Insert::new("INSERT INTO t (a, b)", 2, "", rows(long)),
                Insert::new("INSERT INTO u (a, b)", 2, "", rows(0)),
                Insert::new("INSERT INTO v (a, b)", 2, "", rows(1)),
                Insert::new(
                    "INSERT INTO w (a, b)",
                    2,
                    " ON CONFLICT DO NOTHING",
                    rows(1),
                ),
            ]
        };
        let together = "WITH t1 AS (INSERT INTO t (a, b) SELECT * FROM UNNEST($1,$2)), \
             t2 AS (INSERT INTO v (a, b) SELECT * FROM UNNEST($3,$4)) \
             INSERT INTO w (a, b) SELECT * FROM UNNEST($5,$6) ON CONFLICT DO NOTHING";
        let rest = "INSERT INTO t (a, b) SELECT * FROM UNNEST($1,$2)";
        assert_eq!(texts(Engine::Postgres, inserts(1024)), [together]);
        assert_eq!(texts(Engine::Postgres, inserts(1025)), [together, rest]);
        assert_eq!(
            texts(Engine::Sqlite, inserts(1)),
            [
                "INSERT INTO t (a, b) VALUES (?,?)",
                "INSERT INTO v (a, b) VALUES (?,?)",
                "INSERT INTO w (a, b) VALUES (?,?) ON CONFLICT DO NOTHING"
            ]
        );
    }

    #[test]
    fn an_insert_never_has_more_parameters_than_the_engines_take() {
        let wide = (0..300_i64).map(|n| Args::from(vec![n.into(); 500]));
        let insert = Insert::new("INSERT INTO t", 500, "", wide);
        let statements = statements(Engine::Sqlite, vec![insert]).unwrap();
        assert!(
            statements
                .iter()
                .all(|(_, rows)| rows[0].len() * 500 <= 32_766)
        );
    }

    #[test]
    fn a_row_of_the_wrong_width_is_refused() {
        let insert = Insert::new("INSERT INTO t (a)", 1, "", rows(1));
        assert!(statements(Engine::Sqlite, vec![insert]).is_err());
    }
}
