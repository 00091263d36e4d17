//! The real embedded log, with switches for what a broker can do to us.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use eventlog::{
    Consumer, Delivered, Error, EventLog, Pace, Record, Subscription, Tail, Topic, TopicSpec,
};
use tokio::sync::{Notify, watch};

pub(crate) struct SwitchedLog {
    pub(crate) inner: Arc<dyn EventLog>,
    switches: Arc<Switches>,
}

#[derive(Default)]
struct Switches {
    refuses_appends: AtomicBool,
    loses_place: Notify,
    made_again: watch::Sender<u64>,
}

impl SwitchedLog {
    pub(crate) fn new(inner: Arc<dyn EventLog>) -> Self {
        Self {
            inner,
            switches: Arc::default(),
        }
    }

    pub(crate) fn refuse_appends(&self, refuses: bool) {
        self.switches.refuses_appends.store(refuses, SeqCst);
    }

    /// A topic was deleted and made again.
    pub(crate) fn make_again(&self) {
        self.switches.made_again.send_modify(|times| *times += 1);
    }

    /// The next read of a tail says that its place is gone.
    pub(crate) fn lose_place(&self) {
        self.switches.loses_place.notify_one();
    }
}

struct SwitchedTail {
    inner: Box<dyn Tail>,
    switches: Arc<Switches>,
}

#[async_trait]
impl Tail for SwitchedTail {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        tokio::select! {
            records = self.inner.next(max) => records,
            () = self.switches.loses_place.notified() => {
                Err(Error::OutOfRange { topic: "forward".to_owned(), partition: 0, position: 1, low: 2, high: 3 })
            }
        }
    }
}

#[async_trait]
impl EventLog for SwitchedLog {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        self.inner.ensure(topics).await
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<(), Error> {
        if self.switches.refuses_appends.load(SeqCst) {
            return Err(Error::Unavailable("switched off".to_owned()));
        }
        self.inner.append(topic, records).await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.inner.flush().await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, Error> {
        self.inner.subscribe(subscription).await
    }

    async fn tail(&self, topic: &str, pace: Pace) -> Result<Box<dyn Tail>, Error> {
        let inner = self.inner.tail(topic, pace).await?;
        Ok(Box::new(SwitchedTail {
            inner,
            switches: self.switches.clone(),
        }))
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
        self.switches.made_again.subscribe()
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
