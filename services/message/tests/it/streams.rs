//! Sending, numbering, projections, history, marks.

use contracts::{
    ChatId, RunId,
    chat::{BindingMode, BindingState},
    events::{Autoreply, ChangeKind, Topics},
    message::{Auto, Page, Via},
    pipeline,
};
use eventlog::Record;
use kit::{Code, Ids, RandomIds};

use crate::harness::{World, eventually, kind, new, user};

/// row:C01, row:C06, guarantee:G5, guarantee:G12: a stored message has its numbers and is readable at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_sent_message_is_stored_once_and_readable() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let first = world.send(chat, user(1), "hello").await.unwrap();
        let second = world.send(chat, user(2), "hi").await.unwrap();
        assert_eq!((first.seq, first.o, first.dup), (1, 2, false));
        assert_eq!((second.seq, second.o), (2, 3));
        let page = world
            .message
            .history(&world.call, user(2), chat, Page::Latest, 50)
            .await
            .unwrap();
        let texts: Vec<_> = page
            .messages
            .iter()
            .map(|message| (message.seq, message.text.as_str()))
            .collect();
        assert_eq!(texts, [(1, "hello"), (2, "hi")]);
        assert_eq!((page.pos.o, page.more), (3, false));
        let frames = world
            .message
            .events(&world.call, user(1), chat, 0, 200)
            .await
            .unwrap()
            .frames;
        let kinds: Vec<_> = frames.iter().map(|(o, frame)| (*o, kind(frame))).collect();
        assert_eq!(
            kinds,
            [
                (1, "chat.created".into()),
                (2, "msg.new".into()),
                (3, "msg.new".into())
            ]
        );
        world.stop().await;
    }
}

/// row:C11, row:C13, row:B08, threat:T34: a stranger's chat looks like one that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_bad_texts_are_refused() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let unknown = ChatId(RandomIds.next());
        for foreign in [chat, unknown] {
            let fault = world.send(foreign, user(3), "let me in").await.unwrap_err();
            assert_eq!((fault.code(), fault.word()), (Code::NotFound, "not_found"));
            let fault = world
                .message
                .history(&world.call, user(3), foreign, Page::Latest, 1)
                .await
                .unwrap_err();
            assert_eq!(
                (fault.code(), fault.public()),
                (Code::NotFound, "no such chat")
            );
        }
        assert_eq!(
            world.send(chat, user(1), " \n ").await.unwrap_err().word(),
            "empty_text"
        );
        assert_eq!(
            world.send(chat, user(1), "a\0b").await.unwrap_err().code(),
            Code::Invalid
        );
        assert_eq!(
            world
                .send(chat, user(1), &"x".repeat(16 * 1024 + 1))
                .await
                .unwrap_err()
                .code(),
            Code::TooLarge
        );
        assert!(
            world
                .send(chat, user(1), &"я".repeat(8 * 1024))
                .await
                .is_ok()
        );
        world.stop().await;
    }
}

/// row:C15, row:C26, guarantee:G4, guarantee:G6: order holds with several workers, and numbers have no hole.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_keep_their_order_with_several_workers() {
    for world in World::both(3).await {
        let chats = [world.chat().await, world.chat().await, world.chat().await];
        for n in 0..1000 {
            for chat in chats {
                let (key, value) = pipeline::send_record(new(chat, user(1), &n.to_string()));
                world
                    .log
                    .append(&world.topics.message_persist, vec![Record { key, value }])
                    .await
                    .unwrap();
            }
        }
        for chat in chats {
            eventually("all are stored", async || {
                world
                    .message
                    .attach(&world.call, user(2), chat)
                    .await
                    .unwrap()
                    .seq
                    == 1000
            })
            .await;
            let (mut seen, mut after) = (0, 0);
            loop {
                let page = world
                    .message
                    .history(&world.call, user(2), chat, Page::After(after), 200)
                    .await
                    .unwrap();
                for message in &page.messages {
                    assert_eq!((message.seq, message.o), (seen + 1, seen + 2));
                    assert_eq!(message.text, seen.to_string());
                    seen += 1;
                }
                after = seen;
                if !page.more {
                    break;
                }
            }
            assert_eq!(seen, 1000);
        }
        world.stop().await;
    }
}

