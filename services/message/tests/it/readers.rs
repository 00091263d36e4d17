//! Who may read an event: those in whose interval it lies, whatever happened since.

use contracts::{ChatId, UserId, events::ChangeKind, message::Readers};
use kit::{Code, Ids as _, RandomIds};

use crate::harness::{World, eventually, user};

fn readers(count: u64, first: &[u128]) -> Readers {
    let first = first.iter().copied().map(user).collect();
    Readers { count, first }
}

impl World {
    /// Changes a membership and waits until it is projected.
    async fn set_member(&self, chat: ChatId, version: i64, user: UserId, is_member: bool) {
        let change = if is_member {
            ChangeKind::MemberJoined { user }
        } else {
            ChangeKind::MemberLeft { user }
        };
        self.change(chat, version, change).await;
        eventually("the change", async || {
            let at = self.message.attach(&self.call, user, chat).await;
            at.is_ok_and(|at| at.until_o.is_none() == is_member)
        })
        .await;
    }
}

/// guarantee:G11: an old event has the readers of its time, also when they have left or others have come since.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_the_readers_of_its_time() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let for_two = world.send(chat, user(1), "for two").await.unwrap();
        world.set_member(chat, 2, user(3), true).await;
        let for_three = world.send(chat, user(3), "for three").await.unwrap();
        world.set_member(chat, 3, user(1), false).await;
        let without = world.send(chat, user(2), "without one").await.unwrap();
        world.set_member(chat, 4, user(1), true).await;
        let again = world.send(chat, user(1), "all again").await.unwrap();
        for (o, limit, expected) in [
            (for_two.o, 10, readers(2, &[1, 2])),
            (for_three.o, 10, readers(3, &[1, 2, 3])),
            // Leaving is the last that reaches who leaves.
            (for_three.o + 1, 10, readers(3, &[1, 2, 3])),
            (without.o, 10, readers(2, &[2, 3])),
            (again.o, 10, readers(3, &[1, 2, 3])),
            (again.o, 2, readers(3, &[1, 2])),
        ] {
            let found = world.message.readers(&world.call, chat, o, limit).await;
            assert_eq!(found.unwrap(), expected, "{o}");
        }
        let nowhere = ChatId(RandomIds.next());
        let found = world.message.readers(&world.call, nowhere, 1, 10).await;
        assert_eq!(found.unwrap(), readers(0, &[]));
        let refused = world.message.readers(&world.call, chat, 1, 0).await;
        assert!(refused.is_err_and(|fault| fault.is(Code::Invalid)));
        world.stop().await;
    }
}
