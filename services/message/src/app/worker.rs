//! The worker that stores: takes batches off the persist topic, commits them, publishes what follows.
//!
//! A worker owns partitions as the group gives them to it. The position of a partition moves in the
//! transaction of its effects, by compare-and-set; whoever lost the partition without knowing is
//! stopped there. Everything after the commit may be repeated, nothing before it counts.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use contracts::message::Auto;
use eventlog::{Consumer, Delivered, EventLog, Pace, Partition, Poll, StartAt, Subscription};
use kit::{Backoff, BoxError, CancellationToken, Clock, Ids};
use tokio::time::Instant;

use super::publish::{GROUP, Marks, Publisher, Publishing};
use crate::{
    domain::{self, Fate, Outgoing, Parsed, Target},
    metrics as names,
    store::{Error, PartitionBatch, PartitionState, Store, positions},
};

/// The largest batch.
const BATCH: usize = 500;
/// How long a poll waits; also how soon marks are written when nothing is sent.
const IDLE: Duration = Duration::from_secs(1);

/// How long a worker that keeps up waits until a batch is published before it takes the next.
const TOGETHER: Duration = Duration::from_millis(100);

/// What a worker is made of.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) publisher: Publisher,
    pub(crate) marks: Marks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) token: CancellationToken,
    pub(crate) member: Arc<str>,
    pub(crate) session_timeout: Duration,
}

/// A partition that this worker owns.
struct Owned {
    state: PartitionState,
    /// What is in `published_n` already.
    marked: i64,
}

