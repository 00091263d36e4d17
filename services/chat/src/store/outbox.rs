//! What is still to be published, what was projected, and the positions of the consumers.

use contracts::ChatId;
use sql::{Tx, args};

use super::{Error, Places, Store};

/// A row that waits to be published.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) n: i64,
    pub(crate) topic: String,
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// Whether it goes by itself once it was projected.
    pub(crate) decision: bool,
}

impl Store {
    /// Everything of a chat that waits, in order, at most 500 rows.
    pub(crate) async fn waiting(&self, chat: ChatId) -> Result<Vec<Waiting>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT n, version, topic, key, payload FROM outbox WHERE chat_id = $1 ORDER BY n LIMIT 500",
                args![chat.0],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Waiting {
                    n: row.get("n")?,
                    topic: row.get("topic")?,
                    key: row.get("key")?,
                    payload: row.get("payload")?,
                    decision: row.get::<Option<i64>>("version")?.is_some(),
                })
            })
            .collect()
    }

    /// Chats with rows that should have been published by now; their next turn is put off, twice as long each time
    /// and a minute at most.
    pub(crate) async fn overdue(&self, now_ms: i64) -> Result<Vec<ChatId>, Error> {
        let mut tx = self.db.write_tx().await?;
        let rows = tx
            .fetch_all(
                "SELECT DISTINCT chat_id FROM outbox WHERE next_ms <= $1 LIMIT 100",
                args![now_ms],
            )
            .await?;
        let mut chats = Vec::with_capacity(rows.len());
        for row in rows {
            let chat = ChatId(row.get("chat_id")?);
            tx.execute(
                "UPDATE outbox SET next_ms = $2 + CASE WHEN $2 - created_ms > 60000 THEN 60000
                 ELSE $2 - created_ms END WHERE chat_id = $1 AND next_ms <= $2",
                args![chat.0, now_ms],
            )
            .await?;
            chats.push(chat);
        }
        tx.commit().await?;
        Ok(chats)
    }

    /// Removes rows that the log has flushed. Decisions stay until they were projected.
    pub(crate) async fn forget(&self, published: &[(ChatId, i64)]) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        for (chat, n) in published {
            tx.execute(
                "DELETE FROM outbox WHERE chat_id = $1 AND n = $2 AND version IS NULL",
                args![chat.0, *n],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Keeps what was projected, and moves the positions of the records that said so.
    pub(crate) async fn projections(
        &self,
        projected: &[(ChatId, i64)],
        places: (&Places, &Places),
    ) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        move_positions(&mut tx, places).await?;
        for (chat, version) in projected {
            tx.execute(
                "UPDATE chat SET projected = $2 WHERE id = $1 AND projected < $2",
                args![chat.0, *version],
            )
            .await?;
            tx.execute(
                "DELETE FROM outbox WHERE chat_id = $1 AND version <= $2",
                args![chat.0, *version],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The compare-and-set of a consumer's positions: from where it believes they are to where it has come.
pub(super) async fn move_positions(
    tx: &mut Tx,
    (from, to): (&Places, &Places),
) -> Result<(), Error> {
    for (partition, next) in to {
        let before = from.get(partition).copied().unwrap_or(-1);
        let moved = tx
            .execute(
                "UPDATE position SET next_offset = $4 WHERE topic_id = $1 AND part = $2 AND next_offset = $3",
                args![partition.topic_id, i64::from(partition.number), before, *next],
            )
            .await?;
        if moved == 0 {
            return Err(Error::Fenced);
        }
    }
    Ok(())
}
