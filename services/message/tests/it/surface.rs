//! The gRPC surface as a client without our port sees it, and what only the wire could get wrong.

use contracts::{
    ChatId, RunId,
    events::Send,
    r#gen::message::{
        GetMessageHistoryRequest, GetMessagesByChatRequest, SendMessageRequest, Stored,
        message_service_client::MessageServiceClient, send_message_request::To,
    },
    message::{MAX_EVENTS, MAX_PAGE, MAX_TEXT, Page},
};
use kit::{Code, Ids as _, RandomIds};
use tonic::{Code as Status, Response, transport::Endpoint};

use crate::harness::{World, new, user};

type Client = MessageServiceClient<rpc::Channel>;

impl World {
    fn client(&self) -> Client {
        MessageServiceClient::new(self.channel.clone())
    }
}

async fn send(
    client: &mut Client,
    from: u128,
    to: &str,
    text: &str,
) -> Result<Response<Stored>, tonic::Status> {
    let request = SendMessageRequest {
        author_id: user(from).to_string(),
        to: Some(To::UserId(to.to_owned())),
        key: RandomIds.next().to_string(),
        text: text.to_owned(),
        ..SendMessageRequest::default()
    };
    client.send_message(request).await
}

/// row:C08, row:C09, row:C10: two people write to each other over gRPC alone, and both directions are read back with
/// who wrote them.
#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_over_grpc() {
    for world in World::both(1).await {
        let (ann, bob) = (user(1).to_string(), user(2).to_string());
        let mut client = world.client();
        let early = send(&mut client, 1, &bob, "too early").await.unwrap_err();
        assert_eq!(early.code(), Status::NotFound);
        let chat = world.chat().await;
        let sent = send(&mut client, 1, &bob, "hello").await.unwrap();
        assert!(!sent.get_ref().message_id.is_empty() && !sent.get_ref().ts.is_empty());
        send(&mut client, 2, &ann, "hi").await.unwrap();

        let request = GetMessageHistoryRequest {
            user1_id: bob.clone(),
            user2_id: ann.clone(),
            with_authors: true,
            ..GetMessageHistoryRequest::default()
        };
        let read = client.get_message_history(request).await.unwrap();
        let read = read.into_inner();
        let texts: Vec<_> = read
            .messages
            .iter()
            .map(|message| (message.author_id.as_str(), message.text.as_str()))
            .collect();
        assert_eq!(texts, [(ann.as_str(), "hello"), (bob.as_str(), "hi")]);
        assert!(read.messages.iter().all(|message| !message.ts.is_empty()));
        let people: Vec<_> = read
            .authors
            .iter()
            .map(|author| (author.username.as_str(), author.email.as_deref()))
            .collect();
        assert_eq!(people, [("ann", Some("ann@example.org")), ("bob", None)]);

        let request = GetMessagesByChatRequest {
            reader_id: ann.clone(),
            chat_id: chat.to_string(),
            ..GetMessagesByChatRequest::default()
        };
        let by_chat = client.get_messages_by_chat(request).await.unwrap();
        let by_chat = by_chat.into_inner();
        assert_eq!(by_chat.messages, read.messages);
        assert!(by_chat.authors.is_empty(), "nobody asked for them");
        world.stop().await;
    }
}

/// row:C09: what is not there and what is no id are two things.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_unknown_ids_are_told_apart() {
    for world in World::both(1).await {
        world.chat().await;
        let mut client = world.client();
        let to = |text: &str| text.to_owned();
        for (other, expected) in [
            (to("bob"), Status::InvalidArgument),
            (to(""), Status::InvalidArgument),
            (user(3).to_string(), Status::NotFound),
            (user(1).to_string(), Status::NotFound),
        ] {
            let refused = send(&mut client, 1, &other, "x").await.unwrap_err();
            assert_eq!(refused.code(), expected, "{other:?}");
        }
        let nowhere = SendMessageRequest {
            author_id: user(1).to_string(),
            key: RandomIds.next().to_string(),
            text: "x".to_owned(),
            ..SendMessageRequest::default()
        };
        let refused = client.send_message(nowhere).await.unwrap_err();
        assert_eq!(refused.code(), Status::InvalidArgument);
        let refused = client
            .get_messages_by_chat(GetMessagesByChatRequest::default())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Status::InvalidArgument);
        assert_eq!(refused.metadata().get("fault-code").unwrap(), "bad_request");
        world.stop().await;
    }
}

