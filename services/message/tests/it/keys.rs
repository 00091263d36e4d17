//! A key names one message.

use contracts::message::Page;
use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use kit::{Call, Code, Ids as _, RandomIds};

use crate::harness::{World, eventually, new, user};

/// row:C19, guarantee:G2: a key names one message for ever; another content under it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_message() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let send = new(chat, user(1), "once");
        let first = world.message.send(&world.call, send.clone()).await.unwrap();
        let tries = (0..20).map(|_| world.message.send(&world.call, send.clone()));
        for again in futures_util::future::join_all(tries).await {
            let again = again.unwrap();
            assert_eq!(
                (again.msg, again.seq, again.o),
                (first.msg, first.seq, first.o)
            );
        }
        let other = contracts::events::Send {
            text: "twice".to_owned(),
            ..send
        };
        let refused = world.message.send(&world.call, other).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.word()),
            (Code::Conflict, "conflict")
        );
        let page = world
            .message
            .history(&world.call, user(1), chat, Page::Latest, 50)
            .await
            .unwrap();
        assert_eq!(page.messages.len(), 1);
        world.stop().await;
    }
}

/// guarantee:G2: whoever does not learn the outcome in time sends the same again and learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_outcome_is_unknown_is_sent_again() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let send = new(chat, user(1), "once");
        world.hand.holds_a_batch.store(true, SeqCst);
        let short = Call::new("test", Duration::from_millis(300));
        let unknown = world.message.send(&short, send.clone()).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Timeout);
        eventually("the batch is held", async || {
            world.hand.is_holding.load(SeqCst)
        })
        .await;
        world.hand.go_on.notify_one();
        let stored = world.message.send(&world.call, send.clone()).await.unwrap();
        assert_eq!(stored.seq, 1);
        assert!(world.message.send(&world.call, send).await.unwrap().dup);
        assert_eq!(world.send(chat, user(1), "next").await.unwrap().seq, 2);
        world.stop().await;
    }
}

/// fault:F8: when a topic was deleted and made again, nobody waits for what was in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_was_deleted_with_its_topic_is_unknown_at_once() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let send = new(chat, user(1), "once");
        world.hand.holds_a_batch.store(true, SeqCst);
        let (sending, begun) = (
            world.message.send(&world.call, send.clone()),
            Instant::now(),
        );
        let deleting = async {
            eventually("the batch is held", async || {
                world.hand.is_holding.load(SeqCst)
            })
            .await;
            world.hand.made_again.send_modify(|times| *times += 1);
        };
        let (unknown, ()) = tokio::join!(sending, deleting);
        assert_eq!(unknown.unwrap_err().code(), Code::Unavailable);
        assert!(begun.elapsed() < Duration::from_secs(5));
        world.hand.go_on.notify_one();
        assert_eq!(world.message.send(&world.call, send).await.unwrap().seq, 1);
        world.stop().await;
    }
}

/// guarantee:G2: of different messages under one key at the same time one is stored, and only its senders hear so.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_for_many_messages_at_once_stores_one() {
    for world in World::all_worlds(1).await {
        let chats = [world.chat().await, world.chat().await];
        let key = contracts::Key(RandomIds.next());
        let sends = (0..20).map(|n| contracts::events::Send {
            key,
            ..new(chats[n % 2], user(1), &(n % 4).to_string())
        });
        let answers = sends.map(|send| async {
            let stored = world.message.send(&world.call, send.clone()).await;
            (send, stored)
        });
        let mut confirmed = Vec::new();
        for (send, answer) in futures_util::future::join_all(answers).await {
            match answer {
                Ok(_) => confirmed.push((send.chat, send.text)),
                Err(fault) => assert_eq!(fault.word(), "conflict"),
            }
        }
        let (chat, text) = confirmed[0].clone();
        assert!(
            confirmed.iter().all(|other| *other == (chat, text.clone())),
            "{confirmed:?}"
        );
        assert_eq!(confirmed.len(), 5);
        let page = world
            .message
            .history(&world.call, user(1), chat, Page::Latest, 50)
            .await;
        let texts: Vec<_> = page
            .unwrap()
            .messages
            .into_iter()
            .map(|message| message.text)
            .collect();
        assert_eq!(texts, [text]);
        world.stop().await;
    }
}

/// row:C19: any UUID is a key; nothing rests on its version.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_version_is_as_good() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        for key in [
            uuid::Uuid::from_u128(0x4d3f_8f6e_2c1a_4b7e_9a54_3f1f_0a2b_5c6d),
            uuid::Uuid::nil(),
            uuid::Uuid::max(),
        ] {
            let send = contracts::events::Send {
                key: contracts::Key(key),
                ..new(chat, user(1), &key.to_string())
            };
            let first = world.message.send(&world.call, send.clone()).await.unwrap();
            let again = world.message.send(&world.call, send).await.unwrap();
            assert_eq!((first.dup, again.dup, again.msg), (false, true, first.msg));
            assert_eq!(first.msg.0.get_version_num(), 7);
        }
        world.stop().await;
    }
}
