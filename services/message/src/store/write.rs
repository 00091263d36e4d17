//! The one transaction of a batch, and what a worker that takes a partition over has to know.

use std::collections::HashMap;

use contracts::{ChatId, MessageId, ThreadId, UserId, frames};
use eventlog::Partition;
use sql::{Args, Insert, Row, Tx, args};
use uuid::Uuid;

use super::{Error, Store, kind, mode, state, word};
use crate::{
    dialect,
    domain::{Batch, Binding, Known, Member, Needs, Outgoing, Parsed, Stream, Target},
};

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// The next offset to apply.
    pub(crate) next_offset: i64,
    /// The newest outbox row.
    pub(crate) outbox_n: i64,
    /// The newest outbox row that is known to be published.
    pub(crate) published_n: i64,
}

/// The part of a batch that came from one partition.
#[derive(Debug)]
pub(crate) struct PartitionBatch {
    pub(crate) partition: Partition,
    /// What the worker believes.
    pub(crate) before: PartitionState,
    /// The offset after the last record.
    pub(crate) next_offset: i64,
    /// How far the log has flushed what was published; marks ride along.
    pub(crate) published_n: i64,
    pub(crate) records: Vec<Parsed>,
}

/// A row that was left unpublished.
pub(crate) struct Unpublished {
    pub(crate) n: i64,
    pub(crate) outgoing: Outgoing,
}

impl Store {
    /// Commits a batch: positions, numbers, events, projections and outbox in one transaction.
    ///
    /// Gives, for each part, its new state and what is to be published, in the order of the records.
    pub(crate) async fn commit(
        &self,
        parts: &[PartitionBatch],
        now_ms: i64,
        fresh: impl Fn() -> Uuid,
    ) -> Result<Vec<(PartitionState, Vec<Outgoing>)>, Error> {
        let mut tx = self.db.write_tx().await?;
        check_positions(&mut tx, parts).await?;
        let needs = Needs::of(parts.iter().flat_map(|part| &part.records));
        let mut batch = load(&mut tx, &needs).await?;

        let mut outbox = Vec::new();
        let mut positions = Vec::new();
        let mut results = Vec::new();
        for part in parts {
            let mut n = part.before.outbox_n;
            let mut published = Vec::new();
            for record in &part.records {
                let applied = batch.apply(record, now_ms, fresh());
                for outgoing in &applied.durable {
                    n += 1;
                    outbox.push(outbox_row(&part.partition, n, outgoing));
                }
                published.extend(applied.durable);
                published.extend(applied.answers);
            }
            let after = PartitionState {
                next_offset: part.next_offset,
                outbox_n: n,
                published_n: part.published_n.max(part.before.published_n),
            };
            positions.push(args![
                part.partition.topic_id,
                i64::from(part.partition.number),
                after.next_offset,
                after.outbox_n,
                after.published_n
            ]);
            results.push((after, published));
        }
        let removed = std::mem::take(&mut batch.removed_bindings);
        let mut inserts = inserts(batch);
        inserts.push(Insert::new(
            "INSERT INTO outbox (topic_id, part, n, topic, chat_id, o, key, payload)",
            8,
            "",
            outbox,
        ));
        inserts.push(Insert::new(
            "INSERT INTO position (topic_id, part, next_offset, outbox_n, published_n)",
            5,
            " ON CONFLICT (topic_id, part) DO UPDATE SET next_offset = excluded.next_offset,
              outbox_n = excluded.outbox_n, published_n = excluded.published_n",
            positions,
        ));
        tx.insert_together(inserts).await?;
        for thread in removed {
            tx.execute("DELETE FROM binding WHERE thread_id = $1", args![thread.0])
                .await?;
        }
        for part in parts {
            if part.published_n > part.before.published_n {
                remove_published(&mut tx, &part.partition, part.published_n).await?;
            }
        }
        kit::failpoint!("message.commit.before");
        tx.commit().await?;
        kit::failpoint!("message.commit.after");
        Ok(results)
    }

