//! What is on the server.

use std::time::Duration;

use bytes::Bytes;
use cache::Rule;

use crate::server::{Server, eventually};

/// Shows row:D07 and row:D10 for the registry: all keys are ours by name and have an end, so of a process that was killed
/// nothing is left after the longest time that it asked for.
#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_the_prefix_and_an_end_and_nothing_is_left_of_a_process_that_was_killed() {
    let server = Server::start().await;
    let cache = server.open();
    let (x, ttl) = (Bytes::from_static(b"x"), Duration::from_secs(2));
    let rule = Rule {
        per: ttl,
        count: 1,
        burst: 1,
    };
    cache.take("a", rule).await.unwrap();
    cache.put("a", x.clone(), ttl).await.unwrap();
    for member in ["m", "n"] {
        cache.join("a", member, x.clone(), ttl).await.unwrap();
        cache.join("b", member, x.clone(), 100 * ttl).await.unwrap();
    }
    // With the member that would have stayed longest goes the time that the group had for it.
    cache.join("a", "o", x.clone(), 100 * ttl).await.unwrap();
    cache.leave("a", "o").await.unwrap();
    // Nothing is left of a group that everybody has left.
    for member in ["m", "n"] {
        cache.leave("b", member).await.unwrap();
    }

    let mut keys: Vec<String> = server.run("KEYS *");
    keys.sort();
    let expected = [
        "messenger:group:a",
        "messenger:limit:a",
        "messenger:value:a",
    ];
    assert_eq!(keys, expected);
    for key in keys {
        let left: i64 = server.run(&format!("PTTL {key}"));
        assert!(left > 0 && left <= 2000, "{key}: {left}");
    }
    drop(cache);
    eventually("nothing is left", async || server.run::<u32>("DBSIZE") == 0).await;
}

/// A server that is full forgets instead of refusing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_forgets_the_oldest() {
    let server =
        Server::start_with(&["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let cache = server.open();
    for n in 0..300 {
        let (key, value) = (n.to_string(), Bytes::from(vec![0; 100_000]));
        let put = cache.put(&key, value, Duration::from_hours(1));
        put.await.unwrap();
    }
    assert!(cache.get("299").await.unwrap().is_some());
    assert!(server.run::<u32>("DBSIZE") < 100);
}
