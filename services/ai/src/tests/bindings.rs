//! Bindings: tried, ready or failed, changed, gone.

use contracts::{ai::RunState, chat::BindingMode};

use super::{chat_id, eventually, person, quick, script::Turn, worlds};
use crate::{ports::Failure, store::BindingState};

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
        assert!(failed.is_err_and(|reason| reason.contains("refuses")));
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
        assert_eq!(ended.why.as_deref(), Some("binding_changed"));
        let run = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, run, RunState::Done).await;

        let shown = world.store();
        let kept = || async {
            let rows = shown
                .db
                .fetch_all("SELECT o FROM context", sql::args![])
                .await
                .expect("a store");
            rows.len()
        };
        assert_eq!(kept().await, 1);
        world.chats.unbind(thread).await;
        eventually("the thread is gone", || async {
            let stored = shown.thread(thread).await.ok()??;
            (stored.state == BindingState::Gone).then_some(())
        })
        .await;
        assert_eq!(
            kept().await,
            0,
            "what the model was shown goes with the binding"
        );
        let late = world.ask(chat, thread, ann, None).await;
        service.reaches(ann, late, RunState::Cancelled).await;
        service.stop().await;
    }
}
