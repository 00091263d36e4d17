//! Replies in a person's name: approved or delayed, labelled, once, and not out of turn.

use std::time::Duration;

use contracts::{
    ai::{Run, RunState, Why},
    chat::BindingMode,
    frames,
    message::Message,
};
use kit::Code;

use super::{Service, World, chat_id, eventually, person, quick, worlds};
use crate::{
    Config, Limits,
    domain::kernel::{Decision, Release, Settings},
};

const IMMEDIATE: Settings = Settings {
    release: Release::Immediate,
    advice_on_message: false,
};

async fn said(world: &World, chat: contracts::ChatId, count: usize) -> Vec<Message> {
    eventually(&format!("{count} automatic messages"), || async {
        let said = world.chats.automatic(chat);
        (said.len() >= count).then_some(said)
    })
    .await
}

async fn draft(service: &Service, owner: contracts::UserId, chat: contracts::ChatId) -> Run {
    service.newest(owner, chat, RunState::Held).await
}

/// row:E18, row:E19: by default a reply is a draft; approved and edited it is sent once, in the owner's name, labelled.
#[tokio::test]
async fn an_approved_draft_is_sent_once_in_the_owners_name() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        world.bind(chat, ann, BindingMode::Autoreply).await;
        world.chats.say(chat, bob, "are you there?").await;
        let draft = draft(&service, ann, chat).await;
        assert_eq!(
            (draft.why, draft.text.as_deref()),
            (Some(Why::Approval), Some("Dear 1 messages"))
        );
        eventually("the draft is hinted", || async {
            let hints = world.hints(ann).await;
            hints
                .into_iter()
                .find(|(t, run)| t == frames::AI_HOLD && *run == draft)
        })
        .await;
        let stranger = service.desk.approve(bob, draft.run, None).await;
        assert!(stranger.is_err_and(|fault| fault.is(Code::NotFound)));

        let edited = "Yes, I am".to_owned();
        let sending = service
            .desk
            .approve(ann, draft.run, Some(edited.clone()))
            .await
            .expect("a fresh draft");
        assert_eq!(
            (sending.state, sending.text),
            (RunState::Sending, Some(edited.clone()))
        );
        let done = service.reaches(ann, draft.run, RunState::Done).await;
        assert_eq!(
            service
                .desk
                .approve(ann, draft.run, None)
                .await
                .expect("again"),
            done
        );

        let message = &said(&world, chat, 1).await[0];
        let via = message.via.clone().expect("a label");
        assert_eq!(
            (message.author, &message.text, message.key.0),
            (ann, &edited, draft.run.0)
        );
        assert_eq!(
            (via.run, via.approved_by, via.edited, via.model.as_str()),
            (draft.run, Some(ann), Some(true), "script")
        );
        assert_eq!(world.chats.messages(chat).len(), 2);
        service.stop().await;
    }
}

/// A stale draft cannot be approved: 409 names the newer one.
#[tokio::test]
async fn a_stale_draft_is_refused_with_the_newer_one() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        world.bind(chat, ann, BindingMode::Autoreply).await;
        world.chats.say(chat, bob, "one").await;
        let stale = draft(&service, ann, chat).await;
        world.chats.say(chat, bob, "two").await;
        service.reaches(ann, stale.run, RunState::Superseded).await;
        let newer = draft(&service, ann, chat).await;
        assert_ne!(newer.run, stale.run);
        let fault = service
            .desk
            .approve(ann, stale.run, None)
            .await
            .expect_err("it is stale");
        assert_eq!((fault.code(), fault.word()), (Code::Conflict, "superseded"));
        assert!(
            fault.public().contains(&newer.run.to_string()),
            "{}",
            fault.public()
        );
        let gone = service
            .desk
            .decide(ann, newer.run, Decision::Discard, None)
            .await
            .expect("a fresh draft");
        assert_eq!(
            (gone.state, gone.why),
            (RunState::Cancelled, Some(Why::Discarded))
        );
        let fault = service
            .desk
            .approve(ann, newer.run, None)
            .await
            .expect_err("it is discarded");
        assert_eq!((fault.code(), fault.word()), (Code::Conflict, "conflict"));
        assert!(world.records(&world.topics.ai_autoreply).await.is_empty());
        service.stop().await;
    }
}

