//! Cases about groups: sharing, places, and members that fall silent.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Ledger, Member, PATIENCE, STEP, Stage, numbered, value};
use crate::{Delivered, Error, Pace, Partition, Poll, StartAt, Subscription, Topic};

/// Two members own all partitions, none twice, and read every record once.
pub async fn members_of_a_group_share_the_partitions(stage: &Stage) {
    let topic = stage.topic("share", 4).await;
    let mut one = stage.join(&topic, "one", StartAt::Group).await;
    let mut two = stage.join(&topic, "two", StartAt::Group).await;
    settle(&mut [&mut one, &mut two], 2).await;
    assert_disjoint(&[&one, &two], &topic);

    stage.append(&topic, numbered(0..200)).await;
    let mut values = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while values.len() < 200 {
        assert!(
            Instant::now() < deadline,
            "{} of 200 records came",
            values.len()
        );
        for member in [&mut one, &mut two] {
            for record in member.poll().await.expect("the poll works") {
                assert!(values.insert(value(&record)), "{record:?} came twice");
            }
        }
    }
}

/// row:C26: one more worker takes its part; when it leaves, the others have all again.
pub async fn a_new_member_gets_its_part_and_a_leaving_one_gives_it_back(stage: &Stage) {
    let topic = stage.topic("join", 4).await;
    let mut one = stage.join(&topic, "one", StartAt::Group).await;
    one.own(4).await;
    let kept: Vec<_> = one.owned.clone().expect("four");
    let mut two = stage.join(&topic, "two", StartAt::Group).await;
    settle(&mut [&mut one, &mut two], 2).await;
    assert_disjoint(&[&one, &two], &topic);
    let still = one.owned.as_ref().expect("two");
    assert!(
        still.iter().all(|partition| kept.contains(partition)),
        "what stays does not move"
    );

    drop(two);
    one.own(4).await;
    stage.append(&topic, numbered(0..100)).await;
    assert_eq!(one.take(100).await.len(), 100);
}

/// Every group reads everything.
pub async fn groups_do_not_disturb_each_other(stage: &Stage) {
    let topic = stage.topic("two-groups", 2).await;
    stage.append(&topic, numbered(0..40)).await;
    for group in ["first", "second"] {
        let subscription = Subscription {
            group: format!("suite-{group}-{}", stage.run).into(),
            member: "one".into(),
            topics: vec![Arc::clone(&topic.name)],
            start: StartAt::Group,
            session_timeout: stage.session_timeout,
            pace: Pace::Prompt,
        };
        let consumer = stage
            .log
            .subscribe(subscription)
            .await
            .expect("the group can be joined");
        assert_eq!(
            Member {
                consumer,
                owned: None
            }
            .take(40)
            .await
            .len(),
            40
        );
    }
}

/// fault:F12, fault:F11: a member that woke too late is told, and its old batch has no effect.
pub async fn a_silent_member_loses_its_partitions_and_nothing_happens_twice(stage: &Stage) {
    let topic = stage.topic("zombie", 4).await;
    stage.append(&topic, numbered(0..100)).await;
    let ledger = Arc::new(Ledger::default());
    let mut zombie = Worker::join(stage, &topic, "zombie", &ledger).await;
    zombie.member.own(4).await;
    let old = zombie.member.take(1).await;

    // It holds a batch and polls no more, while another member joins.
    let mut heir = Worker::join(stage, &topic, "heir", &ledger).await;
    let deadline = Instant::now() + PATIENCE;
    while heir.member.owns() < 4 || ledger.effects().len() < 100 {
        assert!(
            Instant::now() < deadline,
            "{} partitions moved",
            heir.member.owns()
        );
        heir.work().await;
    }
    assert!(!zombie.apply(&old), "the old batch has no effect");
    let told = zombie
        .member
        .consumer
        .poll(50, STEP)
        .await
        .expect("the poll works");
    let Poll::Assigned(owned) = told else {
        panic!("it is told first and not {told:?}")
    };
    zombie.member.owned = Some(owned);
    zombie.expected.clear();

    stage.append(&topic, numbered(100..200)).await;
    while ledger.effects().len() < 200 {
        assert!(
            Instant::now() < deadline,
            "{} effects",
            ledger.effects().len()
        );
        heir.work().await;
        zombie.work().await;
    }
    let effects = ledger.effects();
    let different: BTreeSet<_> = effects.iter().collect();
    assert_eq!(
        (effects.len(), different.len()),
        (200, 200),
        "no effect twice"
    );
}

