//! The real embedded log, with a hand on the worker: it can be stopped between reading and storing, and
//! flushes can be held back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use eventlog::{
    Consumer, Delivered, Error, EventLog, Pace, Partition, Poll, Record, Subscription, Tail, Topic,
    TopicSpec,
};
use tokio::sync::{Notify, watch};

/// What is held, and what was seen.
#[derive(Default)]
pub(crate) struct Hand {
    /// Flushes fail.
    pub(crate) holds_flushes: AtomicBool,
    /// The next batch of the persist topic waits before the worker gets it.
    pub(crate) holds_a_batch: AtomicBool,
    /// A batch waits now.
    pub(crate) is_holding: AtomicBool,
    /// Lets the batch go.
    pub(crate) go_on: Notify,
    /// Times a worker said what became of a batch.
    pub(crate) outcomes: AtomicUsize,
    /// Polls without a record.
    pub(crate) empty_polls: AtomicUsize,
    /// Topics that were deleted and made again.
    pub(crate) made_again: watch::Sender<u64>,
}

pub(crate) struct Stage {
    pub(crate) inner: Arc<dyn EventLog>,
    pub(crate) hand: Arc<Hand>,
}

struct Watched {
    inner: Box<dyn Consumer>,
    hand: Arc<Hand>,
}

#[async_trait]
impl Consumer for Watched {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Poll, Error> {
        let polled = self.inner.poll(max, wait).await?;
        match &polled {
            Poll::Records(records) if records.is_empty() => {
                self.hand.empty_polls.fetch_add(1, SeqCst);
            }
            Poll::Records(_) if self.hand.holds_a_batch.swap(false, SeqCst) => {
                self.hand.is_holding.store(true, SeqCst);
                self.hand.go_on.notified().await;
            }
            Poll::Records(_) | Poll::Assigned(_) => {}
        }
        Ok(polled)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        self.hand.outcomes.fetch_add(1, SeqCst);
        self.inner.seek(partition, offset).await
    }

    async fn commit(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        self.hand.outcomes.fetch_add(1, SeqCst);
        self.inner.commit(partition, offset).await
    }
}

#[async_trait]
impl EventLog for Stage {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        self.inner.ensure(topics).await
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<(), Error> {
        self.inner.append(topic, records).await
    }

    async fn flush(&self) -> Result<(), Error> {
        if self.hand.holds_flushes.load(SeqCst) {
            return Err(Error::Unavailable("held back".to_owned()));
        }
        self.inner.flush().await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, Error> {
        let is_persist = subscription
            .topics
            .iter()
            .any(|topic| topic.ends_with("persist"));
        let inner = self.inner.subscribe(subscription).await?;
        if !is_persist {
            return Ok(inner);
        }
        let hand = self.hand.clone();
        Ok(Box::new(Watched { inner, hand }))
    }

    async fn tail(&self, topic: &str, pace: Pace) -> Result<Box<dyn Tail>, Error> {
        self.inner.tail(topic, pace).await
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, Error> {
        self.inner.watermarks(topic).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
    ) -> Result<Vec<Delivered>, Error> {
        self.inner.read(topic, partition, from, max).await
    }

    fn made_again(&self) -> watch::Receiver<u64> {
        self.hand.made_again.subscribe()
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
