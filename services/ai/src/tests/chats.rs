//! A model of the services around: chats that store, feed and tell, people with names.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use contracts::{
    ChatId, Key, MessageId, ThreadId, UserId,
    ai::Why,
    auth::{AuthApi, Caller, PublicKey, Revocation},
    chat::{BindingMode, BindingState},
    events::{Autoreply, BindingInit, Feed, Send, ThreadCreated, Topics},
    frames::{self, Answer, Outcome, Refusal},
    message::{
        Attachment, Auto, Events, History, Marks, Message, MessageApi, Page, Readers, Stored,
        Summary, Via,
    },
    pipeline,
    user::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi},
};
use eventlog::{EventLog, Pace, Record};
use kit::{Call, Fault, Ids as _, RandomIds};
use parking_lot::Mutex;
use serde_json::json;

use crate::store::time;

/// The chats.
pub(super) struct Chats {
    log: Arc<dyn EventLog>,
    topics: Arc<Topics>,
    state: Mutex<State>,
    /// Keeps what is appended in the order in which it was decided.
    order: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    chats: HashMap<ChatId, Vec<Event>>,
    bindings: HashMap<ThreadId, Binding>,
    created: HashMap<ThreadId, Result<(), Why>>,
    versions: HashMap<ThreadId, i64>,
}

#[derive(Clone)]
enum Event {
    Message(Box<Message>),
    Other,
}

#[derive(Clone)]
struct Binding {
    chat: ChatId,
    owner: UserId,
    mode: BindingMode,
    ready: bool,
}

