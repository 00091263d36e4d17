//! The log on Apache Kafka: the broker keeps records, groups and places; this speaks to it.
//!
//! Start reading at `settings`, where every choice has its reason; then `producer` with `client` and `lane`, and for reading `member`,
//! which runs on a thread of its own (`thread`) and takes from `context` what the client library calls back.
//! `topics` makes topics and notices when one was made again, for which `metadata` asks what the library
//! does not tell.

mod client;
mod consumer;
mod context;
mod lane;
mod member;
mod metadata;
mod producer;
mod reader;
mod settings;
mod thread;
mod topics;

#[cfg(test)]
mod tests;

use std::{
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kit::{Breaker, BreakerConfig, Spawner};
use tokio::sync::watch;

use self::{
    consumer::{Follower, KafkaConsumer, KafkaTail},
    member::Member,
    producer::Appender,
    reader::Marks,
    settings::Settings,
    thread::Worker,
    topics::Topics,
};
use crate::{
    Config, Consumer, Delivered, Error, EventLog, OpenError, Pace, Partition, Record, Subscription,
    Tail, Topic, TopicSpec, metrics, rules,
};

pub(crate) use self::settings::Broker;

/// The log of a cluster of brokers.
pub(crate) struct KafkaLog {
    settings: Settings,
    topics: Arc<Topics>,
    appender: Arc<Appender>,
    breaker: Breaker,
}

/// Appends that failed in a row before the brokers count as away, and how long nobody waits for them then.
const BREAKER: BreakerConfig = BreakerConfig {
    failures: 5,
    open: Duration::from_secs(1),
};

/// What has failed and may be well again.
fn away(why: impl Display) -> Error {
    Error::Unavailable(why.to_string())
}

/// Refuses settings that cannot work.
pub(crate) fn check(brokers: Vec<Broker>, config: &Config) -> Result<(), OpenError> {
    Settings::new(brokers, config.clone()).map(drop)
}

impl KafkaLog {
    /// Makes the clients; whether a broker answers is told by [`EventLog::check`] and by every use.
    pub(crate) fn open(
        brokers: Vec<Broker>,
        config: Config,
        spawner: &Spawner,
    ) -> Result<Self, OpenError> {
        metrics::describe();
        let settings = Settings::new(brokers, config)?;
        let topics = Topics::new(settings.clone());
        Topics::watch(&topics, spawner);
        let appender = Appender::new(settings.clone())
            .map_err(|error| OpenError::Config(error.to_string()))?;
        let appender = Arc::new(appender);
        let breaker = Breaker::new("kafka", BREAKER);
        Appender::keep(&appender, topics.eras(), breaker.clone(), spawner);
        Ok(Self {
            settings,
            topics,
            appender,
            breaker,
        })
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<Topic>, Error> {
        topics.iter().try_for_each(rules::check_topic)?;
        self.topics.ensure(topics).await
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<(), Error> {
        rules::check_records(&records)?;
        self.breaker.admit().map_err(away)?;
        let era = self.topics.era();
        let appending = async {
            let topic = self.topics.topic(topic).await?;
            let begun = Instant::now();
            self.appender.append(&topic, &records).await?;
            ::metrics::histogram!(metrics::APPEND_SECONDS, "topic" => Arc::clone(&topic.name))
                .record(begun.elapsed());
            Ok(topic)
        };
        let appended = appending.await;
        let is_away = matches!(appended, Err(Error::Unavailable(_)));
        // What ends because the producer begins anew says nothing of the brokers.
        if !is_away || era == self.topics.era() {
            self.breaker.note(is_away);
        }
        let topic = appended?;
        let bytes = records
            .iter()
            .map(|record| record.key.len() + record.value.len());
        ::metrics::counter!(metrics::APPENDED_BYTES, "topic" => Arc::clone(&topic.name))
            .increment(bytes.sum::<usize>() as u64);
        ::metrics::counter!(metrics::APPENDED_RECORDS, "topic" => topic.name)
            .increment(records.len() as u64);
        Ok(())
    }

    fn made_again(&self) -> watch::Receiver<u64> {
        self.topics.made_again()
    }

    /// What an append has returned for is on as many brokers as the topic wants, which is as safe as it gets.
    async fn flush(&self) -> Result<(), Error> {
        self.appender.check()
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, Error> {
        for name in &subscription.topics {
            self.topics.topic(name).await?;
        }
        let config = self.settings.member(&subscription);
        let member = Member::new(config, subscription, Arc::clone(&self.topics))?;
        let hurry = member.hurry();
        Ok(Box::new(KafkaConsumer::new(Worker::start(member, hurry)?)))
    }

    async fn tail(&self, topic: &str, pace: Pace) -> Result<Box<dyn Tail>, Error> {
        let topic = self.topics.topic_now(topic).await?;
        let marks = self.appender.marks(topic.clone()).await?;
        let config = self.settings.reader(pace);
        let follower = Follower::new(config, Arc::clone(&self.topics), topic, &marks)?;
        let hurry = follower.hurry();
        Ok(Box::new(KafkaTail::new(Worker::start(follower, hurry)?)))
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<Marks>, Error> {
        let topic = self.topics.topic(topic).await?;
        self.appender.marks(topic).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
    ) -> Result<Vec<Delivered>, Error> {
        let topic = self.topics.topic(topic).await?;
        if partition >= topic.partitions {
            return Err(Error::Invalid(format!(
                "topic {} has no partition {partition}",
                topic.name
            )));
        }
        let config = self.settings.reader(Pace::Prompt);
        let partition = Partition {
            topic: topic.name,
            topic_id: topic.id,
            number: partition,
        };
        let reading =
            tokio::task::spawn_blocking(move || reader::stretch(&config, &partition, from, max));
        reading.await.map_err(away)?
    }

    async fn check(&self) -> Result<(), Error> {
        self.appender.check()?;
        self.topics.check().await
    }

    async fn close(&self) {
        self.appender.close().await;
    }
}
