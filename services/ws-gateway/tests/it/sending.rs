//! `msg.send` and its answers.

use std::time::Duration;

use contracts::{Key, MessageId};
use eventlog::EventLog as _;
use realtime::testing::in_time;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, user};

fn key() -> Key {
    Key(Uuid::now_v7())
}

/// row:C01, row:C02: the sender gets `ok` and right after it the event; the other member the same event.
#[tokio::test]
async fn a_message_is_answered_and_then_delivered_to_all() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut bob) = (
        world.in_chat(user(1), chat).await,
        world.in_chat(user(2), chat).await,
    );
    let key = key();
    let id = ann.send(chat, key, "hello").await;
    let answer = ann.next().await;
    assert_eq!(answer["id"], id);
    assert_eq!(answer["ok"]["msg"], json!(MessageId::derive(user(1), key)));
    assert_eq!(
        (&answer["ok"]["seq"], &answer["ok"]["o"]),
        (&json!(1), &json!(2))
    );
    let event = ann.next().await;
    assert_eq!((&event["t"], &event["o"]), (&json!("msg.new"), &json!(2)));
    assert_eq!(event["s"], format!("c:{chat}"));
    assert_eq!(event["d"]["key"], json!(key));
    assert_eq!(bob.next().await, event);
}

/// row:C19: the same key again is the same message, marked as a repetition, with no second event.
#[tokio::test]
async fn a_repeated_send_is_answered_and_stored_once() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    let key = key();
    let first = ann.send(chat, key, "once").await;
    let first = ann.answer(first).await;
    let second = ann.send(chat, key, "once").await;
    let second = ann.answer(second).await;
    assert_eq!(second["ok"]["dup"], true);
    assert_eq!(
        (&first["ok"]["msg"], &first["ok"]["o"]),
        (&second["ok"]["msg"], &second["ok"]["o"])
    );
    let after = world.streams.post(chat, user(1), "next").await;
    assert_eq!(ann.positions(2).await, [2, after]);
}

/// row:C12: whoever is named in the frame, the message stands under the token's user.
#[tokio::test]
async fn a_forged_author_is_ignored() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let mut ann = world.in_chat(user(1), chat).await;
    let forged = json!({ "chat": chat, "key": key(), "text": "I am Bob", "author": user(2), "ai": {}, "auto": "replied" });
    assert!(ann.ask("msg.send", forged).await["ok"].is_object());
    assert_eq!(ann.next_of("msg.new").await["d"]["author"], json!(user(1)));
}

/// row:C13: what cannot be sent is told so by a stable code, for good, and the connection lives on.
#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_a_code() {
    let world = World::new().await;
    let (chat, foreign) = (
        world.streams.create(&[user(1)]),
        world.streams.create(&[user(2)]),
    );
    let mut ann = world.in_chat(user(1), chat).await;
    let long = "a".repeat(16 * 1024 + 1);
    for (chat, text, code) in [
        (chat, "", "empty_text"),
        (chat, " \n", "empty_text"),
        (chat, long.as_str(), "too_large"),
        (chat, "a\0b", "bad_request"),
        (foreign, "hi", "not_found"),
    ] {
        let id = ann.send(chat, key(), text).await;
        let answer = ann.answer(id).await;
        let id = if text.contains('\0') {
            &json!(null)
        } else {
            &answer["id"]
        };
        assert_eq!(
            (&answer["err"]["code"], &answer["err"]["fatal"]),
            (&json!(code), &json!(true)),
            "{id}"
        );
    }
    for wrong in [
        json!({}),
        json!({ "chat": "x", "key": key(), "text": "a" }),
        json!([]),
    ] {
        assert_eq!(
            ann.ask("msg.send", wrong).await["err"]["code"],
            "bad_request"
        );
    }
    let id = ann.send(chat, key(), "still here").await;
    assert!(ann.answer(id).await["ok"].is_object());
}

/// row:C15: a thousand messages sent without waiting are stored and come back in their order.
#[tokio::test]
async fn a_thousand_messages_of_one_connection_keep_their_order() {
    const MESSAGES: usize = 1000;
    let config = ws_gateway::Config {
        sockets: realtime::Config {
            commands_per_10s: 1_000_000,
            command_burst: 10_000,
            ..Default::default()
        },
        ..Default::default()
    };
    let world = World::with(config).await;
    let chat = world.streams.create(&[user(1), user(2)]);
    let (mut ann, mut bob) = (
        world.in_chat(user(1), chat).await,
        world.in_chat(user(2), chat).await,
    );
    let reading = tokio::spawn(async move {
        for n in 0..MESSAGES {
            assert_eq!(bob.next_of("msg.new").await["d"]["text"], n.to_string());
        }
    });
    let mut last = 0;
    for n in 0..MESSAGES {
        last = ann.send(chat, key(), &n.to_string()).await;
    }
    assert!(ann.answer(last).await["ok"].is_object());
    in_time("all arrive", reading).await.unwrap();
}

