//! Members as only Kafka has them: with a name that the broker keeps.

use super::*;
use crate::{Error, Pace, Partition, suite::Ledger};

/// fault:F12: the name of a member has been taken over; the old one is told, and its batch has no effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_name_was_taken_over_changes_nothing() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "taken", 2).await;
    log.append(&topic.name, numbered(0..100, 10)).await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let stored = || StartAt::Stored(Arc::clone(&ledger) as _);
    let of_one = || subscription(&topic, "group", "one", stored());
    let mut zombie = log.subscribe(of_one()).await.unwrap();
    let old = take(zombie.as_mut(), 100).await;

    let begun = Instant::now();
    let mut heir = log.subscribe(of_one()).await.unwrap();
    let records = take(heir.as_mut(), 100).await;
    assert!(
        begun.elapsed() < SESSION,
        "nobody waits for a session to end"
    );
    assert!(apply(&ledger, &records) && !apply(&ledger, &old));
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        assert!(Instant::now() < deadline, "the zombie is told");
        match zombie.poll(500, Duration::from_millis(200)).await {
            Ok(Poll::Records(records)) => assert!(!apply(&ledger, &records) || records.is_empty()),
            Ok(Poll::Assigned(_)) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&told, Error::Invalid(why) if why.contains("another consumer")),
        "{told}"
    );
    // And the heir goes on.
    log.append(&topic.name, numbered(100..120, 10))
        .await
        .unwrap();
    assert_eq!(
        numbers(&take(heir.as_mut(), 20).await),
        (100..120).collect::<Vec<_>>()
    );
}

/// Whether the whole batch took effect.
fn apply(ledger: &Ledger, records: &[Delivered]) -> bool {
    let mut partitions: Vec<Partition> = records
        .iter()
        .map(|record| record.partition.clone())
        .collect();
    partitions.sort();
    partitions.dedup();
    partitions.iter().all(|partition| {
        let of_it = records
            .iter()
            .filter(|record| record.partition == *partition);
        let batch: Vec<_> = of_it.cloned().collect();
        ledger.apply(&batch, batch[0].offset)
    })
}

/// A restart of the same member takes up its partitions at once, without the session of the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_back_has_its_partitions_at_once() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "back", 4).await;
    let of_one = || subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(of_one()).await.unwrap();
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    take(consumer.as_mut(), 10).await;
    drop(consumer);
    let begun = Instant::now();
    let mut consumer = log.subscribe(of_one()).await.unwrap();
    take(consumer.as_mut(), 10).await;
    assert!(begun.elapsed() < SESSION, "{:?}", begun.elapsed());
}

/// A group that has its place elsewhere tells the log where it is, for those who look at lag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_told_where_a_group_is_that_keeps_its_place_elsewhere() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "advice", 1).await;
    log.append(&topic.name, numbered(0..20, 10)).await.unwrap();
    let stored = StartAt::Stored(Arc::new(Ledger::default()));
    let mut consumer = log
        .subscribe(subscription(&topic, "group", "one", stored))
        .await
        .unwrap();
    let records = take(consumer.as_mut(), 20).await;
    let advice = &records[12];
    consumer
        .commit(&advice.partition, advice.offset)
        .await
        .unwrap();
    drop(consumer);
    let told = subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(told).await.unwrap();
    let rest = take(consumer.as_mut(), 8).await;
    assert_eq!(numbers(&rest), (12..20).collect::<Vec<_>>());
}

/// A poll that was given up keeps what it brings for the next one, and a seek comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_poll_loses_nothing() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "abandoned", 1).await;
    let start = subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(start).await.unwrap();
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    let first = take(consumer.as_mut(), 10).await;

    let (mut seen, mut given_up) = (Vec::new(), 0);
    for round in 1..=20 {
        let polling = consumer.poll(500, Duration::from_mins(1));
        match tokio::time::timeout(Duration::from_millis(2), polling).await {
            Ok(Ok(Poll::Records(records))) => seen.extend(records),
            Ok(other) => panic!("{other:?}"),
            Err(_) => given_up += 1,
        }
        log.append(&topic.name, numbered(round * 10..round * 10 + 10, 10))
            .await
            .unwrap();
        // Fewer than there are, so that some wait for the next poll.
        match consumer.poll(3, Duration::from_secs(5)).await.unwrap() {
            Poll::Records(records) if records.len() <= 3 => seen.extend(records),
            other => panic!("{other:?}"),
        }
    }
    assert!(given_up > 0);
    let missing = 200 - seen.len();
    seen.extend(take(consumer.as_mut(), missing).await);
    assert_eq!(numbers(&seen), (10..210).collect::<Vec<_>>());

    let polling = consumer.poll(500, Duration::from_mins(1));
    assert!(
        tokio::time::timeout(Duration::from_millis(2), polling)
            .await
            .is_err()
    );
    let begun = Instant::now();
    consumer
        .seek(&first[0].partition, first[0].offset)
        .await
        .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a seek hurries the poll before it"
    );
    assert_eq!(number(&take(consumer.as_mut(), 210).await[0]), 0);
}

/// Threads end with what they serve, also when somebody waits in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_reader_leaves_no_thread() {
    let log = open(&brokers(), Config::default());
    let topic = topic(&log, "threads", 1).await;
    log.append(&topic.name, numbered(0..10, 10)).await.unwrap();
    let before = Arc::strong_count(&log.topics);
    let start = subscription(&topic, "group", "one", StartAt::Group);
    let mut consumer = log.subscribe(start).await.unwrap();
    take(consumer.as_mut(), 10).await;
    let mut tail = log.tail(&topic.name, Pace::Prompt).await.unwrap();
    let waiting =
        futures_util::future::join(consumer.poll(1, Duration::from_mins(1)), tail.next(1));
    let given_up = tokio::time::timeout(Duration::from_millis(5), waiting).await;
    assert!(given_up.is_err());
    assert_eq!(Arc::strong_count(&log.topics), before + 2);
    drop((consumer, tail));
    let deadline = Instant::now() + Duration::from_secs(10);
    while Arc::strong_count(&log.topics) > before {
        assert!(Instant::now() < deadline, "a thread goes on");
        tokio::task::yield_now().await;
    }
}