/// row:E18, row:E21, row:E24: a reply comes by itself after its delay, to others' messages only.
#[tokio::test]
async fn an_immediate_reply_comes_after_its_delay() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        world.bind(chat, ann, BindingMode::Autoreply).await;
        assert_eq!(
            service.desk.settings(ann, chat).await.expect("a binding"),
            Settings::default()
        );
        service
            .desk
            .configure(ann, chat, IMMEDIATE)
            .await
            .expect("a binding");
        assert!(
            service
                .desk
                .settings(bob, chat)
                .await
                .is_err_and(|fault| fault.is(Code::NotFound))
        );
        world.chats.say(chat, ann, "my own words").await;
        world.chats.say(chat, bob, "hello").await;
        let said = said(&world, chat, 1).await;
        assert_eq!(
            (
                said[0].author,
                said[0].via.as_ref().and_then(|via| via.approved_by)
            ),
            (ann, None)
        );
        service.newest(ann, chat, RunState::Done).await;
        assert_eq!(
            service
                .desk
                .runs(ann, Some(chat), false)
                .await
                .expect("a list")
                .len(),
            1,
            "own words trigger nothing"
        );
        let hints = world.hints(ann).await;
        assert!(
            hints
                .iter()
                .any(|(_, run)| run.state == RunState::Sending && run.at.is_some()),
            "{hints:?}"
        );
        service.stop().await;
    }
}

/// row:E22: two bindings answer one human message at most once each, and then are silent.
#[tokio::test]
async fn two_bindings_do_not_talk_on() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob, carl) = (chat_id(), person(), person(), person());
        for owner in [ann, bob] {
            world.bind(chat, owner, BindingMode::Autoreply).await;
            service
                .desk
                .configure(owner, chat, IMMEDIATE)
                .await
                .expect("a binding");
        }
        world.chats.say(chat, carl, "hello both").await;
        said(&world, chat, 2).await;
        // A later message of a person is answered after everything before it was handled.
        let other = chat_id();
        world.bind(other, ann, BindingMode::Autoreply).await;
        service
            .desk
            .configure(ann, other, IMMEDIATE)
            .await
            .expect("a binding");
        world.chats.say(other, carl, "and here?").await;
        said(&world, other, 1).await;
        eventually("no run is open", || async {
            let open = service.desk.runs(ann, None, true).await.ok()?.len()
                + service.desk.runs(bob, None, true).await.ok()?.len();
            (open == 0).then_some(())
        })
        .await;
        let mut authors: Vec<_> = world
            .chats
            .automatic(chat)
            .iter()
            .map(|message| message.author)
            .collect();
        authors.sort();
        let mut both = [ann, bob];
        both.sort();
        assert_eq!(authors, both);
        service.stop().await;
    }
}

/// row:E25: removed during the delay, a binding says nothing more.
#[tokio::test]
async fn a_binding_removed_during_the_delay_says_nothing() {
    let delay = Duration::from_mins(10);
    let limits = Limits {
        delay_min: delay,
        delay_max: delay,
        ..quick().limits
    };
    for world in worlds(Config { limits, ..quick() }).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        let thread = world.bind(chat, ann, BindingMode::Autoreply).await;
        service
            .desk
            .configure(ann, chat, IMMEDIATE)
            .await
            .expect("a binding");
        world.chats.say(chat, bob, "hello").await;
        let sending = service.newest(ann, chat, RunState::Sending).await;
        assert_eq!(sending.why, Some(Why::Delay));
        world.chats.unbind(thread).await;
        let gone = service.reaches(ann, sending.run, RunState::Cancelled).await;
        assert_eq!(gone.why, Some(Why::BindingRemoved));
        assert!(service.desk.approve(ann, sending.run, None).await.is_err());
        assert!(world.records(&world.topics.ai_autoreply).await.is_empty());
        assert!(world.chats.automatic(chat).is_empty());
        service.stop().await;
    }
}

/// Guard 3 in the whole: who was here a moment ago is asked, whatever the settings say.
#[tokio::test]
async fn an_owner_who_just_wrote_is_asked_first() {
    let limits = Limits {
        takeover: Duration::from_mins(10),
        ..quick().limits
    };
    for world in worlds(Config { limits, ..quick() }).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        world.bind(chat, ann, BindingMode::Autoreply).await;
        service
            .desk
            .configure(ann, chat, IMMEDIATE)
            .await
            .expect("a binding");
        world.chats.say(chat, ann, "I am here").await;
        world.chats.say(chat, bob, "good").await;
        assert_eq!(
            draft(&service, ann, chat).await.why,
            Some(Why::OwnerPresent)
        );
        service.stop().await;
    }
}

/// row:E17: the switch makes advice come after another member's message.
#[tokio::test]
async fn advice_comes_unasked_when_switched_on() {
    for world in worlds(quick()).await {
        let service = world.start().await;
        let (chat, ann, bob) = (chat_id(), person(), person());
        world.bind(chat, ann, BindingMode::Advice).await;
        let settings = Settings {
            advice_on_message: true,
            ..Settings::default()
        };
        service
            .desk
            .configure(ann, chat, settings)
            .await
            .expect("a binding");
        world.chats.say(chat, bob, "hello").await;
        let run = service.newest(ann, chat, RunState::Done).await;
        assert_eq!(run.kind, BindingMode::Advice);
        assert!(world.chats.automatic(chat).is_empty());
        service.stop().await;
    }
}
