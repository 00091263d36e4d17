//! What storing messages costs PostgreSQL at least: binary COPY into the product's own tables, a thousand messages in a
//! transaction, with the heads of the chats and the position moved in each.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use postgres::{
    Client, Transaction,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::servers::Place;

/// Messages of one transaction.
const BATCH: i64 = 1000;

/// Writes messages of its own beside those of the product.
pub struct Copier {
    database: Client,
    chats: i64,
    /// Messages written so far.
    written: i64,
    payload: String,
}

impl Copier {
    /// Into the tables at `place`, for so many chats, with the payload of a stored message.
    ///
    /// # Errors
    /// There is no stored message yet.
    pub fn open(place: &Place, chats: usize) -> Result<Self> {
        let mut database = place.connect()?;
        let stored = "SELECT payload FROM message.event WHERE seq IS NOT NULL LIMIT 1";
        let stored = database.query_opt(stored, &[])?;
        database.batch_execute(
            "SET search_path TO message;
             CREATE TEMP TABLE heads (LIKE stream) ON COMMIT DELETE ROWS;
             CREATE TEMP TABLE places (LIKE position) ON COMMIT DELETE ROWS",
        )?;
        Ok(Self {
            database,
            chats: i64::try_from(chats)?,
            written: 0,
            payload: stored.context("nothing is stored yet")?.get(0),
        })
    }

    /// Under what its rows stand in the tables of positions.
    pub fn topic() -> Uuid {
        id(TOPIC, 0)
    }

    /// Writes `count` messages; how long that took.
    pub fn run(&mut self, count: u64) -> Result<Duration> {
        let (began, end) = (Instant::now(), self.written + i64::try_from(count)?);
        while self.written < end {
            let batch = BATCH.min(end - self.written);
            self.batch(batch)?;
            self.written += batch;
        }
        Ok(began.elapsed())
    }

    fn batch(&mut self, count: i64) -> Result<()> {
        let (chats, first) = (self.chats, self.written);
        let numbers = first..first + count;
        let payload = &self.payload;
        let mut transaction = self.database.transaction()?;
        copy(
            &mut transaction,
            EVENT,
            numbers.clone().map(|n| {
                let (chat, o) = (id(CHAT, n % chats), n / chats + 1);
                [
                    uuid(chat),
                    int(o),
                    int(o),
                    uuid(id(MESSAGE, n)),
                    uuid(chat),
                    text("msg.new"),
                    text(payload),
                ]
            }),
        )?;
        copy(
            &mut transaction,
            OUTBOX,
            numbers.clone().map(|n| {
                let (chat, o) = (id(CHAT, n % chats), n / chats + 1);
                [
                    uuid(Self::topic()),
                    int(n % 8),
                    int(n),
                    text("forward"),
                    uuid(chat),
                    int(o),
                    Box::new(None::<Vec<u8>>),
                    Box::new(None::<Vec<u8>>),
                ]
            }),
        )?;
        let newest = numbers
            .clone()
            .skip(usize::try_from(count.saturating_sub(chats))?);
        copy(
            &mut transaction,
            HEADS,
            newest.map(|n| {
                let o = n / chats + 1;
                [
                    uuid(id(CHAT, n % chats)),
                    text("private"),
                    text("00000000"),
                    int(o),
                    int(o),
                    int(o),
                    int(o),
                    int(1),
                    int(n),
                ]
            }),
        )?;
        copy(
            &mut transaction,
            PLACES,
            (0..8).map(|part| {
                [
                    uuid(Self::topic()),
                    int(part),
                    int(numbers.end),
                    int(numbers.end),
                    int(first),
                ]
            }),
        )?;
        transaction.batch_execute(MOVE)?;
        Ok(transaction.commit()?)
    }
}

type Field<'a> = Box<dyn ToSql + Sync + 'a>;

/// A table with its columns.
struct Table(&'static str, &'static [Type]);

const EVENT: Table = Table(
    "event (chat_id, o, seq, id, author, kind, payload)",
    &[
        Type::UUID,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
    ],
);
const OUTBOX: Table = Table(
    "outbox (topic_id, part, n, topic, chat_id, o, key, payload)",
    &[
        Type::UUID,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::UUID,
        Type::INT8,
        Type::BYTEA,
        Type::BYTEA,
    ],
);
const HEADS: Table = Table(
    "heads (chat_id, kind, epoch, last_o, last_seq, msg_o, human_o, version, active_ms)",
    &[
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
    ],
);
const PLACES: Table = Table(
    "places (topic_id, part, next_offset, outbox_n, published_n)",
    &[Type::UUID, Type::INT8, Type::INT8, Type::INT8, Type::INT8],
);
const MOVE: &str = "
    INSERT INTO stream SELECT * FROM heads ON CONFLICT (chat_id) DO UPDATE SET last_o = excluded.last_o,
        last_seq = excluded.last_seq, msg_o = excluded.msg_o, human_o = excluded.human_o, active_ms = excluded.active_ms;
    INSERT INTO position SELECT * FROM places ON CONFLICT (topic_id, part) DO UPDATE SET
        next_offset = excluded.next_offset, outbox_n = excluded.outbox_n, published_n = excluded.published_n";

/// Kinds of ids.
const CHAT: u64 = 1;
const MESSAGE: u64 = 2;
const TOPIC: u64 = 3;

/// An id that looks drawn by lot, as those of messages are, and is the same each time.
fn id(kind: u64, number: i64) -> Uuid {
    let mixed = |salt: u64| {
        let mut mixed = number
            .unsigned_abs()
            .wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    Uuid::from_u64_pair(mixed(2 * kind), mixed(2 * kind + 1))
}

fn uuid<'a>(value: Uuid) -> Field<'a> {
    Box::new(value)
}

fn int<'a>(value: i64) -> Field<'a> {
    Box::new(value)
}

fn text(value: &str) -> Field<'_> {
    Box::new(value)
}

fn copy<'a, const N: usize>(
    transaction: &mut Transaction,
    table: Table,
    rows: impl Iterator<Item = [Field<'a>; N]>,
) -> Result<()> {
    let Table(name, types) = table;
    let writer = transaction.copy_in(&format!("COPY {name} FROM STDIN BINARY"))?;
    let mut writer = BinaryCopyInWriter::new(writer, types);
    for row in rows {
        writer.write_raw(row)?;
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_each_time_and_no_two_alike() {
        let ids: std::collections::HashSet<_> = (0..1000)
            .flat_map(|n| [id(CHAT, n), id(MESSAGE, n)])
            .collect();
        assert_eq!((ids.len(), id(CHAT, 7)), (2000, id(CHAT, 7)));
    }
}
