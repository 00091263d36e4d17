//! Every statement on the file, as plain functions over a connection.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::{Executor, Row as _, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::memory::{Limits, Reservation, Row};
use crate::{Delivered, Partition, Topic};

/// `place = row << OFFSET_BITS | offset`: 10^12 offsets in each of 8 million partitions.
const OFFSET_BITS: u32 = 40;
/// Rows of the largest insert; the smaller ones have powers of two, so few statements are prepared.
const MAX_INSERT: usize = 256;
/// The longest one statement of a reader may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let insert = |rows: usize| {
        let values = vec!["(?, ?, ?, ?)"; rows].join(", ");
        format!("INSERT OR IGNORE INTO records (place, at, key, value) VALUES {values}")
    };
    (0..=MAX_INSERT.ilog2())
        .map(|power| insert(1 << power))
        .collect()
});

/// How far a commit goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// Into the hands of the operating system.
    Process,
    /// Onto the disk, and with it every earlier commit.
    Disk,
}

/// A partition as the file has it.
pub(super) struct StoredPartition {
    pub(super) id: i64,
    pub(super) low: i64,
    pub(super) next: i64,
    pub(super) reserved: i64,
}

/// The place of a group in a partition of the file.
pub(super) struct StoredPosition {
    pub(super) group: String,
    pub(super) row: i64,
    pub(super) position: i64,
}

fn place(row: i64, offset: i64) -> i64 {
    (row << OFFSET_BITS) | offset
}

fn offset_of(place: i64) -> i64 {
    place & ((1 << OFFSET_BITS) - 1)
}

/// Begins a transaction that will be committed by [`commit`]. After an error the connection must be
/// dropped: SQLite may or may not have rolled back.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    level: Level,
) -> Result<(), sqlx::Error> {
    connection
        .execute(match level {
            Level::Process => "PRAGMA synchronous = NORMAL",
            Level::Disk => "PRAGMA synchronous = FULL",
        })
        .await?;
    connection.execute("BEGIN IMMEDIATE").await?;
    if level == Level::Disk {
        // A commit without a change would not sync.
        connection
            .execute("UPDATE state SET flushes = flushes + 1")
            .await?;
    }
    Ok(())
}

/// Ends the transaction.
pub(super) async fn commit(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute("COMMIT").await.map(drop)
}

/// Writes records; those that are there already stay as they are, for a commit whose outcome was lost.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    rows: &mut [Row],
) -> Result<(), sqlx::Error> {
    rows.sort_unstable_by_key(|row| place(row.partition, row.offset));
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let power = rest.len().min(MAX_INSERT).ilog2();
        let (chunk, after) = rest.split_at(1 << power);
        let mut query = sqlx::query(INSERTS[power as usize].as_str());
        for row in chunk {
            query = query
                .bind(place(row.partition, row.offset))
                .bind(row.at)
                .bind(&row.key[..])
                .bind(&row.value[..]);
        }
        query.execute(&mut *connection).await?;
        rest = after;
    }
    Ok(())
}

/// Keeps the places of groups.
pub(super) async fn save_positions(
    connection: &mut SqliteConnection,
    positions: &[StoredPosition],
) -> Result<(), sqlx::Error> {
    for stored in positions {
        sqlx::query(
            "INSERT INTO positions (consumer_group, partition, position) VALUES (?, ?, ?)
             ON CONFLICT (consumer_group, partition) DO UPDATE SET position = excluded.position",
        )
        .bind(stored.group.as_str())
        .bind(stored.row)
        .bind(stored.position)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Reserves offsets; to be committed at [`Level::Disk`].
pub(super) async fn reserve(
    connection: &mut SqliteConnection,
    reservations: &[Reservation],
) -> Result<(), sqlx::Error> {
    for reservation in reservations {
        sqlx::query("UPDATE partitions SET reserved = ? WHERE id = ?")
            .bind(reservation.end)
            .bind(reservation.row)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Removes the records of a partition below `low`.
pub(super) async fn trim(
    connection: &mut SqliteConnection,
    row: i64,
    low: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query("DELETE FROM records WHERE place >= ? AND place < ?")
        .bind(place(row, 0))
        .bind(place(row, low))
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE partitions SET low = ? WHERE id = ?")
        .bind(low)
        .bind(row)
        .execute(&mut *connection)
        .await?;
    Ok(removed.rows_affected())
}

/// Moves the write-ahead log into the database and empties it.
pub(super) async fn checkpoint(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection
        .execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .await
        .map(drop)
}

/// Makes a topic and returns the id of its first partition; the others follow without a hole.
pub(super) async fn add_topic(
    connection: &mut SqliteConnection,
    topic: &Topic,
    reserved: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query("INSERT INTO topics (name, id, partitions) VALUES (?, ?, ?)")
        .bind(&*topic.name)
        .bind(topic.id)
        .bind(i64::from(topic.partitions))
        .execute(&mut *connection)
        .await?;
    let first: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM partitions")
        .fetch_one(&mut *connection)
        .await?;
    for number in 0..topic.partitions {
        sqlx::query("INSERT INTO partitions (id, topic, number, low, next, reserved) VALUES (?, ?, ?, 0, 0, ?)")
            .bind(first + i64::from(number))
            .bind(&*topic.name)
            .bind(i64::from(number))
            .bind(reserved)
            .execute(&mut *connection)
            .await?;
    }
    Ok(first)
}

/// All topics, in the order of their first partitions.
pub(super) async fn topics(connection: &mut SqliteConnection) -> Result<Vec<Topic>, sqlx::Error> {
    let rows: Vec<(String, Uuid, u32)> = sqlx::query_as(
        "SELECT name, topics.id, topics.partitions FROM topics JOIN partitions ON topic = name
         GROUP BY name ORDER BY min(partitions.id)",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(name, id, partitions)| Topic {
            name: name.into(),
            id,
            partitions,
        })
        .collect())
}

/// The partitions of a topic, by number.
pub(super) async fn partitions(
    connection: &mut SqliteConnection,
    topic: &str,
) -> Result<Vec<StoredPartition>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT id, low, next, reserved FROM partitions WHERE topic = ? ORDER BY number",
    )
    .bind(topic)
    .fetch_all(connection)
    .await?;
    let stored = |(id, low, next, reserved)| StoredPartition {
        id,
        low,
        next,
        reserved,
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// The places of all groups.
pub(super) async fn positions(
    connection: &mut SqliteConnection,
) -> Result<Vec<StoredPosition>, sqlx::Error> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT consumer_group, partition, position FROM positions")
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(group, row, position)| StoredPosition {
            group,
            row,
            position,
        })
        .collect())
}

