//! Copies the tables of a SQLite store into a PostgreSQL store of the same version, and proves that both hold the same.
//!
//! What there is to copy is read from the catalogs, so no service is named here. Rows stream: however large a table is, a few
//! of its rows are in memory. A table is copied whole or not at all. Nobody may write to either store meanwhile; who that
//! could be, and what becomes of a copy that ended half-way, is the caller's business.

use std::{collections::BTreeSet, time::Duration};

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr, SqlStr, SqliteConnection};

use crate::{
    Args, Db, Error, Row, Type, Uuid, Value, args, db::Place, migrate::has_table,
    statement::Connection,
};

/// The longest that either side may be silent; the end of a copy checks what refers to what.
const SILENCE: Duration = Duration::from_mins(5);
/// How long a table is waited for that somebody else has locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// So many bytes go out at once.
const PIECE: usize = 64 << 10;
/// How often a digest tells how far it is, in rows.
const TOLD_EVERY: u64 = 1000;
/// What stands before the rows of a binary copy: <https://www.postgresql.org/docs/current/sql-copy.html>.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Tables of this crate: each store has its own.
const OURS: [&str; 2] = ["schema_migration", "store_mark"];

/// A table as the catalogs describe it, the same in both stores.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: Vec<(String, Type)>,
    /// The column that PostgreSQL numbers by itself.
    numbered: Option<String>,
}

impl Table {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn columns(&self) -> String {
        let names = self.columns.iter().map(|(name, _)| quoted(name));
        names.collect::<Vec<_>>().join(", ")
    }

    fn select(&self) -> SqlStr {
        text(format!(
            "SELECT {} FROM {}",
            self.columns(),
            quoted(&self.name)
        ))
    }

    /// A SQLite column does not say what it holds, so all are read as PostgreSQL declares them.
    fn values(&self, row: &Row) -> Result<Vec<Value>, Error> {
        let value = |(name, kind): &(String, Type)| {
            Ok(match kind {
                Type::Int => row.get::<Option<i64>>(name)?.into(),
                Type::Bool => row.get::<Option<bool>>(name)?.into(),
                Type::Text => row.get::<Option<String>>(name)?.into(),
                Type::Bytes => row.get::<Option<Vec<u8>>>(name)?.into(),
                Type::Uuid => row.get::<Option<Uuid>>(name)?.into(),
            })
        };
        self.columns.iter().map(value).collect()
    }
}

/// What a table holds, whatever the order of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the first 128 bits of a SHA-256 of each row's values.
    pub sum: u128,
}

/// Keeps every other move out of a store as long as it lives.
pub struct Claim(PgConnection);

impl Claim {
    /// How many sessions of stores of ours were open in that database before it was claimed, whatever the service.
    pub async fn others(&mut self) -> Result<u64, Error> {
        let sql = "SELECT COUNT(*) AS n FROM pg_stat_activity other JOIN pg_stat_activity own ON own.pid = pg_backend_pid()
                   WHERE other.datname = own.datname AND other.backend_start < own.backend_start
                     AND other.application_name LIKE 'messenger %'"
            .into_sql_str();
        let counted = Connection::Postgres(&mut self.0).fetch_optional(sql, Args::none());
        let count: i64 = in_time(counted).await?.map_or(Ok(0), |row| row.get("n"))?;
        Ok(count.unsigned_abs())
    }
}

/// Claims a PostgreSQL store.
///
/// # Errors
/// [`Error::Refused`] when another process has it; [`Error::Unavailable`] with the server's reason when it cannot be reached.
pub async fn claim(to: &Db) -> Result<Claim, Error> {
    let Place::Postgres(server) = &to.0.place else {
        return Err(Error::misuse("only a PostgreSQL store can be claimed"));
    };
    let mut connection = server.dedicated(LOCK_TIMEOUT).await?;
    let sql = "SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS taken".into_sql_str();
    let name = args![format!("messenger move into {}", server.schema)];
    let row = in_time(Connection::Postgres(&mut connection).fetch_optional(sql, name)).await?;
    if row.map(|row| row.get("taken")).transpose()? == Some(true) {
        return Ok(Claim(connection));
    }
    Err(Error::Refused(
        "another move works on this database, or has just died: try again in a moment".to_owned(),
    ))
}