    /// Where a partition stands; `None` before its first assignment.
    pub(crate) async fn partition_state(
        &self,
        partition: &Partition,
    ) -> Result<Option<PartitionState>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT next_offset, outbox_n, published_n FROM position WHERE topic_id = $1 AND part = $2",
                args![partition.topic_id, i64::from(partition.number)],
            )
            .await?;
        row.map(|row| partition_state(&row)).transpose()
    }

    /// The next rows that an earlier owner left unpublished, in order, at most 500.
    pub(crate) async fn unpublished(
        &self,
        partition: &Partition,
        after: i64,
    ) -> Result<Vec<Unpublished>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT b.n, b.topic, b.chat_id, b.o, b.key, b.payload, e.kind, e.payload AS body FROM outbox b
                 LEFT JOIN event e ON e.chat_id = b.chat_id AND e.o = b.o
                 WHERE b.topic_id = $1 AND b.part = $2 AND b.n > $3 ORDER BY b.n LIMIT 500",
                args![partition.topic_id, i64::from(partition.number), after],
            )
            .await?;
        rows.iter().map(unpublished).collect()
    }

    /// Marks everything up to `n` as published and removes the rows; used when no batch comes to carry the mark.
    pub(crate) async fn mark_published(&self, partition: &Partition, n: i64) -> Result<(), Error> {
        let (topic, part) = (partition.topic_id, i64::from(partition.number));
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "UPDATE position SET published_n = $3 WHERE topic_id = $1 AND part = $2 AND published_n < $3",
            args![topic, part, n],
        )
        .await?;
        remove_published(&mut tx, partition, n).await?;
        kit::failpoint!("message.mark");
        tx.commit().await?;
        Ok(())
    }
}

/// Rows that were published are of no use; each time the mark moves, they go.
async fn remove_published(tx: &mut Tx, partition: &Partition, n: i64) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM outbox WHERE topic_id = $1 AND part = $2 AND n <= $3",
        args![partition.topic_id, i64::from(partition.number), n],
    )
    .await?;
    Ok(())
}

/// The compare-and-set that fences a worker which does not own its partition any more.
async fn check_positions(tx: &mut Tx, parts: &[PartitionBatch]) -> Result<(), Error> {
    let keys = parts
        .iter()
        .map(|part| args![part.partition.topic_id, i64::from(part.partition.number)])
        .collect();
    let rows = tx
        .fetch_list(dialect::lock_positions(tx.engine()), args![], 2, keys)
        .await?;
    let mut found = HashMap::new();
    for row in &rows {
        found.insert(
            (row.get::<Uuid>("topic_id")?, row.get::<i64>("part")?),
            partition_state(row)?,
        );
    }
    for part in parts {
        let state = found.get(&(part.partition.topic_id, i64::from(part.partition.number)));
        let same = state.is_some_and(|state| {
            state.next_offset == part.before.next_offset && state.outbox_n == part.before.outbox_n
        });
        if !same {
            return Err(Error::Fenced);
        }
    }
    Ok(())
}

async fn load(tx: &mut Tx, needs: &Needs) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    if needs.chats.is_empty() {
        return Ok(batch);
    }
    let chats = needs.chats.iter().map(|chat| args![chat.0]).collect();
    for row in tx
        .fetch_list(dialect::lock_streams(tx.engine()), args![], 1, chats)
        .await?
    {
        let chat = ChatId(row.get("chat_id")?);
        let stream = Stream {
            kind: kind(row.get("kind")?)?,
            epoch: row.get("epoch")?,
            last_o: row.get("last_o")?,
            last_seq: row.get("last_seq")?,
            msg_o: row.get("msg_o")?,
            human_o: row.get("human_o")?,
            version: row.get("version")?,
            active_ms: row.get("active_ms")?,
        };
        batch.streams.insert(chat, stream);
        if let Some(thread) = row.get("thread_id")? {
            let binding = Binding {
                chat,
                owner: UserId(row.get("owner")?),
                mode: mode(row.get("mode")?)?,
                state: state(row.get("state")?)?,
            };
            batch.bindings.insert(ThreadId(thread), binding);
        }
    }
    let ids = needs.messages.iter().map(|id| args![id.0]).collect();
    for row in tx
        .fetch_list(
            "SELECT id, payload FROM event WHERE id IN ({list})",
            args![],
            1,
            ids,
        )
        .await?
    {
        let known: Known = serde_json::from_str(&row.get::<String>("payload")?)?;
        batch.known.insert(MessageId(row.get("id")?), known);
    }
    let members = needs
        .members
        .iter()
        .map(|(chat, user)| args![chat.0, user.0])
        .collect();
    let rows = tx
        .fetch_list(
            "SELECT chat_id, user_id, from_o FROM member
             WHERE (chat_id, user_id) IN (VALUES {list}) AND until_o IS NULL",
            args![],
            2,
            members,
        )
        .await?;
    for row in rows {
        let key = (ChatId(row.get("chat_id")?), UserId(row.get("user_id")?));
        batch.members.insert(
            key,
            Member {
                from_o: row.get("from_o")?,
                until_o: None,
            },
        );
    }
    Ok(batch)
}

