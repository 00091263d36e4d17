//! Throw-away stores for the tests of services: one suite, both engines, never a mock.

use std::ops::Deref;

use kit::Ids;
use tempfile::TempDir;

use crate::{
    Db, Error, Migrations, PoolConfig,
    db::Place,
    migrate_up,
    postgres::{Server, application_name},
};

/// A migrated store that goes away when it is dropped. Use it as the [`Db`] it holds.
pub struct TestDb {
    db: Db,
    trash: Trash,
}

enum Trash {
    Folder { _folder: TempDir },
    Schema { url: String, name: String },
}

impl Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

/// A fresh store of `service` on SQLite and one on PostgreSQL.
///
/// # Panics
/// When `DATABASE_URL` is not set, when its server does not answer, or when a migration fails.
pub async fn both(service: &str, migrations: &Migrations) -> Vec<TestDb> {
    vec![
        sqlite(service, migrations).await,
        postgres(service, migrations).await,
    ]
}

/// A fresh store of `service` in a temporary folder.
///
/// # Panics
/// When a migration fails.
pub async fn sqlite(service: &str, migrations: &Migrations) -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite:{}", folder.path().display());
    let db = crate::open(&url, service, &PoolConfig::default())
        .await
        .expect("a fresh SQLite store");
    migrated(
        TestDb {
            db,
            trash: Trash::Folder { _folder: folder },
        },
        migrations,
    )
    .await
}

/// A fresh store of `service` in a schema of its own on the server of `DATABASE_URL`.
///
/// # Panics
/// When `DATABASE_URL` is not set, when its server does not answer, or when a migration fails.
pub async fn postgres(service: &str, migrations: &Migrations) -> TestDb {
    let url = database_url();
    let name = format!("test_{service}_{}", kit::RandomIds.next().simple());
    let config = PoolConfig {
        max_connections: 4,
        acquire_timeout: std::time::Duration::from_secs(20),
        ..PoolConfig::default()
    };
    let server = Server::new(&url, &name, &config).expect("DATABASE_URL can be read");
    let db = Db::new(service, Place::Postgres(server));
    migrated(
        TestDb {
            db,
            trash: Trash::Schema { url, name },
        },
        migrations,
    )
    .await
}

/// The server that tests use.
///
/// # Panics
/// When `DATABASE_URL` is not set: a test that needs a server fails without one, it is never skipped.
pub fn database_url() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests learn of the running server from here"
    )]
    std::env::var("DATABASE_URL")
        .expect("DATABASE_URL names the PostgreSQL server for tests; start one and set it")
}

async fn migrated(test: TestDb, migrations: &Migrations) -> TestDb {
    migrate_up(&test.db, migrations)
        .await
        .expect("the migrations of the service");
    test
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let Trash::Schema { url, name } = &self.trash else {
            return;
        };
        let (url, name) = (url.clone(), name.clone());
        // The test's own runtime cannot be waited for inside a drop.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(drop_schema(&url, &name))
        });
        match dropping.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a schema of a test stays behind"),
            Err(_) => tracing::warn!("a schema of a test stays behind"),
        }
    }
}

async fn drop_schema(url: &str, name: &str) -> Result<(), kit::BoxError> {
    let server = Server::new(url, name, &PoolConfig::default())?;
    let mut connection = server.dedicated(std::time::Duration::from_secs(5)).await?;
    // The runtime of the test stands still now, so a transaction that was just dropped would hold its locks.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = $1 AND pid <> pg_backend_pid()",
    )
    .bind(application_name(name))
    .execute(&mut connection)
    .await
    .map_err(Error::from)?;
    let sql = format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .map_err(Error::from)?;
    sqlx::Connection::close(connection)
        .await
        .map_err(Error::from)?;
    Ok(())
}
