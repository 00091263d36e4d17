//! Bindings: tried, ready or failed, changed, gone.

use contracts::{
    ai::{RunState, Why},
    chat::BindingMode,
};
use kit::Clock as _;

use super::{chat_id, eventually, person, quick, script::Turn, worlds};
use crate::{Config, Limits, ports::Failure, store::BindingState};

/// row:E01, row:E08, row:E09, row:E10: an empty chat binds, a provider that fails for a moment is tried again.
#[tokio::test]
async fn a_provider_that_recovers_makes_the_binding_ready() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        world.script.probes([Turn::Fail(Failure::Unavailable); 6]);
        let thread = world.bind(chat_id(), person(), BindingMode::Advice).await;
        let stored = world
            .store()
            .thread(thread)
            .await
            .expect("a store")
            .expect("a thread");
        assert_eq!((stored.state, stored.tries), (BindingState::Ready, 3));
        service.stop().await;
    }
}

/// row:E10: a provider that does not work is told with a reason.
#[tokio::test]
async fn a_provider_that_refuses_fails_the_binding_with_a_reason() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        world.script.probes([Turn::Fail(Failure::Refused)]);
        let thread = world
            .chats
            .bind(chat_id(), person(), BindingMode::Advice)
            .await;
        let failed = eventually("the binding is told", || async {
            world.chats.created(thread)
        })
        .await;
        assert_eq!(failed, Err(Why::ProviderRefused));
        service.stop().await;
    }
}

/// row:E05, row:E06: another mode keeps the thread and ends its runs; a removed binding hears nothing more.
#[tokio::test]
async fn a_binding_changes_its_mode_and_goes() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Autoreply).await;
        world.chats.say(chat, bob, "one").await;
        let draft = service.newest(ann, chat, RunState::Held).await;
        world.chats.switch(thread, BindingMode::Advice).await;
        let ended = service.reaches(ann, draft.run, RunState::Cancelled).await;
        assert_eq!(ended.why, Some(Why::BindingChanged));
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;

        world.chats.unbind(thread).await;
        let store = world.store();
        eventually("the thread is gone", || async {
            let stored = store.thread(thread).await.ok()??;
            (stored.state == BindingState::Gone).then_some(())
        })
        .await;
        let late = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, late, RunState::Cancelled).await;
        service.stop().await;
    }
}

/// The record of a new binding may come twice: what is ready stays ready, and the provider is not asked again.
#[tokio::test]
async fn a_repeated_beginning_changes_nothing() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann) = (chat_id(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let init = world.records(&world.topics.ai_binding_init).await;
        let told = world.records(&world.topics.ai_thread_created).await.len();
        world.script.probes([Turn::Fail(Failure::Refused)]);
        let again = init[0].value.clone();
        world
            .append(&world.topics.ai_binding_init, &thread.to_string(), again)
            .await;
        eventually("it is told again", || async {
            let records = world.records(&world.topics.ai_thread_created).await;
            (records.len() > told).then_some(())
        })
        .await;
        assert_eq!(world.chats.created(thread), Some(Ok(())));
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;
        assert_eq!(world.script.probes_left(), 1, "nobody was asked");
        service.stop().await;
    }
}

/// row:E34: trying a provider for a new binding is a call like any other.
#[tokio::test]
async fn a_probe_is_paid_from_the_budget() {
    let limits = Limits {
        calls_per_day: 2,
        ..quick().limits
    };
    for world in worlds(Config { limits, ..quick() }).await {
        let service = world.start().await;
        let ann = person();
        for _ in 0..2 {
            world.bind(chat_id(), ann, BindingMode::Advice).await;
        }
        let spent = world.store().spent(ann, kit::SystemClock.now_ms()).await;
        let spent = spent.expect("a store");
        assert_eq!((spent.calls, spent.tokens), (2, 20));
        let refused = world.chats.bind(chat_id(), ann, BindingMode::Advice).await;
        let failed = eventually("the binding is told", || async {
            world.chats.created(refused)
        })
        .await;
        assert_eq!(failed, Err(Why::Quota));
        service.stop().await;
    }
}

/// A request that comes late does not bring back the mode in which it was made.
#[tokio::test]
async fn an_old_request_does_not_undo_a_newer_mode() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Advice).await;
        let old = world.chats.version(thread);
        world.chats.switch(thread, BindingMode::Autoreply).await;
        let store = world.store();
        eventually("the new mode is known", || async {
            let stored = store.thread(thread).await.ok()??;
            (stored.mode == BindingMode::Autoreply).then_some(())
        })
        .await;
        let late = world.ask_at(chat, thread, ann, None, old).await;
        let late = service.reaches(ann, late, RunState::Cancelled).await;
        assert_eq!(late.why, Some(Why::BindingChanged));
        world.chats.say(chat, bob, "hello").await;
        service.newest(ann, chat, RunState::Held).await;
        // And a request that is ahead of the stream's news is believed.
        let ahead = world.ask_at(chat, thread, ann, None, old + 100).await;
        service.reaches(ann, ahead, RunState::Done).await;
        service.stop().await;
    }
}
