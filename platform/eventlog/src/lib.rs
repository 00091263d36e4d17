//! The event log: topics of keyed records, split into partitions, read by groups and by tails.
//!
//! This is the port; what stands behind it is chosen by the scheme of one URL (`open`): the embedded
//! log in the data folder, or Apache Kafka. Every adapter passes the one behaviour suite in `suite`.
//! The log is a pipe, never the only holder of something that was confirmed to a person.
//!
//! Start reading at [`EventLog`], then `submit`, which sends a record and waits for its answer.

mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
mod metrics;
mod open;
mod reading;
mod rules;

pub mod submit;

#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use open::{Config, KafkaConfig, OpenError, check, open};
pub use reading::{consume, follow, watch_losses};
pub use rules::check_topic;
pub use submit::Submitter;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

/// A topic that a process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name, as in configuration.
    pub name: Arc<str>,
    /// Number of partitions; fixed at creation, 1 to 1024.
    pub partitions: u32,
}

/// A topic as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity: a topic that was deleted and made again has another one.
    pub id: Uuid,
    /// Number of partitions.
    pub partitions: u32,
}

/// What is appended. Records with the same key are in one partition, in the order of their appends.
#[derive(Clone, Debug)]
pub struct Record {
    /// Decides the partition.
    pub key: Bytes,
    /// The payload, at most 1 MiB.
    pub value: Bytes,
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's identity.
    pub topic_id: Uuid,
    /// 0 to partitions - 1.
    pub number: u32,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Where it was read.
    pub partition: Partition,
    /// Its place there; rises, with gaps allowed.
    pub offset: i64,
    /// Its key.
    pub key: Bytes,
    /// Its payload.
    pub value: Bytes,
}

/// Why the log refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log does not answer, or has no room; the outcome of an append is unknown.
    #[error("the event log is away: {0}")]
    Unavailable(String),
    /// A topic exists with another number of partitions.
    #[error("topic {topic} has {found} partitions and not {wanted}")]
    PartitionMismatch {
        /// The topic's name.
        topic: String,
        /// As configured.
        wanted: u32,
        /// As found.
        found: u32,
    },
    /// A topic or record is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// A position lies outside what the log still holds or ever held.
    #[error("position {position} of {topic}/{partition} lies outside {low}..={high}")]
    OutOfRange {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: u32,
        /// Where the reader wanted to go on.
        position: i64,
        /// The oldest offset held.
        low: i64,
        /// The next offset to be given.
        high: i64,
    },
    /// The positions could not be read from the service's own store.
    #[error("reading the positions failed")]
    Positions(#[source] kit::BoxError),
}

/// What a caller of ours tells its own caller.
impl From<Error> for kit::Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::Positions(_) => Self::unavailable(error),
            Error::Invalid(_) | Error::PartitionMismatch { .. } | Error::OutOfRange { .. } => {
                Self::internal(error)
            }
        }
    }
}

/// Where a consumer starts in a partition that it has just been given. Implemented by services whose
/// position lives in their own database, in the transaction of their effects.
#[async_trait]
pub trait Positions: Send + Sync + 'static {
    /// The next offset to read. `low` is the oldest offset held and `high` the next to be given; a
    /// service that has no row yet inserts one at `low` and returns it.
    async fn start(&self, partition: &Partition, low: i64, high: i64)
    -> Result<i64, kit::BoxError>;
}

/// How a group keeps its place.
#[derive(Clone)]
pub enum StartAt {
    /// In the service's own database (exactly-once effects).
    Stored(Arc<dyn Positions>),
    /// In the log, by [`Consumer::commit`] (at least once); a new group starts at the oldest record.
    Group,
}

/// Membership in a consumer group.
#[derive(Clone)]
pub struct Subscription {
    /// Consumers of one group share the partitions.
    pub group: Arc<str>,
    /// Unique in the group, the same after a restart.
    pub member: Arc<str>,
    /// What to read.
    pub topics: Vec<Arc<str>>,
    /// Where to begin.
    pub start: StartAt,
    /// A member that does not poll for so long loses its partitions.
    pub session_timeout: Duration,
    /// How soon it wants what is appended.
    pub pace: Pace,
}

/// How soon a reader wants what is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once: somebody waits for it.
    Prompt,
    /// Up to 100 ms later, so that under load many records come together and cost the brokers and the reader less.
    Relaxed,
}

/// What one poll brings.
#[derive(Debug)]
pub enum Poll {
    /// Records of any of the owned partitions, in order per partition; empty when the wait was over.
    Records(Vec<Delivered>),
    /// The set of owned partitions has changed to this one. Comes before the first record of a new
    /// partition, which is the moment to publish what an earlier owner left unpublished.
    Assigned(Vec<Partition>),
}

/// One member of a group.
#[async_trait]
pub trait Consumer: Send {
    /// Waits up to `wait` for the next records, at most `max`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] once for a partition whose position is not in the log: it is logged, counted and read no more
    /// until a seek. The next poll goes on with the others.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Poll, Error>;

    /// Goes to `offset` in a partition that is owned: the next poll reads from there.
    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error>;

    /// Keeps `offset` as the next to read, for [`StartAt::Group`]. A member that no longer owns the
    /// partition is refused silently.
    async fn commit(&mut self, partition: &Partition, offset: i64) -> Result<(), Error>;
}

/// Reads every partition of a topic, outside of any group.
#[async_trait]
pub trait Tail: Send {
    /// Waits for the next records, at most `max`. [`Error::OutOfRange`] says that continuity is lost.
    async fn next(&mut self, max: usize) -> Result<Vec<Delivered>, Error>;
}

/// The log.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes the topics that do not exist yet.
    ///
    /// # Errors
    /// [`Error::PartitionMismatch`] when one exists with another number of partitions.
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Topic>, Error>;

    /// Appends in order and returns when the records are ordered and visible to consumers. They survive
    /// `kill -9` of the process at the latest when [`EventLog::flush`] returns, and a power cut as well.
    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<(), Error>;

    /// Returns when everything appended before this call is as safe as the log can make it. An outbox
    /// row may be marked only after this.
    async fn flush(&self) -> Result<(), Error>;

    /// Joins a group.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, Error>;

    /// Reads all partitions of `topic` from their present end; the start is fixed when this returns.
    async fn tail(&self, topic: &str, pace: Pace) -> Result<Box<dyn Tail>, Error>;

    /// The oldest offset held and the next to be given, for each partition of `topic`.
    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, Error>;

    /// Reads a stretch of one partition without any group, for people who look into the log. A `from`
    /// below what is held begins at the oldest record; there may be more than what one call brings.
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
    ) -> Result<Vec<Delivered>, Error>;

    /// Counts how often a topic was found deleted and made again: what waited in it is gone, and nothing will come of it. A log
    /// that nobody else can touch has nothing to tell.
    fn made_again(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Whether the log takes appends; for readiness.
    async fn check(&self) -> Result<(), Error>;

    /// Writes everything out; nothing may be appended afterwards.
    async fn close(&self);
}
