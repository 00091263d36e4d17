//! The async end of a member, and the tail that belongs to no group.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{ClientConfig, Message};

use super::{
    context::Name,
    member::Member,
    reader::{Marks, Reader, check_position, delivered, kafka_number},
    thread::{Hurry, Lasting, Worker},
    topics::{LOOK_OUT, Topics},
};
use crate::{Consumer, Delivered, Error, Partition, Poll, Tail, Topic};

/// A member of a group.
pub(super) struct KafkaConsumer {
    worker: Worker<Member>,
    polling: Lasting<Result<Poll, Error>>,
    /// What a poll brought that its caller did not take.
    ready: Option<Result<Poll, Error>>,
}

impl KafkaConsumer {
    pub(super) fn new(worker: Worker<Member>) -> Self {
        Self {
            worker,
            polling: Lasting::default(),
            ready: None,
        }
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Poll, Error> {
        let max = max.max(1);
        let polled = if let Some(ready) = self.ready.take() {
            ready
        } else {
            let work = move |member: &mut Member| member.poll(max, wait);
            self.polling.run(&self.worker, work).await?
        };
        match polled? {
            Poll::Records(mut records) if records.len() > max => {
                self.ready = Some(Ok(Poll::Records(records.split_off(max))));
                Ok(Poll::Records(records))
            }
            polled => Ok(polled),
        }
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        // What was given up comes before what follows.
        if let Some(polled) = self.polling.end(&self.worker).await {
            self.ready = Some(polled?);
        }
        let place = partition.clone();
        self.worker
            .ask(move |member| member.seek(&place, offset))
            .await?;
        if let Some(Ok(Poll::Records(records))) = &mut self.ready {
            records.retain(|record| record.partition != *partition);
        }
        Ok(())
    }

    async fn commit(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let partition = partition.clone();
        // The log is told by the next poll, of all places at once. Nobody waits for that.
        let keeping = self
            .worker
            .begin(move |member| member.commit(partition, offset));
        keeping.await.map(drop)
    }
}

/// A reader of a whole topic, on its thread.
pub(super) struct Follower {
    config: ClientConfig,
    reader: Reader,
    /// When its client began; see [`Topics::era`].
    era: u64,
    topics: Arc<Topics>,
    topic: Topic,
    /// The next offset of each partition.
    next: Vec<i64>,
    is_lost: bool,
    runtime: tokio::runtime::Handle,
}

impl Follower {
    /// Begins at the given ends, one for each partition. `config` is that of its client.
    pub(super) fn new(
        config: ClientConfig,
        topics: Arc<Topics>,
        topic: Topic,
        marks: &[Marks],
    ) -> Result<Self, Error> {
        let follower = Self {
            era: topics.era(),
            reader: Reader::new(&config, None, Hurry::default())?,
            config,
            topics,
            topic,
            next: marks.iter().map(|(_, high)| *high).collect(),
            is_lost: false,
            runtime: tokio::runtime::Handle::current(),
        };
        follower.reader.assign(&follower.places())?;
        Ok(follower)
    }

    /// Who waits for this reader.
    pub(super) fn hurry(&self) -> Hurry {
        self.reader.hurry.clone()
    }

    fn places(&self) -> Vec<(Name, i64)> {
        let numbers = (0..).zip(&self.next);
        numbers
            .map(|(number, next)| ((Arc::clone(&self.topic.name), number), *next))
            .collect()
    }

    fn partition(&self, number: u32) -> Partition {
        Partition {
            topic: Arc::clone(&self.topic.name),
            topic_id: self.topic.id,
            number,
        }
    }

    /// Records of all partitions, or none within the wait.
    fn read(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        if let Some(trouble) = self.reader.trouble.take() {
            return Err(trouble);
        }
        if self.reader.is_doubtful {
            match self.look_at_positions() {
                // The broker is away: the tail waits for it, and looks again.
                Err(Error::Unavailable(why)) => tracing::debug!(why, "a tail is in doubt"),
                looked => looked?,
            }
        }
        // A topic made again holds nothing of what this one followed.
        self.is_lost |= self.topics.id(&self.topic.name) != Some(self.topic.id);
        if self.is_lost {
            let next = self.next.first().copied().unwrap_or_default();
            check_position(&self.partition(0), next, (0, -1))?;
        }
        let era = self.topics.era();
        if era != self.era {
            self.era = era;
            self.reader = Reader::new(&self.config, None, self.hurry())?;
            self.reader.assign(&self.places())?;
        }
        let topic = (Arc::clone(&self.topic.name), self.topic.id);
        let next = &mut self.next;
        let accept = |message: &rdkafka::message::BorrowedMessage<'_>| {
            let number = message.partition().unsigned_abs();
            let place = next.get_mut(number as usize)?;
            if message.offset() < *place {
                return None;
            }
            *place = message.offset() + 1;
            let (topic, topic_id) = (Arc::clone(&topic.0), topic.1);
            let partition = Partition {
                topic,
                topic_id,
                number,
            };
            Some(delivered(&partition, message))
        };
        Ok(self.reader.haul(max, Instant::now() + LOOK_OUT, accept))
    }

    /// Whether every partition still has what comes next.
    fn look_at_positions(&mut self) -> Result<(), Error> {
        // It may be gone for a moment; only another one in its place ends this.
        let found = self
            .runtime
            .block_on(self.topics.find(&[Arc::clone(&self.topic.name)]))?;
        if found.first().is_some_and(Option::is_some)
            && self.topics.id(&self.topic.name) == Some(self.topic.id)
        {
            for (number, next) in (0..).zip(self.next.clone()) {
                let marks = self.reader.marks(&self.topic.name, kafka_number(number))?;
                let checked = check_position(&self.partition(number), next, marks);
                self.is_lost |= checked.is_err();
                checked?;
            }
            self.reader.assign(&self.places())?;
        }
        self.reader.is_doubtful = false;
        Ok(())
    }
}

/// The async end of a tail.
pub(super) struct KafkaTail {
    worker: Worker<Follower>,
    reading: Lasting<Result<Vec<Delivered>, Error>>,
    ready: Vec<Delivered>,
}

impl KafkaTail {
    pub(super) fn new(worker: Worker<Follower>) -> Self {
        Self {
            worker,
            reading: Lasting::default(),
            ready: Vec::new(),
        }
    }
}

#[async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        let max = max.max(1);
        while self.ready.is_empty() {
            let work = move |follower: &mut Follower| follower.read(max);
            self.ready = self.reading.run(&self.worker, work).await??;
        }
        let rest = self.ready.split_off(max.min(self.ready.len()));
        Ok(std::mem::replace(&mut self.ready, rest))
    }
}