impl Worker {
    /// Works until the node stops.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let mut consumer = self
            .log
            .subscribe(Subscription {
                group: GROUP.into(),
                member: self.member.clone(),
                topics: vec![self.publisher.topics.message_persist.as_str().into()],
                start: StartAt::Stored(positions(&self.store)),
                session_timeout: self.session_timeout,
                pace: Pace::Prompt,
            })
            .await?;
        metrics::gauge!(names::WORKERS).increment(1.0);
        let result = self.work(consumer.as_mut()).await;
        metrics::gauge!(names::WORKERS).decrement(1.0);
        result
    }

    async fn work(&self, consumer: &mut dyn Consumer) -> Result<(), BoxError> {
        let (mut owned, mut publishing) = (HashMap::new(), Publishing::default());
        while !self.token.is_cancelled() {
            let polling = consumer.poll(BATCH, IDLE);
            let polled = tokio::select! {
                polled = publishing.beside(polling) => match polled {
                    // The consumer has stopped that one partition and said so; the others go on.
                    Err(eventlog::Error::OutOfRange { .. }) => continue,
                    polled => polled?,
                },
                () = self.token.cancelled() => break,
            };
            match polled {
                Poll::Assigned(partitions) => {
                    publishing.finish().await;
                    self.take_over(partitions, &mut owned).await?;
                }
                Poll::Records(records) if records.is_empty() => {
                    publishing.beside(self.write_marks(&mut owned)).await?;
                }
                Poll::Records(records) => {
                    self.store_batch(records, &mut owned, consumer, &mut publishing)
                        .await?;
                }
            }
        }
        publishing.finish().await;
        // What was appended before the flush is published; what could not be appended is not.
        let appended: Vec<_> = owned
            .keys()
            .map(|partition| (partition, self.marks.appended_to(partition)))
            .collect();
        self.log.flush().await?;
        for (partition, n) in appended {
            self.store.mark_published(partition, n).await?;
        }
        Ok(())
    }

    /// Forgets what was lost; publishes what an earlier owner of a new partition left unpublished.
    async fn take_over(
        &self,
        now: Vec<Partition>,
        owned: &mut HashMap<Partition, Owned>,
    ) -> Result<(), BoxError> {
        owned.retain(|partition, _| {
            let kept = now.contains(partition);
            if !kept {
                self.marks.forget(partition);
            }
            kept
        });
        for partition in now {
            if let Entry::Vacant(place) = owned.entry(partition) {
                let own = self.adopt(place.key()).await?;
                place.insert(own);
            }
        }
        Ok(())
    }

    async fn adopt(&self, partition: &Partition) -> Result<Owned, BoxError> {
        let state = self
            .store
            .partition_state(partition)
            .await?
            .ok_or("a partition has no position row")?;
        let mut after = state.published_n;
        loop {
            let rows = self.store.unpublished(partition, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.n;
            if !self
                .publisher
                .publish(rows.into_iter().map(|row| row.outgoing).collect())
                .await
            {
                break;
            }
            self.marks.appended(partition, after);
        }
        Ok(Owned {
            state,
            marked: state.published_n,
        })
    }

    async fn store_batch<'a>(
        &'a self,
        records: Vec<Delivered>,
        owned: &mut HashMap<Partition, Owned>,
        consumer: &mut dyn Consumer,
        publishing: &mut Publishing<'a>,
    ) -> Result<(), BoxError> {
        let is_backlog = records.len() == BATCH;
        let parts = self.parts(records, owned);
        if parts.is_empty() {
            return Ok(());
        }
        match publishing.beside(self.commit(&parts)).await {
            Ok(results) => {
                let (outgoing, appended) = settle(parts, results, owned);
                publishing
                    .begin(self.publish(outgoing, appended.clone()))
                    .await;
                for (partition, after) in appended {
                    // Tells the log what it need not keep for us; the position is in our own tables.
                    let keeping = consumer.commit(&partition, after.next_offset);
                    publishing.beside(keeping).await?;
                }
                if !is_backlog {
                    // What comes meanwhile is stored together: a batch of two costs as much as one of fifty. A log that does
                    // not answer is not waited for: who does not poll loses its partitions.
                    let _ = tokio::time::timeout(TOGETHER, publishing.finish()).await;
                }
            }
            Err(Error::Fenced) => {
                // Ours no longer, rewound, or committed by a try whose answer was lost: the row knows.
                metrics::counter!(names::FENCED).increment(1);
                publishing.finish().await;
                for part in parts {
                    let own = self.adopt(&part.partition).await?;
                    consumer
                        .seek(&part.partition, own.state.next_offset)
                        .await?;
                    owned.insert(part.partition, own);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Sorts a batch by partition and drops what is applied already.
    fn parts(
        &self,
        records: Vec<Delivered>,
        owned: &HashMap<Partition, Owned>,
    ) -> Vec<PartitionBatch> {
        let mut parts: Vec<PartitionBatch> = Vec::new();
        for record in records {
            let Some(own) = owned.get(&record.partition) else {
                continue;
            };
            if record.offset < own.state.next_offset {
                continue;
            }
            let parsed = domain::parse(&record.key, &record.value);
            match parts
                .iter_mut()
                .find(|part| part.partition == record.partition)
            {
                Some(part) => {
                    part.next_offset = record.offset + 1;
                    part.records.push(parsed);
                }
                None => parts.push(PartitionBatch {
                    published_n: self.marks.flushed(&record.partition),
                    before: own.state,
                    next_offset: record.offset + 1,
                    partition: record.partition,
                    records: vec![parsed],
                }),
            }
        }
        parts
    }

    /// Commits; waits out what passes by itself, and puts the one record aside that cannot be stored.
    async fn commit(
        &self,
        parts: &[PartitionBatch],
    ) -> Result<Vec<(PartitionState, Vec<Outgoing>)>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut told = false;
        loop {
            let started = Instant::now();
            let result = self
                .store
                .commit(parts, self.clock.now_ms(), || self.ids.next())
                .await;
            metrics::histogram!(names::COMMIT).record(started.elapsed().as_secs_f64());
            match result {
                Err(Error::Sql(error)) if error.is_retryable() => {
                    tracing::warn!(%error, "storing a batch failed; trying again");
                    if matches!(error, sql::Error::Full(_)) && !std::mem::replace(&mut told, true) {
                        self.publisher.publish(storage_full(parts)).await;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                        () = self.token.cancelled() => return Err(Error::Sql(error)),
                    }
                }
                Err(error) if error.is_about_a_record() => {
                    return self.commit_singly(parts, &error).await;
                }
                // Anything else is nobody's fault: the position stays, and the worker begins anew.
                other => return other,
            }
        }
    }

    /// Some record of the batch cannot be stored: commit them one by one and put that one to the dead letters.
    async fn commit_singly(
        &self,
        parts: &[PartitionBatch],
        first: &Error,
    ) -> Result<Vec<(PartitionState, Vec<Outgoing>)>, Error> {
        tracing::error!(error = %first, "a batch cannot be stored as a whole; storing its records one by one");
        let mut results = Vec::new();
        for part in parts {
            let mut state = part.before;
            let mut published = Vec::new();
            let last = part.records.len() - 1;
            for (at, record) in part.records.iter().enumerate() {
                // Repeating a stored record does no harm, so the position may wait for the last one.
                let next_offset = if at == last {
                    part.next_offset
                } else {
                    state.next_offset
                };
                let (partition, published_n) = (part.partition.clone(), part.published_n);
                let records = vec![record.clone()];
                let single = PartitionBatch {
                    partition,
                    before: state,
                    next_offset,
                    published_n,
                    records,
                };
                let (after, outgoing) = self.commit_single(single).await?;
                state = after;
                published.extend(outgoing);
            }
            results.push((state, published));
        }
        Ok(results)
    }

    async fn commit_single(
        &self,
        mut single: PartitionBatch,
    ) -> Result<(PartitionState, Vec<Outgoing>), Error> {
        let now_ms = self.clock.now_ms();
        let one = std::slice::from_ref(&single);
        let mut results = match self.store.commit(one, now_ms, || self.ids.next()).await {
            Err(cause) if cause.is_about_a_record() => {
                tracing::error!(error = %cause, "a record cannot be stored; it goes to the dead letters");
                single.records = single
                    .records
                    .iter()
                    .map(|record| dead(record, &cause))
                    .collect();
                self.store
                    .commit(&[single], now_ms, || self.ids.next())
                    .await?
            }
            other => other?,
        };
        Ok(results.pop().expect("one part gives one result"))
    }

    /// Publishes what a batch led to, and notes how far each partition is.
    async fn publish(&self, outgoing: Vec<Outgoing>, appended: Vec<(Partition, PartitionState)>) {
        kit::failpoint!("message.publish.before");
        if self.publisher.publish(outgoing).await {
            kit::failpoint!("message.publish.after");
            for (partition, after) in &appended {
                self.marks.appended(partition, after.outbox_n);
            }
        }
    }

    /// Nothing was sent for a while: the marks get a transaction of their own, and the rows go.
    async fn write_marks(&self, owned: &mut HashMap<Partition, Owned>) -> Result<(), BoxError> {
        for (partition, own) in owned {
            let flushed = self.marks.flushed(partition);
            if flushed > own.marked {
                self.store.mark_published(partition, flushed).await?;
                own.marked = flushed;
                own.state.published_n = flushed;
            }
        }
        Ok(())
    }
}

/// Says of each send that its outcome stands, so that a request can be followed through the logs.
fn trace(records: &[Parsed]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for record in records {
        if let Parsed::Send(send) = record {
            tracing::debug!(request.id = send.request, chat.id = %send.chat, "a message was stored, known or refused");
        }
    }
}

/// Takes in what a commit gave: what is to be published, and where each partition is now.
fn settle(
    parts: Vec<PartitionBatch>,
    results: Vec<(PartitionState, Vec<Outgoing>)>,
    owned: &mut HashMap<Partition, Owned>,
) -> (Vec<Outgoing>, Vec<(Partition, PartitionState)>) {
    let mut outgoing = Vec::new();
    let mut appended = Vec::new();
    let records: usize = parts.iter().map(|part| part.records.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!(names::BATCH).record(records as f64);
    for (part, (after, out)) in parts.into_iter().zip(results) {
        count(&out);
        trace(&part.records);
        outgoing.extend(out);
        appended.push((part.partition.clone(), after));
        owned.insert(
            part.partition,
            Owned {
                state: after,
                marked: after.published_n,
            },
        );
    }
    (outgoing, appended)
}

fn count(outgoing: &[Outgoing]) {
    for out in outgoing {
        match &out.fate {
            Some(Fate::Stored(auto)) => {
                let auto = match auto {
                    Auto::No => "no",
                    Auto::Replied => "replied",
                };
                metrics::counter!(names::STORED, "auto" => auto).increment(1);
            }
            Some(Fate::Answered(code)) => {
                metrics::counter!(names::ANSWERED, "code" => code.clone()).increment(1);
            }
            None if out.target == Target::Dead => metrics::counter!(names::DEAD).increment(1),
            None => {}
        }
    }
}

fn dead(record: &Parsed, cause: &Error) -> Parsed {
    let (key, value) = match record {
        Parsed::Send(send) => contracts::pipeline::send_record((**send).clone()),
        Parsed::Change(change) => (
            contracts::pipeline::persist_key(change.chat),
            contracts::pipeline::encode(&contracts::events::Persist::Change((**change).clone())),
        ),
        Parsed::Dead { key, value, .. } => (key.clone(), value.clone()),
    };
    Parsed::Dead {
        key,
        value,
        why: cause.to_string(),
    }
}

/// Tells the senders that wait why they wait. The records stay in the log, so this is no refusal:
/// the outcome is open until the same key is sent again.
fn storage_full(parts: &[PartitionBatch]) -> Vec<Outgoing> {
    let records = parts.iter().flat_map(|part| &part.records);
    let sends = records.filter_map(|record| {
        if let Parsed::Send(send) = record {
            Some(send)
        } else {
            None
        }
    });
    sends
        .map(|send| {
            domain::answer(
                send,
                domain::refusal("storage_full", "the server has no room left; try again"),
            )
        })
        .collect()
}
