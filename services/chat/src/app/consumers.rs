//! What the log tells: which decisions were projected, and what became of threads.

use std::{sync::Arc, time::Duration};

use contracts::{
    ChatId,
    events::{ThreadCreated, Topics},
    frames::{self, Head, Lane, Projected},
};
use eventlog::{
    Consumer, Delivered, EventLog, Pace, Partition, Poll, Record, StartAt, Subscription,
    submit::Submitter,
};
use kit::{BoxError, CancellationToken, Clock};
use tokio::time::Instant;

use super::publish::Publisher;
use crate::{
    metrics as names,
    store::{Places, Store},
};

/// Reads what was projected.
pub(crate) const FORWARD_GROUP: &str = "chat";
/// Reads what became of threads.
pub(crate) const THREADS_GROUP: &str = "chat-threads";

/// How often the positions of skipped records are kept.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// A chat and a version: what a command waits for.
pub(crate) type Version = (ChatId, i64);

/// What both consumers stand on.
#[derive(Clone)]
pub(crate) struct Consumers {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) publisher: Publisher,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) waiters: Submitter<Version, ()>,
    pub(crate) token: CancellationToken,
    pub(crate) replica: Arc<str>,
}

/// The start of every frame that tells nothing about decisions: most of the topic.
const MESSAGE: &[u8] = br#"{"t":"msg.new""#;

impl Consumers {
    /// Follows the forward topic until the node stops.
    pub(crate) async fn follow_projections(self) -> Result<(), BoxError> {
        let topic = self.topics.forward_message.clone();
        // Every message comes by, and a decision now and then: whoever decides may wait the tenth of a second.
        let mut consumer = self.subscribe(FORWARD_GROUP, &topic, Pace::Relaxed).await?;
        // The positions of skipped records need no transaction of their own: they ride with the next effect,
        // or go alone now and then, so that a restart does not read them all again.
        let (mut stored, mut reached) = (Places::new(), Places::new());
        let mut kept_at = Instant::now();
        loop {
            let Some(records) = self
                .poll(consumer.as_mut(), &mut stored, &mut reached)
                .await?
            else {
                // Nothing counts as unread that was read.
                self.store.projections(&[], (&stored, &reached)).await?;
                return Ok(keep(consumer.as_mut(), &mut stored, &reached).await?);
            };
            let projected = records.iter().filter_map(projected).collect::<Vec<_>>();
            advance(&mut reached, &records);
            if projected.is_empty() && (kept_at.elapsed() < KEEP_EVERY || stored == reached) {
                continue;
            }
            // Fenced: another consumer has the partition. The task starts anew and takes what it is given.
            self.store
                .projections(&projected, (&stored, &reached))
                .await?;
            keep(consumer.as_mut(), &mut stored, &reached).await?;
            kept_at = Instant::now();
            for version in projected {
                self.waiters.answer(&version, ());
            }
        }
    }

    /// Follows what becomes of threads until the node stops.
    pub(crate) async fn follow_threads(self) -> Result<(), BoxError> {
        let topic = self.topics.ai_thread_created.clone();
        let mut consumer = self.subscribe(THREADS_GROUP, &topic, Pace::Prompt).await?;
        let (mut stored, mut reached) = (Places::new(), Places::new());
        loop {
            let Some(records) = self
                .poll(consumer.as_mut(), &mut stored, &mut reached)
                .await?
            else {
                return Ok(());
            };
            if records.is_empty() {
                continue;
            }
            advance(&mut reached, &records);
            let mut created = Vec::new();
            for record in &records {
                match serde_json::from_slice::<ThreadCreated>(&record.value) {
                    Ok(thread) => created.push(thread),
                    Err(error) => self.put_aside(record, &error).await?,
                }
            }
            let now_ms = self.clock.now_ms();
            let touched = self
                .store
                .threads_created(&self.topics, &created, (&stored, &reached), now_ms)
                .await?;
            keep(consumer.as_mut(), &mut stored, &reached).await?;
            for chat in touched {
                self.publisher.publish(chat).await?;
            }
        }
    }

    async fn subscribe(
        &self,
        group: &str,
        topic: &str,
        pace: Pace,
    ) -> Result<Box<dyn Consumer>, eventlog::Error> {
        self.log
            .subscribe(Subscription {
                group: group.into(),
                member: self.replica.clone(),
                topics: vec![topic.into()],
                start: StartAt::Stored(Arc::new(self.store.clone())),
                session_timeout: Duration::from_secs(6),
                pace,
            })
            .await
    }

    /// The next records; `None` when the node stops.
    async fn poll(
        &self,
        consumer: &mut dyn Consumer,
        stored: &mut Places,
        reached: &mut Places,
    ) -> Result<Option<Vec<Delivered>>, BoxError> {
        let polled = tokio::select! {
            polled = consumer.poll(500, Duration::from_secs(1)) => match polled {
                // The consumer has stopped that one partition and said so; the others go on.
                Err(eventlog::Error::OutOfRange { .. }) => return Ok(Some(Vec::new())),
                polled => polled?,
            },
            () = self.token.cancelled() => return Ok(None),
        };
        match polled {
            Poll::Records(records) => Ok(Some(records)),
            Poll::Assigned(partitions) => {
                self.adopt(&partitions, stored, reached).await?;
                Ok(Some(Vec::new()))
            }
        }
    }

    async fn adopt(
        &self,
        partitions: &[Partition],
        stored: &mut Places,
        reached: &mut Places,
    ) -> Result<(), BoxError> {
        stored.retain(|partition, _| partitions.contains(partition));
        reached.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            if !stored.contains_key(partition) {
                let next = self.store.place(partition).await?;
                stored.insert(partition.clone(), next);
                reached.insert(partition.clone(), next);
            }
        }
        Ok(())
    }

    async fn put_aside(
        &self,
        record: &Delivered,
        error: &serde_json::Error,
    ) -> Result<(), BoxError> {
        tracing::warn!(%error, offset = record.offset, "a thread record is not readable");
        metrics::counter!(names::DEAD).increment(1);
        let dead = Record {
            key: record.key.clone(),
            value: record.value.clone(),
        };
        self.log
            .append(&self.topics.dead_letters(THREADS_GROUP), vec![dead])
            .await?;
        // The position moves past it only when it is safe elsewhere.
        self.log.flush().await?;
        Ok(())
    }
}

/// Remembers what is stored now, and tells the log what it need not keep for this group.
async fn keep(
    consumer: &mut dyn Consumer,
    stored: &mut Places,
    reached: &Places,
) -> Result<(), eventlog::Error> {
    for (partition, next) in reached {
        if stored.insert(partition.clone(), *next) != Some(*next) {
            consumer.commit(partition, *next).await?;
        }
    }
    Ok(())
}

fn advance(reached: &mut Places, records: &[Delivered]) {
    for record in records {
        if let Some(next) = reached.get_mut(&record.partition) {
            *next = (*next).max(record.offset + 1);
        }
    }
}

/// What the events of decisions have in common.
#[derive(serde::Deserialize)]
struct Versioned {
    version: i64,
}

/// Which decision a record says to be projected, if it does.
fn projected(record: &Delivered) -> Option<Version> {
    if record.value.starts_with(MESSAGE) {
        return None;
    }
    let Lane::Chat(chat) = Lane::parse(&record.key)? else {
        return None;
    };
    let head = Head::parse(&record.value).ok()?;
    if head.t == frames::PROJECTED {
        let projected: Projected = head.content().ok()?;
        return Some((chat, projected.version));
    }
    head.o?;
    let event: Versioned = head.content().ok()?;
    Some((chat, event.version))
}
