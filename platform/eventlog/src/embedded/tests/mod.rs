//! The behaviour suite against the embedded log, and what only a log in a file has to show.

mod bounds;
mod opening;
mod sharing;
mod stops;
mod submitting;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kit::{ManualClock, Node, RandomIds};
use tempfile::TempDir;
use tokio::time::Instant;

use super::EmbeddedLog;
use crate::{
    Config, Consumer, Delivered, EventLog, OpenError, Pace, Poll, Record, StartAt, Subscription,
    Topic, TopicSpec, suite::Stage,
};

crate::event_log_suite!(stage());

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A day, in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

async fn stage() -> Stage {
    let home = Home::new();
    let log = home.open().await;
    Stage::new(Arc::new(log), Duration::from_secs(1), home)
}

/// A folder with a log, and a clock that stands.
struct Home {
    folder: TempDir,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            clock: Arc::new(ManualClock::at(100 * DAY)),
            config: Config::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log.db")
    }

    async fn try_open(&self) -> Result<EmbeddedLog, OpenError> {
        open(&self.path(), self.config.clone(), self.clock.clone()).await
    }

    /// Opens the log as soon as an earlier one of this process is gone.
    async fn open(&self) -> EmbeddedLog {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_open().await {
                Err(OpenError::InUse(_)) if Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Copies the files with these suffixes to another home, as they are now.
    fn copy_to(&self, other: &Self, suffixes: &[&str]) {
        for suffix in suffixes {
            let file = |home: &Self| home.folder.path().join(format!("log.db{suffix}"));
            std::fs::copy(file(self), file(other)).unwrap();
        }
    }
}

async fn open(
    path: &Path,
    config: Config,
    clock: Arc<ManualClock>,
) -> Result<EmbeddedLog, OpenError> {
    EmbeddedLog::open(
        path.to_owned(),
        config,
        clock,
        Arc::new(RandomIds),
        Node::new().spawner(),
    )
    .await
}

async fn topic(log: &EmbeddedLog, partitions: u32) -> Topic {
    let spec = TopicSpec {
        name: "topic".into(),
        partitions,
    };
    log.ensure(&[spec]).await.unwrap().remove(0)
}

/// Records whose payload begins with their number.
fn numbered(range: std::ops::Range<u32>, size: usize) -> Vec<Record> {
    range
        .map(|number| {
            let mut value = number.to_be_bytes().to_vec();
            value.resize(size.max(4), b'.');
            Record {
                key: Bytes::from(format!("key-{}", number % 7)),
                value: value.into(),
            }
        })
        .collect()
}

/// The first `count` numbers.
fn first(count: usize) -> Vec<u32> {
    (0..).take(count).collect()
}

fn number(record: &Delivered) -> u32 {
    u32::from_be_bytes(record.value[..4].try_into().unwrap())
}

/// Everything in the topic, with its offsets in order per partition.
async fn all(log: &EmbeddedLog) -> Vec<Delivered> {
    let mut records = Vec::new();
    for (partition, (low, _)) in (0..).zip(log.watermarks("topic").await.unwrap()) {
        let mut from = low;
        loop {
            let found = log.read("topic", partition, from, 1000).await.unwrap();
            let Some(last) = found.last() else { break };
            from = last.offset + 1;
            records.extend(found);
        }
    }
    records
}

/// The numbers in the topic, after a check that each partition has them in the order of their appends.
async fn numbers_in_order(log: &EmbeddedLog) -> Vec<u32> {
    let records = all(log).await;
    for pair in records
        .windows(2)
        .filter(|pair| pair[0].partition == pair[1].partition)
    {
        assert!(
            pair[0].offset < pair[1].offset && number(&pair[0]) < number(&pair[1]),
            "order in a partition"
        );
    }
    let mut numbers: Vec<u32> = records.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

async fn ends(log: &EmbeddedLog) -> Vec<i64> {
    log.watermarks("topic")
        .await
        .unwrap()
        .into_iter()
        .map(|(_, high)| high)
        .collect()
}

async fn subscribe(log: &EmbeddedLog, start: StartAt) -> Box<dyn Consumer> {
    let subscription = Subscription {
        group: "group".into(),
        member: "one".into(),
        topics: vec!["topic".into()],
        start,
        session_timeout: Duration::from_mins(1),
        pace: Pace::Prompt,
    };
    log.subscribe(subscription).await.unwrap()
}

async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivered> {
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while records.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records came",
            records.len()
        );
        if let Poll::Records(more) = consumer.poll(500, Duration::from_millis(50)).await.unwrap() {
            records.extend(more);
        }
    }
    records
}
