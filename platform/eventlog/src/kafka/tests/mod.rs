//! The behaviour suite against a real broker, and what only Kafka has to show.
//!
//! The broker is the one that `KAFKA_BROKERS` names; all tests share it and none stops it.

mod groups;
mod outages;
mod own;
mod topics;

use std::{sync::Arc, time::Duration};

use kit::{Ids, Node, RandomIds};
use tokio::time::Instant;

use super::{Broker, KafkaLog};
use crate::{
    Config, Consumer, Delivered, EventLog, Pace, Poll, Record, StartAt, Subscription, Topic,
    TopicSpec, suite::Stage,
};

crate::event_log_suite!(std::future::ready(stage()));

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// The shortest session that a broker allows by default.
const SESSION: Duration = Duration::from_secs(6);

fn stage() -> Stage {
    Stage::new(Arc::new(open(&brokers(), Config::default())), SESSION, ())
}

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the tests says where the broker is"
)]
fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect(
        "KAFKA_BROKERS names the broker that these tests need: KAFKA_BROKERS=$(scripts/kafka up)",
    )
}

fn open(brokers: &str, config: Config) -> KafkaLog {
    let brokers = Broker::list(&format!("//{brokers}")).unwrap();
    KafkaLog::open(brokers, config, &Node::new().spawner()).unwrap()
}

/// The URL of a configuration leads here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_opens_the_log_on_kafka() {
    let url = format!("kafka://{}", brokers());
    let clock = Arc::new(kit::SystemClock);
    let spawner = Node::new().spawner();
    let log = crate::open(&url, Config::default(), clock, Arc::new(RandomIds), spawner);
    let log = log.await.unwrap();
    log.check().await.unwrap();
    let topic = topic(log.as_ref(), "url", 2).await;
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    log.close().await;
    assert!(log.append(&topic.name, numbered(10..11, 10)).await.is_err());
    assert!(log.flush().await.is_err() && log.check().await.is_err());
}

/// A name that no other test and no other run has.
fn name(of: &str) -> Arc<str> {
    format!("test-{of}-{}", RandomIds.next()).into()
}

async fn topic(log: &dyn EventLog, of: &str, partitions: u32) -> Topic {
    let name = name(of);
    log.ensure(&[TopicSpec { name, partitions }])
        .await
        .unwrap()
        .remove(0)
}

/// Records whose payload begins with their number.
fn numbered(range: std::ops::Range<u32>, size: usize) -> Vec<Record> {
    range
        .map(|number| {
            let mut value = number.to_be_bytes().to_vec();
            value.resize(size.max(4), b'.');
            Record {
                key: format!("key-{}", number % 17).into(),
                value: value.into(),
            }
        })
        .collect()
}

fn number(record: &Delivered) -> u32 {
    u32::from_be_bytes(record.value[..4].try_into().unwrap())
}

fn numbers(records: &[Delivered]) -> Vec<u32> {
    let mut numbers: Vec<_> = records.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

fn subscription(topic: &Topic, group: &str, member: &str, start: StartAt) -> Subscription {
    Subscription {
        group: format!("{group}-{}", topic.name).into(),
        member: member.into(),
        topics: vec![Arc::clone(&topic.name)],
        start,
        session_timeout: SESSION,
        pace: Pace::Prompt,
    }
}

/// Polls until `count` records are there.
async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivered> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records came",
            records.len()
        );
        let polled = consumer.poll(500, Duration::from_millis(200)).await;
        if let Poll::Records(more) = polled.unwrap() {
            records.extend(more);
        }
    }
    records
}

/// What a tail brings until `count` records are there.
async fn follow(tail: &mut dyn crate::Tail, count: usize) -> Vec<Delivered> {
    let mut records = Vec::new();
    let work = async {
        while records.len() < count {
            records.extend(tail.next(500).await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("all records in time");
    records
}
