//! Who may know about whom.

use contracts::{ChatId, chat::Kind, events::ChangeKind, message::MAX_PEERS};
use kit::{Code, Ids as _, RandomIds};

use crate::harness::{World, eventually, user};

/// row:D10, threat:T41: only who is in a private chat or a group with somebody is told that they are; strangers, former
/// members and those who are in the same open room are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_in_a_chat_that_not_everybody_may_join() {
    for world in World::all_worlds(1).await {
        let pair = world.chat().await;
        let group = ChatId(RandomIds.next());
        for (chat, chat_kind, members) in [
            (group, Kind::Group, vec![user(1), user(3), user(4)]),
            (
                ChatId(RandomIds.next()),
                Kind::Room,
                vec![user(1), user(2), user(5)],
            ),
        ] {
            let created = ChangeKind::Created {
                chat_kind,
                title: Some("more".to_owned()),
                members,
            };
            world.change(chat, 1, created).await;
            eventually("the chat", async || {
                let attached = world.message.attach(&world.call, user(1), chat);
                attached.await.is_ok()
            })
            .await;
        }
        let peers = async |reader: u128| {
            let everybody = (1..300).map(user).take(MAX_PEERS).collect();
            let peers = world.message.peers(&world.call, user(reader), everybody);
            let mut peers: Vec<_> = peers
                .await
                .unwrap()
                .iter()
                .map(|id| id.0.as_u128())
                .collect();
            peers.sort_unstable();
            peers
        };
        assert_eq!(peers(1).await, [1, 2, 3, 4]);
        assert_eq!(peers(2).await, [1, 2]);
        assert_eq!(peers(5).await, [0; 0], "a room is open to everybody");
        let left = ChangeKind::MemberLeft { user: user(3) };
        world.change(group, 2, left).await;
        eventually("the removal", async || peers(3).await.is_empty()).await;
        assert_eq!(peers(1).await, [1, 2, 4]);
        let nobody = world.message.peers(&world.call, user(1), Vec::new());
        assert!(nobody.await.unwrap().is_empty());
        let many = (1..=201).map(user).collect();
        let refused = world.message.peers(&world.call, user(1), many).await;
        assert!(refused.unwrap_err().is(Code::Invalid), "at most 200");
        assert!(world.send(pair, user(2), "still here").await.is_ok());
        world.stop().await;
    }
}
