//! Versions of a store: the steps up and down, who may take them, and how others wait for them.
//!
//! What was applied is kept in the table `schema_migration` with a sum of its text. One migrator works at a
//! time; all its steps are one transaction, on a connection of its own that is closed afterwards, so no lock leaks.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::{Args, Db, Engine, Error, Row, args, db::Place, statement::Connection};

/// How long a migrator waits for another one, and for the tables it changes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often [`wait_for`] looks.
const POLL: Duration = Duration::from_millis(250);

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migration (
    version BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    sum TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (CAST(CURRENT_TIMESTAMP AS TEXT)))";
const APPLIED: &str = "SELECT version, name, sum FROM schema_migration ORDER BY version";

/// One step: SQL that leads to `version` and SQL that leads back.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The number at the beginning of the name; steps are taken in its order.
    pub version: i64,
    /// The name of the files without `.up.sql`.
    pub name: &'static str,
    /// Any number of statements.
    pub up: &'static str,
    /// What undoes them.
    pub down: &'static str,
}

/// The steps of a service, for both engines. Made by [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    /// The steps on SQLite.
    pub sqlite: &'static [Migration],
    /// The steps on PostgreSQL: the same versions and names.
    pub postgres: &'static [Migration],
}

impl Migrations {
    /// The steps on `engine`.
    pub fn of(&self, engine: Engine) -> &'static [Migration] {
        match engine {
            Engine::Postgres => self.postgres,
            Engine::Sqlite => self.sqlite,
        }
    }

    /// The version that this program needs; 0 without steps.
    pub fn latest(&self) -> i64 {
        self.postgres
            .last()
            .map_or(0, |migration| migration.version)
    }
}

/// Reads `migrations/{sqlite,postgres}/NAME.{up,down}.sql` of the calling crate into the program, in the given
/// order: `const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_users", "0002_add_index");`
#[macro_export]
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        $crate::Migrations {
            sqlite: &[$($crate::migrations!(@step "sqlite", $name)),+],
            postgres: &[$($crate::migrations!(@step "postgres", $name)),+],
        }
    };
    (@step $engine:literal, $name:literal) => {
        $crate::Migration {
            version: $crate::version_of($name),
            name: $name,
            up: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $engine, "/", $name, ".up.sql")),
            down: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $engine, "/", $name, ".down.sql")),
        }
    };
}

/// The number that `name` begins with, for [`migrations!`](crate::migrations).
///
/// # Panics
/// At compile time, when `name` does not begin with four digits and `_`.
pub const fn version_of(name: &str) -> i64 {
    let bytes = name.as_bytes();
    assert!(
        bytes.len() > 5 && bytes[4] == b'_',
        "a migration is named as 0001_what_it_does"
    );
    let mut version = 0;
    let mut at = 0;
    while at < 4 {
        assert!(
            bytes[at].is_ascii_digit(),
            "a migration is named as 0001_what_it_does"
        );
        version = version * 10 + (bytes[at] - b'0') as i64;
        at += 1;
    }
    version
}

/// Takes every step that was not taken yet; the answer names them. Nothing to do is fine.
///
/// # Errors
/// [`Error::Refused`] when the store is newer than this program, when a step that was taken has been edited since, or
/// when one is missing in between. [`Error::Busy`] when another migrator does not finish.
pub async fn migrate_up(db: &Db, migrations: &Migrations) -> Result<Vec<&'static str>, Error> {
    migrate(db, |applied| {
        let pending = pending(db.service(), migrations.of(db.engine()), applied)?;
        Ok(pending
            .iter()
            .map(|migration| (migration, Direction::Up))
            .collect())
    })
    .await
}

/// Undoes the last `steps` steps, or as many as there are; the answer names them, last first.
///
/// # Errors
/// As [`migrate_up`].
pub async fn migrate_down(
    db: &Db,
    migrations: &Migrations,
    steps: usize,
) -> Result<Vec<&'static str>, Error> {
    migrate(db, |applied| {
        let program = migrations.of(db.engine());
        let taken = program.len() - pending(db.service(), program, applied)?.len();
        Ok(program[..taken]
            .iter()
            .rev()
            .take(steps)
            .map(|migration| (migration, Direction::Down))
            .collect())
    })
    .await
}

