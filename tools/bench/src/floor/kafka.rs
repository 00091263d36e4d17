//! What the client library costs alone, set as the product sets it: a loop that appends and reads, and a reader.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
    types::RDKafkaErrorCode,
};

/// The longest wait for one record.
const WAIT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);

/// What appends.
pub type Appender = ThreadedProducer<DefaultProducerContext>;

/// A producer as in `platform/eventlog/src/kafka/settings.rs`.
pub fn appender(brokers: &str) -> Result<Appender> {
    Ok(client(brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("queue.buffering.max.messages", "100000")
        .set("partitioner", "murmur2_random")
        .create()?)
}

/// Appends a record; a full queue is waited for.
pub fn append(appender: &Appender, topic: &str, key: &str, value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    loop {
        record = match appender.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => return Err(error.into()),
        };
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until everything that was appended has arrived.
pub fn flush(appender: &Appender) -> Result<()> {
    Ok(appender.flush(WAIT)?)
}

/// A consumer as in `platform/eventlog/src/kafka/settings.rs` that reads what is appended to `topic` from now on.
pub fn reader(brokers: &str, topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = client(brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "10000")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.error.backoff.ms", "100")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().first().context("no such topic")?;
    let mut places = TopicPartitionList::new();
    for partition in found.partitions() {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER)?;
        places.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("socket.keepalive.enable", "true")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Error);
    client
}

/// Makes topics of one partition, and waits until they can be written.
pub fn make_topics(brokers: &str, names: &[&str]) -> Result<()> {
    let admin: AdminClient<_> = client(brokers).create()?;
    let topics: Vec<_> = names
        .iter()
        .map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let made = futures_executor::block_on(admin.create_topics(&topics, &options))?;
    for topic in made {
        topic.map_err(|(name, code)| anyhow::anyhow!("topic {name} cannot be made: {code}"))?;
    }
    let began = Instant::now();
    for name in names {
        while admin.inner().fetch_watermarks(name, 0, ANSWER).is_err() {
            if began.elapsed() > WAIT {
                bail!("topic {name} has no leader");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Waits for the next record and gives its payload to `look`.
pub fn next<T>(reader: &BaseConsumer, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
    let began = Instant::now();
    while began.elapsed() < WAIT {
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            return Ok(look(message?.payload().unwrap_or_default()));
        }
    }
    bail!("no record within {} s", WAIT.as_secs())
}

/// A loop that appends records of some length to one partition and reads them again.
pub struct Pipeline {
    appender: Appender,
    reader: BaseConsumer,
    topic: String,
    value: Vec<u8>,
}

impl Pipeline {
    /// Over `topic`, which exists, with values of `bytes`.
    pub fn open(brokers: &str, topic: &str, bytes: usize) -> Result<Self> {
        Ok(Self {
            appender: appender(brokers)?,
            reader: reader(brokers, topic)?,
            topic: topic.to_owned(),
            value: vec![b'x'; bytes.max(8)],
        })
    }

    /// Sends `count` records through it with `window` under way.
    ///
    /// # Errors
    /// One does not come back, or not in its turn.
    pub fn run(&mut self, count: u64, window: u64) -> Result<()> {
        let mut sent = 0;
        for received in 0..count {
            while sent < count && sent - received < window {
                self.value[..8].copy_from_slice(&sent.to_be_bytes());
                // As long as a chat's id.
                let key = format!("{:036}", sent % 100);
                append(&self.appender, &self.topic, &key, &self.value)?;
                sent += 1;
            }
            let found = next(&self.reader, |value| {
                value.get(..8) == Some(&received.to_be_bytes())
            })?;
            if !found {
                bail!("record {received} did not come in its turn");
            }
        }
        Ok(())
    }
}

/// The line by which [`follow`] says that it reads.
pub const FOLLOWS: &str = "following";

/// Reads `topic` from now on, for ever.
pub fn follow(brokers: SocketAddr, topic: &str) -> Result<()> {
    let reader = reader(&brokers.to_string(), topic)?;
    println!("{FOLLOWS}");
    loop {
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            message?;
        }
    }
}
