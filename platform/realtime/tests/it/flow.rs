//! How frames flow when all is well.

use realtime::{Config, Frame};
use serde_json::json;

use crate::support::{Door, eventually};

/// row:D05, row:D06: a plain client exchanges JSON; two connections of a person are independent.
#[tokio::test]
async fn two_connections_of_a_person_both_receive() {
    let door = Door::open("two", Config::default()).await;
    let (mut first, mut second) = (door.hello(1).await, door.hello(1).await);
    first.send(r#"{"id":2,"t":"say","d":{"n":1}}"#).await;
    let said = json!({ "t": "said", "e": 1, "d": { "n": 1 } });
    assert_eq!(first.next().await, said);
    assert_eq!(first.next().await, json!({ "id": 2, "ok": {} }));
    assert_eq!(second.next().await, said);
    drop(first);
    second.send(r#"{"t":"say","d":{"n":2}}"#).await;
    assert_eq!(second.next().await["d"]["n"], 2);
}

/// Frames that wait together leave in one write, and arrive whole and in order.
#[tokio::test]
async fn a_burst_leaves_in_few_writes() {
    const EVENTS: u64 = 2_000;
    let door = Door::open("burst", Config::default()).await;
    let mut client = door.hello(1).await;
    let before = door.metric("ws_writes_total");
    for n in 0..EVENTS {
        door.room
            .event(&realtime::ephemeral("said", &json!({ "n": n })));
    }
    for n in 0..EVENTS {
        assert_eq!(client.next().await["d"]["n"], n);
    }
    let writes = door.metric("ws_writes_total") - before;
    assert!(writes <= EVENTS / 8, "{writes} writes for {EVENTS} frames");
    assert_eq!(door.metric("ws_frames_sent_total"), EVENTS + 2);
}

/// bench:F2: events that come together for many connections cost each of them one write.
#[tokio::test]
async fn a_burst_to_many_is_one_write_for_each() {
    const CLIENTS: u32 = 100;
    let door = Door::open("many", Config::default()).await;
    let mut clients = Vec::new();
    for user in 0..CLIENTS {
        clients.push(door.hello(user).await);
    }
    let before = door.metric("ws_writes_total");
    let mut burst = door.hub.burst();
    for n in 0..3 {
        let frame = realtime::ephemeral("said", &json!({ "n": n }));
        door.room.each(|socket| {
            burst.send_event(socket, &frame).expect("there is room");
        });
    }
    drop(burst);
    let written = door.metric("ws_writes_total") - before;
    assert!(written > 0, "some are written to before any task is woken");
    for client in &mut clients {
        for n in 0..3 {
            assert_eq!(client.next().await["d"]["n"], n);
        }
    }
    assert_eq!(door.metric("ws_writes_total") - before, u64::from(CLIENTS));
}

/// A burst larger than the queue is written on its way: whoever takes what comes does not lag.
#[tokio::test]
async fn a_large_burst_does_not_make_a_quick_client_lag() {
    const EVENTS: u32 = 1_000;
    let door = Door::open("large", Config::default()).await;
    let mut client = door.hello(1).await;
    let text = "x".repeat(2 * door.hub.config().queue_bytes / EVENTS as usize);
    let mut burst = door.hub.burst();
    for n in 0..EVENTS {
        let frame = realtime::ephemeral("said", &json!({ "n": n, "text": text }));
        door.room.each(|socket| {
            burst.send_event(socket, &frame).expect("there is room");
        });
    }
    drop(burst);
    for n in 0..EVENTS {
        assert_eq!(client.next().await["d"]["n"], n);
    }
    assert_eq!(door.metric("ws_lags_total"), 0);
}

/// row:G15: ten connections raise the gauge by ten, and it falls when they close.
#[tokio::test]
async fn the_gauge_counts_open_sockets() {
    let door = Door::open("gauge", Config::default()).await;
    let mut clients = Vec::new();
    for user in 0..10 {
        clients.push(door.hello(user).await);
    }
    assert_eq!(door.metric("ws_connections"), 10);
    clients.truncate(4);
    eventually("six have left", || door.metric("ws_connections") == 4).await;
}

/// A planned stop tells clients when to come back, spread over time.
#[tokio::test]
async fn a_stop_says_bye_and_closes_with_4001() {
    let mut door = Door::open("drain", Config::default()).await;
    let mut client = door.hello(1).await;
    door.begin_stop();
    let bye = client.next().await;
    assert_eq!(
        (&bye["t"], &bye["d"]["why"]),
        (&json!("bye"), &json!("drain"))
    );
    assert!(bye["d"]["retry_ms"][0].as_u64() < bye["d"]["retry_ms"][1].as_u64());
    assert_eq!(client.close_code().await, Some(4001));
    drop(client);
    door.closed().await;
}

/// A hint takes the place of the older one that still waits.
#[tokio::test]
async fn ephemera_are_replaced_by_newer_ones() {
    let door = Door::open("hints", Config::default()).await;
    let mut client = door.hello(1).await;
    door.room.each(|socket| {
        for n in 0..100 {
            socket.send_ephemeral(&realtime::ephemeral("hint", &json!({ "n": n })), Some(1));
        }
    });
    door.room.event(&Frame::text(br#"{"t":"end"}"#));
    let mut seen = Vec::new();
    loop {
        let event = client.next().await;
        if event["t"] == "end" {
            break;
        }
        seen.push(event["d"]["n"].as_u64().unwrap());
    }
    assert_eq!(seen.last(), Some(&99));
    assert!(seen.len() < 100 && seen.is_sorted(), "{seen:?}");
}
