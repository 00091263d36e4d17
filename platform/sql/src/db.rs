//! The store of one service: where transactions and single reads begin.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::CancellationToken;
use sqlx::{SqlSafeStr, SqlStr};

use crate::{
    Args, Engine, Error, Row, Tx,
    metrics::{InUse, Kind, Meters},
    postgres, sqlite,
    statement::{Connection, Running},
    tx::Transaction,
};

/// How long a transaction may hold up the end of the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The store of one service. Cheap to clone; the clones share the connections.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Store>);

pub(crate) struct Store {
    pub(crate) service: String,
    pub(crate) place: Place,
    pub(crate) meters: Meters,
    /// Cancelled once a write ended in [`Error::Fatal`] or [`Error::Corrupt`]: nothing is written after that.
    broken: CancellationToken,
}

pub(crate) enum Place {
    Postgres(postgres::Server),
    Sqlite(sqlite::File),
}

enum Pooled {
    Postgres(sqlx::pool::PoolConnection<sqlx::Postgres>),
    Sqlite(sqlx::pool::PoolConnection<sqlx::Sqlite>),
}

impl Pooled {
    fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Postgres(connection) => Connection::Postgres(connection),
            Self::Sqlite(connection) => Connection::Sqlite(connection),
        }
    }
}

impl Db {
    pub(crate) fn new(service: &str, place: Place) -> Self {
        let meters = Meters::new(service);
        Self(Arc::new(Store {
            service: service.to_owned(),
            place,
            meters,
            broken: CancellationToken::new(),
        }))
    }

    /// The engine behind this store.
    pub fn engine(&self) -> Engine {
        self.0.engine()
    }

    /// The service whose store this is.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Begins a transaction that may write. On SQLite there is one at a time and the others wait in line; on
    /// PostgreSQL it is READ COMMITTED, so lock the rows that a decision rests on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection was free in time; [`Error::Fatal`] after an earlier one.
    pub async fn write_tx(&self) -> Result<Tx, Error> {
        self.0.check_whole()?;
        self.begin(Kind::Write).await
    }

    /// Begins a transaction that only reads, and sees one state of the store throughout.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection was free in time.
    pub async fn read_tx(&self) -> Result<Tx, Error> {
        self.begin(Kind::Read).await
    }