/// A batch that was rolled back is read again.
pub async fn seeking_back_delivers_again(stage: &Stage) {
    let topic = stage.topic("seek", 1).await;
    stage.append(&topic, numbered(0..30)).await;
    let mut member = stage.join(&topic, "one", StartAt::Group).await;
    let first = member.take(30).await;
    let (partition, back) = (first[10].partition.clone(), first[10].offset);
    member
        .consumer
        .seek(&partition, back)
        .await
        .expect("an owned partition");
    let again = member.take(20).await;
    assert_eq!(
        again.iter().map(value).collect::<Vec<_>>(),
        first[10..].iter().map(value).collect::<Vec<_>>()
    );

    let foreign = Partition {
        number: 7,
        ..partition.clone()
    };
    assert!(matches!(
        member.consumer.seek(&foreign, 0).await,
        Err(Error::Invalid(_))
    ));
    let beyond = first[29].offset + 2;
    assert!(matches!(
        member.consumer.seek(&partition, beyond).await,
        Err(Error::OutOfRange { .. })
    ));
}

/// A service that never read a partition starts at its oldest record (ruling 7).
pub async fn the_first_assignment_inserts_a_position_at_the_low_mark(stage: &Stage) {
    let topic = stage.topic("first", 2).await;
    stage.append(&topic, numbered(0..20)).await;
    let ledger = Arc::new(Ledger::default());
    let mut worker = Worker::join(stage, &topic, "one", &ledger).await;
    worker.member.own(2).await;
    let marks = stage.log.watermarks(&topic.name).await.expect("watermarks");
    for partition in worker.member.owned.clone().expect("two") {
        assert_eq!(
            ledger.position(&partition),
            Some(marks[partition.number as usize].0)
        );
    }
    worker.until(20).await;
}

/// fault:F10, fault:F13: the service's own position decides, whatever the log was told.
pub async fn a_stored_position_decides_where_an_assignment_starts(stage: &Stage) {
    let topic = stage.topic("stored", 1).await;
    stage.append(&topic, numbered(0..20)).await;
    let ledger = Arc::new(Ledger::default());
    let records = {
        let mut worker = Worker::join(stage, &topic, "one", &ledger).await;
        let records = worker.member.take(20).await;
        // The log believes that all is done; the service knows better.
        let last = &records[19];
        worker
            .member
            .consumer
            .commit(&last.partition, last.offset + 1)
            .await
            .expect("a commit");
        records
    };
    ledger.set(&records[5].partition, records[5].offset);
    let mut worker = Worker::join(stage, &topic, "one", &ledger).await;
    worker.until(15).await;
    assert_eq!(ledger.effects()[0], value(&records[5]));
}

/// A position that cannot be read is no reason to guess one.
pub async fn a_failing_position_store_is_asked_again(stage: &Stage) {
    let topic = stage.topic("failing", 2).await;
    stage.append(&topic, numbered(0..10)).await;
    let ledger = Arc::new(Ledger::default());
    ledger.fail(1);
    let mut worker = Worker::join(stage, &topic, "one", &ledger).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the failure is told");
        match worker.member.poll().await {
            Err(Error::Positions(_)) => break,
            Err(other) => panic!("{other}"),
            Ok(records) => assert!(records.is_empty(), "nothing before the start is known"),
        }
    }
    worker.until(10).await;
}

/// At least once for services without tables: the place is in the log.
pub async fn a_committed_place_is_kept_for_the_next_consumer(stage: &Stage) {
    let topic = stage.topic("commit", 1).await;
    stage.append(&topic, numbered(0..20)).await;
    let kept = {
        let mut member = stage.join(&topic, "one", StartAt::Group).await;
        let records = member.take(20).await;
        let (kept, last) = (records[12].clone(), &records[19]);
        // A place may go back, too.
        for next in [last.offset + 1, kept.offset] {
            let committed = member.consumer.commit(&kept.partition, next).await;
            committed.expect("a commit");
        }
        kept
    };
    let records = stage
        .join(&topic, "two", StartAt::Group)
        .await
        .take(8)
        .await;
    assert_eq!(value(&records[0]), value(&kept));
    assert_eq!(records.len(), 8);
}

/// fault:F13: a member that lost a partition cannot move the group's place in it.
pub async fn a_commit_by_somebody_else_changes_nothing(stage: &Stage) {
    let topic = stage.topic("late-commit", 1).await;
    stage.append(&topic, numbered(0..20)).await;
    let mut late = stage.join(&topic, "late", StartAt::Group).await;
    let records = late.take(20).await;
    let mut heir = stage.join(&topic, "heir", StartAt::Group).await;
    heir.take(20).await;
    let partition = &records[0].partition;
    late.consumer
        .commit(partition, records[19].offset + 1)
        .await
        .expect("silence");
    heir.consumer
        .commit(partition, records[3].offset)
        .await
        .expect("a commit");
    late.consumer
        .commit(partition, records[19].offset + 1)
        .await
        .expect("silence");
    drop((late, heir));
    let again = stage
        .join(&topic, "third", StartAt::Group)
        .await
        .take(17)
        .await;
    assert_eq!(value(&again[0]), value(&records[3]));
}

