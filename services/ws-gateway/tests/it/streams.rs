//! A `message` in memory: it numbers, stores, answers and forwards as the real one does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use contracts::{
    ChatId, Key, MessageId, ThreadId, UserId,
    events::{Persist, Send, Topics},
    frames::{self, Answer, ChatRef, Outcome, Refusal},
    message::{
        Attachment, Auto, Events, History, Marks, Message, MessageApi, Page, Position, Readers,
        Stored, Summary,
    },
    pipeline,
};
use eventlog::{EventLog, Pace, Poll, Record, StartAt, Subscription};
use kit::{Call, Fault};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

/// Runs once at a moment that a test chose.
pub(crate) struct Pause {
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

/// The test's end of a [`Pause`].
pub(crate) struct Paused {
    pub(crate) reached: oneshot::Receiver<()>,
    pub(crate) go_on: oneshot::Sender<()>,
}

pub(crate) fn pause() -> (Pause, Paused) {
    let (reached, is_reached) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel();
    (
        Pause {
            reached,
            go_on: goes_on,
        },
        Paused {
            reached: is_reached,
            go_on,
        },
    )
}

impl Pause {
    async fn pass(self) {
        let _ = self.reached.send(());
        let _ = self.go_on.await;
    }
}

#[derive(Default)]
struct Stream {
    epoch: String,
    frames: Vec<Bytes>,
    seq: i64,
    members: BTreeMap<UserId, (i64, Option<i64>)>,
    sent: HashMap<(UserId, Key), Stored>,
}

pub(crate) struct Streams {
    log: Arc<dyn EventLog>,
    topics: Arc<Topics>,
    by_chat: Mutex<BTreeMap<ChatId, Stream>>,
    /// After `attach` has read the head.
    pub(crate) after_attach: Mutex<Option<Pause>>,
    /// Before `events` reads.
    pub(crate) before_events: Mutex<Option<Pause>>,
    /// Sends are stored one permit each.
    pub(crate) may_store: Semaphore,
    /// After `peers` has looked.
    pub(crate) after_peers: Mutex<Option<Pause>>,
    /// How often it was asked who knows whom.
    pub(crate) peer_reads: AtomicUsize,
}

impl Streams {
    pub(crate) fn new(log: Arc<dyn EventLog>, topics: Arc<Topics>) -> Arc<Self> {
        Arc::new(Self {
            log,
            topics,
            by_chat: Mutex::default(),
            after_attach: Mutex::default(),
            before_events: Mutex::default(),
            may_store: Semaphore::new(Semaphore::MAX_PERMITS),
            after_peers: Mutex::default(),
            peer_reads: AtomicUsize::new(0),
        })
    }

    /// Consumes the persist topic for ever.
    pub(crate) async fn pump(self: Arc<Self>) {
        let subscription = Subscription {
            group: "message".into(),
            member: "one".into(),
            topics: vec![self.topics.message_persist.as_str().into()],
            start: StartAt::Group,
            session_timeout: Duration::from_secs(6),
            pace: Pace::Prompt,
        };
        let mut consumer = self.log.subscribe(subscription).await.unwrap();
        loop {
            let Ok(Poll::Records(records)) = consumer.poll(100, Duration::from_secs(1)).await
            else {
                continue;
            };
            for record in records {
                let Ok(Persist::Send(send)) = serde_json::from_slice(&record.value) else {
                    panic!("no send")
                };
                self.may_store.acquire().await.unwrap().forget();
                let answer = self.store_send(&send);
                self.append(frames::chat_key(send.chat), answer).await;
            }
        }
    }

    fn store_send(&self, send: &Send) -> Bytes {
        let waiter = (send.author, send.key);
        let outcome = {
            let chats = self.by_chat.lock();
            let stream = chats.get(&send.chat);
            let may = stream.and_then(|stream| stream.members.get(&send.author));
            match (stream.and_then(|stream| stream.sent.get(&waiter)), may) {
                (Some(stored), _) => Some(Outcome::Ok(Stored {
                    dup: true,
                    ..stored.clone()
                })),
                (None, Some((_, None))) => None,
                _ => Some(Outcome::Err(Refusal {
                    code: "not_found".to_owned(),
                    msg: "no such chat".to_owned(),
                })),
            }
        };
        match outcome {
            Some(outcome) => {
                let (author, key, intent) = pipeline::waiter(send);
                let answer = Answer {
                    author,
                    key,
                    intent,
                    outcome,
                };
                frames::ephemeral(frames::ANSWER, &answer)
            }
            None => {
                self.store_message(send.chat, send.author, send.key, &send.text)
                    .1
            }
        }
    }