    async fn begin(&self, kind: Kind) -> Result<Tx, Error> {
        self.0.admit()?;
        let started = Instant::now();
        let begin: Running<'_, _> = Box::pin(async {
            Ok(match (&self.0.place, kind) {
                (Place::Postgres(server), Kind::Read) => Transaction::Postgres(
                    server
                        .pool
                        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                        .await?,
                ),
                (Place::Postgres(server), _) => {
                    Transaction::Postgres(server.pool.begin_with("BEGIN").await?)
                }
                (Place::Sqlite(file), Kind::Read) => {
                    Transaction::Sqlite(file.readers.begin_with("BEGIN").await?)
                }
                (Place::Sqlite(file), _) => {
                    Transaction::Sqlite(file.writer.begin_with("BEGIN IMMEDIATE").await?)
                }
            })
        });
        let transaction = self.0.watched(kind, begin).await?;
        Ok(Tx::new(transaction, self.0.clone(), self.in_use(started)))
    }

    /// The rows of one statement that reads, outside of any transaction.
    pub async fn fetch_all(&self, sql: &'static str, args: Args) -> Result<Vec<Row>, Error> {
        let (mut connection, _in_use) = self.reader().await?;
        let sql = sql.into_sql_str();
        self.0
            .measured(
                Kind::Read,
                sql.clone(),
                connection.connection().fetch_all(sql, args),
            )
            .await
    }

    /// The first row of one statement that reads, outside of any transaction.
    pub async fn fetch_optional(
        &self,
        sql: &'static str,
        args: Args,
    ) -> Result<Option<Row>, Error> {
        let (mut connection, _in_use) = self.reader().await?;
        let sql = sql.into_sql_str();
        self.0
            .measured(
                Kind::Read,
                sql.clone(),
                connection.connection().fetch_optional(sql, args),
            )
            .await
    }

    async fn reader(&self) -> Result<(Pooled, InUse), Error> {
        self.0.admit()?;
        let started = Instant::now();
        let acquire: Running<'_, _> = Box::pin(async {
            Ok(match &self.0.place {
                Place::Postgres(server) => Pooled::Postgres(server.pool.acquire().await?),
                Place::Sqlite(file) => Pooled::Sqlite(file.readers.acquire().await?),
            })
        });
        let connection = self.0.watched(Kind::Read, acquire).await?;
        Ok((connection, self.in_use(started)))
    }

    fn in_use(&self, started: Instant) -> InUse {
        let open = match &self.0.place {
            Place::Postgres(server) => server.pool.size(),
            Place::Sqlite(file) => file.writer.size() + file.readers.size(),
        };
        self.0.meters.acquired(started, open)
    }

    /// Whether the store answers and, as far as can be told without writing, takes writes. For readiness.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Fatal`], with the reason.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.check_whole()?;
        if let Place::Sqlite(file) = &self.0.place {
            file.check().await?;
        }
        self.fetch_optional("SELECT 1 AS one", Args::none())
            .await
            .map(drop)
    }

    /// Ends when a write has failed for good. The process has to stop then: nothing more is written here, and a new one
    /// finds out what is on the disk.
    pub async fn broken(&self) {
        self.0.broken.cancelled().await;
    }

    /// Waits until no connection is in use, though no longer than five seconds, and closes them all. A SQLite file is
    /// then free for the next process; one that is still in use stays locked.
    pub async fn close(&self) {
        let close = async {
            match &self.0.place {
                Place::Postgres(server) => server.pool.close().await,
                Place::Sqlite(file) => file.close().await,
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::warn!(
                service = self.0.service,
                "a transaction was still open when the store was closed"
            );
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("service", &self.0.service)
            .field("engine", &self.engine())
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn engine(&self) -> Engine {
        match self.place {
            Place::Postgres(_) => Engine::Postgres,
            Place::Sqlite(_) => Engine::Sqlite,
        }
    }

    fn check_whole(&self) -> Result<(), Error> {
        if self.broken.is_cancelled() {
            let text = "an earlier write failed; the process must be started again";
            return Err(Error::Fatal(text.into()));
        }
        Ok(())
    }

    /// Refuses at once while a server is known to be away.
    fn admit(&self) -> Result<(), Error> {
        let Place::Postgres(server) = &self.place else {
            return Ok(());
        };
        let admitted = server.breaker.admit();
        admitted.map_err(|fault| Error::Unavailable(fault.into()))
    }

    /// Runs one statement with its time, its deadline and its errors on the record.
    pub(crate) async fn measured<T>(
        &self,
        kind: Kind,
        sql: SqlStr,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = self.watched(kind, work).await;
        self.meters.ran(kind, started, sql.as_str());
        result
    }

    /// Awaits the server no longer than its own time limits explain, and remembers a failure that is for good.
    async fn watched<T>(
        &self,
        kind: Kind,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let result = match &self.place {
            Place::Postgres(server) => {
                let result = match tokio::time::timeout(server.deadline, work).await {
                    Ok(result) => result.map_err(Error::from),
                    Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
                };
                let is_away = matches!(result, Err(Error::Unavailable(_)));
                server.breaker.note(is_away);
                result
            }
            // A file has no network before it; cutting a statement off would only leave its outcome open.
            Place::Sqlite(_) => work.await.map_err(Error::from),
        };
        result.inspect_err(|error| {
            self.meters.failed(error);
            if error.is_fatal() && !matches!(kind, Kind::Read) {
                self.broken.cancel();
            }
        })
    }
}
