//! What a door refuses, and when it gives a connection up.

use std::time::Duration;

use realtime::{Close, Config, Frame};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Door, eventually, in_time, token};

/// row:D16, threat:T15: refusals are problem+json with the right status.
#[tokio::test]
async fn an_upgrade_is_refused_with_a_problem() {
    let door = Door::open("refusals", Config::default()).await;
    assert_eq!(
        door.status_with("/ws", "origin", "https://evil.example")
            .await,
        403
    );
    assert_eq!(
        door.status_with("/ws", "origin", &format!("http://{}", door.address))
            .await,
        101
    );
    assert_eq!(
        door.status_with("/ws?access_token=abc", "x-nothing", "1")
            .await,
        400
    );
    assert_eq!(
        door.status_with("/ws", "authorization", "Bearer nonsense")
            .await,
        401
    );
    assert_eq!(
        door.status_with("/ws", "authorization", "Bearer 1:1:9")
            .await,
        101
    );
    assert_eq!(door.status_with("/nowhere", "x-nothing", "1").await, 404);
    assert_eq!(door.metric("ws_handshake_failures_total"), 3);
}

/// row:D01: the token comes with the first command or in the head; a bad one closes for good.
#[tokio::test]
async fn hello_decides() {
    let door = Door::open("hello", Config::default()).await;
    for (token, proto, code) in [
        ("nonsense", 1, 4200),
        ("1:1:99999999999999", 2, 4203),
        ("1:1:5", 1, 4100),
    ] {
        let mut client = door.connect().await;
        client
            .send(json!({ "t": "hello", "d": { "proto": proto, "token": token } }).to_string())
            .await;
        assert_eq!(client.close_code().await, Some(code), "{token}");
    }
    let mut client = door.connect().await;
    client.send(r#"{"id":1,"t":"say"}"#).await;
    assert_eq!(client.next().await["err"]["code"], "unauthorized");
    client
        .send(r#"{"id":2,"t":"hello","d":{"proto":"one"}}"#)
        .await;
    assert_eq!(client.next().await["err"]["code"], "bad_request");
    client.say_hello(7).await;
    assert_eq!(client.next().await["t"], "welcome");
}

/// threat:T16: an unauthenticated connection has a short time, and an address has few of them.
#[tokio::test]
async fn silent_connections_are_few_and_short() {
    let config = Config {
        hello_timeout: Duration::from_millis(400),
        unauthenticated_per_address: 2,
        ..Config::default()
    };
    let door = Door::open("silent", config).await;
    let _known = door.hello(1).await;
    let (mut first, _second) = (door.connect().await, door.connect().await);
    assert_eq!(door.status_with("/ws", "x-nothing", "1").await, 429);
    assert_eq!(first.close_code().await, Some(4003));
    let hub = door.hub.clone();
    eventually("only the one that said hello is left", || hub.len() == 1).await;
    let _third = door.connect().await;
}

/// threat:T16, threat:T52: behind our own proxy each client has places of its own, so that one who says nothing does
/// not close the door for the others; what a stranger says about itself gives it no further place.
#[tokio::test]
async fn silent_connections_are_counted_by_client_behind_a_proxy() {
    let config = Config {
        unauthenticated_per_address: 1,
        ..Config::default()
    };
    let ours = Door::open_behind("proxied", config.clone(), &["10.0.0.0/8", "127.0.0.1"]).await;
    let silent = ours.forwarded("198.51.100.1, 10.0.0.7").await;
    assert!(silent.is_some(), "the first of its address");
    assert!(ours.forwarded("9.9.9.9, 198.51.100.1").await.is_none());
    let mut other = ours.forwarded("198.51.100.2").await.expect("another");
    other.say_hello(1).await;
    assert_eq!(other.next().await["t"], "welcome");

    let strangers = Door::open_behind("strangers", config, &["10.0.0.0/8"]).await;
    let silent = strangers.forwarded("198.51.100.1").await;
    assert!(silent.is_some(), "the first of its address");
    assert!(strangers.forwarded("198.51.100.2").await.is_none());
}

/// row:D14: whoever answers heartbeats stays, whoever does not is closed with 4003.
#[tokio::test]
async fn heartbeats_find_the_dead() {
    let config = Config {
        heartbeat: Duration::from_millis(300),
        heartbeat_timeout: Duration::from_millis(600),
        ..Config::default()
    };
    let door = Door::open("heartbeat", config).await;
    let (mut dead, mut alive) = (door.hello(1).await, door.hello(2).await);
    let living = tokio::spawn(async move {
        for _ in 0..5 {
            assert_eq!(alive.next().await, json!({}));
            alive.send("{}").await;
        }
        alive
    });
    assert_eq!(dead.next().await, json!({}));
    assert_eq!(dead.close_code().await, Some(4003));
    let mut alive = in_time("five heartbeats", living).await.unwrap();
    alive.send(r#"{"id":2,"t":"say","d":{"n":1}}"#).await;
    loop {
        match alive.next().await {
            value if value["t"] == "said" => break,
            value => assert_eq!(value, json!({})),
        }
    }
}

/// row:D15: a token's end is announced and closes; a newer token of the same login keeps the socket.
#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let door = Door::open("expiry", Config::default()).await;
    let soon = door.hub.clock().now_ms() + 1_500;
    let mut ending = door.connect().await;
    let hello =
        json!({ "t": "hello", "d": { "proto": 1, "token": format!("1:1:{soon}") } }).to_string();
    ending.send(hello.clone()).await;
    assert_eq!(ending.next().await["t"], "welcome");
    assert_eq!(ending.next().await["t"], "auth.expiring");
    let mut renewing = door.connect().await;
    renewing.send(hello).await;
    for _ in 0..2 {
        renewing.next().await;
    }
    renewing
        .send(json!({ "id": 2, "t": "auth", "d": { "token": token(2) } }).to_string())
        .await;
    assert_eq!(
        renewing.next().await["err"]["code"],
        "forbidden",
        "another login"
    );
    renewing
        .send(json!({ "id": 3, "t": "auth", "d": { "token": token(1) } }).to_string())
        .await;
    assert_eq!(renewing.next().await["id"], 3);
    assert_eq!(ending.close_code().await, Some(4100));
    renewing.send(r#"{"id":4,"t":"say"}"#).await;
    assert_eq!(renewing.next().await["t"], "said");
}

#[tokio::test]
async fn an_ended_login_closes_its_sockets() {
    let door = Door::open("ended", Config::default()).await;
    let (mut ended, mut other) = (door.hello(1).await, door.hello(2).await);
    let login = uuid::Uuid::from_u128(1);
    assert_eq!(
        door.hub.close_where(
            |socket| socket.login() == Some(login),
            realtime::Close::LOGIN_ENDED
        ),
        1
    );
    assert_eq!(ended.close_code().await, Some(4201));
    door.room.ended.lock().push(login);
    let mut again = door.connect().await;
    again.say_hello(1).await;
    assert_eq!(again.close_code().await, Some(4201));
    other.send(r#"{"id":2,"t":"say"}"#).await;
    assert_eq!(other.next().await["t"], "said");
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_connections() {
    let door = Door::open(
        "people",
        Config {
            connections_per_person: 2,
            ..Config::default()
        },
    )
    .await;
    let (first, _second) = (door.hello(1).await, door.hello(1).await);
    let mut third = door.connect().await;
    third.say_hello(1).await;
    let refused = third.next().await;
    assert_eq!(
        (&refused["err"]["code"], &refused["err"]["fatal"]),
        (&"rate_limited".into(), &true.into()),
        "what comes before a close is not to be repeated"
    );
    assert_eq!(third.close_code().await, Some(4205));
    let _other = door.hello(2).await;
    drop(first);
    let hub = door.hub.clone();
    eventually("the first has left", || hub.len() == 2).await;
    let _fourth = door.hello(1).await;
}

/// row:D17: a flood is answered with errors; the connection lives on and others notice nothing.
#[tokio::test]
async fn a_flood_is_throttled() {
    let door = Door::open("flood", Config::default()).await;
    let (mut flooding, mut calm) = (door.hello(1).await, door.hello(2).await);
    for id in 2..60 {
        flooding
            .send(format!(r#"{{"id":{id},"t":"nothing"}}"#))
            .await;
    }
    let mut limited = 0;
    for _ in 2..60 {
        let answer = flooding.next().await;
        if answer["err"]["code"] == "rate_limited" {
            limited += 1;
            assert!(answer["err"]["retry_ms"].as_u64().unwrap() > 0);
            assert_eq!(answer["err"]["fatal"], false);
        }
    }
    assert!(
        (20..30).contains(&limited),
        "{limited} of 58 with a burst of 30"
    );
    assert_eq!(door.metric("ws_rate_limited_total"), limited);
    calm.send(r#"{"id":2,"t":"say","d":{"n":1}}"#).await;
    assert_eq!(calm.next().await["t"], "said");
}

/// row:C14: whatever is malformed is answered, and the next command works.
#[tokio::test]
async fn malformed_frames_leave_the_connection_alive() {
    let door = Door::open("malformed", Config::default()).await;
    let mut client = door.hello(1).await;
    for (bad, id) in [
        ("{", json!(null)),
        (r#"{"id":5,"t":[]}"#, json!(5)),
        (r#"{"id":6}"#, json!(6)),
        ("\u{1F}", json!(null)),
    ] {
        client.send(bad).await;
        let answer = client.next().await;
        assert_eq!(
            (&answer["id"], &answer["err"]["code"]),
            (&id, &json!("bad_request")),
            "{bad}"
        );
    }
    client
        .send("{\"id\":7,\"t\":\"none\"}\n\n{\"id\":8,\"t\":\"say\",\"d\":{\"n\":1}}\n{}")
        .await;
    assert_eq!(client.next().await["id"], 7);
    assert_eq!(client.next().await["t"], "said");
    assert_eq!(client.next().await["id"], 8);
}

/// threat:T18: what breaks RFC 6455 closes with its codes, also before anybody said hello.
#[tokio::test]
async fn broken_frames_close_with_their_codes() {
    let door = Door::open("broken", Config::default()).await;
    let mut binary = door.hello(1).await;
    futures_util::SinkExt::send(&mut binary.0, Message::binary(vec![1]))
        .await
        .unwrap();
    assert_eq!(binary.close_code().await, Some(1003));
    let mut large = door.connect().await;
    large.send("a".repeat(70_000)).await;
    assert_eq!(large.close_code().await, Some(1009));
    let mut unmasked = raw(&door).await;
    unmasked.write_all(&[0x81, 2, b'{', b'}']).await.unwrap();
    let mut rest = Vec::new();
    unmasked.shutdown().await.unwrap();
    in_time("the close frame", unmasked.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest[0], 0x88);
    assert_eq!(rest[2..4], 1002_u16.to_be_bytes());
}

#[tokio::test]
async fn a_clients_close_is_answered_with_its_code() {
    let door = Door::open("goodbye", Config::default()).await;
    let mut client = door.hello(1).await;
    client.0.close(None).await.unwrap();
    assert!(matches!(client.message().await, Some(Message::Close(_))));
    let hub = door.hub.clone();
    eventually("it is gone", || hub.is_empty()).await;
}

/// An upgraded connection without a client library.
pub(crate) async fn raw(door: &Door) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(
            in_time("the answer to the upgrade", stream.read_u8())
                .await
                .unwrap(),
        );
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

/// row:D13, threat:T19: a client that stops reading is isolated, its memory bounded, and in the end it
/// is closed; everybody else gets everything.
#[tokio::test]
async fn a_slow_client_is_isolated_and_closed() {
    const EVENTS: u64 = 4_000;
    let config = Config {
        stall_timeout: Duration::from_millis(1_500),
        queue_bytes: 256 * 1024,
        ..Config::default()
    };
    let door = Door::open("slow", config).await;
    let (slow, mut quick) = (door.hello(1).await, door.hello(2).await);
    let reading = tokio::spawn(async move {
        for n in 0..EVENTS {
            let event = quick.next().await;
            assert_eq!(event["d"]["n"], n);
        }
    });
    let text = "x".repeat(4_000);
    for n in 0..EVENTS {
        door.room.event(&realtime::ephemeral(
            "said",
            &json!({ "n": n, "text": text }),
        ));
        if n % 8 == 0 {
            tokio::task::yield_now().await;
            let door = &door;
            let written = || door.metric("ws_frames_sent_total");
            eventually("the quick one keeps up", || written() + 40 > n).await;
        }
    }
    in_time("everything reaches the quick one", reading)
        .await
        .unwrap();
    assert!(
        door.room.lags.load(std::sync::atomic::Ordering::SeqCst) > 0,
        "its stream was told to lag"
    );
    let hub = door.hub.clone();
    eventually("the slow one is given up", || hub.is_empty()).await;
    assert_eq!(door.metric("ws_slow_closes_total"), 1);
    drop(slow);
}

/// row:D13: a lane without positions cannot lag: whoever feeds it closes with 4002, and what waits is not written first.
#[tokio::test]
async fn a_lane_that_cannot_lag_closes_with_4002() {
    const EVENTS: usize = 5_000;
    let door = Door::open("lane", Config::default()).await;
    let mut client = Client(door.hello(1).await.0);
    let frame = Frame::text("y".repeat(10_000).as_bytes());
    let mut crowded = 0;
    for _ in 0..EVENTS {
        door.room.each(|socket| {
            if socket.send_event(&frame).is_err() {
                crowded += 1;
                socket.close(Close::TOO_SLOW);
            }
        });
    }
    assert_eq!(crowded, 1, "nothing is sent into a closed connection");
    assert_eq!(client.close_code().await, Some(4002));
    assert_eq!(door.metric("ws_slow_closes_total"), 1);
    let written = usize::try_from(door.metric("ws_frames_sent_total")).unwrap();
    assert!(written < EVENTS, "{written}");
}

/// row:D13: when not even answers fit, the connection is closed at once with 4002.
#[tokio::test]
async fn a_full_queue_closes_with_4002() {
    let door = Door::open(
        "full",
        Config {
            queue_bytes: 256 * 1024,
            ..Config::default()
        },
    )
    .await;
    let mut client = Client(door.hello(1).await.0);
    let frame = Frame::text("y".repeat(10_000).as_bytes());
    for _ in 0..5_000 {
        door.room.each(|socket| socket.send(&frame));
    }
    assert_eq!(client.close_code().await, Some(4002));
    assert_eq!(door.metric("ws_slow_closes_total"), 1);
}
