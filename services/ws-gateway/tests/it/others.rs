//! Hints, people, devices, logins, and the loss of the log.

use std::time::Duration;

use contracts::{RunId, SessionId, ai::Delta, frames};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::world::{World, user};

/// A chat that is not subscribed gives at most one hint a second, and the last one is the newest.
#[tokio::test]
async fn an_unsubscribed_chat_gives_few_hints() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut ann = world.hello(user(1)).await;
    for _ in 0..20 {
        world.streams.post(chat, user(2), "x").await;
    }
    let begun = Instant::now();
    let mut hints = 1;
    while ann.next_of("chat.hint").await["d"]["seq"] != 20 {
        hints += 1;
    }
    assert!(
        hints <= 2 + begun.elapsed().as_secs(),
        "{hints} hints in {:?}",
        begun.elapsed()
    );
}

/// Membership that changes while connected changes what is hinted.
#[tokio::test]
async fn a_new_chat_is_watched_at_once() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(2)]);
    let mut ann = world.hello(user(1)).await;
    let joined = world.streams.set_member(chat, user(1), true).await;
    assert_eq!(
        ann.next().await,
        json!({ "t": "chat.added", "e": 1, "d": { "chat": chat, "o": joined } })
    );
    world.streams.post(chat, user(2), "x").await;
    assert_eq!(ann.next_of("chat.hint").await["d"]["seq"], 1);
    let left = world.streams.set_member(chat, user(1), false).await;
    assert_eq!(ann.next_of("chat.removed").await["d"]["o"], left);
    world.streams.post(chat, user(2), "y").await;
    world
        .streams
        .tell(user(1), frames::ephemeral("test.end", &json!({})))
        .await;
    loop {
        let event = ann.next().await;
        if event["t"] == "test.end" {
            break;
        }
        assert_ne!(event["d"]["seq"], 2, "no hint about what is not theirs");
    }
}

/// What concerns a person reaches all of their devices as it is, from the log and from the cache.
#[tokio::test]
async fn records_and_deltas_of_a_person_reach_all_devices() {
    let world = World::new().await;
    let (mut phone, mut laptop) = (world.hello(user(1)).await, world.hello(user(1)).await);
    let mut stranger = world.hello(user(2)).await;
    let run = json!({ "run": RunId(Uuid::now_v7()), "state": "done", "text": "42" });
    world
        .streams
        .tell(user(1), frames::ephemeral(frames::AI_RUN, &run))
        .await;
    for client in [&mut phone, &mut laptop] {
        assert_eq!(
            client.next().await,
            json!({ "t": "ai.run", "e": 1, "d": run })
        );
    }
    let delta = Delta {
        run: RunId(Uuid::now_v7()),
        chat: world.streams.create(&[user(1)]),
        n: 1,
        text: "fo".to_owned(),
    };
    let channel = format!("u:{}", user(1));
    let frame = frames::ephemeral(frames::AI_DELTA, &delta);
    // The channel is joined a moment after the first device; until then ephemera may be lost.
    let publishing = async {
        loop {
            world.cache.publish(&channel, frame.clone()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let receiving = async {
        for client in [&mut phone, &mut laptop] {
            assert_eq!(client.next().await["d"], json!(delta));
        }
    };
    tokio::select! {
        () = receiving => {}
        () = publishing => {}
    }
    world
        .streams
        .tell(user(2), frames::ephemeral("test.end", &json!({})))
        .await;
    assert_eq!(stranger.next().await["t"], "test.end");
    for command in ["ai.follow", "ai.cancel"] {
        let answer = stranger
            .ask(command, json!({ "run": Uuid::now_v7() }))
            .await;
        assert_eq!(
            (&answer["err"]["code"], &answer["err"]["fatal"]),
            (&json!("unavailable"), &json!(false))
        );
    }
}

/// row:D06: two devices of a person both receive; when one leaves the other goes on.
#[tokio::test]
async fn two_devices_are_independent() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut phone, mut laptop) = (
        world.in_chat(user(1), chat).await,
        world.in_chat(user(1), chat).await,
    );
    world.streams.post(chat, user(2), "both").await;
    assert_eq!(
        (phone.positions(1).await, laptop.positions(1).await),
        (vec![2], vec![2])
    );
    drop(phone);
    for o in 3..10 {
        assert_eq!(world.streams.post(chat, user(2), "one").await, o);
        assert_eq!(laptop.positions(1).await, [o]);
    }
}

#[tokio::test]
async fn marks_reach_subscribers_and_positions_are_answered() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut bob) = (
        world.in_chat(user(1), chat).await,
        world.in_chat(user(2), chat).await,
    );
    let marks = json!({ "chat": chat, "user": user(1), "delivered": 2, "read": 1 });
    assert_eq!(
        ann.ask("mark", json!({ "chat": chat, "delivered": 2, "read": 1 }))
            .await["ok"],
        marks
    );
    assert_eq!(
        bob.next().await,
        json!({ "t": "marks", "e": 1, "d": marks })
    );
    assert_eq!(
        ann.ask("mark", json!({ "chat": chat, "read": "all" }))
            .await["err"]["code"],
        "bad_request"
    );
}

