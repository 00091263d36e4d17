//! Tables of the chat streams. One SQL text for both engines, but for [`crate::dialect`].

mod read;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use contracts::chat::{BindingMode, BindingState, Kind};
use eventlog::Partition;
use serde::{Serialize, de::DeserializeOwned};
use sql::{Db, args};

pub(crate) use write::{PartitionBatch, PartitionState};

/// The migrations of this service.
pub const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_streams");

/// The store.
#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database.
    #[error(transparent)]
    Sql(#[from] sql::Error),
    /// Somebody else moved the position: this worker no longer owns the partition, or it was rewound.
    #[error("another worker has moved the position")]
    Fenced,
    /// A row does not read as it was written.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Error {
    /// Whether one record of the batch is to blame, and the others can be stored without it.
    pub(crate) fn is_about_a_record(&self) -> bool {
        match self {
            Self::Sql(error) => error.is_about_values(),
            Self::Unreadable(_) => true,
            Self::Fenced => false,
        }
    }
}

impl From<Error> for kit::Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Sql(error) => error.into(),
            Error::Fenced => Self::unavailable("the partition has moved"),
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

/// Gives every stream this epoch, some at a time: a statement has a time limit.
pub(crate) async fn begin_anew(db: &Db, epoch: &str) -> Result<(), sql::Error> {
    loop {
        let mut tx = db.write_tx().await?;
        let renewed = tx
            .execute(
                "UPDATE stream SET epoch = $1 WHERE chat_id IN
                 (SELECT chat_id FROM stream WHERE epoch <> $1 LIMIT 10000)",
                args![epoch],
            )
            .await?;
        tx.commit().await?;
        if renewed == 0 {
            return Ok(());
        }
    }
}

/// The position of each partition lives beside the effects of its records.
pub(crate) struct StoredPositions(pub(crate) Store);

#[async_trait]
impl eventlog::Positions for StoredPositions {
    async fn start(
        &self,
        partition: &Partition,
        low: i64,
        _high: i64,
    ) -> Result<i64, kit::BoxError> {
        let mut tx = self.0.db.write_tx().await?;
        let (topic, part) = (partition.topic_id, i64::from(partition.number));
        tx.execute(
            "INSERT INTO position (topic_id, part, next_offset, outbox_n, published_n) VALUES ($1, $2, $3, 0, 0)
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

/// How the consumer finds its place.
pub(crate) fn positions(store: &Store) -> Arc<dyn eventlog::Positions> {
    Arc::new(StoredPositions(store.clone()))
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

/// The words of this service's columns.
fn kind(word: String) -> Result<Kind, Error> {
    from_word(word)
}

fn mode(word: String) -> Result<BindingMode, Error> {
    from_word(word)
}

fn state(word: String) -> Result<BindingState, Error> {
    from_word(word)
}
