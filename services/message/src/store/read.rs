//! Reading: history, replay, summaries, marks. Every text stays inside the reader's interval.

use std::collections::HashMap;

use contracts::{
    ChatId, ThreadId, UserId,
    chat::Kind,
    frames,
    message::{
        Attachment, Events, History, MAX_EVENTS, Marks, Message, Page, Position, Readers, Summary,
    },
};
use sql::{Row, Tx, args};

use super::{Error, Store, word};
use crate::dialect;

impl Store {
    /// The head of a stream and the reader's interval; `None` for strangers.
    pub(crate) async fn attach(
        &self,
        reader: UserId,
        chat: ChatId,
    ) -> Result<Option<Attachment>, Error> {
        let mut tx = self.db.read_tx().await?;
        let at = attachment(&mut tx, reader, chat).await?;
        Ok(at.map(|at| Attachment {
            head: visible_head(&at),
            ..at
        }))
    }

    pub(crate) async fn history(
        &self,
        reader: UserId,
        chat: ChatId,
        page: Page,
        limit: usize,
    ) -> Result<Option<History>, Error> {
        // One snapshot: the position is that of the very data.
        let mut tx = self.db.read_tx().await?;
        let Some(at) = attachment(&mut tx, reader, chat).await? else {
            return Ok(None);
        };
        let (low, high) = (at.from_o, at.until_o.unwrap_or(at.head.o));
        // A message's `o` is its `seq` plus the number of other events before it, so `o` can be bounded by
        // `seq` and the primary key is the only index that paging needs.
        let others = at.head.o - at.seq;
        let wanted = i64::try_from(limit).unwrap_or(1) + 1;
        let rows = match page {
            Page::Latest | Page::Before(_) => {
                let before = if let Page::Before(seq) = page { seq } else { i64::MAX };
                let high = high.min(before.saturating_add(others));
                tx.fetch_all(
                    "SELECT payload FROM event WHERE chat_id = $1 AND o >= $2 AND o <= $3 AND seq < $4
                     ORDER BY o DESC LIMIT $5",
                    args![chat.0, low, high, before, wanted],
                )
                .await?
            }
            Page::After(seq) => {
                tx.fetch_all(
                    "SELECT payload FROM event WHERE chat_id = $1 AND o >= $2 AND o <= $3 AND seq > $4
                     ORDER BY o LIMIT $5",
                    args![chat.0, low.max(seq), high, seq, wanted],
                )
                .await?
            }
        };
        let more = rows.len() > limit;
        let mut messages = rows
            .iter()
            .take(limit)
            .map(message)
            .collect::<Result<Vec<_>, _>>()?;
        if !matches!(page, Page::After(_)) {
            messages.reverse();
        }
        Ok(Some(History {
            pos: visible_head(&at),
            messages,
            more,
        }))
    }