/// fault:F8, ruling 7: a position that the log never had stops its partition, and the others go on.
pub async fn a_position_outside_the_log_stops_that_partition_only(stage: &Stage) {
    let topic = stage.topic("outside", 2).await;
    stage.append(&topic, numbered(0..40)).await;
    let marks = stage.log.watermarks(&topic.name).await.expect("watermarks");
    let bad = Partition {
        topic: topic.name.clone(),
        topic_id: topic.id,
        number: 1,
    };
    let ledger = Arc::new(Ledger::default());
    ledger.set(&bad, marks[1].1 + 1);
    let mut worker = Worker::join(stage, &topic, "one", &ledger).await;
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "the trouble is told");
        match worker.member.poll().await {
            Ok(records) => assert!(records.iter().all(|record| record.partition != bad)),
            Err(error) => break error,
        }
    };
    match error {
        Error::OutOfRange {
            partition: 1,
            position,
            low,
            high,
            ..
        } => {
            assert_eq!(
                (position, low, high),
                (marks[1].1 + 1, marks[1].0, marks[1].1)
            );
        }
        other => panic!("{other}"),
    }
    let rest = usize::try_from(marks[0].1 - marks[0].0).expect("a count");
    let records = worker.member.take(rest).await;
    assert!(records.iter().all(|record| record.partition.number == 0));
    // A person sets it right.
    worker
        .member
        .consumer
        .seek(&bad, marks[1].0)
        .await
        .expect("an owned partition");
    assert_eq!(worker.member.take(40 - rest).await.len(), 40 - rest);
}

/// Polls all members until each owns `count` partitions.
async fn settle(members: &mut [&mut Member], count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while members.iter().any(|member| member.owns() != count) {
        assert!(Instant::now() < deadline, "the partitions are not shared");
        for member in members.iter_mut() {
            assert!(
                member.poll().await.expect("the poll works").is_empty(),
                "no records yet"
            );
        }
    }
}

fn assert_disjoint(members: &[&Member], topic: &Topic) {
    let owned = members
        .iter()
        .filter_map(|member| member.owned.clone())
        .flatten();
    let mut numbers: Vec<u32> = owned.map(|partition| partition.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..topic.partitions).collect::<Vec<_>>());
}

/// A consumer of a service with a position table.
struct Worker {
    member: Member,
    ledger: Arc<Ledger>,
    /// Where it believes each position to be.
    expected: HashMap<Partition, i64>,
}

impl Worker {
    async fn join(stage: &Stage, topic: &Topic, name: &str, ledger: &Arc<Ledger>) -> Self {
        let start = StartAt::Stored(Arc::clone(ledger) as _);
        let member = stage.join(topic, name, start).await;
        Self {
            member,
            ledger: Arc::clone(ledger),
            expected: HashMap::new(),
        }
    }

    /// One poll with its effects.
    async fn work(&mut self) {
        match self
            .member
            .consumer
            .poll(50, STEP)
            .await
            .expect("the poll works")
        {
            Poll::Assigned(owned) => {
                self.expected.clear();
                self.member.owned = Some(owned);
            }
            Poll::Records(records) => assert!(self.apply(&records), "its own batch is applied"),
        }
    }

    /// Applies a batch of one poll, as far as nobody else was faster.
    fn apply(&mut self, records: &[Delivered]) -> bool {
        by_partition(records.to_vec()).iter().all(|batch| {
            let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
                return true;
            };
            // Until it has applied something, the start of its first batch is what it was told.
            let expected = *self
                .expected
                .entry(first.partition.clone())
                .or_insert(first.offset);
            let is_applied = self.ledger.apply(batch, expected);
            if is_applied {
                self.expected
                    .insert(first.partition.clone(), last.offset + 1);
            }
            is_applied
        })
    }

    /// Works until `count` effects are there.
    async fn until(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.ledger.effects().len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} effects",
                self.ledger.effects().len()
            );
            self.work().await;
        }
    }
}

fn by_partition(records: Vec<Delivered>) -> Vec<Vec<Delivered>> {
    let mut batches: HashMap<Partition, Vec<Delivered>> = HashMap::new();
    for record in records {
        batches
            .entry(record.partition.clone())
            .or_default()
            .push(record);
    }
    batches.into_values().collect()
}
