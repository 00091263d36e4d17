//! One consumer of one topic: positions and effects in one transaction, bad records to the dead letters.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{Consumer, Delivered, EventLog, Pace, Partition, Poll, StartAt, Subscription};
use kit::{Backoff, BoxError, CancellationToken, Fault};
use sql::Tx;
use tokio::time::Instant;

use crate::{
    app::bindings::{After, Bindings},
    metrics as names,
    store::{Error, Outgoing, positions},
};

/// Records at a time.
const BATCH: usize = 200;
/// How long a poll waits, and how long positions without effects may stay unwritten.
const IDLE: Duration = Duration::from_secs(1);

/// What is done with the records of one topic.
#[async_trait]
pub(crate) trait Handler: Send + Sync + 'static {
    /// What a record says.
    type Item: Send + Sync;
    /// What has to be known before the transaction.
    type Known: Send + Sync;
    /// How soon it is wanted.
    const PACE: Pace = Pace::Prompt;

    /// Reads a record; `None` when it is not for us, an error when nobody can read it.
    fn parse(&self, record: &Delivered) -> Result<Option<Self::Item>, String>;

    /// Asks other parts of the server, outside of any transaction.
    async fn learn(&self, items: &[&Self::Item]) -> Result<Self::Known, Fault>;

    /// Applies one record.
    async fn apply(
        &self,
        tx: &mut Tx,
        item: &Self::Item,
        known: &Self::Known,
        after: &mut After,
    ) -> Result<(), Error>;
}

/// A consumer.
pub(crate) struct Intake<H> {
    pub(crate) bindings: Bindings,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topic: String,
    pub(crate) group: &'static str,
    pub(crate) session_timeout: Duration,
    pub(crate) token: CancellationToken,
    pub(crate) handler: H,
}

/// A record that has to be applied, or put aside.
struct Entry<T> {
    partition: Partition,
    next: i64,
    what: What<T>,
}

enum What<T> {
    Item(T, Raw),
    Dead(Raw, String),
}

/// A record as it came.
#[derive(Clone)]
struct Raw {
    key: Bytes,
    value: Bytes,
}

/// Positions: as stored, and as reached.
#[derive(Default)]
struct Places {
    stored: HashMap<Partition, i64>,
    reached: HashMap<Partition, i64>,
    /// What the log was told of it.
    told: HashMap<Partition, i64>,
    written: Option<Instant>,
}

impl Places {
    /// Tells the log what it need not keep for this group; the positions are in our own tables.
    async fn tell(&mut self, consumer: &mut dyn Consumer) -> Result<(), eventlog::Error> {
        for (partition, next) in &self.stored {
            if self.told.insert(partition.clone(), *next) != Some(*next) {
                consumer.commit(partition, *next).await?;
            }
        }
        Ok(())
    }
}

