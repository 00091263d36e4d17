//! The behaviour that every adapter of [`Cache`](crate::Cache) must show, against the real thing.
//!
//! `cache::suite!(make())` in a test file, where `make()` is a future of `Arc<dyn Cache>`, makes one test of each
//! function here. Keys are fresh in each run, so a cache that others use does no harm.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests: a failed call is a failed test"
)]

mod groups;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kit::Ids;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{Cache, Decision, Error, MAX_BYTES, Rule, Subscriber};

pub use groups::*;

/// One test for each behaviour, for the cache that the future makes.
#[macro_export]
macro_rules! suite {
    ($make:expr) => {
        $crate::suite!(@tests $make;
            a_bucket_gives_its_burst_and_then_says_when_to_come_back
            a_bucket_fills_up_again
            buckets_do_not_know_each_other
            of_many_at_once_no_more_are_allowed_than_there_are_tokens
            a_value_is_there_until_it_is_replaced_or_deleted
            a_value_goes_when_its_time_is_over
            a_value_over_the_limit_is_refused
            payloads_arrive_in_order_at_everybody_who_subscribed
            a_channel_can_be_added_and_removed_while_another_task_receives
            a_subscriber_that_does_not_read_disturbs_nobody
            what_is_asked_beyond_all_reason_is_bounded
            the_same_name_in_two_worlds_is_two_things
            what_was_published_before_subscribing_does_not_arrive
            a_dropped_wait_for_a_payload_loses_nothing
            members_come_and_go
            a_member_goes_when_its_time_is_over_and_one_that_joins_again_stays
            of_many_that_join_at_once_all_are_there
            a_full_group_makes_room
            a_member_over_the_limit_is_refused
            a_cache_that_runs_says_so
        );
    };
    (@tests $make:expr; $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            $crate::suite::$name($make.await).await;
        }
    )*};
}

const DEADLINE: Duration = Duration::from_secs(10);

fn fresh(name: &str) -> String {
    format!("{name}:{}", kit::RandomIds.next())
}

async fn next(subscriber: &mut Box<dyn Subscriber>) -> (String, Bytes) {
    let next = timeout(DEADLINE, subscriber.next())
        .await
        .expect("a payload in time");
    next.expect("a subscriber that goes on")
}

/// Shows row:A08 for the limiter: beyond the burst the answer is a time to wait.
pub async fn a_bucket_gives_its_burst_and_then_says_when_to_come_back(cache: Arc<dyn Cache>) {
    let key = fresh("bucket");
    let rule = Rule::per_minute(5);
    for _ in 0..5 {
        assert_eq!(cache.take(&key, rule).await.unwrap(), Decision::Allowed);
    }
    let Decision::Denied { retry_after } = cache.take(&key, rule).await.unwrap() else {
        panic!("a sixth token was given");
    };
    assert!(
        retry_after > Duration::from_secs(5) && retry_after <= Duration::from_secs(12),
        "{retry_after:?}"
    );
}

/// A token comes back after the stated time and not before.
pub async fn a_bucket_fills_up_again(cache: Arc<dyn Cache>) {
    let key = fresh("bucket");
    let rule = Rule {
        per: Duration::from_millis(300),
        count: 1,
        burst: 1,
    };
    let started = Instant::now();
    assert_eq!(cache.take(&key, rule).await.unwrap(), Decision::Allowed);
    while let Decision::Denied { retry_after } = cache.take(&key, rule).await.unwrap() {
        assert!(
            retry_after <= rule.per && started.elapsed() < DEADLINE,
            "{retry_after:?}"
        );
        timeout(retry_after, std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    assert!(
        started.elapsed() >= Duration::from_millis(290),
        "{:?}",
        started.elapsed()
    );
}

/// An empty bucket denies nobody else.
pub async fn buckets_do_not_know_each_other(cache: Arc<dyn Cache>) {
    let (one, two) = (fresh("bucket"), fresh("bucket"));
    let rule = Rule::per_minute(1);
    assert_eq!(cache.take(&one, rule).await.unwrap(), Decision::Allowed);
    assert!(matches!(
        cache.take(&one, rule).await.unwrap(),
        Decision::Denied { .. }
    ));
    assert_eq!(cache.take(&two, rule).await.unwrap(), Decision::Allowed);
}

/// Looking and taking are one step.
pub async fn of_many_at_once_no_more_are_allowed_than_there_are_tokens(cache: Arc<dyn Cache>) {
    let key = fresh("bucket");
    let rule = Rule {
        per: Duration::from_hours(1),
        count: 10,
        burst: 10,
    };
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (cache, key) = (cache.clone(), key.clone());
        callers.spawn(async move { cache.take(&key, rule).await.unwrap() });
    }
    let allowed = callers
        .join_all()
        .await
        .into_iter()
        .filter(|decision| *decision == Decision::Allowed)
        .count();
    assert_eq!(allowed, 10);
}

/// Put, get, replace, delete; bytes come back as they were.
pub async fn a_value_is_there_until_it_is_replaced_or_deleted(cache: Arc<dyn Cache>) {
    let key = fresh("value");
    let all_bytes: Bytes = (0..=255_u8).collect();
    assert_eq!(cache.get(&key).await.unwrap(), None);
    cache.delete(&key).await.unwrap();
    for value in [all_bytes, Bytes::new()] {
        cache.put(&key, value.clone(), DEADLINE).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap(), Some(value));
    }
    cache.delete(&key).await.unwrap();
    assert_eq!(cache.get(&key).await.unwrap(), None);
}