/// How often the log was opened, and whether it was stopped in order.
pub(super) async fn state(connection: &mut SqliteConnection) -> Result<(i64, bool), sqlx::Error> {
    sqlx::query_as("SELECT generation, is_clean FROM state")
        .fetch_one(connection)
        .await
}

/// The log is in use from now on.
pub(super) async fn set_open(
    connection: &mut SqliteConnection,
    generation: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE state SET generation = ?, is_clean = 0")
        .bind(generation)
        .execute(connection)
        .await
        .map(drop)
}

/// The log was stopped in order, with these next offsets by partition.
pub(super) async fn set_clean(
    connection: &mut SqliteConnection,
    ends: &[(i64, i64)],
) -> Result<(), sqlx::Error> {
    for (row, next) in ends {
        sqlx::query("UPDATE partitions SET next = ? WHERE id = ?")
            .bind(next)
            .bind(row)
            .execute(&mut *connection)
            .await?;
    }
    connection
        .execute("UPDATE state SET is_clean = 1")
        .await
        .map(drop)
}

/// Records of one partition in `from..until`, at most `limits`, and where to go on.
pub(super) async fn read(
    readers: &SqlitePool,
    row: i64,
    partition: &Partition,
    from: i64,
    until: i64,
    limits: Limits,
) -> Result<(Vec<Delivered>, i64), sqlx::Error> {
    let work = async {
        let mut rows = sqlx::query(
            "SELECT place, key, value FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        )
        .bind(place(row, from))
        .bind(place(row, until))
        .bind(i64::try_from(limits.records).unwrap_or(i64::MAX))
        .fetch(readers);
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(found) = rows.try_next().await? {
            let value: Vec<u8> = found.try_get(2)?;
            bytes += value.len();
            if bytes > limits.bytes && !records.is_empty() {
                break;
            }
            records.push(Delivered {
                partition: partition.clone(),
                offset: offset_of(found.try_get(0)?),
                key: Bytes::from(found.try_get::<Vec<u8>, _>(1)?),
                value: Bytes::from(value),
            });
        }
        let is_all = records.len() < limits.records && bytes <= limits.bytes;
        let next = if is_all {
            until
        } else {
            records.last().map_or(until, |last| last.offset + 1)
        };
        Ok((records, next))
    };
    tokio::time::timeout(READ_TIMEOUT, work)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// A record as retention looks at it.
pub(super) struct Head {
    pub(super) offset: i64,
    pub(super) at: i64,
    pub(super) bytes: u64,
}

/// The oldest records of a partition from `from` on.
pub(super) async fn heads(
    readers: &SqlitePool,
    row: i64,
    from: i64,
    count: usize,
) -> Result<Vec<Head>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT place, at, length(key) + length(value) FROM records
         WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
    )
    .bind(place(row, from))
    .bind(place(row + 1, 0))
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .fetch_all(readers)
    .await?;
    let head = |(place, at, bytes): (i64, i64, i64)| Head {
        offset: offset_of(place),
        at,
        bytes: bytes.unsigned_abs(),
    };
    Ok(rows.into_iter().map(head).collect())
}

/// Bytes of the file that hold something.
pub(super) async fn live_bytes(readers: &SqlitePool) -> Result<u64, sqlx::Error> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT (page_count - freelist_count) * page_size
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .fetch_one(readers)
    .await?;
    Ok(bytes.unsigned_abs())
}
