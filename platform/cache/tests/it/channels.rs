//! Subscribers of a server: they share a connection, end with it, and leave nothing behind.

use bytes::Bytes;

use crate::server::{Server, eventually, next};

fn channels(server: &Server) -> Vec<String> {
    let mut channels: Vec<String> = server.run("PUBSUB CHANNELS");
    channels.sort();
    channels
}

/// A process has two connections, however many listen in it; channels that nobody listens to are not sent.
#[tokio::test(flavor = "multi_thread")]
async fn all_subscribers_of_a_process_share_a_connection_and_leave_nothing_behind() {
    let server = Server::start().await;
    let cache = server.open();
    cache.check().await.unwrap();
    let mut subscribers = Vec::new();
    for n in 0..50 {
        let subscriber = cache.subscriber().await.unwrap();
        let handle = subscriber.handle();
        handle.add("all").await.unwrap();
        handle.add(&n.to_string()).await.unwrap();
        subscribers.push(subscriber);
    }
    // One more asks.
    let clients: String = server.run("CLIENT LIST");
    assert_eq!(clients.lines().count(), 3, "{clients}");
    assert_eq!(channels(&server).len(), 51);

    subscribers[0].handle().remove("all").await.unwrap();
    subscribers[0].handle().remove("0").await.unwrap();
    assert_eq!(channels(&server).len(), 50);
    cache
        .publish("all", Bytes::from_static(b"x"))
        .await
        .unwrap();
    for subscriber in &mut subscribers[1..] {
        assert_eq!(next(subscriber).await.unwrap().0, "all");
    }

    let handle = subscribers[1].handle();
    subscribers.truncate(1);
    eventually("nobody listens", async || channels(&server).is_empty()).await;
    // Who is gone cannot come back.
    handle.add("all").await.unwrap();
    assert!(channels(&server).is_empty());
    subscribers[0].handle().add("again").await.unwrap();
    assert_eq!(channels(&server), ["messenger:again"]);
}

/// Adding and removing at the same time, by many: in the end the server sends what somebody listens to.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_comes_and_goes_is_sent_in_the_end_if_somebody_listens() {
    let server = Server::start().await;
    let cache = server.open();
    let mut working = tokio::task::JoinSet::new();
    for n in 0..8 {
        let subscriber = cache.subscriber().await.unwrap();
        working.spawn(async move {
            let handle = subscriber.handle();
            for _ in 0..100 {
                handle.add("c").await.unwrap();
                handle.remove("c").await.unwrap();
            }
            if n == 0 {
                handle.add("c").await.unwrap();
            }
            subscriber
        });
    }
    let mut subscribers = working.join_all().await;
    assert_eq!(channels(&server), ["messenger:c"]);
    cache.publish("c", Bytes::from_static(b"x")).await.unwrap();
    let mut received = tokio::task::JoinSet::new();
    for mut subscriber in subscribers.drain(..) {
        received.spawn(async move { next(&mut subscriber).await.is_some() });
    }
    assert!(received.join_next().await.unwrap().unwrap());
    received.abort_all();
}

/// A lost connection is no silence: the subscriber ends, after what it had received, and another one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_ends_with_its_connection_and_another_one_goes_on() {
    let server = Server::start().await;
    let cache = server.open();
    for n in 0..3 {
        let mut subscriber = cache.subscriber().await.unwrap();
        subscriber.handle().add("c").await.unwrap();
        let payload = Bytes::from(n.to_string());
        cache.publish("c", payload.clone()).await.unwrap();
        eventually("the payload is here or lost", async || {
            server.run::<u32>("CLIENT KILL TYPE pubsub") == 1
        })
        .await;
        let last = next(&mut subscriber).await;
        if let Some((_, received)) = &last {
            assert_eq!(received, &payload);
            assert_eq!(next(&mut subscriber).await, None);
        }
        assert!(subscriber.handle().add("d").await.is_err());
        eventually("another one can be made", async || {
            cache.subscriber().await.is_ok()
        })
        .await;
        cache.check().await.unwrap();
    }
}