    fn store_message(&self, chat: ChatId, author: UserId, key: Key, text: &str) -> (i64, Bytes) {
        let mut chats = self.by_chat.lock();
        let stream = chats.get_mut(&chat).unwrap();
        stream.seq += 1;
        let message = Message {
            id: MessageId::derive(author, key),
            chat,
            seq: stream.seq,
            o: stream.frames.len() as i64 + 1,
            author,
            key,
            ts: "2026-11-21T12:00:00.000Z".to_owned(),
            text: text.to_owned(),
            reply_to: None,
            auto: Auto::No,
            via: None,
        };
        stream
            .sent
            .insert((author, key), pipeline::stored(&message, false));
        let frame = frames::event(
            frames::MSG_NEW,
            chat,
            message.o,
            &json!(message).to_string(),
        );
        stream.frames.push(frame.clone());
        (message.o, frame)
    }

    async fn append(&self, key: Bytes, value: Bytes) {
        self.log
            .append(&self.topics.forward_message, vec![Record { key, value }])
            .await
            .unwrap();
    }

    pub(crate) fn create(&self, members: &[UserId]) -> ChatId {
        let chat = ChatId(uuid::Uuid::now_v7());
        let d = json!({ "version": 1, "members": members });
        let stream = Stream {
            epoch: "k1".to_owned(),
            frames: vec![frames::event(frames::CHAT_CREATED, chat, 1, &d.to_string())],
            members: members.iter().map(|member| (*member, (1, None))).collect(),
            ..Stream::default()
        };
        self.by_chat.lock().insert(chat, stream);
        chat
    }

    /// Stores a message that the forward topic never hears of.
    pub(crate) fn store(&self, chat: ChatId, author: UserId, text: &str) -> i64 {
        self.store_message(chat, author, Key(uuid::Uuid::now_v7()), text)
            .0
    }

    /// Puts a stored event on the forward topic.
    pub(crate) async fn forward(&self, chat: ChatId, o: i64) {
        let frame = self.by_chat.lock()[&chat].frames[usize::try_from(o).unwrap() - 1].clone();
        self.append(frames::chat_key(chat), frame).await;
    }

    /// Stores and forwards a message.
    pub(crate) async fn post(&self, chat: ChatId, author: UserId, text: &str) -> i64 {
        let o = self.store(chat, author, text);
        self.forward(chat, o).await;
        o
    }

    pub(crate) async fn tell(&self, user: UserId, frame: Bytes) {
        self.append(frames::user_key(user), frame).await;
    }

    /// Changes a membership: the event and the hint, as `message` makes them.
    pub(crate) async fn set_member(&self, chat: ChatId, user: UserId, is_member: bool) -> i64 {
        let o = {
            let mut chats = self.by_chat.lock();
            let stream = chats.get_mut(&chat).unwrap();
            let o = stream.frames.len() as i64 + 1;
            let t = if is_member {
                frames::MEMBER_JOINED
            } else {
                frames::MEMBER_LEFT
            };
            stream.frames.push(frames::event(
                t,
                chat,
                o,
                &json!({ "version": o, "user": user }).to_string(),
            ));
            let from = stream.members.get(&user).map_or(o, |(from, _)| *from);
            stream.members.insert(
                user,
                if is_member {
                    (o, None)
                } else {
                    (from, Some(o))
                },
            );
            o
        };
        self.forward(chat, o).await;
        let t = if is_member {
            frames::CHAT_ADDED
        } else {
            frames::CHAT_REMOVED
        };
        self.tell(user, frames::ephemeral(t, &ChatRef { chat, o }))
            .await;
        o
    }

    fn look<R>(
        &self,
        reader: UserId,
        chat: ChatId,
        look: impl FnOnce(&Stream, i64, Option<i64>) -> R,
    ) -> Result<R, Fault> {
        let chats = self.by_chat.lock();
        let stream = chats.get(&chat).ok_or_else(|| Fault::not_found("chat"))?;
        let (from, until) = *stream
            .members
            .get(&reader)
            .ok_or_else(|| Fault::not_found("chat"))?;
        Ok(look(stream, from, until))
    }
}

impl Stream {
    fn has(&self, user: UserId) -> bool {
        matches!(self.members.get(&user), Some((_, None)))
    }