/// row:C07: pages walk through everything once, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_message_once() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        world.bind(chat).await;
        let sends = (0..45).map(|n| {
            world
                .message
                .send(&world.call, new(chat, user(2), &n.to_string()))
        });
        let mut numbers: Vec<_> = futures_util::future::join_all(sends)
            .await
            .into_iter()
            .map(|sent| sent.unwrap().seq)
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=45).collect::<Vec<_>>());
        let (mut page, mut back) = (Page::Latest, Vec::new());
        loop {
            let read = world
                .message
                .history(&world.call, user(1), chat, page, 10)
                .await
                .unwrap();
            back.splice(0..0, read.messages.iter().map(|message| message.seq));
            if !read.more {
                break;
            }
            page = Page::Before(back[0]);
        }
        assert_eq!(back, numbers);
        world.stop().await;
    }
}

/// row:C20: what cannot be read is put aside and the rest goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_goes_to_the_dead_letters() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let key = pipeline::persist_key(chat);
        let (_, foreign) =
            pipeline::send_record(new(ChatId(RandomIds.next()), user(1), "wrong key"));
        for poison in [
            b"{broken".as_slice().into(),
            b"\xff\xfe".as_slice().into(),
            bytes::Bytes::new(),
            foreign,
        ] {
            world.persist(key.clone(), poison).await;
        }
        world.send(chat, user(1), "still here").await.unwrap();
        let dead = Topics::default().dead_letters("message");
        eventually("four dead letters", async || {
            world.records(&dead).await.len() == 4
        })
        .await;
        world.stop().await;
    }
}

/// The projection applies decisions one by one: a gap waits, a repetition changes nothing, and `chat` is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_gap_is_not_applied() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        world
            .change(chat, 3, ChangeKind::MemberLeft { user: user(2) })
            .await;
        world
            .change(chat, 1, ChangeKind::MemberLeft { user: user(2) })
            .await;
        assert!(world.send(chat, user(2), "still a member").await.is_ok());
        let told = world.records(&world.topics.forward_message).await;
        let told: Vec<_> = told
            .iter()
            .filter(|frame| frame["t"] == "projected")
            .collect();
        assert_eq!(told.len(), 2);
        assert!(
            told.iter().all(|frame| frame["d"]["version"] == 1),
            "{told:?}"
        );
        world.stop().await;
    }
}

/// guarantee:G11, guarantee:G2: a removal has an exact place; afterwards only a retry of what was stored is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_sees_nothing_that_came_later() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let before = new(chat, user(2), "before");
        let stored = world
            .message
            .send(&world.call, before.clone())
            .await
            .unwrap();
        world
            .change(chat, 2, ChangeKind::MemberLeft { user: user(2) })
            .await;
        eventually("the removal", async || {
            world.send(chat, user(2), "after").await.is_err()
        })
        .await;
        let left_at = world
            .message
            .attach(&world.call, user(2), chat)
            .await
            .unwrap();
        world.send(chat, user(1), "secret").await.unwrap();
        assert!(world.message.send(&world.call, before).await.unwrap().dup);
        let page = world
            .message
            .history(&world.call, user(2), chat, Page::Latest, 50)
            .await
            .unwrap();
        assert!(page.messages.iter().all(|message| message.text != "secret"));
        assert_eq!(page.pos, left_at.head);
        let events = world
            .message
            .events(&world.call, user(2), chat, 0, 200)
            .await
            .unwrap();
        assert_eq!(events.frames.last().map(|(o, _)| *o), left_at.until_o);
        assert!(stored.o < left_at.until_o.unwrap());
        assert!(
            world
                .message
                .chats(&world.call, user(2), 10)
                .await
                .unwrap()
                .is_empty()
        );
        world.stop().await;
    }
}