impl Chats {
    pub(super) async fn start(log: Arc<dyn EventLog>, topics: Arc<Topics>) -> Arc<Self> {
        let mut replies = log
            .tail(&topics.ai_autoreply, Pace::Prompt)
            .await
            .expect("a tail");
        let mut created = log
            .tail(&topics.ai_thread_created, Pace::Prompt)
            .await
            .expect("a tail");
        let chats = Arc::new(Self {
            log,
            topics,
            state: Mutex::default(),
            order: tokio::sync::Mutex::default(),
        });
        let (storing, hearing) = (chats.clone(), chats.clone());
        tokio::spawn(async move {
            while let Ok(records) = replies.next(100).await {
                for record in records {
                    storing
                        .store(&serde_json::from_slice(&record.value).expect("a reply"))
                        .await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(records) = created.next(100).await {
                for record in records {
                    let told: ThreadCreated =
                        serde_json::from_slice(&record.value).expect("a thread");
                    hearing
                        .state
                        .lock()
                        .created
                        .insert(told.thread, told.failed.map_or(Ok(()), Err));
                }
            }
        });
        chats
    }

    async fn append(&self, topic: &str, key: bytes::Bytes, value: bytes::Bytes) {
        self.log
            .append(topic, vec![Record { key, value }])
            .await
            .expect("an append");
    }

    async fn forward(&self, chat: ChatId, frame: bytes::Bytes) {
        self.append(&self.topics.forward_message, frames::chat_key(chat), frame)
            .await;
    }

    /// A person writes.
    pub(super) async fn say(&self, chat: ChatId, author: UserId, text: &str) -> i64 {
        let _order = self.order.lock().await;
        self.push(chat, author, Key(RandomIds.next()), text, None)
            .await
    }

    async fn push(
        &self,
        chat: ChatId,
        author: UserId,
        key: Key,
        text: &str,
        via: Option<Via>,
    ) -> i64 {
        let (message, feeds) = {
            let mut state = self.state.lock();
            let events = state.chats.entry(chat).or_default();
            let o = i64::try_from(events.len()).expect("a small chat") + 1;
            let message = Message {
                id: MessageId::derive(author, key),
                chat,
                seq: o,
                o,
                author,
                key,
                ts: time(kit::Clock::now_ms(&kit::SystemClock)),
                text: text.to_owned(),
                reply_to: None,
                auto: if via.is_some() {
                    Auto::Replied
                } else {
                    Auto::No
                },
                via,
            };
            events.push(Event::Message(Box::new(message.clone())));
            let bound = state
                .bindings
                .iter()
                .filter(|(_, binding)| binding.chat == chat && binding.ready);
            let feeds: Vec<_> = bound
                .map(|(thread, binding)| Feed {
                    thread: *thread,
                    chat,
                    owner: binding.owner,
                    mode: binding.mode,
                    o,
                    request: None,
                })
                .collect();
            (message, feeds)
        };
        let body = serde_json::to_string(&message).expect("a message");
        self.forward(chat, frames::event(frames::MSG_NEW, chat, message.o, &body))
            .await;
        for feed in feeds {
            self.append(
                &self.topics.ai_feed,
                feed.thread.to_string().into(),
                pipeline::encode(&feed),
            )
            .await;
        }
        message.o
    }

    /// What `message` does with a reply.
    async fn store(&self, reply: &Autoreply) {
        let _order = self.order.lock().await;
        let found = self.state.lock().bindings.get(&reply.thread).cloned();
        let Some(binding) = found else { return };
        let known = self
            .messages(binding.chat)
            .into_iter()
            .find(|message| message.key.0 == reply.run.0);
        let human_o = self
            .messages(binding.chat)
            .iter()
            .filter(|m| m.auto == Auto::No)
            .map(|m| m.o)
            .max()
            .unwrap_or(0);
        let refuse = |code: &str| {
            Outcome::Err(Refusal {
                code: code.to_owned(),
                msg: String::new(),
            })
        };
        let outcome = if let Some(known) = known {
            Outcome::Ok(pipeline::stored(&known, true))
        } else if !binding.ready || binding.mode != BindingMode::Autoreply {
            refuse("binding_gone")
        } else if human_o > reply.trigger_o {
            refuse("superseded")
        } else {
            let via = Some(reply.via.clone());
            self.push(
                binding.chat,
                binding.owner,
                Key(reply.run.0),
                &reply.text,
                via,
            )
            .await;
            return;
        };
        let answer = Answer {
            author: binding.owner,
            key: Key(reply.run.0),
            intent: 0,
            outcome,
        };
        self.forward(binding.chat, frames::ephemeral(frames::ANSWER, &answer))
            .await;
    }

    /// A binding is decided; the service is asked to begin.
    pub(super) async fn bind(&self, chat: ChatId, owner: UserId, mode: BindingMode) -> ThreadId {
        let thread = ThreadId(RandomIds.next());
        self.state.lock().bindings.insert(
            thread,
            Binding {
                chat,
                owner,
                mode,
                ready: false,
            },
        );
        self.change(thread, BindingState::Pending).await;
        let init = BindingInit {
            thread,
            chat,
            owner,
            mode,
        };
        self.append(
            &self.topics.ai_binding_init,
            thread.to_string().into(),
            pipeline::encode(&init),
        )
        .await;
        thread
    }

    /// What the service told about a new binding.
    pub(super) fn created(&self, thread: ThreadId) -> Option<Result<(), Why>> {
        self.state.lock().created.get(&thread).copied()
    }

    /// The newest decision about a binding.
    pub(super) fn version(&self, thread: ThreadId) -> i64 {
        self.state.lock().versions[&thread]
    }

    /// The binding works from here on.
    pub(super) async fn ready(&self, thread: ThreadId) {
        if let Some(binding) = self.state.lock().bindings.get_mut(&thread) {
            binding.ready = true;
        }
        self.change(thread, BindingState::Ready).await;
    }

    /// The binding does something else from here on.
    pub(super) async fn switch(&self, thread: ThreadId, mode: BindingMode) {
        if let Some(binding) = self.state.lock().bindings.get_mut(&thread) {
            binding.mode = mode;
        }
        self.change(thread, BindingState::Ready).await;
    }

    async fn change(&self, thread: ThreadId, state: BindingState) {
        let _order = self.order.lock().await;
        let binding = self.state.lock().bindings[&thread].clone();
        let o = self.place(binding.chat);
        // The place in the chat is as good a number as any that rises.
        self.state.lock().versions.insert(thread, o);
        let body = json!({ "version": o, "owner": binding.owner, "thread": thread, "mode": binding.mode, "state": state });
        let frame = frames::event(frames::BINDING_CHANGED, binding.chat, o, &body.to_string());
        self.forward(binding.chat, frame).await;
    }

    /// The binding is gone.
    pub(super) async fn unbind(&self, thread: ThreadId) {
        let _order = self.order.lock().await;
        let binding = self
            .state
            .lock()
            .bindings
            .remove(&thread)
            .expect("a binding");
        let o = self.place(binding.chat);
        let body = json!({ "version": o, "owner": binding.owner, "thread": thread });
        let frame = frames::event(frames::BINDING_REMOVED, binding.chat, o, &body.to_string());
        self.forward(binding.chat, frame).await;
    }

    fn place(&self, chat: ChatId) -> i64 {
        let mut state = self.state.lock();
        let events = state.chats.entry(chat).or_default();
        events.push(Event::Other);
        i64::try_from(events.len()).expect("a small chat")
    }

    /// Everything that was said.
    pub(super) fn messages(&self, chat: ChatId) -> Vec<Message> {
        let state = self.state.lock();
        let events = state.chats.get(&chat).into_iter().flatten();
        events
            .filter_map(|event| {
                if let Event::Message(message) = event {
                    Some((**message).clone())
                } else {
                    None
                }
            })
            .collect()
    }

    /// What AIs said.
    pub(super) fn automatic(&self, chat: ChatId) -> Vec<Message> {
        self.messages(chat)
            .into_iter()
            .filter(|message| message.auto == Auto::Replied)
            .collect()
    }
}

#[async_trait]
impl MessageApi for Chats {
    async fn thread_messages(
        &self,
        _: &Call,
        thread: ThreadId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Message>, Fault> {
        let chat = self
            .state
            .lock()
            .bindings
            .get(&thread)
            .map(|binding| binding.chat);
        let messages = self.messages(chat.ok_or_else(|| Fault::not_found("thread"))?);
        let after: Vec<_> = messages
            .into_iter()
            .filter(|message| message.o > after)
            .collect();
        Ok(after[after.len().saturating_sub(limit)..].to_vec())
    }

    async fn send(&self, _: &Call, _: Send) -> Result<Stored, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn history(
        &self,
        _: &Call,
        _: UserId,
        _: ChatId,
        _: Page,
        _: usize,
    ) -> Result<History, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn private_chat(&self, _: &Call, _: UserId, _: UserId) -> Result<ChatId, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn attach(&self, _: &Call, _: UserId, _: ChatId) -> Result<Attachment, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn events(
        &self,
        _: &Call,
        _: UserId,
        _: ChatId,
        _: i64,
        _: usize,
    ) -> Result<Events, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn chats(&self, _: &Call, _: UserId, _: usize) -> Result<Vec<Summary>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn mark(&self, _: &Call, _: UserId, _: ChatId, _: i64, _: i64) -> Result<Marks, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn marks(&self, _: &Call, _: UserId, _: ChatId) -> Result<Vec<Marks>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn peers(&self, _: &Call, _: UserId, _: Vec<UserId>) -> Result<Vec<UserId>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn readers(&self, _: &Call, _: ChatId, _: i64, _: usize) -> Result<Readers, Fault> {
        Err(Fault::not_found("route"))
    }
}

/// The name of a person, as the provider is told.
pub(super) fn name(person: UserId) -> String {
    format!("p{}", person.0.simple())
}

#[async_trait]
impl UserApi for Chats {
    async fn by_ids(&self, _: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        Ok(ids
            .into_iter()
            .map(|id| PublicUser {
                id,
                username: name(id),
            })
            .collect())
    }

    async fn profiles(&self, _: &Call, _: Vec<UserId>) -> Result<Vec<User>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn create(&self, _: &Call, _: NewUser) -> Result<User, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn by_id(&self, _: &Call, _: UserId) -> Result<Option<User>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn by_username(&self, _: &Call, _: &str) -> Result<Option<User>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn by_email(&self, _: &Call, _: &str) -> Result<Option<User>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn credentials(&self, _: &Call, _: &str) -> Result<Option<Credentials>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn credentials_by_id(&self, _: &Call, _: UserId) -> Result<Option<Credentials>, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn update(&self, _: &Call, _: UserId, _: ProfileChange) -> Result<User, Fault> {
        Err(Fault::not_found("route"))
    }
}

#[async_trait]
impl AuthApi for Chats {
    async fn validate_token(&self, _: &Call, _: &str) -> Result<Caller, Fault> {
        Err(Fault::not_found("route"))
    }

    async fn public_keys(&self, _: &Call) -> Result<Vec<PublicKey>, Fault> {
        Ok(Vec::new())
    }

    async fn revoked_since(&self, _: &Call, _: i64) -> Result<Vec<Revocation>, Fault> {
        Ok(Vec::new())
    }
}
