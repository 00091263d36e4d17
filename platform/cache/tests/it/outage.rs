//! A server that hangs, dies, comes back or was never there. Each test has its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache::{Cache, Decision, Error, Limits, Rule};
use tokio::{task::JoinSet, time::Instant};

use crate::server::{DEADLINE, Server, eventually, free_port, next, open};

const X: Bytes = Bytes::from_static(b"x");

/// All calls at once; how long the slowest took, if none was answered.
async fn all_fail(cache: &Arc<dyn Cache>) -> Duration {
    let started = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..9 {
        let cache = cache.clone();
        calls.spawn(async move {
            match n {
                0 => cache.take("k", Rule::per_minute(1)).await.err(),
                1 => cache.publish("k", X).await.err(),
                2 => cache.put("k", X, DEADLINE).await.err(),
                3 => cache.get("k").await.err(),
                4 => cache.delete("k").await.err(),
                5 => cache.join("k", "m", X, DEADLINE).await.err(),
                6 => cache.leave("k", "m").await.err(),
                7 => cache.members("k").await.err(),
                _ => cache.check().await.err(),
            }
        });
    }
    for error in calls.join_all().await {
        assert!(matches!(error, Some(Error::Unavailable(_))), "{error:?}");
    }
    started.elapsed()
}

async fn works_again(cache: &Arc<dyn Cache>) -> Duration {
    let started = Instant::now();
    eventually("the cache works again", async || {
        cache.check().await.is_ok() && cache.subscriber().await.is_ok()
    })
    .await;
    started.elapsed()
}

/// Shows row:D12: no call hangs with a server that hangs, soon none even waits, and when it goes on, so does the cache.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_longer_than_two_seconds_for_a_server_that_hangs() {
    let server = Server::start().await;
    let cache = server.open();
    let mut subscriber = cache.subscriber().await.unwrap();
    cache.check().await.unwrap();

    server.pause();
    let (calls, add) = tokio::join!(all_fail(&cache), async {
        let started = Instant::now();
        assert!(subscriber.handle().add("c").await.is_err());
        started.elapsed()
    });
    assert!(calls < Duration::from_secs(2), "{calls:?}");
    assert!(add < Duration::from_secs(2), "{add:?}");
    // It is told that it hears nothing any more.
    assert_eq!(next(&mut subscriber).await, None);
    eventually("calls fail at once", async || {
        all_fail(&cache).await < Duration::from_millis(100)
    })
    .await;
    assert!(cache.subscriber().await.is_err());

    server.resume();
    let pause = works_again(&cache).await;
    assert!(pause < Duration::from_millis(2500), "{pause:?}");
}

/// Shows row:D12: the process starts without its cache and finds it when it comes, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_or_comes_back_is_found_by_itself() {
    let nobody = free_port();
    let cache = open(&format!("redis://127.0.0.1:{nobody}"));
    assert!(all_fail(&cache).await < Duration::from_secs(1));

    let mut server = Server::start().await;
    let cache = server.open();
    for _ in 0..3 {
        works_again(&cache).await;
        let rule = Rule::per_minute(1);
        assert_eq!(cache.take("k", rule).await.unwrap(), Decision::Allowed);
        assert_eq!(cache.join("k", "m", X, DEADLINE).await.unwrap(), 1);
        server.kill();
        let failed = all_fail(&cache).await;
        assert!(failed < Duration::from_secs(2), "{failed:?}");
        server.restart().await;
        let pause = works_again(&cache).await;
        assert!(pause < Duration::from_millis(2500), "{pause:?}");
    }
}

/// Nothing piles up for a server that is away: what was published meanwhile is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_server_is_away_is_not_sent_later() {
    let mut server = Server::start().await;
    let cache = server.open();
    cache.publish("c", X).await.unwrap();
    server.kill();
    eventually("the loss is known", async || {
        cache.publish("c", X).await.is_err()
    })
    .await;
    for _ in 0..10_000 {
        assert!(cache.publish("c", X).await.is_err());
    }
    server.restart().await;
    let other = server.open();
    let mut subscriber = other.subscriber().await.unwrap();
    subscriber.handle().add("c").await.unwrap();
    eventually("the cache works again", async || {
        cache.publish("c", Bytes::from_static(b"new")).await.is_ok()
    })
    .await;
    let (_, payload) = next(&mut subscriber).await.unwrap();
    assert_eq!(payload, "new");
}

/// Shows row:A08 and row:D12: limits hold per process while the server hangs, cost few requests a little time, and are shared
/// again when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_server_that_hangs_or_dies_hold_per_process_and_cost_little() {
    let mut server = Server::start().await;
    let cache = server.open();
    let (one, two) = (Limits::new(cache.clone()), Limits::new(server.open()));
    let rule = Rule {
        per: Duration::from_hours(1),
        count: 5,
        burst: 5,
    };
    let allowed = async |limits: &Limits, key: &str, tries: usize| {
        let (started, mut allowed, mut slow) = (Instant::now(), 0, 0);
        for _ in 0..tries {
            let asked = Instant::now();
            if limits.take(key, rule).await == Decision::Allowed {
                allowed += 1;
            }
            if asked.elapsed() > Duration::from_millis(50) {
                slow += 1;
            }
        }
        (allowed, slow, started.elapsed())
    };
    works_again(&cache).await;
    assert_eq!(allowed(&one, "k", 3).await.0, 3);
    assert_eq!(allowed(&two, "k", 9).await.0, 2, "they share");

    server.pause();
    let (of_one, slow, time) = allowed(&one, "k", 1000).await;
    assert_eq!(of_one, 5, "its own bucket is full");
    assert!(
        slow <= 3 && time < Duration::from_secs(1),
        "{slow} {time:?}"
    );
    assert_eq!(allowed(&two, "k", 9).await.0, 5, "so is the other's");

    server.resume();
    eventually("the limit is shared again", async || {
        allowed(&one, "k", 1).await;
        // The bucket of the process is empty as well, so only a new one can show who decides.
        let fresh = format!("{:?}", Instant::now());
        let first = allowed(&one, &fresh, 5).await.0;
        first == 5 && allowed(&two, &fresh, 1).await.0 == 0
    })
    .await;

    server.kill();
    let (of_one, slow, time) = allowed(&one, "another", 1000).await;
    assert_eq!(of_one, 5);
    assert!(
        slow <= 3 && time < Duration::from_secs(1),
        "{slow} {time:?}"
    );
}
