//! A message that answers another one.

use contracts::{ChatId, MessageId, UserId, events::ChangeKind, events::Send, message::Page};
use kit::{Code, Fault, Ids as _, RandomIds};

use crate::harness::{World, eventually, new, user};

impl World {
    async fn reply(&self, chat: ChatId, author: UserId, to: MessageId) -> Result<MessageId, Fault> {
        let reply_to = Some(to);
        let send = Send {
            reply_to,
            ..new(chat, author, "as you said")
        };
        Ok(self.message.send(&self.call, send).await?.msg)
    }
}

fn assert_refused(reply: Result<MessageId, Fault>) {
    let fault = reply.unwrap_err();
    assert_eq!((fault.code(), fault.word()), (Code::NotFound, "not_found"));
    assert!(fault.public().contains("reply to"), "{fault}");
}

/// row:C13, threat:T34: what is quoted is a message of the same chat; a foreign one looks like one that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_names_a_message_of_its_chat() {
    for world in World::both(1).await {
        let (here, there) = (world.chat().await, world.chat().await);
        let said = world.send(here, user(2), "hello").await.unwrap().msg;
        let elsewhere = world.send(there, user(2), "elsewhere").await.unwrap().msg;
        let answer = world.reply(here, user(1), said).await.unwrap();
        world.reply(here, user(2), answer).await.unwrap();
        assert_refused(world.reply(here, user(1), elsewhere).await);
        assert_refused(
            world
                .reply(here, user(1), MessageId(RandomIds.next()))
                .await,
        );
        let to_itself = new(here, user(1), "as I say");
        let id = MessageId::derive(to_itself.author, to_itself.key);
        let to_itself = Send {
            reply_to: Some(id),
            ..to_itself
        };
        let fault = world
            .message
            .send(&world.call, to_itself)
            .await
            .unwrap_err();
        assert_eq!(fault.word(), "not_found");
        let page = world
            .message
            .history(&world.call, user(1), here, Page::Latest, 50)
            .await
            .unwrap();
        let replied: Vec<_> = page
            .messages
            .iter()
            .map(|message| message.reply_to)
            .collect();
        assert_eq!(replied, [None, Some(said), Some(answer)]);
        world.stop().await;
    }
}

/// row:C13: nobody quotes what was said before they came.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_names_a_message_that_its_author_may_read() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let before = world.send(chat, user(1), "before").await.unwrap().msg;
        let joined = ChangeKind::MemberJoined { user: user(3) };
        world.change(chat, 2, joined).await;
        eventually("the third", async || {
            world
                .message
                .attach(&world.call, user(3), chat)
                .await
                .is_ok()
        })
        .await;
        assert_refused(world.reply(chat, user(3), before).await);
        let after = world.send(chat, user(1), "after").await.unwrap().msg;
        world.reply(chat, user(3), after).await.unwrap();
        world.reply(chat, user(2), before).await.unwrap();
        world.stop().await;
    }
}

/// A message can be answered as soon as its id is known, also by a send that is stored together with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_be_stored_in_one_batch_with_what_it_answers() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let first = new(chat, user(1), "first");
        let second = Send {
            reply_to: Some(MessageId::derive(first.author, first.key)),
            ..new(chat, user(1), "second")
        };
        let records = [first, second.clone()].map(|send| {
            let (key, value) = contracts::pipeline::send_record(send);
            eventlog::Record { key, value }
        });
        let topic = &world.topics.message_persist;
        world.log.append(topic, records.into()).await.unwrap();
        let stored = world.message.send(&world.call, second).await.unwrap();
        assert_eq!(stored.seq, 2);
        world.stop().await;
    }
}