/// The first table of a PostgreSQL store that shows that somebody lives there: one with a row, or one that was never made by
/// a migration of ours. A store that is not there, or only migrated, has none.
pub async fn inhabited(to: &Db) -> Result<Option<String>, Error> {
    let tables = catalog(to).await?;
    if !has_table(to, OURS[0]).await? {
        return Ok(tables.into_iter().next().map(|column| column.table));
    }
    let names: BTreeSet<_> = tables.into_iter().map(|column| column.table).collect();
    let mut line = Line::to(to).await?;
    for name in names
        .into_iter()
        .filter(|name| !OURS.contains(&name.as_str()))
    {
        let sql = text(format!("SELECT 1 AS one FROM {} LIMIT 1", quoted(&name)));
        if in_time(line.connection().fetch_optional(sql, Args::none()))
            .await?
            .is_some()
        {
            return Ok(Some(name));
        }
    }
    line.close().await;
    Ok(None)
}

/// The tables that both stores have, parents before those that refer to them.
///
/// # Errors
/// [`Error::Refused`] when the two differ in a table or a column, or a column is of a type that no [`Value`] has.
pub async fn tables(from: &Db, to: &Db) -> Result<Vec<Table>, Error> {
    let mut tables: Vec<Table> = Vec::new();
    for column in catalog(to).await? {
        if OURS.contains(&column.table.as_str()) {
            continue;
        }
        if tables.last().is_none_or(|table| table.name != column.table) {
            let (name, columns, numbered) = (column.table.clone(), Vec::new(), None);
            tables.push(Table {
                name,
                columns,
                numbered,
            });
        }
        if let Some(table) = tables.last_mut() {
            table.columns.push((column.name.clone(), column.kind(to)?));
            table.numbered = table
                .numbered
                .take()
                .or(column.is_numbered.then_some(column.name));
        }
    }
    check_shape(from, &tables).await?;
    let sql = "SELECT CAST(child.relname AS TEXT) AS child, CAST(parent.relname AS TEXT) AS parent FROM pg_constraint k
               JOIN pg_namespace n ON n.oid = k.connamespace
               JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
               WHERE k.contype = 'f' AND n.nspname = current_schema()";
    let references = to.fetch_all(sql, Args::none()).await?;
    let references = references
        .iter()
        .map(|row| Ok((row.get("child")?, row.get("parent")?)));
    Ok(parents_first(
        tables,
        references.collect::<Result<_, Error>>()?,
    ))
}

/// How many rows a table has; none when it is not there.
pub async fn rows(db: &Db, table: &str) -> Result<u64, Error> {
    if !has_table(db, table).await? {
        return Ok(0);
    }
    let mut line = Line::to(db).await?;
    let sql = text(format!("SELECT COUNT(*) AS n FROM {}", quoted(table)));
    let row = in_time(line.connection().fetch_optional(sql, Args::none())).await?;
    line.close().await;
    let count: i64 = row.map_or(Ok(0), |row| row.get("n"))?;
    Ok(count.unsigned_abs())
}

/// Removes every row of these tables from a PostgreSQL store.
pub async fn clear(to: &Db, tables: &[Table]) -> Result<(), Error> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = tables.iter().map(|table| quoted(&table.name)).collect();
    let mut line = Line::to(to).await?;
    let sql = text(format!("TRUNCATE {} RESTART IDENTITY", names.join(", ")));
    in_time(line.connection().execute(sql, Args::none())).await?;
    line.close().await;
    Ok(())
}

