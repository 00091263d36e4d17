//! What a worker does: alone with the outbox and the log, and beside another one.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use contracts::{events::ChangeKind, message::Page, pipeline};
use eventlog::Record;
use kit::Code;

use crate::harness::{World, eventually, new, user};

/// row:C26, guarantee:G1, guarantee:G2: a worker that was stopped between reading and storing, and has lost its partition meanwhile,
/// stores nothing, moves no position back, and disturbs the new owner in no way.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_partition_changes_nothing() {
    let config = message::Config {
        session_timeout: Duration::from_millis(300),
        ..message::Config::default()
    };
    for db in sql::testing::both("message", &message::MIGRATIONS).await {
        let world = World::with(db, config.clone()).await;
        let chat = world.chat().await;
        world.send(chat, user(1), "before").await.unwrap();
        let hand = world.hand.clone();
        hand.holds_a_batch.store(true, SeqCst);
        let held = world.send(chat, user(1), "held");
        let rest = async {
            eventually("the first worker has read", async || {
                hand.is_holding.load(SeqCst)
            })
            .await;
            // The other worker takes the partition over, stores the same record and goes on.
            let other = world.rival(&config).await;
            world.send(chat, user(2), "after").await.unwrap();
            let positions = world.positions().await;
            let outcomes = hand.outcomes.load(SeqCst);
            hand.go_on.notify_one();
            eventually("the first worker has noticed", async || {
                hand.outcomes.load(SeqCst) > outcomes
            })
            .await;
            assert_eq!(world.positions().await, positions, "nothing was moved");
            world.send(chat, user(2), "and on").await.unwrap();
            other.stop().await;
        };
        let (held, ()) = tokio::join!(held, rest);
        assert_eq!(held.unwrap().seq, 2);
        world.send(chat, user(1), "the first again").await.unwrap();
        let page = world
            .message
            .history(&world.call, user(1), chat, Page::Latest, 50)
            .await
            .unwrap();
        let texts: Vec<_> = page
            .messages
            .iter()
            .map(|message| message.text.as_str())
            .collect();
        assert_eq!(
            texts,
            ["before", "held", "after", "and on", "the first again"]
        );
        world.stop().await;
    }
}

/// guarantee:G3: an outbox row goes when the log has flushed its record, not when it was appended.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_marked_before_the_log_has_flushed() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        eventually("the outbox is empty", async || {
            world.outbox_rows().await == 0
        })
        .await;
        world.hand.holds_flushes.store(true, SeqCst);
        for n in 0..5 {
            world.send(chat, user(1), &n.to_string()).await.unwrap();
        }
        let polls = world.hand.empty_polls.load(SeqCst);
        eventually("marks were due twice", async || {
            world.hand.empty_polls.load(SeqCst) >= polls + 2
        })
        .await;
        assert_eq!(world.outbox_rows().await, 5);
        world.hand.holds_flushes.store(false, SeqCst);
        eventually("the outbox is empty again", async || {
            world.outbox_rows().await == 0
        })
        .await;
        world.stop().await;
    }
}

/// guarantee:G11: when a person leaves, what is bound for them sees nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn an_ai_leaves_with_its_owner() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let thread = world.bind(chat).await;
        let seen = world.send(chat, user(2), "for both").await.unwrap();
        world
            .change(chat, 3, ChangeKind::MemberLeft { user: user(1) })
            .await;
        eventually("the owner has left", async || {
            world.send(chat, user(1), "still there?").await.is_err()
        })
        .await;
        world.send(chat, user(2), "not for them").await.unwrap();
        let fed = world.records(&world.topics.ai_feed).await;
        let positions: Vec<_> = fed.iter().map(|feed| feed["o"].as_i64().unwrap()).collect();
        assert_eq!(positions, [seen.o]);
        let read = world
            .message
            .thread_messages(&world.call, thread, 0, 10)
            .await;
        assert!(read.is_err_and(|fault| fault.code() == Code::NotFound));
        world.stop().await;
    }
}

/// What was published goes from the outbox while messages keep coming, not only when nobody says anything.
#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_stays_small_under_load() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let sent = std::sync::atomic::AtomicI64::new(0);
        eventually("fewer rows than half of the messages", async || {
            for n in 0..20 {
                world.send(chat, user(1), &n.to_string()).await.unwrap();
            }
            let sent = 20 + sent.fetch_add(20, std::sync::atomic::Ordering::Relaxed);
            world.outbox_rows().await * 2 < sent
        })
        .await;
        world.stop().await;
    }
}

/// guarantee:G12: answers come in the order of the sends, also when one was stored before.
#[tokio::test(flavor = "multi_thread")]
async fn answers_do_not_overtake_each_other() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let old = new(chat, user(1), "old");
        world.message.send(&world.call, old.clone()).await.unwrap();
        let records = [old, new(chat, user(1), "new")].map(|send| {
            let (key, value) = pipeline::send_record(send);
            Record { key, value }
        });
        world
            .log
            .append(&world.topics.message_persist, records.into())
            .await
            .unwrap();
        let answers = async || {
            let frames = world.records(&world.topics.forward_message).await;
            let kinds = frames.iter().filter_map(|frame| frame["t"].as_str());
            let is_answer = |kind: &&str| ["answer", "msg.new"].contains(kind);
            kinds
                .filter(is_answer)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        eventually("both are answered", async || answers().await.len() == 3).await;
        assert_eq!(answers().await, ["msg.new", "answer", "msg.new"]);
        world.stop().await;
    }
}
