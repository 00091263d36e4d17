//! The sessions in Redis: what stands there, who is missed when it is away, and what a process leaves that was killed.

use std::time::{Duration, Instant};

use e2e::{Cluster, Engine, Person, Redis, World, ask, eventually};
use messenger::Config;

use crate::presence::{LEASE, REREAD, pair, quick, told, until, watch};

/// How many connections of a person are registered, and for how long yet.
async fn registered(cache: &str, person: &Person) -> (u64, Duration) {
    let key = format!("messenger:group:ws-gateway:sessions:{}", person.id);
    let count = ask(cache, &format!("HLEN {key}")).await;
    let left: Option<i64> = ask(cache, &format!("PTTL {key}")).await;
    let left = u64::try_from(left.unwrap_or(0)).unwrap_or(0);
    (count.unwrap_or(0), Duration::from_millis(left))
}

scenarios_on_servers! {
    /// row:D07: what a person's connections are in Redis: keys with an end that is put off for as long as they last, and gone soon
    /// after them.
    async fn connections_stand_in_redis_while_they_last(engine) {
        let world = World::with(engine, quick).await;
        let (ann, bob, _) = pair(&world).await;
        let cache = world.config.cache.clone();
        let (at_ann, at_bob) = tokio::join!(ann.connect(), bob.connect());
        let other = bob.another_device().await.connect().await;
        eventually("they are registered", async || {
            registered(&cache, &ann).await.0 == 1 && registered(&cache, &bob).await.0 == 2
        })
        .await;
        let since = Instant::now();
        while since.elapsed() < LEASE + REREAD {
            let (count, left) = registered(&cache, &ann).await;
            assert!(
                count == 1 && left > Duration::ZERO && left <= LEASE,
                "{count} for {left:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        other.close().await;
        eventually("one is left", async || {
            registered(&cache, &bob).await.0 == 1
        })
        .await;
        for socket in [at_ann, at_bob] {
            socket.close().await;
        }
        eventually("nothing is left", async || {
            registered(&cache, &ann).await.0 + registered(&cache, &bob).await.0 == 0
        })
        .await;
        world.stop().await;
    }

    /// row:D12, fault:F28, guarantee:G14: while Redis is dead, silent or emptied, messages, history and sockets go on, and people are
    /// `unknown`; when it is back, everybody is registered again within one refresh, and seen.
    async fn without_redis_only_presence_is_missing(engine) {
        let mut redis = Redis::start().await;
        let url = redis.url();
        let world = World::with(engine, |config| {
            quick(config);
            config.cache.clone_from(&url);
        })
        .await;
        let (ann, bob, chat) = pair(&world).await;
        let (mut at_ann, mut at_bob) = tokio::join!(ann.connect(), bob.connect());
        at_bob.watch(&chat).await;
        watch(&mut at_ann, &[&bob]).await;
        until(&mut at_ann, &bob, "active").await;
        for trouble in ["dead", "silent"] {
            if trouble == "dead" {
                redis.kill().await;
            } else {
                redis.pause().await;
            }
            until(&mut at_ann, &bob, "unknown").await;
            let began = Instant::now();
            at_ann.say(&chat, trouble).await;
            assert_eq!(at_bob.message().await["d"]["text"], trouble);
            assert_eq!(bob.texts(&chat).await.last().unwrap(), trouble);
            let mut new = bob.connect().await;
            watch(&mut new, &[&ann]).await;
            assert_eq!(told(&mut new, &ann).await, "unknown");
            new.close().await;
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                began.elapsed()
            );
            if trouble == "dead" {
                redis.restart().await;
            } else {
                redis.resume().await;
            }
            let back = Instant::now();
            eventually("they are registered", async || {
                registered(&url, &ann).await.0 == 1 && registered(&url, &bob).await.0 >= 1
            })
            .await;
            println!("after {trouble}: registered again in {:?}", back.elapsed());
            until(&mut at_ann, &bob, "active").await;
        }
        if engine == Engine::Servers {
            assert!(world.metric("ws_gateway_presence_failures_total", "").await > 0.0);
        }
        ask::<String>(&url, "FLUSHALL").await.unwrap();
        let emptied = Instant::now();
        eventually("they are registered", async || {
            registered(&url, &ann).await.0 == 1 && registered(&url, &bob).await.0 == 1
        })
        .await;
        // A refresh, and a slow machine.
        assert!(
            emptied.elapsed() < LEASE / 3 + Duration::from_secs(2),
            "{:?}",
            emptied.elapsed()
        );
        at_bob.close().await;
        until(&mut at_ann, &bob, "offline").await;
        world.stop().await;
    }
}

/// row:D07, row:D10: a process that was killed tells nobody; when its leases are over and the next look was taken, its
/// people are offline, and nothing of them is left.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_at_a_killed_process_is_offline_when_the_lease_is_over() {
    let world = World::with(Engine::Servers, quick).await;
    let (ann, mut bob, _) = pair(&world).await;
    let mut cluster = Cluster::start(Engine::Servers, |config| {
        let (data, replica) = (config.data.clone(), "1".to_owned());
        *config = Config {
            data,
            replica,
            ..world.config.clone()
        };
    })
    .await;
    bob.server = cluster.public();
    let (mut at_ann, _at_bob) = tokio::join!(ann.connect(), bob.connect());
    watch(&mut at_ann, &[&bob]).await;
    until(&mut at_ann, &bob, "active").await;
    assert_eq!(registered(&world.config.cache, &bob).await.0, 1);
    cluster.kill(cluster.all()).await;
    let killed = Instant::now();
    assert_eq!(told(&mut at_ann, &bob).await, "offline");
    let after = killed.elapsed();
    println!("offline {after:?} after the kill");
    // The lease, a look, a round, and a slow machine.
    assert!(after < LEASE + REREAD + Duration::from_secs(3), "{after:?}");
    assert_eq!(
        registered(&world.config.cache, &bob).await,
        (0, Duration::ZERO)
    );
    bob.server = world.public;
    let _at_bob = bob.connect().await;
    assert_eq!(told(&mut at_ann, &bob).await, "active");
    world.stop().await;
}
