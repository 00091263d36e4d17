//! Restarts, records that nobody can read, the document of the routes.

use std::time::Duration;

use contracts::{ai::RunState, chat::BindingMode, frames};
use eventlog::{Pace, Poll, StartAt, Subscription};

use super::{chat_id, eventually, person, quick, worlds};
use crate::domain::kernel::{Release, Settings};

/// guarantee:G16: what was under way at a restart is called again and said once.
#[tokio::test]
async fn a_restart_loses_nothing_and_says_nothing_twice() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let replying = world.bind(chat, ann, BindingMode::Autoreply).await;
        let immediate = Settings {
            release: Release::Immediate,
            ..Settings::default()
        };
        service
            .desk
            .configure(ann, chat, immediate)
            .await
            .expect("a binding");
        world.script.close();
        world.chats.say(chat, bob, "hello").await;
        let run = service.newest(ann, chat, RunState::Running).await;
        service.stop().await;
        let stored = world
            .store()
            .thread(replying)
            .await
            .expect("a store")
            .expect("a thread");
        assert_eq!(stored.calling, None, "a clean stop gives the call back");

        world.script.let_through(10);
        let service = world.start().await;
        service.reaches(ann, run.run, RunState::Done).await;
        service.stop().await;
        let service = world.start().await;
        world.chats.say(chat, bob, "again").await;
        eventually("both are answered", || async {
            (world.chats.automatic(chat).len() == 2).then_some(())
        })
        .await;
        assert_eq!(world.records(&world.topics.ai_autoreply).await.len(), 2);
        service.stop().await;
    }
}

/// The log is told how far each group has come: it need not keep what was read, nor take it for unread.
#[tokio::test]
async fn what_was_read_counts_as_read() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        world.chats.say(chat, bob, "hello").await;
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;
        service.stop().await;
        for (group, topic) in crate::groups(&world.topics) {
            let joined = world.log.subscribe(Subscription {
                group: group.into(),
                member: "who looks".into(),
                topics: vec![topic.into()],
                start: StartAt::Group,
                session_timeout: Duration::from_secs(6),
                pace: Pace::Prompt,
            });
            let mut consumer = joined.await.expect("a group");
            let records = loop {
                if let Poll::Records(records) =
                    consumer.poll(1, Duration::ZERO).await.expect("a log")
                {
                    break records;
                }
            };
            assert!(records.is_empty(), "{group} has not read {records:?}");
        }
    }
}

/// A call that its process left open without a word is made again.
#[tokio::test]
async fn a_call_of_a_dead_process_is_made_again() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann) = (chat_id(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        world.script.close();
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Running).await;
        service.stop().await;
        // As a `kill -9` leaves it.
        let store = world.store();
        let mut tx = store.db.write_tx().await.expect("a transaction");
        store
            .set_calling(&mut tx, thread, Some((run, "ai-1", i64::MAX)))
            .await
            .expect("a statement");
        let mut row = store
            .run_in(&mut tx, run)
            .await
            .expect("a statement")
            .expect("a run");
        row.state = RunState::Running;
        store.save_run(&mut tx, &row, 0).await.expect("a statement");
        tx.commit().await.expect("a commit");
        world.script.let_through(10);
        let service = world.start().await;
        service.reaches(ann, run, RunState::Done).await;
        service.stop().await;
    }
}

/// row:C20 for the topics of the AI: what nobody can read is put aside, and the rest goes on.
#[tokio::test]
async fn unreadable_records_go_to_the_dead_letters() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let topics = &world.topics;
        for (topic, dead) in [
            (&topics.ai_binding_init, "ai-init.dead-letter"),
            (&topics.ai_feed, "ai-feed.dead-letter"),
            (&topics.ai_advice_request, "ai-advice.dead-letter"),
            (&topics.forward_message, "ai.dead-letter"),
        ] {
            world
                .append(topic, "c:x", "{not json autoreply".into())
                .await;
            let put_aside = eventually(dead, || async { world.records(dead).await.pop() }).await;
            assert_eq!(&put_aside.value[..], b"{not json autoreply");
        }
        // Foreign frames and answers to people's own sends are none of our business.
        let chat = chat_id();
        let frame = frames::ephemeral(
            frames::PROJECTED,
            &serde_json::json!({ "chat": chat, "version": 1 }),
        );
        world
            .append(&topics.forward_message, &format!("c:{chat}"), frame)
            .await;
        let ann = person();
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;
        assert_eq!(world.records("ai.dead-letter").await.len(), 1);
        service.stop().await;
    }
}

/// The same request twice is one run.
#[tokio::test]
async fn a_repeated_request_is_one_run() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann) = (chat_id(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;
        let records = world.records(&world.topics.ai_advice_request).await;
        world
            .append(
                &world.topics.ai_advice_request,
                &thread.to_string(),
                records[0].value.clone(),
            )
            .await;
        let next = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, next, RunState::Done).await;
        assert_eq!(world.script.shown().len(), 2);
        service.stop().await;
    }
}

/// What ended long ago is removed; what is young or open stays.
#[tokio::test]
async fn old_runs_and_budgets_are_forgotten() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let done = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, done, RunState::Done).await;
        world.chats.switch(thread, BindingMode::Autoreply).await;
        world.chats.say(chat, bob, "hello").await;
        let held = service.newest(ann, chat, RunState::Held).await.run;
        let kept = || async {
            let runs = service.desk.runs(ann, None, false).await.expect("a list");
            runs.into_iter().map(|run| run.run).collect::<Vec<_>>()
        };
        let bindings = &service.desk.bindings;
        let day = Duration::from_hours(24);
        bindings.forget_once(day).await.expect("a store");
        assert_eq!(kept().await, [held, done]);
        let store = world.store();
        let mut tx = store.db.write_tx().await.expect("a transaction");
        for statement in ["UPDATE run SET changed_ms = 0", "UPDATE budget SET day = 3"] {
            tx.execute(statement, sql::args![])
                .await
                .expect("a statement");
        }
        tx.commit().await.expect("a commit");
        bindings.forget_once(day).await.expect("a store");
        assert_eq!(kept().await, [held]);
        let spent = store.spent(ann, 3 * 86_400_000).await.expect("a store");
        assert_eq!(spent.calls, 0);
        service.stop().await;
    }
}

#[test]
fn every_route_is_described() {
    let document = crate::openapi();
    let paths: Vec<_> = document.paths.paths.keys().map(String::as_str).collect();
    assert_eq!(paths.len(), 6, "{paths:?}");
    assert!(
        paths.contains(&"/api/ai/runs/{run}/approve") && paths.contains(&"/api/ai/settings/{chat}")
    );
}