/// At most 32 sends of a connection wait for their answers; then its client is not read.
#[tokio::test]
async fn unanswered_sends_are_bounded() {
    let config = ws_gateway::Config {
        sockets: realtime::Config {
            commands_per_10s: 10_000,
            command_burst: 1_000,
            ..Default::default()
        },
        ..Default::default()
    };
    let world = World::with(config).await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    world
        .streams
        .may_store
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut last = 0;
    for n in 0..100 {
        last = ann.send(chat, key(), &n.to_string()).await;
    }
    let appended = async || -> i64 {
        let marks = world
            .log
            .watermarks(&world.topics.message_persist)
            .await
            .unwrap();
        marks.iter().map(|(low, high)| high - low).sum()
    };
    in_time("the first 32 are appended", async {
        while appended().await < 32 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.streams.may_store.add_permits(1);
    assert!(ann.answer(last - 99).await["ok"].is_object());
    assert!(appended().await <= 33);
    world.streams.may_store.add_permits(1000);
    assert!(ann.answer(last).await["ok"].is_object());
    assert_eq!(appended().await, 100);
}

/// fault:F8: when a topic was deleted and made again, nobody waits for what was in it.
#[tokio::test]
async fn a_send_that_was_deleted_with_its_topic_is_unknown_at_once() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    let may_store = &world.streams.may_store;
    may_store.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let (key, begun) = (key(), std::time::Instant::now());
    let id = ann.send(chat, key, "lost").await;
    in_time("it waits in the log", async {
        let topic = &world.topics.message_persist;
        let waits = |marks: Vec<_>| marks.iter().any(|(low, high)| high > low);
        while !waits(world.log.watermarks(topic).await.unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.log.make_again();
    assert_eq!(ann.answer(id).await["err"]["code"], "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(5));
    may_store.add_permits(10);
    let id = ann.send(chat, key, "lost").await;
    assert_eq!(ann.answer(id).await["ok"]["seq"], 1);
}

/// guarantee:G3: no answer within ten seconds means unknown; the same key may be sent again.
#[tokio::test]
async fn a_send_without_an_answer_is_unavailable_and_can_be_repeated() {
    let world = World::new().await;
    let chat = world.streams.create(&[user(1)]);
    let mut ann = world.in_chat(user(1), chat).await;
    world
        .streams
        .may_store
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let key = key();
    let id = ann.send(chat, key, "slow").await;
    let answer = ann.answer(id).await;
    assert_eq!(
        (&answer["err"]["code"], &answer["err"]["fatal"]),
        (&json!("unavailable"), &json!(false))
    );
    world.streams.may_store.add_permits(10);
    let id = ann.send(chat, key, "slow").await;
    assert_eq!(ann.answer(id).await["ok"]["seq"], 1);
}

/// After a failed append, nothing later overtakes on that connection; another one may send.
#[tokio::test]
async fn a_failed_append_stops_the_chat_for_this_connection() {
    let world = World::new().await;
    let (chat, other) = (
        world.streams.create(&[user(1)]),
        world.streams.create(&[user(1)]),
    );
    let mut ann = world.hello(user(1)).await;
    world.log.refuse_appends(true);
    let (first, second) = (key(), key());
    let mut refused = async |chat, key| {
        let id = ann.send(chat, key, "x").await;
        let answer = ann.answer(id).await;
        (
            answer["err"]["code"] == "unavailable" && answer["err"]["fatal"] == false,
            answer["ok"].is_object(),
        )
    };
    assert_eq!(refused(chat, first).await, (true, false));
    world.log.refuse_appends(false);
    assert_eq!(
        refused(chat, second).await,
        (true, false),
        "it would overtake the first"
    );
    assert_eq!(
        refused(other, key()).await,
        (false, true),
        "another chat has an order of its own"
    );
    let mut again = world.hello(user(1)).await;
    let id = again.send(chat, first, "x").await;
    assert_eq!(again.answer(id).await["ok"]["seq"], 1);
    let id = ann.send(chat, first, "x").await;
    assert_eq!(ann.answer(id).await["ok"]["seq"], 1);
    let id = ann.send(chat, second, "the next").await;
    assert_eq!(ann.answer(id).await["ok"]["seq"], 2, "its turn has come");
}