    pub(crate) async fn events(
        &self,
        reader: UserId,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Option<Events>, Error> {
        let mut tx = self.db.read_tx().await?;
        let Some(at) = attachment(&mut tx, reader, chat).await? else {
            return Ok(None);
        };
        let high = at.until_o.unwrap_or(at.head.o);
        let rows = tx
            .fetch_all(
                "SELECT o, kind, payload FROM event WHERE chat_id = $1 AND o > $2 AND o >= $3 AND o <= $4
                 ORDER BY o LIMIT $5",
                args![chat.0, after, at.from_o, high, i64::try_from(limit).unwrap_or(1)],
            )
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        let mut is_cut = false;
        for row in rows {
            let (o, kind, payload): (i64, String, String) =
                (row.get("o")?, row.get("kind")?, row.get("payload")?);
            let frame = frames::event(&kind, chat, o, &payload);
            bytes += frame.len();
            is_cut = bytes > MAX_EVENTS && !list.is_empty();
            if is_cut {
                break;
            }
            list.push((o, frame));
        }
        let is_full = is_cut || list.len() == limit;
        let more = list.last().is_some_and(|(o, _)| *o < high) && is_full;
        Ok(Some(Events {
            head: visible_head(&at),
            frames: list,
            more,
        }))
    }

    /// The private chat of two different people; `None` when they have none.
    pub(crate) async fn private_chat(
        &self,
        one: UserId,
        other: UserId,
    ) -> Result<Option<ChatId>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT s.chat_id FROM member m JOIN member n ON n.chat_id = m.chat_id
                 JOIN stream s ON s.chat_id = m.chat_id
                 WHERE m.user_id = $1 AND m.until_o IS NULL AND n.user_id = $2 AND n.until_o IS NULL AND s.kind = $3",
                args![one.0, other.0, word(&Kind::Private)],
            )
            .await?;
        row.map(|row| Ok(ChatId(row.get("chat_id")?))).transpose()
    }

    /// The reader's chats, or the one asked for.
    pub(crate) async fn chats(
        &self,
        reader: UserId,
        only: Option<ChatId>,
        limit: usize,
    ) -> Result<Vec<Summary>, Error> {
        let mut tx = self.db.read_tx().await?;
        let limit = i64::try_from(limit).unwrap_or(1);
        let rows = match only {
            Some(chat) => {
                tx.fetch_all(dialect::ONE_SUMMARY, args![reader.0, limit, chat.0])
                    .await?
            }
            None => {
                tx.fetch_all(dialect::SUMMARIES, args![reader.0, limit])
                    .await?
            }
        };
        let mut summaries = Vec::with_capacity(rows.len());
        let mut newest = Vec::new();
        for row in &rows {
            let (chat, msg_o, from_o) = (
                row.get("chat_id")?,
                row.get::<i64>("msg_o")?,
                row.get::<i64>("from_o")?,
            );
            if msg_o >= from_o {
                newest.push(args![chat, msg_o]);
            }
            summaries.push(Summary {
                chat: ChatId(chat),
                pos: Position {
                    e: row.get("epoch")?,
                    o: row.get("last_o")?,
                },
                seq: row.get("last_seq")?,
                unread: row.get("unread")?,
                read: row.get("read_seq")?,
                from_o,
                last: None,
            });
        }
        let rows = tx
            .fetch_list(
                "SELECT payload FROM event WHERE (chat_id, o) IN (VALUES {list})",
                args![],
                2,
                newest,
            )
            .await?;
        let last = rows.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let mut last: HashMap<_, _> = last
            .into_iter()
            .map(|message| (message.chat, message))
            .collect();
        for summary in &mut summaries {
            summary.last = last.remove(&summary.chat);
        }
        Ok(summaries)
    }

    /// Moves the marks of a present member forward; `None` for strangers. The flag says whether anything moved.
    pub(crate) async fn mark(
        &self,
        reader: UserId,
        chat: ChatId,
        delivered: i64,
        read: i64,
    ) -> Result<Option<(Marks, bool)>, Error> {
        let mut tx = self.db.write_tx().await?;
        let row = tx
            .fetch_optional(
                "SELECT m.from_o, m.delivered, m.read_seq, s.last_seq FROM member m JOIN stream s ON s.chat_id = m.chat_id
                 WHERE m.chat_id = $1 AND m.user_id = $2 AND m.until_o IS NULL",
                args![chat.0, reader.0],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let head: i64 = row.get("last_seq")?;
        let (had_delivered, had_read): (i64, i64) = (row.get("delivered")?, row.get("read_seq")?);
        let read = read.min(head).max(had_read);
        // What was read has been delivered.
        let delivered = delivered.min(head).max(had_delivered).max(read);
        let moved = read > had_read || delivered > had_delivered;
        if moved {
            tx.execute(
                "UPDATE member SET delivered = $4, read_seq = $5 WHERE chat_id = $1 AND user_id = $2 AND from_o = $3
                 AND delivered <= $4 AND read_seq <= $5",
                args![chat.0, reader.0, row.get::<i64>("from_o")?, delivered, read],
            )
            .await?;
            tx.commit().await?;
        }
        Ok(Some((
            Marks {
                chat,
                user: reader,
                delivered,
                read,
            },
            moved,
        )))
    }

    pub(crate) async fn marks(
        &self,
        reader: UserId,
        chat: ChatId,
    ) -> Result<Option<Vec<Marks>>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT user_id, delivered, read_seq FROM member WHERE chat_id = $1 AND until_o IS NULL ORDER BY user_id",
                args![chat.0],
            )
            .await?;
        let marks = rows
            .iter()
            .map(|row| {
                let user = UserId(row.get("user_id")?);
                Ok(Marks {
                    chat,
                    user,
                    delivered: row.get("delivered")?,
                    read: row.get("read_seq")?,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(marks
            .iter()
            .any(|marks| marks.user == reader)
            .then_some(marks))
    }

    /// Those of `people` who are in a chat with the reader that is no room.
    pub(crate) async fn peers(
        &self,
        reader: UserId,
        people: Vec<UserId>,
    ) -> Result<Vec<UserId>, Error> {
        let people = people.into_iter().map(|person| args![person.0]).collect();
        let mut tx = self.db.read_tx().await?;
        let rows = tx
            .fetch_list(
                "SELECT DISTINCT n.user_id FROM member n JOIN member m ON m.chat_id = n.chat_id
                 JOIN stream s ON s.chat_id = n.chat_id
                 WHERE m.user_id = $1 AND m.until_o IS NULL AND n.until_o IS NULL AND s.kind <> $2
                 AND n.user_id IN ({list})",
                args![reader.0, word(&Kind::Room)],
                1,
                people,
            )
            .await?;
        rows.iter()
            .map(|row| Ok(UserId(row.get("user_id")?)))
            .collect()
    }

    /// Whose thread it is and where; `None` when the binding is gone.
    pub(crate) async fn thread(&self, thread: ThreadId) -> Result<Option<(ChatId, UserId)>, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT chat_id, owner FROM binding WHERE thread_id = $1",
                args![thread.0],
            )
            .await?;
        row.map(|row| Ok((ChatId(row.get("chat_id")?), UserId(row.get("owner")?))))
            .transpose()
    }

    /// The newest messages after `after` that every present member may read, oldest first.
    pub(crate) async fn thread_messages(
        &self,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT payload FROM event WHERE chat_id = $1 AND seq IS NOT NULL AND o > $2 AND o >= (
                     SELECT MAX(from_o) FROM member WHERE chat_id = $1 AND until_o IS NULL)
                 ORDER BY o DESC LIMIT $3",
                args![chat.0, after, i64::try_from(limit).unwrap_or(1)],
            )
            .await?;
        let mut messages = rows.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        messages.reverse();
        Ok(messages)
    }

    /// The members whose interval covers an event.
    pub(crate) async fn readers(
        &self,
        chat: ChatId,
        o: i64,
        limit: usize,
    ) -> Result<Readers, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT user_id, COUNT(*) OVER () AS n FROM member
                 WHERE chat_id = $1 AND from_o <= $2 AND (until_o IS NULL OR until_o >= $2)
                 ORDER BY user_id LIMIT $3",
                args![chat.0, o, i64::try_from(limit).unwrap_or(1)],
            )
            .await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.get("n"))?;
        let first = rows.iter().map(|row| Ok(UserId(row.get("user_id")?)));
        Ok(Readers {
            count: count.unsigned_abs(),
            first: first.collect::<Result<_, Error>>()?,
        })
    }
}

async fn attachment(
    tx: &mut Tx,
    reader: UserId,
    chat: ChatId,
) -> Result<Option<Attachment>, Error> {
    let row = tx
        .fetch_optional(
            "SELECT s.epoch, s.last_o, s.last_seq, m.from_o, m.until_o FROM member m JOIN stream s ON s.chat_id = m.chat_id
             WHERE m.chat_id = $1 AND m.user_id = $2 ORDER BY m.from_o DESC LIMIT 1",
            args![chat.0, reader.0],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Attachment {
        head: Position {
            e: row.get("epoch")?,
            o: row.get("last_o")?,
        },
        seq: row.get("last_seq")?,
        from_o: row.get("from_o")?,
        until_o: row.get("until_o")?,
    }))
}

/// The head as this reader may know it: who left does not learn how much was said since.
fn visible_head(at: &Attachment) -> Position {
    let o = at.until_o.map_or(at.head.o, |until| until.min(at.head.o));
    Position {
        e: at.head.e.clone(),
        o,
    }
}

fn message(row: &Row) -> Result<Message, Error> {
    Ok(serde_json::from_str(&row.get::<String>("payload")?)?)
}
