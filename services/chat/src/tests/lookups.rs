//! The contract, of the object itself and over gRPC.

use contracts::{
    ChatId, ThreadId,
    ai::Why,
    chat::{BindingMode, BindingState, Kind},
};
use kit::{Code, Ids as _, RandomIds};

use super::{ANN, BOB, NOW_MS, all_worlds};

/// row:B19, row:B10
#[tokio::test]
async fn a_chat_and_its_members_are_told() {
    for world in all_worlds().await {
        let id = world.open().await;
        let chat = world.chat.by_id(&world.call, id).await.unwrap();
        assert_eq!((chat.id, chat.kind), (id, Kind::Private), "{}", world.name);
        assert_eq!((chat.creator, chat.title), (ANN, None));
        assert_eq!(chat.created_at, kit::rfc3339(NOW_MS));
        let members = world.chat.members(&world.call, id).await.unwrap();
        assert_eq!(members, [ANN, BOB], "{}", world.name);

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
    }
}

/// row:E04: each member's binding has a thread of its own. Why one failed is told to nobody here.
#[tokio::test]
async fn the_bindings_of_a_chat_are_told() {
    for world in all_worlds().await {
        let id = world.open().await;
        let told = async || world.chat.bindings(&world.call, id).await.unwrap();
        assert!(told().await.is_empty());
        let anns = world.bind(id, ANN, BindingMode::Advice).await;
        let bobs = world.bind(id, BOB, BindingMode::Autoreply).await;
        let states = async || {
            let bindings = told().await;
            assert!(
                bindings
                    .iter()
                    .all(|one| one.chat == id && one.reason.is_none())
            );
            let of = |one: contracts::chat::Binding| (one.owner, one.thread, one.mode, one.state);
            bindings.into_iter().map(of).collect::<Vec<_>>()
        };
        let (advice, autoreply) = (BindingMode::Advice, BindingMode::Autoreply);
        let pending = BindingState::Pending;
        assert_eq!(
            states().await,
            [
                (ANN, anns, advice, pending),
                (BOB, bobs, autoreply, pending)
            ],
            "{}",
            world.name
        );
        world.created(id, ANN, anns, None).await;
        let why = Some(Why::ProviderRefused);
        world.created(id, BOB, bobs, why).await;
        let (ready, failed) = (BindingState::Ready, BindingState::Failed);
        assert_eq!(
            states().await,
            [(ANN, anns, advice, ready), (BOB, bobs, autoreply, failed)],
            "{}",
            world.name
        );
    }
}

/// row:E32: a thread leads to its owner with their address, to the chat and to everybody there, until the binding is
/// gone.
#[tokio::test]
async fn a_thread_leads_to_its_owner_and_chat() {
    for world in all_worlds().await {
        let id = world.open().await;
        let anns = world.bind(id, ANN, BindingMode::Advice).await;
        let bobs = world.bind(id, BOB, BindingMode::Advice).await;
        let email = Some("ann@example.org".to_owned());
        for (thread, owner, email) in [(anns, ANN, email), (bobs, BOB, None)] {
            let context = world.chat.thread(&world.call, thread).await.unwrap();
            assert_eq!((context.owner, context.chat), (owner, id), "{}", world.name);
            assert_eq!(context.email, email);
            assert_eq!(context.members, [ANN, BOB]);
        }
        world.unbind(id, ANN).await;
        for gone in [anns, ThreadId(RandomIds.next())] {
            let fault = world.chat.thread(&world.call, gone).await.unwrap_err();
            assert_eq!(
                (fault.code(), fault.public()),
                (Code::NotFound, "no such thread"),
                "{}",
                world.name
            );
        }
    }
}