/// guarantee:G13: marks only rise, never pass the head, and unread follows from them.
#[tokio::test(flavor = "multi_thread")]
async fn marks_rise_and_unread_counts_the_others() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        for n in 0..5 {
            world.send(chat, user(1 + n % 2), "x").await.unwrap();
        }
        let unread = async || {
            let summary = world
                .message
                .summary(&world.call, user(1), chat)
                .await
                .unwrap();
            (summary.unread, summary.read, summary.last.unwrap().seq)
        };
        assert_eq!(unread().await, (2, 0, 5));
        let mark = |delivered, read| {
            world
                .message
                .mark(&world.call, user(1), chat, delivered, read)
        };
        assert_eq!(mark(3, 2).await.unwrap().read, 2);
        assert_eq!(unread().await, (1, 2, 5));
        let marks = mark(0, 1).await.unwrap();
        assert_eq!((marks.delivered, marks.read), (3, 2));
        let marks = mark(99, 99).await.unwrap();
        assert_eq!((marks.delivered, marks.read), (5, 5));
        assert_eq!(unread().await, (0, 5, 5));
        assert!(mark(-1, 0).await.is_err());
        assert!(
            world
                .message
                .mark(&world.call, user(3), chat, 1, 1)
                .await
                .is_err()
        );
        let told = world.records(&world.topics.forward_message).await;
        assert_eq!(told.iter().filter(|frame| frame["t"] == "marks").count(), 2);
        world.stop().await;
    }
}

fn reply(thread: contracts::ThreadId, trigger_o: i64, text: &str) -> Autoreply {
    let run = RunId(RandomIds.next());
    let via = Via {
        mode: BindingMode::Autoreply,
        run,
        model: "demo".to_owned(),
        approved_by: None,
        edited: Some(false),
    };
    Autoreply {
        thread,
        run,
        text: text.to_owned(),
        via,
        trigger_o,
    }
}

impl World {
    async fn release(&self, reply: &Autoreply) {
        let record = Record {
            key: reply.thread.to_string().into(),
            value: pipeline::encode(reply),
        };
        self.log
            .append(&self.topics.ai_autoreply, vec![record])
            .await
            .unwrap();
    }

    async fn texts(&self, chat: ChatId) -> Vec<(String, Auto)> {
        let page = self
            .message
            .history(&self.call, user(2), chat, Page::Latest, 50)
            .await
            .unwrap();
        page.messages
            .into_iter()
            .map(|message| (message.text, message.auto))
            .collect()
    }

    async fn refusals(&self) -> Vec<String> {
        let frames = self.records(&self.topics.forward_message).await;
        frames
            .iter()
            .filter_map(|frame| frame["d"]["err"]["code"].as_str().map(str::to_owned))
            .collect()
    }
}

/// row:E11, row:E19, row:E20, row:E25, guarantee:G16: the commit labels a reply, stores it once, and checks binding
/// and newest message again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_the_ai_is_checked_where_it_is_stored() {
    for world in World::all_worlds(1).await {
        let chat = world.chat().await;
        let thread = world.bind(chat).await;
        let asked = world.send(chat, user(2), "are you there?").await.unwrap();
        let good = reply(thread, asked.o, "yes");
        world.release(&good).await;
        world.release(&good).await;
        eventually("the reply", async || world.texts(chat).await.len() == 2).await;
        assert_eq!(
            world.texts(chat).await[1],
            ("yes".to_owned(), Auto::Replied)
        );

        let newer = world.send(chat, user(2), "forget it").await.unwrap();
        world.release(&reply(thread, asked.o, "too late")).await;
        eventually("superseded", async || {
            world.refusals().await.contains(&"superseded".to_owned())
        })
        .await;

        world
            .change(
                chat,
                3,
                ChangeKind::BindingSet {
                    owner: user(1),
                    thread,
                    mode: BindingMode::Advice,
                    state: BindingState::Ready,
                },
            )
            .await;
        world.release(&reply(thread, newer.o, "wrong mode")).await;
        eventually("refused", async || {
            world.refusals().await.contains(&"binding_gone".to_owned())
        })
        .await;
        assert_eq!(world.texts(chat).await.len(), 3);

        let feed = world.records(&world.topics.ai_feed).await;
        let triggers: Vec<_> = feed
            .iter()
            .map(|feed| feed["o"].as_i64().unwrap())
            .collect();
        assert_eq!(triggers, [asked.o, asked.o + 1, newer.o]);
        world.stop().await;
    }
}

/// threat:T30: nobody but the pipeline itself says that the AI wrote something.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_cannot_label_a_message() {
    for world in World::both(1).await {
        let chat = world.chat().await;
        let thread = world.bind(chat).await;
        let forged = contracts::events::Send {
            ai: Some(reply(thread, 99, "x")),
            ..new(chat, user(1), "x")
        };
        world.message.send(&world.call, forged).await.unwrap();
        assert_eq!(world.texts(chat).await, [("x".to_owned(), Auto::No)]);
        world.stop().await;
    }
}
