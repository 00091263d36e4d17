//! The chat streams: sending, history, replay, marks. Owned by the service `message`. Over gRPC: [`connect`] and
//! [`serve`].

mod connect;
mod serve;

pub use connect::connect;
pub use serve::serve;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kit::{Call, Fault};
use serde::{Deserialize, Serialize};

use crate::{ChatId, Key, MessageId, RunId, ThreadId, UserId};

/// The longest text of one message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;
/// The largest page of messages or events.
pub const MAX_PAGE: usize = 200;
/// The most people of one [`MessageApi::peers`].
pub const MAX_PEERS: usize = 200;
/// The most bytes of the frames of one page of events. In a frame one byte of a text can take six.
pub const MAX_EVENTS: usize = 2 * 1024 * 1024;

/// A message: the same object over HTTP, sockets and Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Message {
    /// Derived from author and key.
    pub id: MessageId,
    /// Its chat.
    pub chat: ChatId,
    /// Its number among the messages of the chat, from 1 without a hole.
    pub seq: i64,
    /// Its place among all events of the chat, from 1 without a hole.
    pub o: i64,
    /// In whose name it stands.
    pub author: UserId,
    /// What the author's client made once for it.
    pub key: Key,
    /// The time of the commit, RFC 3339 in UTC with milliseconds.
    pub ts: String,
    /// The text.
    pub text: String,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// `no`, or `replied` when the AI answered in the author's place. Set by the server.
    pub auto: Auto,
    /// How the AI took part. Set by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// Whether a message was automatic (the values of RFC 3834 section 5 that apply).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// A person wrote it.
    No,
    /// The AI answered.
    Replied,
}

/// How the AI took part in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Via {
    /// `autoreply`, or `advice` when a person sent a text that the AI had proposed.
    pub mode: crate::chat::BindingMode,
    /// The run that made the text. For advice this is what the sender says; nobody has checked it.
    pub run: RunId,
    /// The provider's model; empty for advice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Who approved it before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<UserId>,
    /// Whether that person changed it; left out for advice, where nobody but the sender knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<bool>,
}

/// The answer to a send: the message is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stored {
    /// The message.
    pub msg: MessageId,
    /// Its number among messages.
    pub seq: i64,
    /// Its place among events.
    pub o: i64,
    /// The time of the commit.
    pub ts: String,
    /// Whether it is known to have been stored by an earlier try; where that is only being learned, the answer is the same but
    /// for this.
    #[serde(default)]
    pub dup: bool,
}

/// A place in a stream. An epoch changes when history was restored or cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Position {
    /// The epoch.
    pub e: String,
    /// The last event.
    pub o: i64,
}

/// What a member may see of a chat's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The head at the moment of the look-up.
    pub head: Position,
    /// The number of the newest message.
    pub seq: i64,
    /// The first event that the member may see.
    pub from_o: i64,
    /// The last one, for a member that left; `None` while the membership lasts.
    pub until_o: Option<i64>,
}

/// A stretch of a stream.
#[derive(Clone, Debug)]
pub struct Events {
    /// The head, read before the events.
    pub head: Position,
    /// Position and frame of each event, rising without a hole inside the member's interval.
    pub frames: Vec<(i64, Bytes)>,
    /// Whether there is more.
    pub more: bool,
}

/// Which messages of a chat to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The newest.
    Latest,
    /// Those with a smaller `seq`, newest first on the way, oldest first in the answer.
    Before(i64),
    /// Those with a larger `seq`.
    After(i64),
}

/// A page of messages, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct History {
    /// The head, read before the messages: subscribing from here misses nothing.
    pub pos: Position,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there is more in the direction asked for.
    pub more: bool,
}

/// How far a person has got in a chat; both only rise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Marks {
    /// The chat.
    pub chat: ChatId,
    /// The person.
    pub user: UserId,
    /// The newest `seq` that a device of theirs has stored.
    pub delivered: i64,
    /// The newest `seq` that they saw.
    pub read: i64,
}

