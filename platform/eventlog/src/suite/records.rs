//! Cases about topics and records.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{PATIENCE, Stage, numbered, record, value};
use crate::{Delivered, Error, Pace, StartAt, Tail, TopicSpec};

/// row:G36: the system makes its topics; that one exists already is fine.
pub async fn topics_are_made_once_and_keep_their_ids(stage: &Stage) {
    let first = stage.topic("ids", 3).await;
    let again = stage.topic("ids", 3).await;
    assert_eq!(first, again);
    assert_eq!(first.partitions, 3);
    let other = stage.topic("other-ids", 3).await;
    assert_ne!(first.id, other.id);
}

/// A topic never gets another number of partitions, for that would move keys.
pub async fn another_number_of_partitions_is_refused(stage: &Stage) {
    let topic = stage.topic("count", 3).await;
    let spec = TopicSpec {
        name: topic.name.clone(),
        partitions: 4,
    };
    match stage.log.ensure(&[spec]).await {
        Err(Error::PartitionMismatch {
            wanted: 4,
            found: 3,
            topic: name,
        }) => assert_eq!(name, *topic.name),
        other => panic!("{other:?}"),
    }
}

/// row:C15: what has one key is read in the order of its appends, however it was batched.
pub async fn records_of_one_key_stay_in_one_partition_and_in_order(stage: &Stage) {
    let topic = stage.topic("order", 4).await;
    let writers = (0..4_u32).map(|writer| {
        let topic = &topic;
        async move {
            for batch in 0..25_u32 {
                let numbers = batch * 4..batch * 4 + 4;
                stage
                    .append(
                        topic,
                        numbers.map(|number| (format!("writer-{writer}"), number.to_string())),
                    )
                    .await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let records = stage
        .join(&topic, "one", StartAt::Group)
        .await
        .take(400)
        .await;
    assert_eq!(records.len(), 400);

    let mut by_key: BTreeMap<Bytes, Vec<Delivered>> = BTreeMap::new();
    for record in records {
        by_key.entry(record.key.clone()).or_default().push(record);
    }
    assert_eq!(by_key.len(), 4);
    for (key, records) in by_key {
        let values: Vec<_> = records.iter().map(value).collect();
        let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(values, expected, "{key:?}");
        assert!(
            records
                .iter()
                .all(|record| record.partition == records[0].partition),
            "{key:?}"
        );
        assert!(
            records.is_sorted_by(|one, next| one.offset < next.offset),
            "{key:?}"
        );
    }
}

/// Consumers see what was appended without waiting for a flush.
pub async fn records_are_visible_before_a_flush(stage: &Stage) {
    let topic = stage.topic("visible", 2).await;
    let mut tail = stage
        .log
        .tail(&topic.name, Pace::Prompt)
        .await
        .expect("a tail");
    let mut member = stage.join(&topic, "one", StartAt::Group).await;
    member.own(2).await;
    stage.append(&topic, numbered(0..10)).await;
    assert_eq!(take(&mut *tail, 10).await.len(), 10);
    assert_eq!(member.take(10).await.len(), 10);
    stage.log.flush().await.expect("the flush works");
    stage.log.flush().await.expect("a flush of nothing works");
    stage.log.check().await.expect("the log is well");
}

/// row:C20 begins here: what no adapter could carry never enters.
pub async fn a_record_over_one_mebibyte_is_refused_and_nothing_appended(stage: &Stage) {
    let topic = stage.topic("large", 1).await;
    let large = vec![b'x'; (1 << 20) + 1];
    let batch = vec![record("a", "small"), record("a", large)];
    let refused = stage.log.append(&topic.name, batch).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let largest = vec![b'y'; 1 << 20];
    stage
        .log
        .append(&topic.name, vec![record("a", largest)])
        .await
        .expect("exactly 1 MiB is fine");
    let records = stage
        .join(&topic, "one", StartAt::Group)
        .await
        .take(1)
        .await;
    assert_eq!((records.len(), records[0].value.len()), (1, 1 << 20));
}

/// Nothing makes a topic by the way.
pub async fn an_unknown_topic_is_refused(stage: &Stage) {
    let name = format!("suite-nowhere-{}", stage.run);
    let refused = stage.log.append(&name, vec![record("a", "b")]).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(matches!(
        stage.log.tail(&name, Pace::Prompt).await.err(),
        Some(Error::Invalid(_))
    ));
    assert!(matches!(
        stage.log.watermarks(&name).await,
        Err(Error::Invalid(_))
    ));
}

/// A process that submits fixes where it listens before it sends (ruling 4).
pub async fn a_tail_sees_everything_after_it_was_made_and_nothing_before(stage: &Stage) {
    let topic = stage.topic("tail", 3).await;
    stage.append(&topic, numbered(0..100)).await;
    let mut first = stage
        .log
        .tail(&topic.name, Pace::Prompt)
        .await
        .expect("a tail");
    let mut second = stage
        .log
        .tail(&topic.name, Pace::Relaxed)
        .await
        .expect("a second tail");
    stage.append(&topic, numbered(100..300)).await;
    for tail in [&mut first, &mut second] {
        let mut numbers: Vec<u32> = take(&mut **tail, 200)
            .await
            .iter()
            .map(|record| value(record).parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (100..300).collect::<Vec<_>>());
    }
}

/// `messenger log tail` looks into the log without being a consumer.
pub async fn a_stretch_can_be_read_without_a_group(stage: &Stage) {
    let topic = stage.topic("stretch", 2).await;
    stage.append(&topic, numbered(0..60)).await;
    let marks = stage.log.watermarks(&topic.name).await.expect("watermarks");
    assert_eq!(marks.len(), 2);
    let mut values: HashMap<String, u32> = HashMap::new();
    for (partition, (low, high)) in (0..).zip(marks) {
        let mut from = low;
        loop {
            let records = stage
                .log
                .read(&topic.name, partition, from, 7)
                .await
                .expect("a stretch");
            let Some(last) = records.last() else { break };
            assert!(records.len() <= 7 && last.offset < high);
            from = last.offset + 1;
            for record in &records {
                *values.entry(value(record)).or_default() += 1;
            }
        }
        assert_eq!(from, high);
    }
    assert_eq!(values.len(), 60);
    assert!(values.values().all(|count| *count == 1));
    let nowhere = stage.log.read(&topic.name, 2, 0, 7).await;
    assert!(matches!(nowhere, Err(Error::Invalid(_))), "{nowhere:?}");
}

/// Reads `count` records of a tail.
pub(super) async fn take(tail: &mut dyn Tail, count: usize) -> Vec<Delivered> {
    let mut records = Vec::new();
    let work = async {
        while records.len() < count {
            records.extend(tail.next(50).await.expect("the tail goes on"));
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("all records in time");
    records
}
