//! Opening a PostgreSQL store: one schema per service, and a time limit on everything.

use std::{str::FromStr, time::Duration};

use kit::{Breaker, BreakerConfig};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{Db, Error, PoolConfig, db::Place, sqlite::STATEMENT_CACHE};

/// A connection that was idle longer is tested before it is used; a shorter one fails the statement, which is retried.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// Connections are renewed, lest a server keeps what they have gathered.
const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// Five waits in a row without a connection or an answer are an outage; then nobody waits any more, and each second one
/// is let through to see if it lasts.
const BREAKER: BreakerConfig = BreakerConfig {
    failures: 5,
    open: Duration::from_secs(1),
};

pub(crate) struct Server {
    pub(crate) pool: PgPool,
    pub(crate) breaker: Breaker,
    pub(crate) schema: String,
    /// The longest any await on the server may take: its own limits end every healthy statement before.
    pub(crate) deadline: Duration,
    bare: Box<PgConnectOptions>,
}

/// Makes the pool; the server is asked when the first connection is needed.
pub(crate) fn open(url: &str, service: &str, config: &PoolConfig) -> Result<Db, Error> {
    Ok(Db::new(
        service,
        Place::Postgres(Server::new(url, service, config)?),
    ))
}

/// How the sessions of a store are called in `pg_stat_activity`; PostgreSQL keeps 63 bytes.
pub(crate) fn application_name(schema: &str) -> String {
    format!("messenger {schema}").chars().take(63).collect()
}

/// Reads an address.
pub(crate) fn address(url: &str) -> Result<PgConnectOptions, Error> {
    PgConnectOptions::from_str(url)
        .map_err(|error| Error::Refused(format!("the PostgreSQL address cannot be read: {error}")))
}

impl Server {
    pub(crate) fn new(url: &str, schema: &str, config: &PoolConfig) -> Result<Self, Error> {
        let bare = address(url)?
            .application_name(&application_name(schema))
            .statement_cache_capacity(STATEMENT_CACHE)
            .options([("search_path", format!("\"{schema}\""))])
            .disable_statement_logging();
        let limits = [
            ("statement_timeout", config.statement_timeout),
            ("lock_timeout", config.lock_timeout),
            (
                "idle_in_transaction_session_timeout",
                config.idle_in_transaction_timeout,
            ),
        ];
        let connect = bare
            .clone()
            .options(limits.map(|(name, limit)| (name, limit.as_millis())));
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .acquire_timeout(config.acquire_timeout)
            .max_lifetime(MAX_LIFETIME)
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect);
        let deadline = config.statement_timeout + config.acquire_timeout;
        Ok(Self {
            pool,
            breaker: Breaker::new(format!("postgres:{schema}"), BREAKER),
            schema: schema.to_owned(),
            deadline,
            bare: Box::new(bare),
        })
    }

    /// A connection of its own with no limit on a statement, for migrations. The caller closes it.
    pub(crate) async fn dedicated(&self, lock_timeout: Duration) -> Result<PgConnection, Error> {
        let options = PgConnectOptions::clone(&self.bare)
            .options([("lock_timeout", lock_timeout.as_millis())]);
        match tokio::time::timeout(self.deadline, options.connect()).await {
            Ok(connection) => Ok(connection?),
            Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
        }
    }
}
