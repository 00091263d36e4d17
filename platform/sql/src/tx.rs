//! A transaction: everything in it is stored, or nothing.

use std::sync::Arc;

use sqlx::{Postgres, SqlSafeStr, SqlStr, Sqlite};

use crate::{
    Args, Engine, Error, Insert, Row,
    db::Store,
    insert,
    metrics::{InUse, Kind},
    statement::{self, Connection, Running},
};

/// A transaction. Dropping it undoes it, before its connection serves anybody else.
///
/// After an error nothing more runs in it, not even on SQLite, which would allow it: PostgreSQL would not.
pub struct Tx {
    transaction: Transaction,
    store: Arc<Store>,
    failed: bool,
    _in_use: InUse,
}

pub(crate) enum Transaction {
    Postgres(sqlx::Transaction<'static, Postgres>),
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

impl Tx {
    pub(crate) fn new(transaction: Transaction, store: Arc<Store>, in_use: InUse) -> Self {
        Self {
            transaction,
            store,
            failed: false,
            _in_use: in_use,
        }
    }

    /// The engine behind this transaction.
    pub fn engine(&self) -> Engine {
        self.store.engine()
    }

    /// Runs a statement and says how many rows it touched.
    pub async fn execute(&mut self, sql: &'static str, args: Args) -> Result<u64, Error> {
        let (store, connection) = self.begin_statement()?;
        let sql = sql.into_sql_str();
        let result = store
            .measured(Kind::Write, sql.clone(), connection.execute(sql, args))
            .await;
        self.end_statement(result)
    }

    /// The rows of a statement, in its order.
    pub async fn fetch_all(&mut self, sql: &'static str, args: Args) -> Result<Vec<Row>, Error> {
        self.fetch_text(sql.into_sql_str(), args).await
    }

    /// The first row of a statement.
    pub async fn fetch_optional(
        &mut self,
        sql: &'static str,
        args: Args,
    ) -> Result<Option<Row>, Error> {
        let (store, connection) = self.begin_statement()?;
        let sql = sql.into_sql_str();
        let result = store
            .measured(
                Kind::Read,
                sql.clone(),
                connection.fetch_optional(sql, args),
            )
            .await;
        self.end_statement(result)
    }

    /// Inserts any number of rows and says how many were inserted: `head` is `INSERT INTO t (a, b)`, `tail` is empty
    /// or begins with a blank, as ` ON CONFLICT DO NOTHING`. Each row has `columns` values.
    ///
    /// A column has values of one kind, and nulls. PostgreSQL is given up to 1024 rows in one statement; on SQLite the
    /// statements have at most 256 rows and sizes that are powers of two, so that few are prepared, and all of them once.
    pub async fn insert_many(
        &mut self,
        head: &'static str,
        columns: usize,
        tail: &'static str,
        rows: Vec<Args>,
    ) -> Result<u64, Error> {
        let rows = vec![Insert::new(head, columns, tail, rows)];
        self.insert(rows).await
    }

    /// The same into several tables, in one round trip to PostgreSQL: none of the inserts sees what another one does, and no order
    /// holds among them.
    pub async fn insert_together(&mut self, inserts: Vec<Insert>) -> Result<(), Error> {
        self.insert(inserts).await.map(drop)
    }

    /// The number is that of the rows of the last table of each statement.
    async fn insert(&mut self, inserts: Vec<Insert>) -> Result<u64, Error> {
        let statements = insert::statements(self.engine(), inserts);
        let statements = statements.inspect_err(|_| self.failed = true)?;
        let mut inserted = 0;
        for (sql, rows) in statements {
            let (store, connection) = self.begin_statement()?;
            let insert = connection.insert(sql.clone(), rows);
            let result = store.measured(Kind::Write, sql, insert).await;
            inserted += self.end_statement(result)?;
        }
        Ok(inserted)
    }

    /// The rows of a statement that takes a list. The marker `{list}` becomes `$2,$3,...` for one column, to be
    /// written `a IN ({list})`, or `($2,$3),($4,$5),...` for more, to be written `(a, b) IN (VALUES {list})`; both
    /// engines take these two. `args` come before the list as `$1`, `$2`, ...
    ///
    /// An empty list is answered without asking. A list of up to 128 rows is one statement; a longer one is cut, and
    /// the answers are put one behind the other: then an order holds within 128 only, and an aggregate does not
    /// hold at all. A row may be listed twice; it matches once.
    pub async fn fetch_list(
        &mut self,
        sql: &'static str,
        args: Args,
        columns: usize,
        rows: Vec<Args>,
    ) -> Result<Vec<Row>, Error> {
        let statements = statement::lists(sql, &args, columns, &rows);
        let statements = statements.inspect_err(|_| self.failed = true)?;
        let mut answers = Vec::new();
        for (sql, args) in statements {
            answers.extend(self.fetch_text(sql, args).await?);
        }
        Ok(answers)
    }

    /// Stores everything. When it returns, it is on the disk.
    ///
    /// # Errors
    /// After [`Error::Unavailable`] the outcome is unknown. After any other error nothing is stored.
    pub async fn commit(self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::misuse(
                "a statement of this transaction failed; it cannot be committed",
            ));
        }
        let Self {
            transaction, store, ..
        } = self;
        let commit: Running<'_, _> = Box::pin(async {
            match transaction {
                Transaction::Postgres(transaction) => transaction.commit().await,
                Transaction::Sqlite(transaction) => transaction.commit().await,
            }
        });
        store
            .measured(Kind::Commit, "COMMIT".into_sql_str(), commit)
            .await
    }

    async fn fetch_text(&mut self, sql: SqlStr, args: Args) -> Result<Vec<Row>, Error> {
        let (store, connection) = self.begin_statement()?;
        let result = store
            .measured(Kind::Read, sql.clone(), connection.fetch_all(sql, args))
            .await;
        self.end_statement(result)
    }

    /// From here to [`Self::end_statement`] the transaction counts as failed, so that a statement whose future is
    /// dropped half-way ends it too.
    fn begin_statement(&mut self) -> Result<(&Store, Connection<'_>), Error> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::misuse(
                "an earlier statement of this transaction failed",
            ));
        }
        let connection = match &mut self.transaction {
            Transaction::Postgres(transaction) => Connection::Postgres(transaction),
            Transaction::Sqlite(transaction) => Connection::Sqlite(transaction),
        };
        Ok((&self.store, connection))
    }

    fn end_statement<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.failed = result.is_err();
        result
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("service", &self.store.service)
            .finish_non_exhaustive()
    }
}