/// Shows row:D07 for the registry: a key that is not refreshed vanishes, one that is stays.
pub async fn a_value_goes_when_its_time_is_over(cache: Arc<dyn Cache>) {
    let (short, long) = (fresh("value"), fresh("value"));
    let ttl = Duration::from_millis(200);
    let started = Instant::now();
    cache
        .put(&short, Bytes::from_static(b"x"), ttl)
        .await
        .unwrap();
    cache
        .put(&long, Bytes::from_static(b"x"), ttl)
        .await
        .unwrap();
    cache
        .put(&long, Bytes::from_static(b"y"), 6 * DEADLINE)
        .await
        .unwrap();
    while cache.get(&short).await.unwrap().is_some() {
        assert!(started.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert!(
        started.elapsed() >= Duration::from_millis(190),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        cache.get(&long).await.unwrap().as_deref(),
        Some(b"y".as_slice())
    );
}

/// Nobody can fill the cache with one value.
pub async fn a_value_over_the_limit_is_refused(cache: Arc<dyn Cache>) {
    let key = fresh("value");
    let value = Bytes::from(vec![0; MAX_BYTES - key.len()]);
    cache.put(&key, value, DEADLINE).await.unwrap();
    let value = Bytes::from(vec![0; MAX_BYTES - key.len() + 1]);
    assert!(matches!(
        cache.put(&key, value.clone(), DEADLINE).await,
        Err(Error::TooLarge(_))
    ));
    assert!(matches!(
        cache.publish(&key, value).await,
        Err(Error::TooLarge(_))
    ));
}

/// Every subscriber of a channel gets every payload, in the order of the publisher, and no other channel's.
pub async fn payloads_arrive_in_order_at_everybody_who_subscribed(cache: Arc<dyn Cache>) {
    let (one, two, other) = (fresh("channel"), fresh("channel"), fresh("channel"));
    let (mut both, mut only_two) = (
        cache.subscriber().await.unwrap(),
        cache.subscriber().await.unwrap(),
    );
    both.handle().add(&one).await.unwrap();
    both.handle().add(&one).await.unwrap();
    both.handle().add(&two).await.unwrap();
    only_two.handle().add(&two).await.unwrap();
    for n in 0..50 {
        for channel in [&one, &other, &two] {
            cache
                .publish(channel, Bytes::from(n.to_string()))
                .await
                .unwrap();
        }
    }
    for n in 0..50 {
        let payload = Bytes::from(n.to_string());
        assert_eq!(next(&mut both).await, (one.clone(), payload.clone()));
        assert_eq!(next(&mut both).await, (two.clone(), payload.clone()));
        assert_eq!(next(&mut only_two).await, (two.clone(), payload));
    }
}

/// The task that receives need not be disturbed to change what it receives.
pub async fn a_channel_can_be_added_and_removed_while_another_task_receives(cache: Arc<dyn Cache>) {
    let (one, two) = (fresh("channel"), fresh("channel"));
    let mut subscriber = cache.subscriber().await.unwrap();
    let handle = subscriber.handle();
    let mut receiving = JoinSet::new();
    receiving.spawn(async move {
        let first = next(&mut subscriber).await;
        (subscriber, first)
    });
    tokio::task::yield_now().await;
    handle.add(&one).await.unwrap();
    cache.publish(&one, Bytes::from_static(b"1")).await.unwrap();
    let (mut subscriber, first) = receiving.join_next().await.expect("the task").unwrap();
    assert_eq!(first, (one.clone(), Bytes::from_static(b"1")));

    handle.add(&two).await.unwrap();
    handle.remove(&one).await.unwrap();
    cache.publish(&one, Bytes::from_static(b"2")).await.unwrap();
    cache.publish(&two, Bytes::from_static(b"3")).await.unwrap();
    assert_eq!(next(&mut subscriber).await, (two, Bytes::from_static(b"3")));
}

/// A slow subscriber loses the oldest payloads; the newest arrives, and nobody waits for it.
pub async fn a_subscriber_that_does_not_read_disturbs_nobody(cache: Arc<dyn Cache>) {
    let channel = fresh("channel");
    let mut slow = cache.subscriber().await.unwrap();
    slow.handle().add(&channel).await.unwrap();
    let flood = async {
        for n in 1..=20_000 {
            cache
                .publish(&channel, Bytes::from(n.to_string()))
                .await
                .unwrap();
        }
    };
    timeout(DEADLINE, flood)
        .await
        .expect("publishing does not wait for a reader");
    let mut last = 0;
    while last < 20_000 {
        let (_, payload) = next(&mut slow).await;
        let n: u32 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
        assert!(n > last, "{n} after {last}");
        last = n;
    }
}

/// Rules and times that nobody means neither fail nor lock anybody out.
pub async fn what_is_asked_beyond_all_reason_is_bounded(cache: Arc<dyn Cache>) {
    for (per, count, burst) in [
        (Duration::ZERO, 0, 0),
        (Duration::from_secs(1), u32::MAX, u32::MAX),
        (Duration::from_hours(24 * 365), 1, u32::MAX),
        (Duration::MAX, 1, 1),
    ] {
        let rule = Rule { per, count, burst };
        let decision = cache.take(&fresh("bucket"), rule).await.unwrap();
        assert_eq!(decision, Decision::Allowed, "{rule:?}");
    }
    let (key, value) = (fresh("key"), Bytes::from_static(b"x"));
    for ttl in [Duration::ZERO, Duration::MAX] {
        cache.put(&key, value.clone(), ttl).await.unwrap();
        cache.join(&key, "one", value.clone(), ttl).await.unwrap();
    }
    assert_eq!(cache.get(&key).await.unwrap(), Some(value));
    assert_eq!(cache.leave(&key, "one").await.unwrap(), 0);
    cache.delete(&key).await.unwrap();
}

/// A bucket, a value, a group and a channel may have the same name.
pub async fn the_same_name_in_two_worlds_is_two_things(cache: Arc<dyn Cache>) {
    let (name, value) = (fresh("name"), Bytes::from_static(b"value"));
    let mut subscriber = cache.subscriber().await.unwrap();
    subscriber.handle().add(&name).await.unwrap();
    cache.put(&name, value.clone(), DEADLINE).await.unwrap();
    cache
        .join(&name, "one", value.clone(), DEADLINE)
        .await
        .unwrap();
    let decision = cache.take(&name, Rule::per_minute(1)).await.unwrap();
    assert_eq!(decision, Decision::Allowed);
    cache
        .publish(&name, Bytes::from_static(b"payload"))
        .await
        .unwrap();
    assert_eq!(next(&mut subscriber).await.1, "payload");
    cache.delete(&name).await.unwrap();
    let members = cache.members(&name).await.unwrap();
    assert_eq!(members, [("one".to_owned(), value)]);
    assert_eq!(cache.get(&name).await.unwrap(), None);
}

/// A channel has no past.
pub async fn what_was_published_before_subscribing_does_not_arrive(cache: Arc<dyn Cache>) {
    let channel = fresh("channel");
    cache
        .publish(&channel, Bytes::from_static(b"1"))
        .await
        .unwrap();
    let mut subscriber = cache.subscriber().await.unwrap();
    cache
        .publish(&channel, Bytes::from_static(b"2"))
        .await
        .unwrap();
    subscriber.handle().add(&channel).await.unwrap();
    cache
        .publish(&channel, Bytes::from_static(b"3"))
        .await
        .unwrap();
    assert_eq!(next(&mut subscriber).await.1, "3");
}

/// The future of a payload may be dropped at any moment.
pub async fn a_dropped_wait_for_a_payload_loses_nothing(cache: Arc<dyn Cache>) {
    let channel = fresh("channel");
    let mut subscriber = cache.subscriber().await.unwrap();
    subscriber.handle().add(&channel).await.unwrap();
    let mut received = 0;
    for n in 0..200 {
        let publish = cache.publish(&channel, Bytes::from(n.to_string()));
        tokio::pin!(publish);
        loop {
            tokio::select! {
                biased;
                next = subscriber.next() => {
                    assert_eq!(next.unwrap().1, received.to_string());
                    received += 1;
                }
                done = &mut publish => break done.unwrap(),
            }
        }
    }
    for n in received..200 {
        assert_eq!(next(&mut subscriber).await.1, n.to_string());
    }
}

/// The check of a cache that runs passes.
pub async fn a_cache_that_runs_says_so(cache: Arc<dyn Cache>) {
    cache.check().await.unwrap();
}