/// row:A19: without the credential of the processes nobody is answered.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_answered() {
    for world in World::both(1).await {
        let channel = Endpoint::from_shared(format!("http://{}", world.address))
            .unwrap()
            .connect_lazy();
        let refused = MessageServiceClient::new(channel)
            .get_messages_by_chat(GetMessagesByChatRequest::default())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Status::Unauthenticated);
        world.stop().await;
    }
}

/// Everything that a message can say comes through, and a page of the longest texts as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_pages_come_through() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let call = &world.call;
        let first = world.send(chat, user(2), "first").await.unwrap();
        let full = Send {
            reply_to: Some(first.msg),
            from_run: Some(RunId(RandomIds.next())),
            ..new(chat, user(1), "second")
        };
        world.message.send(call, full.clone()).await.unwrap();
        let page = world.message.history(call, user(1), chat, Page::Latest, 1);
        let read = page.await.unwrap().messages.remove(0);
        assert_eq!((read.key, read.reply_to), (full.key, full.reply_to));
        assert_eq!(read.via.map(|via| via.run), full.from_run);

        // A frame takes six bytes for each of these.
        let long = "\u{1}".repeat(MAX_TEXT - 1) + "x";
        let sends = (0..200).map(|_| world.send(chat, user(2), &long));
        for sent in futures_util::future::join_all(sends).await {
            sent.unwrap();
        }
        let page = world
            .message
            .history(call, user(1), chat, Page::Latest, MAX_PAGE);
        let page = page.await.unwrap();
        assert_eq!(page.messages.len(), MAX_PAGE);
        assert!(page.messages.iter().all(|message| message.text == long));
        assert_eq!(all_events(&world, chat).await, 203);
        let refused = world.message.history(call, user(1), chat, Page::Latest, 0);
        assert!(refused.await.unwrap_err().is(Code::Invalid));
        world.stop().await;
    }
}

/// Walks through a chat; no page is larger than it may be.
async fn all_events(world: &World, chat: ChatId) -> i64 {
    let mut after = 0;
    loop {
        let events = world
            .message
            .events(&world.call, user(1), chat, after, MAX_PAGE)
            .await
            .unwrap();
        let bytes: usize = events.frames.iter().map(|(_, frame)| frame.len()).sum();
        assert!(bytes <= MAX_EVENTS, "{bytes} bytes");
        for (o, _) in events.frames {
            assert_eq!(o, after + 1);
            after = o;
        }
        if !events.more {
            return after;
        }
    }
}

/// The newest message of each chat comes along; five hundred long ones are the largest answer there is.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_chats_come_through() {
    let db = sql::testing::sqlite("message", &message::MIGRATIONS).await;
    let world = World::on(db, 1).await.over_grpc();
    let long = "x".repeat(MAX_TEXT);
    for _ in 0..10 {
        let opened = (0..50).map(|_| async {
            let chat = world.chat().await;
            world.send(chat, user(2), &long).await.unwrap();
        });
        futures_util::future::join_all(opened).await;
    }
    let chats = world.message.chats(&world.call, user(1), 500).await;
    let chats = chats.unwrap();
    assert_eq!(chats.len(), 500);
    assert!(
        chats
            .iter()
            .all(|chat| chat.last.as_ref().is_some_and(|last| last.text == long))
    );
    world.stop().await;
}
