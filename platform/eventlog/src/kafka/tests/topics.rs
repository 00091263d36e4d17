//! Topics that are made twice, deleted, and made again.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

use super::{own::Own, *};
use crate::{Error, Pace, kafka::lane::partition_of, suite::Ledger};

/// row:G36: two processes that start together make the same topics; both get them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_make_the_same_topics_at_once_both_get_them() {
    let (one, two) = (
        open(&brokers(), Config::default()),
        open(&brokers(), Config::default()),
    );
    let specs: Vec<_> = (1..=4)
        .map(|partitions| TopicSpec {
            name: name("race"),
            partitions,
        })
        .collect();
    let (one, two) = tokio::join!(one.ensure(&specs), two.ensure(&specs));
    assert_eq!(one.unwrap(), two.unwrap());
}

/// Whatever an append carries, the topics that we make take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_larger_than_the_queue_waits_for_room() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "large", 2).await;
    let size = crate::rules::MAX_VALUE;
    assert!(24 * size > Config::default().backlog_bytes);
    log.append(&topic.name, numbered(0..24, size))
        .await
        .unwrap();
    let mut records = Vec::new();
    for partition in 0..2 {
        let mut from = 0;
        loop {
            let more = log.read(&topic.name, partition, from, 100).await.unwrap();
            let Some(last) = more.last() else { break };
            from = last.offset + 1;
            records.extend(more);
        }
    }
    assert_eq!(numbers(&records), (0..24).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record.value.len() == size));
}

/// The library puts a key where we expect it, and so flights of one partition wait for nothing but each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_in_the_partition_that_we_expect() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "keys", 7).await;
    let keys = (0..100).map(|length| "k".repeat(length));
    let records = keys.map(|key| Record {
        key: key.into(),
        value: "value".into(),
    });
    log.append(&topic.name, records.collect()).await.unwrap();
    let mut count = 0;
    for partition in 0..7 {
        for record in log.read(&topic.name, partition, 0, 100).await.unwrap() {
            count += 1;
            assert_eq!(partition_of(&record.key, 7), partition, "{:?}", record.key);
        }
    }
    assert_eq!(count, 100);
}

/// fault:F8: who followed a topic that was made again is told; who stored a place begins anew in the new one,
/// and who kept it in the log as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_another_one() {
    is_another_one(&brokers(), || {}).await;
}

/// fault:F8: the leaders of the new topic are younger in office than those of the old one, so that what the client library
/// knows of the old ones is newer than what is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_has_leaders_of_its_own() {
    let own = tokio::task::spawn_blocking(Own::start).await.unwrap();
    is_another_one(&own.brokers(), || {
        own.script("down");
        own.script("up");
    })
    .await;
    drop(tokio::task::spawn_blocking(move || drop(own)).await);
}

/// `meanwhile` happens before the topic goes.
async fn is_another_one(brokers: &str, meanwhile: impl FnOnce()) {
    let log = open(brokers, Config::default());
    let before = topic(&log, "again", 2).await;
    log.append(&before.name, numbered(0..200, 10))
        .await
        .unwrap();
    let ledger = Arc::new(Ledger::default());
    let stored = StartAt::Stored(Arc::clone(&ledger) as _);
    let mut storing = log
        .subscribe(subscription(&before, "storing", "one", stored))
        .await
        .unwrap();
    let mut keeping = log
        .subscribe(subscription(&before, "keeping", "one", StartAt::Group))
        .await
        .unwrap();
    let mut tail = log.tail(&before.name, Pace::Prompt).await.unwrap();
    take(storing.as_mut(), 200).await;
    for record in take(keeping.as_mut(), 200).await {
        keeping
            .commit(&record.partition, record.offset + 1)
            .await
            .unwrap();
    }

    tokio::task::block_in_place(meanwhile);
    append_patiently(&log, &before, numbered(200..300, 10)).await;
    follow(tail.as_mut(), 100).await;
    delete(brokers, &before.name).await;
    let again = TopicSpec {
        name: Arc::clone(&before.name),
        partitions: 2,
    };
    let mut losses = log.made_again();
    let after = log.ensure(&[again]).await.unwrap().remove(0);
    losses.changed().await.unwrap();
    assert_ne!(after.id, before.id);
    // More than before, so that every old place exists in the new topic as well.
    append_patiently(&log, &after, numbered(1000..1500, 10)).await;

    let lost = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = tail.next(500).await {
                break error;
            }
        }
    });
    assert!(matches!(lost.await.unwrap(), Error::OutOfRange { .. }));
    for consumer in [&mut storing, &mut keeping] {
        let numbers = all_of(consumer.as_mut(), &after).await;
        assert_eq!(numbers, (1000..1500).collect::<Vec<_>>());
    }
    let mut new = log.tail(&after.name, Pace::Prompt).await.unwrap();
    append_patiently(&log, &after, numbered(2000..2010, 10)).await;
    assert!(follow(new.as_mut(), 10).await.len() >= 10);
}

/// The numbers of the topic's records that this consumer brings under the topic's new identity.
async fn all_of(consumer: &mut dyn Consumer, topic: &Topic) -> Vec<u32> {
    let deadline = Instant::now() + PATIENCE;
    let mut numbers = std::collections::BTreeSet::new();
    while numbers.len() < 500 {
        assert!(Instant::now() < deadline, "{} of 500 came", numbers.len());
        match consumer
            .poll(500, Duration::from_millis(200))
            .await
            .unwrap()
        {
            Poll::Assigned(_) => {}
            Poll::Records(records) => {
                let new = records
                    .iter()
                    .filter(|record| record.partition.topic_id == topic.id);
                numbers.extend(new.map(number));
            }
        }
    }
    numbers.into_iter().collect()
}

/// The outcome of an append may be unknown while the brokers learn of the new topic: it is repeated.
async fn append_patiently(log: &KafkaLog, topic: &Topic, records: Vec<Record>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.append(&topic.name, records.clone()).await {
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn delete(brokers: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let deleted = admin.delete_topics(&[name], &options).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
}

/// Brokers tell of a new partition some moments before its leader takes questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_just_made_can_be_read_at_once() {
    let log = open(&brokers(), Config::default());
    for _ in 0..3 {
        let specs = (0..12).map(|_| TopicSpec {
            name: name("young"),
            partitions: 4,
        });
        let topics = log.ensure(&specs.collect::<Vec<_>>()).await.unwrap();
        for topic in topics.iter().rev() {
            log.tail(&topic.name, Pace::Prompt).await.unwrap();
        }
    }
}