/// Who may read an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readers {
    /// How many they are.
    pub count: u64,
    /// The first of them, by rising id.
    pub first: Vec<UserId>,
}

/// One chat as its member finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Summary {
    /// The chat.
    pub chat: ChatId,
    /// The head of its stream.
    pub pos: Position,
    /// The number of its newest message.
    pub seq: i64,
    /// Messages of others after the read mark, counted up to 1000.
    pub unread: i64,
    /// The member's own read mark.
    pub read: i64,
    /// The first event that the member may see.
    pub from_o: i64,
    /// The newest message that the member may see.
    pub last: Option<Message>,
}

/// What `message` offers. `reader` is always the token's user; foreign and unknown chats are both
/// answered with `not_found`.
#[async_trait]
pub trait MessageApi: Send + Sync + 'static {
    /// Sends and returns when the message is committed. The same author and key again give the same answer, so whoever
    /// is told `unavailable` or `timeout`, which leave the outcome open, sends the same again.
    async fn send(&self, call: &Call, message: crate::events::Send) -> Result<Stored, Fault>;

    /// A page of messages inside the reader's interval; `limit` 1 to [`MAX_PAGE`].
    async fn history(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        page: Page,
        limit: usize,
    ) -> Result<History, Fault>;

    /// The private chat of two people as it was projected; `not_found` when they have none.
    async fn private_chat(&self, call: &Call, one: UserId, other: UserId) -> Result<ChatId, Fault>;

    /// The head of a stream and the reader's interval: what a subscription starts from.
    async fn attach(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Attachment, Fault>;

    /// The events after `after`, inside the reader's interval; `limit` 1 to [`MAX_PAGE`]. Fewer when their frames
    /// would be larger than [`MAX_EVENTS`] together, but for the first.
    async fn events(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        after: i64,
        limit: usize,
    ) -> Result<Events, Fault>;

    /// The reader's chats, the most recently active first; `limit` 1 to 500.
    async fn chats(&self, call: &Call, reader: UserId, limit: usize)
    -> Result<Vec<Summary>, Fault>;

    /// One of the reader's chats.
    async fn summary(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Summary, Fault> {
        let chats = self.chats(call, reader, 500).await?;
        chats
            .into_iter()
            .find(|summary| summary.chat == chat)
            .ok_or_else(|| Fault::not_found("chat"))
    }

    /// Moves marks forward; values beyond the head are cut to it, smaller ones change nothing.
    async fn mark(
        &self,
        call: &Call,
        reader: UserId,
        chat: ChatId,
        delivered: i64,
        read: i64,
    ) -> Result<Marks, Fault>;

    /// The marks of all present members, for a reader who is one.
    async fn marks(&self, call: &Call, reader: UserId, chat: ChatId) -> Result<Vec<Marks>, Fault>;

    /// Those of `people`, at most [`MAX_PEERS`], who share a private chat or a group with the reader now, in no order. A
    /// room does not count: whoever wants to know about somebody could join it.
    async fn peers(
        &self,
        call: &Call,
        reader: UserId,
        people: Vec<UserId>,
    ) -> Result<Vec<UserId>, Fault>;

    /// For the AI of a binding: the stored messages after `after` that every present member may read
    /// (so nothing that the AI says can be news to a reader), oldest first, at most `limit` newest ones.
    /// `not_found` when the binding is gone.
    async fn thread_messages(
        &self,
        call: &Call,
        thread: ThreadId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Message>, Fault>;

    /// Who may read the event `o` of a chat: the members whose interval covers it, of whom the first `limit` are named, 1 to
    /// [`MAX_PAGE`]. Nobody for a chat that does not exist. No reader asks: whoever does answers for what a person is shown.
    async fn readers(
        &self,
        call: &Call,
        chat: ChatId,
        o: i64,
        limit: usize,
    ) -> Result<Readers, Fault>;
}

/// How callers hold it.
pub type MessageClient = Arc<dyn MessageApi>;