/// Copies every row of a table, all or none, and says how many they were; `told` hears how many are on their way.
///
/// # Errors
/// [`Error::Conflict`] when a row is there already; whatever either store says.
pub async fn copy(
    from: &Db,
    to: &Db,
    table: &Table,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, Error> {
    let mut source = Line::to(from).await?;
    let Line::Postgres(mut target) = Line::to(to).await? else {
        return Err(Error::misuse("tables are copied into PostgreSQL only"));
    };
    let into = format!(
        "COPY {} ({}) FROM STDIN (FORMAT BINARY)",
        quoted(&table.name),
        table.columns()
    );
    let mut copy = in_time(target.copy_in_raw(&into)).await?;
    let mut rows = source.connection().fetch(table.select());
    let (mut piece, mut sent) = (HEAD.to_vec(), 0);
    while let Some(row) = in_time(rows.try_next()).await? {
        encode(&table.values(&row)?, &mut piece)?;
        sent += 1;
        if piece.len() >= PIECE {
            in_time(copy.send(&*piece)).await?;
            piece.clear();
            told(sent);
        }
    }
    piece.extend((-1_i16).to_be_bytes());
    in_time(copy.send(&*piece)).await?;
    let copied = in_time(copy.finish()).await?;
    drop(rows);
    if let Some(column) = table.numbered.as_ref().filter(|_| copied > 0) {
        // What comes later is numbered above all that came along.
        let name = quoted(&table.name);
        let sql = text(format!(
            "SELECT setval(pg_get_serial_sequence($1, $2), MAX({})) AS n FROM {name}",
            quoted(column)
        ));
        in_time(Connection::Postgres(&mut target).fetch_optional(sql, args![name, column])).await?;
    }
    source.close().await;
    Line::Postgres(target).close().await;
    Ok(copied)
}

/// Reads a whole table and digests its values; `told` hears how many rows were read. Nothing of the way they came goes in.
pub async fn digest(
    db: &Db,
    table: &Table,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<Digest, Error> {
    let mut line = Line::to(db).await?;
    let mut rows = line.connection().fetch(table.select());
    let mut digest = Digest { rows: 0, sum: 0 };
    while let Some(row) = in_time(rows.try_next()).await? {
        let sum = digest_of(&table.values(&row)?);
        digest = Digest {
            rows: digest.rows + 1,
            sum: digest.sum.wrapping_add(sum),
        };
        if digest.rows.is_multiple_of(TOLD_EVERY) {
            told(digest.rows);
        }
    }
    drop(rows);
    line.close().await;
    Ok(digest)
}

/// A connection without a limit on a statement; it serves nobody else.
enum Line {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Line {
    async fn to(db: &Db) -> Result<Self, Error> {
        Ok(match &db.0.place {
            Place::Postgres(server) => Self::Postgres(server.dedicated(LOCK_TIMEOUT).await?),
            Place::Sqlite(file) => Self::Sqlite(file.dedicated(LOCK_TIMEOUT).await?),
        })
    }

    fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Postgres(connection) => Connection::Postgres(connection),
            Self::Sqlite(connection) => Connection::Sqlite(connection),
        }
    }

    /// Everything was answered, so an error of the closing itself changes nothing.
    async fn close(self) {
        match self {
            Self::Postgres(connection) => connection.close().await.ok(),
            Self::Sqlite(connection) => connection.close().await.ok(),
        };
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(SILENCE, work).await {
        Ok(result) => Ok(result?),
        Err(elapsed) => Err(Error::Unavailable(elapsed.into())),
    }
}

/// Names come from the catalogs, and stand in quotes.
fn text(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column of a PostgreSQL store.
struct Described {
    table: String,
    name: String,
    type_name: String,
    is_numbered: bool,
}

impl Described {
    fn kind(&self, to: &Db) -> Result<Type, Error> {
        Ok(match self.type_name.as_str() {
            "int8" => Type::Int,
            "bool" => Type::Bool,
            "text" => Type::Text,
            "bytea" => Type::Bytes,
            "uuid" => Type::Uuid,
            other => {
                return Err(Error::Refused(format!(
                    "{}.{}.{} is of the type {other}, which cannot be copied",
                    to.service(),
                    self.table,
                    self.name
                )));
            }
        })
    }
}

/// Every column of every table of a PostgreSQL store, table by table.
async fn catalog(to: &Db) -> Result<Vec<Described>, Error> {
    let sql = "SELECT CAST(c.relname AS TEXT) AS tab, CAST(a.attname AS TEXT) AS name, CAST(t.typname AS TEXT) AS type,
                      a.attidentity <> '' AS numbered
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
               WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
               ORDER BY c.relname, a.attnum";
    let described = |row: &Row| {
        Ok(Described {
            table: row.get("tab")?,
            name: row.get("name")?,
            type_name: row.get("type")?,
            is_numbered: row.get("numbered")?,
        })
    };
    to.fetch_all(sql, Args::none())
        .await?
        .iter()
        .map(described)
        .collect()
}

/// Refuses a source that has other tables or columns than `tables`: some of it would stay behind.
async fn check_shape(from: &Db, tables: &[Table]) -> Result<(), Error> {
    let sql = "SELECT m.name AS tab, c.name AS name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'";
    let mut there = BTreeSet::new();
    for row in from.fetch_all(sql, Args::none()).await? {
        let (table, column): (String, String) = (row.get("tab")?, row.get("name")?);
        if !table.starts_with("sqlite_") && !OURS.contains(&table.as_str()) {
            there.insert((table, column));
        }
    }
    let names = |table: &Table| {
        let columns = table
            .columns
            .iter()
            .map(|(column, _)| (table.name.clone(), column.clone()));
        columns.collect::<Vec<_>>()
    };
    let here: BTreeSet<_> = tables.iter().flat_map(names).collect();
    match there.symmetric_difference(&here).next() {
        None => Ok(()),
        Some((table, column)) => Err(Error::Refused(format!(
            "only one of the two stores of {} has the column {table}.{column}",
            from.service()
        ))),
    }
}

/// Puts what refers to something behind it, by pairs of child and parent.
fn parents_first(mut tables: Vec<Table>, mut references: Vec<(String, String)>) -> Vec<Table> {
    references.retain(|(child, parent)| child != parent);
    let mut ordered = Vec::new();
    loop {
        let waits = |table: &Table| references.iter().any(|(child, _)| *child == table.name);
        let (waiting, free): (Vec<_>, Vec<_>) = tables.into_iter().partition(waits);
        if free.is_empty() {
            // Nothing is left, or a ring, which the database will refuse.
            ordered.extend(waiting);
            return ordered;
        }
        references.retain(|(_, parent)| free.iter().all(|table| table.name != *parent));
        ordered.extend(free);
        tables = waiting;
    }
}

/// A row of a binary copy: the number of fields, then each with its length, -1 for none.
fn encode(values: &[Value], piece: &mut Vec<u8>) -> Result<(), Error> {
    let too_long = |error| Error::Values(Box::new(error));
    piece.extend(i16::try_from(values.len()).map_err(too_long)?.to_be_bytes());
    for value in values {
        let number;
        let bytes: &[u8] = match value {
            Value::Null(_) => {
                piece.extend((-1_i32).to_be_bytes());
                continue;
            }
            Value::Int(value) => {
                number = value.to_be_bytes();
                &number
            }
            Value::Bool(false) => &[0],
            Value::Bool(true) => &[1],
            Value::Text(value) => value.as_bytes(),
            Value::Bytes(value) => value,
            Value::Uuid(value) => value.as_bytes(),
        };
        piece.extend(i32::try_from(bytes.len()).map_err(too_long)?.to_be_bytes());
        piece.extend(bytes);
    }
    Ok(())
}

/// Each value goes in with its kind and its length, so that no two rows read the same.
fn digest_of(values: &[Value]) -> u128 {
    let mut hash = Sha256::new();
    for value in values {
        let (kind, bytes) = match value {
            Value::Null(_) => (b'-', Vec::new()),
            Value::Int(value) => (b'i', value.to_le_bytes().to_vec()),
            Value::Bool(value) => (b'b', vec![u8::from(*value)]),
            Value::Text(value) => (b't', value.clone().into_bytes()),
            Value::Bytes(value) => (b'y', value.clone()),
            Value::Uuid(value) => (b'u', value.into_bytes().to_vec()),
        };
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let hash = hash.finalize();
    let half = hash.iter().take(16);
    half.fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
