//! What is told of messages: on a real log, with a real `message` on both of its stores.

#![expect(clippy::disallowed_methods, reason = "tests start their own tasks")]
#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

mod lines;
mod world;

use contracts::{ChatId, RunId, UserId, events::ChangeKind, events::Send, frames, message::Stored};
use eventlog::Record;
use kit::{Ids as _, RandomIds};
use serde_json::{Value, json};

use crate::world::{World, eventually, new, told, user};

/// `to` and `to_count` of a line.
fn to(line: &Value) -> (Vec<String>, u64) {
    let names = line["to"].as_str().unwrap().split(',').map(str::to_owned);
    (names.collect(), line["to_count"].as_u64().unwrap())
}

fn people(people: &[u128]) -> (Vec<String>, u64) {
    let names = people.iter().map(|n| user(*n).to_string());
    (names.collect(), people.len() as u64)
}

/// The line of a message says who wrote it and nothing of what.
fn is_of(line: &Value, stored: &Stored, author: UserId) {
    assert_eq!(line["message.id"], stored.msg.to_string());
    assert_eq!(line["seq"], stored.seq);
    assert_eq!(line["from"], author.to_string());
    assert_eq!(
        (&line["level"], &line["target"]),
        (&json!("INFO"), &json!("notification"))
    );
    assert!(!line.to_string().contains("secret"), "{line}");
}

/// row:C23: each message is one line, for those who could read it when it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_line_for_those_who_may_read_it() {
    for world in World::both().await {
        let (answering, notifying) = (world.answer().await, world.notify().await);
        let chat = world.chat(2).await;
        let first = world.say(chat, user(1)).await;
        let second = world.say(chat, user(2)).await;
        let joined = ChangeKind::MemberJoined { user: user(3) };
        world.change(chat, 2, joined).await;
        let advised = Send {
            from_run: Some(RunId(RandomIds.next())),
            ..new(chat, user(2))
        };
        let third = world.send(advised).await;
        let left = ChangeKind::MemberLeft { user: user(1) };
        world.change(chat, 3, left).await;
        let fourth = world.say(chat, user(3)).await;
        let lines = told(chat, 4).await;
        for (line, (stored, author, others, ai)) in lines.iter().zip([
            (first, 1, people(&[2]), None),
            (second, 2, people(&[1]), None),
            (third, 2, people(&[1, 3]), Some("advice")),
            (fourth, 3, people(&[2]), None),
        ]) {
            is_of(line, &stored, user(author));
            assert_eq!(to(line), others, "{line}");
            assert_eq!(line["ai"].as_str(), ai);
            assert!(line["took_ms"].as_i64().unwrap() < 1000, "{line}");
        }
        for running in [notifying, answering] {
            running.stop().await;
        }
        world.stop().await;
    }
}

/// A line has an end, however many read: it names some and counts all.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_about_a_large_chat_names_some_and_counts_all() {
    for world in World::both().await {
        let (answering, notifying) = (world.answer().await, world.notify().await);
        let chat = world.chat(40).await;
        for author in [user(1), user(40)] {
            world.say(chat, author).await;
        }
        let lines = told(chat, 2).await;
        let named = |range: std::ops::RangeInclusive<u128>| people(&range.collect::<Vec<_>>()).0;
        assert_eq!(to(&lines[0]), (named(2..=33), 39));
        assert_eq!(to(&lines[1]), (named(1..=32), 39));
        for running in [notifying, answering] {
            running.stop().await;
        }
        world.stop().await;
    }
}

/// row:C25: what cannot be read is left behind, what comes twice is told once, and a stop in between loses nothing and repeats
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_topic_stops_the_lines() {
    for world in World::both().await {
        let answering = world.answer().await;
        let notifying = world.notify().await;
        let chat = world.chat(2).await;
        let first = world.say(chat, user(1)).await;
        told(chat, 1).await;
        let again = r#"{"id":"x","text":"a secret"}"#;
        for value in [
            "{no frame of a secret".into(),
            frames::event(frames::MSG_NEW, chat, 3, again),
            frames::ephemeral(frames::MARKS, &json!({ "chat": chat })),
            stored_frame(&world, chat).await,
        ] {
            let key = frames::chat_key(chat);
            let records = vec![Record { key, value }];
            let appended = world.log.append(&world.topics.forward_message, records);
            appended.await.unwrap();
        }
        let second = world.say(chat, user(2)).await;
        let unreadable = async || lines::with("message", "a frame cannot be read");
        let of_chat = |lines: Vec<Value>| {
            let lines = lines.into_iter();
            lines.filter(|line| line["chat.id"] == chat.to_string())
        };
        eventually("the second line", async || {
            of_chat(lines::with("target", "notification")).count() == 2
        })
        .await;
        let unreadable: Vec<_> = of_chat(unreadable().await).collect();
        assert_eq!(unreadable.len(), 2);
        assert!(
            unreadable
                .iter()
                .all(|line| !line.to_string().contains("secret"))
        );

        notifying.stop().await;
        let third = world.say(chat, user(1)).await;
        let notifying = world.notify().await;
        eventually("the third line", async || {
            of_chat(lines::with("target", "notification")).count() == 3
        })
        .await;
        let lines = of_chat(lines::with("target", "notification"));
        for (line, (stored, author)) in lines.zip([(first, 1), (second, 2), (third, 1)]) {
            is_of(&line, &stored, user(author));
        }
        for running in [notifying, answering] {
            running.stop().await;
        }
        world.stop().await;
    }
}

/// The frame of the newest message of a chat.
async fn stored_frame(world: &World, chat: ChatId) -> bytes::Bytes {
    let topic = &world.topics.forward_message;
    let marks = world.log.watermarks(topic).await.unwrap();
    for (part, (low, _)) in (0..).zip(marks) {
        let records = world.log.read(topic, part, low, 1000).await.unwrap();
        let of_chat = |record: &&eventlog::Delivered| {
            record.key == frames::chat_key(chat) && record.value.starts_with(br#"{"t":"msg.new""#)
        };
        if let Some(record) = records.iter().rfind(of_chat) {
            return record.value.clone();
        }
    }
    panic!("nothing is stored in {chat}");
}

/// row:C25: while nobody says who reads, lines wait in their place; that is said once, and everything follows.
#[tokio::test(flavor = "multi_thread")]
async fn lines_wait_for_message_and_lose_nothing() {
    for (n, world) in (1..).zip(World::both().await) {
        let (answering, notifying) = (world.answer().await, world.notify().await);
        let (chat, other) = (world.chat(2).await, world.chat(3).await);
        world.say(chat, user(1)).await;
        told(chat, 1).await;
        answering.stop().await;
        // Who reads here is known.
        world.say(chat, user(2)).await;
        told(chat, 2).await;
        let waiting = [
            world.say(other, user(1)).await,
            world.say(other, user(2)).await,
        ];
        let said = || lines::with("message", "records are not handled; trying again");
        eventually("the trouble is said", async || said().len() == n).await;
        world.say(chat, user(1)).await;
        let answering = world.answer().await;
        let lines = told(other, 2).await;
        for (line, (stored, author)) in lines.iter().zip(waiting.iter().zip([1, 2])) {
            is_of(line, stored, user(author));
            assert_eq!(to(line).1, 2);
        }
        told(chat, 3).await;
        assert_eq!(said().len(), n, "the trouble is said once");
        for running in [notifying, answering] {
            running.stop().await;
        }
        world.stop().await;
    }
}