    fn head(&self, until: Option<i64>) -> Position {
        Position {
            e: self.epoch.clone(),
            o: until.unwrap_or(self.frames.len() as i64),
        }
    }
}

#[async_trait]
impl MessageApi for Streams {
    async fn send(&self, _: &Call, _: Send) -> Result<Stored, Fault> {
        Err(Fault::invalid("the gateway sends through the log"))
    }

    async fn history(
        &self,
        _: &Call,
        _: UserId,
        _: ChatId,
        _: Page,
        _: usize,
    ) -> Result<History, Fault> {
        Err(Fault::invalid("clients read history over HTTP"))
    }

    async fn private_chat(&self, _: &Call, _: UserId, _: UserId) -> Result<ChatId, Fault> {
        Err(Fault::invalid("the gateway is told the chat"))
    }

    async fn attach(&self, _: &Call, reader: UserId, chat: ChatId) -> Result<Attachment, Fault> {
        let at = self.look(reader, chat, |stream, from_o, until_o| Attachment {
            head: stream.head(until_o),
            seq: stream.seq,
            from_o,
            until_o,
        });
        let pause = self.after_attach.lock().take();
        if let Some(pause) = pause {
            pause.pass().await;
        }
        at
    }

    async fn events(
        &self,
        _: &Call,
        reader: UserId,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Events, Fault> {
        let pause = self.before_events.lock().take();
        if let Some(pause) = pause {
            pause.pass().await;
        }
        self.look(reader, chat, |stream, from, until| {
            let head = stream.head(until);
            let first = (after + 1).max(from);
            let last = head.o.min(first + limit as i64 - 1);
            let frames = (first..=last)
                .map(|o| (o, stream.frames[usize::try_from(o).unwrap() - 1].clone()))
                .collect();
            Events {
                more: last < head.o,
                head,
                frames,
            }
        })
    }

    async fn chats(&self, _: &Call, reader: UserId, _: usize) -> Result<Vec<Summary>, Fault> {
        let chats = self.by_chat.lock();
        let own = chats
            .iter()
            .filter(|(_, stream)| matches!(stream.members.get(&reader), Some((_, None))));
        Ok(own
            .map(|(chat, stream)| Summary {
                chat: *chat,
                pos: stream.head(None),
                seq: stream.seq,
                unread: 0,
                read: 0,
                from_o: 1,
                last: None,
            })
            .collect())
    }

    async fn mark(
        &self,
        _: &Call,
        user: UserId,
        chat: ChatId,
        delivered: i64,
        read: i64,
    ) -> Result<Marks, Fault> {
        self.look(user, chat, |_, _, _| ())?;
        let marks = Marks {
            chat,
            user,
            delivered,
            read,
        };
        self.append(
            frames::chat_key(chat),
            frames::ephemeral(frames::MARKS, &marks),
        )
        .await;
        Ok(marks)
    }

    async fn marks(&self, _: &Call, _: UserId, _: ChatId) -> Result<Vec<Marks>, Fault> {
        Ok(Vec::new())
    }

    async fn peers(
        &self,
        _: &Call,
        reader: UserId,
        people: Vec<UserId>,
    ) -> Result<Vec<UserId>, Fault> {
        self.peer_reads.fetch_add(1, SeqCst);
        let is_peer = |other: &UserId| {
            let chats = self.by_chat.lock();
            let mut chats = chats.values();
            chats.any(|stream| stream.has(reader) && stream.has(*other))
        };
        let peers = people.into_iter().filter(is_peer).collect();
        let pause = self.after_peers.lock().take();
        if let Some(pause) = pause {
            pause.pass().await;
        }
        Ok(peers)
    }

    async fn thread_messages(
        &self,
        _: &Call,
        _: ThreadId,
        _: i64,
        _: usize,
    ) -> Result<Vec<Message>, Fault> {
        Ok(Vec::new())
    }

    async fn readers(&self, _: &Call, _: ChatId, _: i64, _: usize) -> Result<Readers, Fault> {
        Err(Fault::invalid("the gateway does not ask who reads"))
    }
}