/// The version of the store; 0 when nothing was migrated yet.
pub async fn schema_version(db: &Db) -> Result<i64, Error> {
    Ok(applied(db).await?.last().map_or(0, |step| step.version))
}

/// Waits until the store has exactly the version that this program needs.
///
/// # Errors
/// [`Error::Refused`] at once when the store is newer or was edited, after `patience` when it is still older; else
/// the last error of the store.
pub async fn wait_for(db: &Db, migrations: &Migrations, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    loop {
        let trouble = match applied(db).await {
            Ok(applied) => {
                if pending(db.service(), migrations.of(db.engine()), &applied)?.is_empty() {
                    return Ok(());
                }
                Error::Refused(format!(
                    "the store of {} has version {}, this program needs {}: run `messenger migrate`",
                    db.service(),
                    applied.last().map_or(0, |step| step.version),
                    migrations.latest(),
                ))
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        if Instant::now() + POLL > deadline {
            return Err(trouble);
        }
        tracing::info!(service = db.service(), reason = %trouble, "waiting for the store");
        tokio::time::sleep(POLL).await;
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// A step that the store has taken.
struct Applied {
    version: i64,
    name: String,
    sum: String,
}

impl Applied {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            version: row.get("version")?,
            name: row.get("name")?,
            sum: row.get("sum")?,
        })
    }
}

fn sum(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The steps that are left, once it is clear that store and program have the same past.
fn pending<'a>(
    service: &str,
    program: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], Error> {
    let refuse = |text: String| Err(Error::Refused(format!("the store of {service} {text}")));
    if !program.is_sorted_by(|a, b| a.version < b.version) {
        return refuse("has steps in this program that are out of order".to_owned());
    }
    let newest = program.last().map_or(0, |migration| migration.version);
    if let Some(last) = applied.last().filter(|last| last.version > newest) {
        return refuse(format!(
            "has version {}, this program knows {newest}: run a newer messenger",
            last.version
        ));
    }
    for (index, step) in applied.iter().enumerate() {
        match program.get(index) {
            Some(known) if known.version == step.version && sum(known.up) == step.sum => {}
            Some(known) if known.version == step.version => {
                return refuse(format!(
                    "was made with another text of migration {}: it must not be edited",
                    step.name
                ));
            }
            _ => {
                return refuse(format!(
                    "has taken migration {}, which this program has not at that place",
                    step.name
                ));
            }
        }
    }
    Ok(&program[applied.len()..])
}

/// The steps that the store has taken, read without any lock.
async fn applied(db: &Db) -> Result<Vec<Applied>, Error> {
    if !has_table(db, "schema_migration").await? {
        return Ok(Vec::new());
    }
    db.fetch_all(APPLIED, Args::none())
        .await?
        .iter()
        .map(Applied::read)
        .collect()
}

/// Whether there is such a table, or yet a schema where it could be.
pub(crate) async fn has_table(db: &Db, name: &str) -> Result<bool, Error> {
    let exists = match db.engine() {
        Engine::Postgres => "SELECT to_regclass($1) IS NOT NULL AS here",
        Engine::Sqlite => "SELECT COUNT(*) > 0 AS here FROM sqlite_master WHERE name = $1",
    };
    let row = db.fetch_optional(exists, args![name]).await?;
    Ok(row.is_some_and(|row| row.get("here").unwrap_or(false)))
}

type Steps = Vec<(&'static Migration, Direction)>;

async fn migrate(
    db: &Db,
    plan: impl Fn(&[Applied]) -> Result<Steps, Error> + Send + Sync,
) -> Result<Vec<&'static str>, Error> {
    let names = match &db.0.place {
        Place::Postgres(server) => {
            let mut connection = server.dedicated(LOCK_TIMEOUT).await?;
            let result = migrate_postgres(&mut connection, &server.schema, plan).await;
            connection.close().await.ok();
            result?
        }
        Place::Sqlite(file) => {
            let mut connection = file.dedicated(LOCK_TIMEOUT).await?;
            let result = migrate_sqlite(&mut connection, plan).await;
            connection.close().await.ok();
            result?
        }
    };
    for name in &names {
        tracing::info!(service = db.service(), migration = name, "migrated");
    }
    Ok(names)
}

async fn migrate_postgres(
    connection: &mut PgConnection,
    schema: &str,
    plan: impl Fn(&[Applied]) -> Result<Steps, Error>,
) -> Result<Vec<&'static str>, Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("messenger migrations of {schema}"))
        .execute(&mut *tx)
        .await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *tx)
            .await?;
    if !exists {
        // The name was checked when the store was opened: letters, digits, `_` and `-`.
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::raw_sql(CREATE_TABLE).execute(&mut *tx).await?;
    let rows = Connection::Postgres(&mut tx)
        .fetch_all(sql(APPLIED), Args::none())
        .await?;
    let steps = plan(&read_all(&rows)?)?;
    for (migration, direction) in &steps {
        sqlx::raw_sql(script(migration, *direction))
            .execute(&mut *tx)
            .await
            .map_err(|error| failed(migration, error))?;
        let (sql, args) = record(migration, *direction);
        Connection::Postgres(&mut tx).execute(sql, args).await?;
    }
    tx.commit().await?;
    Ok(steps.iter().map(|(migration, _)| migration.name).collect())
}

