//! The contract, of the object itself and over gRPC.

use contracts::{
    ChatId, ThreadId,
    chat::{Binding, BindingMode, BindingState, Kind},
};
use kit::{Code, Ids as _, RandomIds};
use serde_json::{Value, json};

use crate::world::World;

/// row:B19, row:B10: a chat and its members are what a member reads over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_and_its_members_are_told() {
    for world in World::each().await {
        let (ann, bob) = (world.person("ann").await, world.person("bob").await);
        let (id, view) = world.open(&ann, &bob).await;
        let chat = world.chat.by_id(&world.call, id).await.unwrap();
        assert_eq!((chat.id, chat.kind), (id, Kind::Private), "{}", world.name);
        assert_eq!((chat.creator, chat.title), (ann.id, None));
        assert_eq!(view["created_at"], chat.created_at);
        let mut both = [ann.id, bob.id];
        both.sort_unstable();
        let members = world.chat.members(&world.call, id).await.unwrap();
        assert_eq!(members, both, "{}", world.name);
        let read: Vec<_> = view["members"].as_array().unwrap().iter().collect();
        assert_eq!(read.len(), 2);
        assert!(read.iter().all(|one| both.contains(&of(&one["id"]))));

        let unknown = ChatId(RandomIds.next());
        let (call, chat) = (&world.call, &world.chat);
        let refusals = [
            chat.by_id(call, unknown).await.unwrap_err(),
            chat.members(call, unknown).await.unwrap_err(),
            chat.bindings(call, unknown).await.unwrap_err(),
        ];
        for fault in refusals {
            assert_eq!(
                (fault.code(), fault.public()),
                (Code::NotFound, "no such chat")
            );
        }
        world.stop().await;
    }
}

fn of(id: &Value) -> contracts::UserId {
    serde_json::from_value(id.clone()).unwrap()
}

/// row:E04: each member's binding has a thread of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_bindings_of_a_chat_are_told() {
    for world in World::each().await {
        let (ann, bob) = (world.person("ann").await, world.person("bob").await);
        let (id, _) = world.open(&ann, &bob).await;
        assert!(
            world
                .chat
                .bindings(&world.call, id)
                .await
                .unwrap()
                .is_empty()
        );
        let advice = world.bind(id, &ann, BindingMode::Advice).await;
        let autoreply = world.bind(id, &bob, BindingMode::Autoreply).await;
        let told = world.chat.bindings(&world.call, id).await.unwrap();
        let mut own =
            [advice, autoreply].map(|own| serde_json::from_value::<Binding>(own).unwrap());
        own.sort_unstable_by_key(|binding| binding.owner);
        assert_eq!(told, own, "{}", world.name);
        assert_ne!(told[0].thread, told[1].thread);
        assert!(
            told.iter()
                .all(|binding| binding.state == BindingState::Ready)
        );
        assert!(json!(told[0]).get("reason").is_none());
        world.stop().await;
    }
}

/// row:E32: a thread leads to its owner with their address, to the chat and to everybody there, until the binding is
/// gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_thread_leads_to_its_owner_and_chat() {
    for world in World::each().await {
        let (ann, bob) = (world.person("ann").await, world.person("bob").await);
        let (id, _) = world.open(&ann, &bob).await;
        let binding = world.bind(id, &bob, BindingMode::Advice).await;
        let thread: ThreadId = serde_json::from_value(binding["thread"].clone()).unwrap();
        let context = world.chat.thread(&world.call, thread).await.unwrap();
        assert_eq!(
            (context.owner, context.chat),
            (bob.id, id),
            "{}",
            world.name
        );
        assert_eq!(context.email.as_deref(), Some(bob.email.as_str()));
        assert_eq!(
            context.members,
            world.chat.members(&world.call, id).await.unwrap()
        );
        world.unbind(id, &bob).await;
        for gone in [thread, ThreadId(RandomIds.next())] {
            let fault = world.chat.thread(&world.call, gone).await.unwrap_err();
            assert_eq!(
                (fault.code(), fault.public()),
                (Code::NotFound, "no such thread"),
                "{}",
                world.name
            );
        }
        world.stop().await;
    }
}
