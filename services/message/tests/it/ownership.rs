//! Two workers and one partition; the outbox and the flush.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use contracts::message::Page;

use crate::harness::{World, eventually, user};

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