async fn migrate_sqlite(
    connection: &mut SqliteConnection,
    plan: impl Fn(&[Applied]) -> Result<Steps, Error>,
) -> Result<Vec<&'static str>, Error> {
    let mut tx = connection.begin_with("BEGIN EXCLUSIVE").await?;
    sqlx::raw_sql(CREATE_TABLE).execute(&mut *tx).await?;
    let rows = Connection::Sqlite(&mut tx)
        .fetch_all(sql(APPLIED), Args::none())
        .await?;
    let steps = plan(&read_all(&rows)?)?;
    for (migration, direction) in &steps {
        sqlx::raw_sql(script(migration, *direction))
            .execute(&mut *tx)
            .await
            .map_err(|error| failed(migration, error))?;
        let (sql, args) = record(migration, *direction);
        Connection::Sqlite(&mut tx).execute(sql, args).await?;
    }
    // Foreign keys were off on the way, so that a step may rebuild a table others point at.
    let dangling = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut *tx)
        .await?;
    if !dangling.is_empty() {
        return Err(Error::Refused(format!(
            "a migration leaves {} rows that point at nothing",
            dangling.len()
        )));
    }
    tx.commit().await?;
    Ok(steps.iter().map(|(migration, _)| migration.name).collect())
}

fn sql(text: &'static str) -> sqlx::SqlStr {
    sqlx::SqlSafeStr::into_sql_str(text)
}

fn read_all(rows: &[Row]) -> Result<Vec<Applied>, Error> {
    rows.iter().map(Applied::read).collect()
}

fn script(migration: &'static Migration, direction: Direction) -> &'static str {
    match direction {
        Direction::Up => migration.up,
        Direction::Down => migration.down,
    }
}

fn record(migration: &Migration, direction: Direction) -> (sqlx::SqlStr, Args) {
    match direction {
        Direction::Up => (
            sql("INSERT INTO schema_migration (version, name, sum) VALUES ($1, $2, $3)"),
            args![migration.version, migration.name, sum(migration.up)],
        ),
        Direction::Down => (
            sql("DELETE FROM schema_migration WHERE version = $1"),
            args![migration.version],
        ),
    }
}

/// Says which step failed; what kind of failure it was stays.
fn failed(migration: &Migration, error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Other(cause) => {
            Error::Other(format!("migration {}: {cause}", migration.name).into())
        }
        error => error,
    }
}