impl<H: Handler> Intake<H> {
    /// Works until the node stops.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), BoxError> {
        let mut consumer = self
            .log
            .subscribe(Subscription {
                group: self.group.into(),
                member: self.bindings.worker.clone(),
                topics: vec![self.topic.as_str().into()],
                start: StartAt::Stored(positions(&self.bindings.store)),
                session_timeout: self.session_timeout,
                pace: H::PACE,
            })
            .await?;
        let mut places = Places::default();
        loop {
            let polled = tokio::select! {
                polled = consumer.poll(BATCH, IDLE) => match polled {
                    // The consumer has stopped that one partition and said so; the others go on.
                    Err(eventlog::Error::OutOfRange { .. }) => continue,
                    polled => polled?,
                },
                () = self.token.cancelled() => break,
            };
            match polled {
                Poll::Assigned(partitions) => self.take_over(partitions, &mut places).await?,
                Poll::Records(records) => {
                    self.take_in(records, &mut places, consumer.as_mut())
                        .await?;
                    places.tell(consumer.as_mut()).await?;
                }
            }
        }
        self.commit(&[], &mut places).await?;
        Ok(places.tell(consumer.as_mut()).await?)
    }

    async fn take_over(&self, now: Vec<Partition>, places: &mut Places) -> Result<(), Error> {
        places.stored.retain(|partition, _| now.contains(partition));
        places
            .reached
            .retain(|partition, _| now.contains(partition));
        places.told.retain(|partition, _| now.contains(partition));
        for partition in now {
            if !places.stored.contains_key(&partition) {
                let next = self.bindings.store.position(&partition, 0).await?;
                places.stored.insert(partition.clone(), next);
                places.reached.insert(partition, next);
            }
        }
        Ok(())
    }

    async fn take_in(
        &self,
        records: Vec<Delivered>,
        places: &mut Places,
        consumer: &mut dyn Consumer,
    ) -> Result<(), BoxError> {
        let mut entries = Vec::new();
        for record in records {
            let Some(reached) = places.reached.get_mut(&record.partition) else {
                continue;
            };
            if record.offset < *reached {
                continue;
            }
            *reached = record.offset + 1;
            let raw = Raw {
                key: record.key.clone(),
                value: record.value.clone(),
            };
            let what = match self.handler.parse(&record) {
                Ok(Some(item)) => What::Item(item, raw),
                Ok(None) => continue,
                Err(why) => What::Dead(raw, why),
            };
            entries.push(Entry {
                partition: record.partition,
                next: record.offset + 1,
                what,
            });
        }
        // Positions of records that concern nobody here need not be written each time.
        let rest = places.written.is_some_and(|at| at.elapsed() < IDLE);
        if entries.is_empty() && (rest || places.stored == places.reached) {
            return Ok(());
        }
        match self.commit_patiently(entries, places).await {
            Err(Error::Fenced) => {
                tracing::warn!(
                    group = self.group,
                    "another consumer has moved the position; going back to it"
                );
                for (partition, next) in &mut places.stored {
                    *next = self.bindings.store.position(partition, 0).await?;
                    consumer.seek(partition, *next).await?;
                }
                places.reached.clone_from(&places.stored);
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Commits a batch; waits out what passes by itself, and puts the one record aside that cannot be applied.
    async fn commit_patiently(
        &self,
        mut entries: Vec<Entry<H::Item>>,
        places: &mut Places,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
        loop {
            let error = match self.commit(&entries, places).await {
                Err(error) if error.is_passing() => error,
                Err(error @ (Error::Sql(_) | Error::Unreadable(_))) => {
                    break self.commit_singly(&mut entries, places, &error).await;
                }
                result => break result,
            };
            tracing::warn!(group = self.group, %error, "a batch could not be applied; trying again");
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.token.cancelled() => break Err(error),
            }
        }
    }

    async fn commit_singly(
        &self,
        entries: &mut [Entry<H::Item>],
        places: &mut Places,
        first: &Error,
    ) -> Result<(), Error> {
        tracing::error!(group = self.group, error = %first, "a batch cannot be applied as a whole; applying its records one by one");
        let reached = places.reached.clone();
        places.reached.clone_from(&places.stored);
        for entry in entries {
            places.reached.insert(entry.partition.clone(), entry.next);
            match self.commit(std::slice::from_ref(entry), places).await {
                Err(error @ (Error::Sql(_) | Error::Unreadable(_))) if !error.is_passing() => {
                    if let What::Item(_, raw) = &entry.what {
                        entry.what = What::Dead(raw.clone(), error.to_string());
                    }
                    self.commit(std::slice::from_ref(entry), places).await?;
                }
                result => result?,
            }
        }
        places.reached = reached;
        self.commit(&[], places).await
    }

    /// Applies the entries and moves every position to where it was reached, in one transaction.
    async fn commit(&self, entries: &[Entry<H::Item>], places: &mut Places) -> Result<(), Error> {
        let items: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                if let What::Item(item, _) = &entry.what {
                    Some(item)
                } else {
                    None
                }
            })
            .collect();
        let known = self.learn(&items).await?;
        let mut after = After::default();
        let store = &self.bindings.store;
        let mut tx = store.db.write_tx().await?;
        for (partition, to) in &places.reached {
            let from = places.stored.get(partition).copied().unwrap_or(*to);
            if from != *to {
                store.advance(&mut tx, partition, from, *to).await?;
            }
        }
        for entry in entries {
            match &entry.what {
                What::Item(item, _) => {
                    self.handler
                        .apply(&mut tx, item, &known, &mut after)
                        .await?;
                }
                What::Dead(raw, why) => self.bury(&mut tx, raw, why).await?,
            }
        }
        kit::failpoint!("ai.intake.commit");
        tx.commit().await?;
        places.stored.clone_from(&places.reached);
        places.written = Some(Instant::now());
        if !entries.is_empty() {
            self.bindings.settle(&after);
        }
        Ok(())
    }

    /// Another part of the server that is away is waited for: nothing else can be done with the records.
    async fn learn(&self, items: &[&H::Item]) -> Result<H::Known, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let fault = match self.handler.learn(items).await {
                Ok(known) => return Ok(known),
                Err(fault) => fault,
            };
            tracing::warn!(group = self.group, error = ?fault, "what records refer to could not be read; trying again");
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = self.token.cancelled() => return Err(Error::Sql(sql::Error::Unavailable(fault.into()))),
            }
        }
    }

    async fn bury(&self, tx: &mut Tx, raw: &Raw, why: &str) -> Result<(), Error> {
        tracing::warn!(group = self.group, why, "a record goes to the dead letters");
        metrics::counter!(names::DEAD, "group" => self.group).increment(1);
        let (key, payload) = (raw.key.clone(), raw.value.clone());
        self.bindings
            .post(
                tx,
                Outgoing {
                    topic: self.bindings.topics.dead_letters(self.group),
                    key,
                    payload,
                },
            )
            .await
    }
}
