//! Advice: private, from the chat, one call at a time, within the budget.

use std::time::Duration;

use contracts::{
    ai::{Advice, Delta, RunState, Why},
    chat::BindingMode,
    frames::{self, Head},
};
use kit::{Call, Clock as _, Code};

use super::{all_worlds, chat_id, chats::name, eventually, person, quick, script::Turn, worlds};
use crate::{Config, Limits, Timeouts, adapters::demo::Demo, domain::prompt::Role, ports::Failure};

/// row:E12, row:E13, row:E16, row:E23: the advice rests on what was said, goes to the owner, and stays readable.
#[tokio::test]
async fn advice_knows_the_chat_and_is_for_the_owner() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        for text in ["one", "two", "three"] {
            world.chats.say(chat, bob, text).await;
        }
        let run = world.ask(chat, thread, ann, Some("what now?")).await;
        let done = service.reaches(ann, run, RunState::Done).await;
        assert_eq!(
            (done.text.as_deref(), done.trigger_o),
            (Some("Dear 3 messages"), 5)
        );
        assert_eq!(done.model.as_deref(), Some("script"));

        let prompt = world.script.shown().pop().expect("a call");
        assert_eq!(prompt.owner(), name(ann));
        assert!(
            prompt
                .quotes()
                .iter()
                .all(|quote| quote.role == Role::Member && quote.name == name(bob))
        );
        assert!(prompt.data().contains("what now?"));

        let told = eventually("the response is published", || async {
            world.records(&world.topics.ai_advice_response).await.pop()
        })
        .await;
        let told: Advice = serde_json::from_slice(&told.value).expect("an advice");
        assert_eq!((told.owner, told.run), (ann, done));
        let hints = world.hints(ann).await;
        assert!(
            hints
                .iter()
                .all(|(t, run)| t == frames::AI_RUN && run.state != RunState::Done),
            "{hints:?}"
        );
        assert!(
            service
                .desk
                .run(bob, run)
                .await
                .is_err_and(|fault| fault.is(Code::NotFound))
        );
        service.stop().await;
    }
}

/// row:E30: the built-in provider's words arrive in pieces, in order, and whole in the end.
#[tokio::test]
async fn pieces_arrive_while_the_text_is_written() {
    for world in all_worlds(quick()).await {
        let service = world
            .start_with(std::sync::Arc::new(Demo::new(Duration::from_millis(60))))
            .await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        world.chats.say(chat, bob, "hello").await;
        let mut listener = world.cache.subscriber().await.expect("a subscriber");
        listener
            .handle()
            .add(&format!("u:{ann}"))
            .await
            .expect("a channel");
        let run = world.ask(chat, thread, ann, None).await;
        let (mut text, mut count) = (String::new(), 0);
        let done = loop {
            tokio::select! {
                frame = listener.next() => {
                    let (_, frame) = frame.expect("it goes on");
                    let head = Head::parse(&frame).expect("a frame");
                    let delta: Delta = head.content().expect("a delta");
                    assert_eq!(delta.run, run);
                    if head.t == frames::AI_SNAP {
                        assert_eq!((delta.n, &delta.text), (count, &text));
                        continue;
                    }
                    assert_eq!(delta.n, count + 1);
                    count = delta.n;
                    text.push_str(&delta.text);
                    let call = Call::internal("test");
                    if let Some(whole) = service.api.follow(&call, ann, run).await.expect("an own run") {
                        assert!(whole.n >= count && whole.text.starts_with(&text));
                    }
                }
                done = service.reaches(ann, run, RunState::Done) => break done,
            }
        };
        assert!(count >= 3, "{count} pieces");
        let done = done.text.expect("a text");
        assert!(
            done.starts_with(&text) && done.contains("demo"),
            "{text} / {done}"
        );
        service.stop().await;
    }
}

/// row:E26: a thread's calls never overlap, threads go on together, and no more at a time than configured.
#[tokio::test]
async fn calls_of_one_thread_wait_for_each_other() {
    for world in worlds(Config {
        concurrency: 4,
        ..quick()
    })
    .await
    {
        let service = world.start().await;
        let mut bound = Vec::new();
        for _ in 0..8 {
            let (chat, ann) = (chat_id(), person());
            bound.push((chat, ann, world.bind(chat, ann, BindingMode::Advice).await));
        }
        world.script.close();
        let mut runs = Vec::new();
        for (chat, ann, thread) in bound {
            for _ in 0..3 {
                runs.push((ann, world.ask(chat, thread, ann, None).await));
            }
        }
        eventually("four calls are open", || async {
            (world.script.open() == 4).then_some(())
        })
        .await;
        world.script.let_through(24);
        for (ann, run) in runs {
            service.reaches(ann, run, RunState::Done).await;
        }
        assert!(!world.script.overlapped());
        assert_eq!(world.script.most_open(), 4);
        service.stop().await;
    }
}

