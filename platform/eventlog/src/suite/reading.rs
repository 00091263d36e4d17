//! Cases about reading as most services do it: with [`consume`].

use std::sync::Arc;

use kit::CancellationToken;
use parking_lot::Mutex;

use super::{Ledger, PATIENCE, Stage, numbered, value};
use crate::{Delivered, Pace, Partition, StartAt, Subscription, Topic, consume};

/// What cannot be handled now comes again, once it is handled the place is kept behind it, and nothing is left out.
pub async fn what_is_not_handled_comes_again(stage: &Stage) {
    let topic = stage.topic("again", 2).await;
    stage.append(&topic, numbered(0..40)).await;
    let failures = Mutex::new(3);
    let refuse = || {
        let mut left = failures.lock();
        *left = u32::saturating_sub(*left, 1);
        *left > 0
    };
    let mut handled = read(stage, &topic, StartAt::Group, 40, refuse).await;
    handled.sort_by_key(|value| value.parse::<u32>().expect("a number"));
    let all: Vec<_> = numbered(0..40)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(handled, all);
    stage.append(&topic, numbered(40..41)).await;
    let mut next = stage.join(&topic, "two", StartAt::Group).await;
    assert_eq!(value(&next.take(1).await[0]), "40");
}

/// One partition whose position is not in the log stops, and its reader goes on with the others.
pub async fn a_reader_goes_on_beside_a_stopped_partition(stage: &Stage) {
    let topic = stage.topic("beside", 2).await;
    stage.append(&topic, numbered(0..40)).await;
    let marks = stage.log.watermarks(&topic.name).await.expect("watermarks");
    let bad = Partition {
        topic: topic.name.clone(),
        topic_id: topic.id,
        number: 1,
    };
    let ledger = Arc::new(Ledger::default());
    ledger.set(&bad, marks[1].1 + 1);
    let rest = usize::try_from(marks[0].1 - marks[0].0).expect("a count");
    read(stage, &topic, StartAt::Stored(ledger), rest, || false).await;
}

/// Reads until `count` records are handled, of which some tries are refused.
async fn read(
    stage: &Stage,
    topic: &Topic,
    start: StartAt,
    count: usize,
    refuse: impl Fn() -> bool,
) -> Vec<String> {
    let (stop, handled) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let subscription = Subscription {
        group: format!("suite-{}", stage.run).into(),
        member: "one".into(),
        topics: vec![Arc::clone(&topic.name)],
        start,
        session_timeout: stage.session_timeout,
        pace: Pace::Relaxed,
    };
    let take = |records: Vec<Delivered>| {
        let taken = if refuse() {
            Err("not now".into())
        } else {
            let mut handled = handled.lock();
            handled.extend(records.iter().map(value));
            if handled.len() >= count {
                stop.cancel();
            }
            Ok(())
        };
        std::future::ready(taken)
    };
    let reading = consume(stage.log.as_ref(), subscription, 50, &stop, take);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.expect("all records in time").expect("it reads");
    handled.into_inner()
}