/// A login that is ended closes its sockets within two seconds, and no others.
#[tokio::test]
async fn an_ended_login_closes_its_sockets() {
    let world = World::new().await;
    let (mut ann, mut bob) = (world.hello(user(1)).await, world.hello(user(2)).await);
    let begun = Instant::now();
    world.verifier.note_revoked(SessionId(user(1).0));
    assert_eq!(ann.close_code().await, Some(4201));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let mut again = world.connect().await;
    again
        .command(
            "hello",
            json!({ "proto": 1, "token": world.token(user(1)) }),
        )
        .await;
    assert_eq!(again.close_code().await, Some(4201));
    assert_eq!(
        bob.ask("nonsense", json!({})).await["err"]["code"],
        "bad_request"
    );
}

/// row:D01, row:D16, row:C14: who is not let in, and what does not end a connection.
#[tokio::test]
async fn the_door_is_that_of_the_protocol() {
    let world = World::new().await;
    assert_eq!(world.status_from("https://evil.example").await, 403);
    assert_eq!(
        world
            .status_from(&format!("http://{}", world.address))
            .await,
        101
    );
    let mut nobody = world.connect().await;
    nobody
        .command("hello", json!({ "proto": 1, "token": "abc" }))
        .await;
    assert_eq!(nobody.close_code().await, Some(4200));
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    ann.text("{broken").await;
    assert_eq!(ann.next().await["err"]["code"], "bad_request");
    world.streams.post(chat, user(1), "still here").await;
    assert_eq!(ann.positions(1).await, [2]);
}

/// row:D19: a new connection gets nothing of the past that it did not ask for.
#[tokio::test]
async fn a_fresh_connection_gets_nothing_old() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    for _ in 0..5 {
        world.streams.post(chat, user(1), "old").await;
    }
    let mut ann = world.in_chat(user(1), chat).await;
    let new = world.streams.post(chat, user(1), "new").await;
    assert_eq!(ann.next().await["o"], new);
}

/// When the reader of the forward topic loses its place, every client comes back with resume, and
/// nothing is missing.
#[tokio::test]
async fn a_lost_place_sends_everybody_back_to_resume() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    world.log.lose_place();
    assert_eq!(ann.next_of("bye").await["d"]["resume"], true);
    assert_eq!(ann.close_code().await, Some(4001));
    let missed = world.streams.store(chat, user(1), "while nobody listened");
    let resume = json!({ format!("c:{chat}"): { "e": "k1", "o": 1 } });
    let mut again = loop {
        let mut client = world.connect().await;
        let token = world.token(user(1));
        client
            .text(
                json!({ "t": "hello", "d": { "proto": 1, "token": token, "resume": resume } })
                    .to_string(),
            )
            .await;
        let first = client.next().await;
        if first["t"] == "welcome" {
            break client;
        }
        assert_eq!(first["err"]["code"], "unavailable");
        assert_eq!(client.close_code().await, Some(4001));
    };
    assert_eq!(again.positions(1).await, [missed]);
    let next = world.streams.post(chat, user(1), "again").await;
    assert_eq!(again.positions(1).await, [next]);
}

/// row:G17: 100 messages to three recipients and their sender: 100 sent, 400 received.
#[tokio::test]
async fn messages_are_counted_where_they_pass() {
    let config = ws_gateway::Config {
        sockets: realtime::Config {
            commands_per_10s: 10_000,
            command_burst: 1_000,
            ..Default::default()
        },
        ..Default::default()
    };
    let world = World::with(config).await;
    let people = [user(1), user(2), user(3), user(4)];
    let chat = world.streams.create(&people);
    let mut clients = Vec::new();
    for person in people {
        clients.push(world.in_chat(person, chat).await);
    }
    let count = |name: &str| -> u64 {
        let text = kit::telemetry::metrics().render();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or("0 0")
            .to_owned();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (sent, received) = (
        "ws_gateway_messages_sent_total",
        "ws_gateway_messages_received_total",
    );
    let before = (count(sent), count(received));
    for n in 0..100 {
        clients[0]
            .send(chat, contracts::Key(Uuid::now_v7()), &n.to_string())
            .await;
    }
    for client in &mut clients {
        for _ in 0..100 {
            client.next_of("msg.new").await;
        }
    }
    // Other tests of this process count in the same registry at the same time.
    assert!(count(sent) >= before.0 + 100);
    assert!(count(received) >= before.1 + 400);
}