/// row:E34: what the budget does not allow is blocked with a reason, and the door can ask beforehand.
#[tokio::test]
async fn the_budget_of_a_day_is_kept() {
    let limits = Limits {
        // One of them makes the binding.
        calls_per_day: 3,
        ..quick().limits
    };
    for world in all_worlds(Config { limits, ..quick() }).await {
        let service = world.start().await;
        let (chat, ann) = (chat_id(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let call = Call::internal("test");
        for _ in 0..2 {
            service
                .api
                .may_ask(&call, ann)
                .await
                .expect("there is some left");
            let run = world.ask(chat, thread, ann, None).await;
            service.reaches(ann, run, RunState::Done).await;
        }
        let run = world.ask(chat, thread, ann, None).await;
        let blocked = service.reaches(ann, run, RunState::Blocked).await;
        assert_eq!(blocked.why, Some(Why::Quota));
        assert_eq!(world.script.shown().len(), 2);
        let fault = service
            .api
            .may_ask(&call, ann)
            .await
            .expect_err("nothing is left");
        assert!(fault.is(Code::Exhausted) && fault.retry_after().is_some());
        service
            .api
            .may_ask(&call, person())
            .await
            .expect("others have theirs");
        service.stop().await;
    }
}

/// row:E27: a provider that hangs or fails costs its own run only; the run says why and lies with the dead letters.
#[tokio::test]
async fn a_failed_call_is_visible_and_disturbs_nobody() {
    let timeouts = Timeouts {
        between_tokens: Duration::from_millis(500),
        ..quick().timeouts
    };
    for world in worlds(Config {
        timeouts,
        ..quick()
    })
    .await
    {
        let service = world.start().await;
        let (chat, ann) = (chat_id(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let (other_chat, bob) = (chat_id(), person());
        let other_thread = world.bind(other_chat, bob, BindingMode::Advice).await;
        world.script.turns([Turn::Hang]);
        let hanging = world.ask(chat, thread, ann, None).await;
        eventually("the call hangs", || async {
            (world.script.open() == 1).then_some(())
        })
        .await;
        let other = world.ask(other_chat, other_thread, bob, None).await;
        service.reaches(bob, other, RunState::Done).await;
        let failed = service.reaches(ann, hanging, RunState::Failed).await;
        assert_eq!(failed.why, Some(Why::ProviderTimeout));
        world.script.turns([Turn::Fail(Failure::Refused)]);
        let refused = world.ask(chat, thread, ann, None).await;
        let refused = service.reaches(ann, refused, RunState::Failed).await;
        assert_eq!(refused.why, Some(Why::ProviderRefused));
        let dead = eventually("both are buried", || async {
            let dead = world.records("ai-runs.dead-letter").await;
            (dead.len() == 2).then_some(dead)
        })
        .await;
        assert!(String::from_utf8_lossy(&dead[0].value).contains(&hanging.to_string()));
        let again = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, again, RunState::Done).await;
        let spent = world.store().spent(ann, kit::SystemClock.now_ms()).await;
        let spent = spent.expect("a store").tokens;
        assert!(spent > 2 * 10, "what failed is paid for as well: {spent}");
        service.stop().await;
    }
}

#[tokio::test]
async fn a_call_ends_when_its_owner_cancels_it() {
    for world in all_worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        world.script.close();
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Running).await;
        let call = Call::internal("test");
        assert!(
            service
                .api
                .cancel(&call, bob, run)
                .await
                .is_err_and(|fault| fault.is(Code::NotFound))
        );
        assert_eq!(
            service
                .api
                .open_runs(&call, ann)
                .await
                .expect("a list")
                .len(),
            1
        );
        let cancelled = service
            .api
            .cancel(&call, ann, run)
            .await
            .expect("it is open");
        assert_eq!(
            (cancelled.state, cancelled.why),
            (RunState::Cancelled, Some(Why::Cancelled))
        );
        assert_eq!(
            service.api.cancel(&call, ann, run).await.expect("again"),
            cancelled
        );
        eventually("the call has ended", || async {
            (world.script.open() == 0).then_some(())
        })
        .await;
        world.script.let_through(1);
        let next = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, next, RunState::Done).await;
        assert_eq!(
            service.desk.run(ann, run).await.expect("a run").state,
            RunState::Cancelled
        );
        service.stop().await;
    }
}
