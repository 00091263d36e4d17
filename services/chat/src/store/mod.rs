//! Tables of chats. One SQL text for both engines, but for [`crate::dialect`].

mod asked;
mod decide;
mod outbox;
mod read;

use std::collections::HashMap;

use async_trait::async_trait;
use contracts::{ChatId, ThreadId, UserId, chat::Kind};
use eventlog::Partition;
use kit::Code;
use serde::{Serialize, de::DeserializeOwned};
use sql::{Db, Row, args};

use crate::domain::{Bound, Stored};

pub(crate) use decide::Decided;
pub(crate) use read::Whole;

/// The migrations of this service.
pub const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_chats", "0002_create_asked");

/// The store.
#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
}

/// Where partitions go on, as one consumer believes.
pub(crate) type Places = HashMap<Partition, i64>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// Another consumer has moved the position.
    #[error("another consumer has moved the position")]
    Fenced,
    /// There is no such thing for this caller.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The key of a request names another question.
    #[error("this key was used for another question")]
    OtherQuestion,
    /// A row does not read as it was written.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl From<Error> for kit::Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Sql(error) => error.into(),
            Error::Fenced => Self::unavailable("the partition has moved"),
            Error::NotFound(what) => Self::not_found(what),
            Error::OtherQuestion => Self::new(Code::Conflict, error.to_string()),
            Error::Unreadable(_) => Self::internal(error),
        }
    }
}

impl Store {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    pub(crate) async fn check(&self) -> Result<(), sql::Error> {
        self.db.check().await
    }
}

#[async_trait]
impl eventlog::Positions for Store {
    async fn start(
        &self,
        partition: &Partition,
        low: i64,
        _high: i64,
    ) -> Result<i64, kit::BoxError> {
        let mut tx = self.db.write_tx().await?;
        let (topic, part) = (partition.topic_id, i64::from(partition.number));
        tx.execute(
            "INSERT INTO position (topic_id, part, next_offset) VALUES ($1, $2, $3)
             ON CONFLICT (topic_id, part) DO NOTHING",
            args![topic, part, low],
        )
        .await?;
        let row = tx
            .fetch_optional(
                "SELECT next_offset FROM position WHERE topic_id = $1 AND part = $2",
                args![topic, part],
            )
            .await?;
        let next = row.ok_or("the position row is gone")?.get("next_offset")?;
        tx.commit().await?;
        Ok(next)
    }
}

fn stored(row: &Row) -> Result<Stored, Error> {
    Ok(Stored {
        id: ChatId(row.get("id")?),
        kind: from_word::<Kind>(row.get("kind")?)?,
        title: row.get("title")?,
        creator: UserId(row.get("creator")?),
        version: row.get("version")?,
        projected: row.get("projected")?,
        outbox_n: row.get("outbox_n")?,
        created_ms: row.get("created_ms")?,
    })
}

fn bound(row: &Row) -> Result<Bound, Error> {
    Ok(Bound {
        chat: ChatId(row.get("chat_id")?),
        owner: UserId(row.get("owner")?),
        thread: ThreadId(row.get("thread_id")?),
        mode: from_word(row.get("mode")?)?,
        state: from_word(row.get("state")?)?,
        reason: row
            .get::<Option<String>>("reason")?
            .map(from_word)
            .transpose()?,
        version: row.get("version")?,
    })
}

/// The word that stands for a unit variant in a column.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, Error> {
    Ok(serde_json::from_value(serde_json::Value::String(word))?)
}