/// The rows of everything that a batch has changed, but for its outbox and positions.
fn inserts(batch: Batch) -> Vec<Insert> {
    let events = batch.events.into_iter().map(|event| {
        args![
            event.chat.0,
            event.o,
            event.seq,
            event.id.map(|id| id.0),
            event.author.0,
            event.kind,
            event.payload
        ]
    });
    let events = Insert::new(
        "INSERT INTO event (chat_id, o, seq, id, author, kind, payload)",
        7,
        "",
        events,
    );
    let streams = batch
        .touched_streams
        .iter()
        .filter_map(|chat| batch.streams.get(chat).map(|stream| (chat, stream)));
    let streams = streams.map(|(chat, s)| {
        let (kind, epoch) = (word(&s.kind), s.epoch.clone());
        args![
            chat.0,
            kind,
            epoch,
            s.last_o,
            s.last_seq,
            s.msg_o,
            s.human_o,
            s.version,
            s.active_ms
        ]
    });
    let streams = Insert::new(
        "INSERT INTO stream (chat_id, kind, epoch, last_o, last_seq, msg_o, human_o, version, active_ms)",
        9,
        " ON CONFLICT (chat_id) DO UPDATE SET last_o = excluded.last_o, last_seq = excluded.last_seq,
          msg_o = excluded.msg_o, human_o = excluded.human_o, version = excluded.version,
          active_ms = excluded.active_ms",
        streams,
    );
    let members = batch
        .touched_members
        .iter()
        .filter_map(|key| batch.members.get(key).map(|member| (key, member)));
    let members = members.map(|((chat, user), member)| {
        args![chat.0, user.0, member.from_o, member.until_o, 0_i64, 0_i64]
    });
    let members = Insert::new(
        "INSERT INTO member (chat_id, user_id, from_o, until_o, delivered, read_seq)",
        6,
        " ON CONFLICT (chat_id, user_id, from_o) DO UPDATE SET until_o = excluded.until_o",
        members,
    );
    let bindings = batch
        .touched_bindings
        .iter()
        .filter_map(|id| batch.bindings.get(id).map(|binding| (id, binding)));
    let bindings =
        bindings.map(|(id, b)| args![id.0, b.chat.0, b.owner.0, word(&b.mode), word(&b.state)]);
    let bindings = Insert::new(
        "INSERT INTO binding (thread_id, chat_id, owner, mode, state)",
        5,
        " ON CONFLICT (thread_id) DO UPDATE SET mode = excluded.mode, state = excluded.state",
        bindings,
    );
    vec![events, streams, members, bindings]
}

fn outbox_row(partition: &Partition, n: i64, outgoing: &Outgoing) -> Args {
    let topic = match outgoing.target {
        Target::Forward => "forward",
        Target::Feed => "feed",
        Target::Dead => "dead",
    };
    // A frame of an event is made again from its row; there is one copy of the body.
    let bytes = |bytes: &[u8]| outgoing.o.is_none().then(|| bytes.to_vec());
    args![
        partition.topic_id,
        i64::from(partition.number),
        n,
        topic,
        outgoing.chat.0,
        outgoing.o,
        bytes(&outgoing.key),
        bytes(&outgoing.value)
    ]
}

fn unpublished(row: &Row) -> Result<Unpublished, Error> {
    let target = match row.get::<String>("topic")?.as_str() {
        "forward" => Target::Forward,
        "feed" => Target::Feed,
        _ => Target::Dead,
    };
    let chat = ChatId(row.get("chat_id")?);
    let o: Option<i64> = row.get("o")?;
    let (key, value) = if let Some(o) = o {
        let (kind, body): (String, String) = (row.get("kind")?, row.get("body")?);
        (frames::chat_key(chat), frames::event(&kind, chat, o, &body))
    } else {
        let (key, payload): (Vec<u8>, Vec<u8>) = (row.get("key")?, row.get("payload")?);
        (key.into(), payload.into())
    };
    Ok(Unpublished {
        n: row.get("n")?,
        outgoing: Outgoing {
            target,
            chat,
            o,
            key,
            value,
            fate: None,
        },
    })
}

fn partition_state(row: &Row) -> Result<PartitionState, Error> {
    Ok(PartitionState {
        next_offset: row.get("next_offset")?,
        outbox_n: row.get("outbox_n")?,
        published_n: row.get("published_n")?,
    })
}
