//! The frames that a socket sends, and that stand on the forward topic as they are.
//!
//! A durable event is `{"t","s":"c:<chat>","o","d"}`, an ephemeral one `{"t","e":1,"d"}`. The bytes are
//! made once, by whoever commits the event, and shared by everybody who reads them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ChatId, Key, UserId, chat::BindingMode, message::Stored};

/// The key of a chat's records on the forward topic.
pub fn chat_key(chat: ChatId) -> Bytes {
    format!("c:{chat}").into()
}

/// The key of a person's records on the forward topic, and of their channel in the cache.
pub fn user_key(user: UserId) -> Bytes {
    format!("u:{user}").into()
}

/// Whom a record on the forward topic concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Everybody who watches the chat.
    Chat(ChatId),
    /// One person.
    User(UserId),
}

impl Lane {
    /// Reads a record's key; `None` for keys of a later version of the program.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (kind, id) = std::str::from_utf8(key).ok()?.split_at_checked(2)?;
        match kind {
            "c:" => id.parse().ok().map(Self::Chat),
            "u:" => id.parse().ok().map(Self::User),
            _ => None,
        }
    }
}

/// A durable event of a chat. `d` is JSON.
pub fn event(t: &str, chat: ChatId, o: i64, d: &str) -> Bytes {
    format!(r#"{{"t":"{t}","s":"c:{chat}","o":{o},"d":{d}}}"#).into()
}

/// An event without a position.
pub fn ephemeral<T: Serialize>(t: &str, d: &T) -> Bytes {
    let d = serde_json::to_string(d).unwrap_or_else(|_| "null".to_owned());
    format!(r#"{{"t":"{t}","e":1,"d":{d}}}"#).into()
}

/// What every reader of the forward topic needs of a frame; the rest stays unparsed.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// The type.
    #[serde(borrow)]
    pub t: std::borrow::Cow<'a, str>,
    /// The position, for durable events.
    pub o: Option<i64>,
    /// The content.
    #[serde(borrow)]
    pub d: &'a RawValue,
}

impl<'a> Head<'a> {
    /// Reads a frame.
    pub fn parse(frame: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(frame)
    }

    /// Reads the content.
    pub fn content<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.d.get())
    }

    /// Of which kind the run is that the content tells of; `None` when it tells of none.
    pub fn run_kind(&self) -> Option<BindingMode> {
        #[derive(Deserialize)]
        struct Run {
            kind: BindingMode,
        }
        self.content::<Run>().ok().map(|run| run.kind)
    }
}

/// The type of a stored message's frame; its content is [`crate::message::Message`].
pub const MSG_NEW: &str = "msg.new";
/// A chat exists.
pub const CHAT_CREATED: &str = "chat.created";
/// A person became a member.
pub const MEMBER_JOINED: &str = "member.joined";
/// A person is no longer a member.
pub const MEMBER_LEFT: &str = "member.left";
/// A binding was made or changed; every member sees that it exists.
pub const BINDING_CHANGED: &str = "binding.changed";
/// A binding is gone.
pub const BINDING_REMOVED: &str = "binding.removed";
/// Marks of another member moved: ephemeral, content [`crate::message::Marks`].
pub const MARKS: &str = "marks";
/// The answer to a send that made no event: never leaves the servers; content [`Answer`].
pub const ANSWER: &str = "answer";
/// How far the projection of a chat's decisions is: never leaves the servers; content [`Projected`].
pub const PROJECTED: &str = "projected";
/// On a person's lane: they became a member of a chat; content [`ChatRef`].
pub const CHAT_ADDED: &str = "chat.added";
/// On a person's lane: they are no longer a member of a chat; content [`ChatRef`].
pub const CHAT_REMOVED: &str = "chat.removed";
/// On a person's lane: a run of their AI changed; content [`crate::ai::Run`].
pub const AI_RUN: &str = "ai.run";
/// On a person's lane: a draft waits, changed or is gone; content [`crate::ai::Draft`].
pub const AI_HOLD: &str = "ai.hold";
/// In the cache's channel of a person: the next piece of a text; content [`crate::ai::Delta`].
pub const AI_DELTA: &str = "ai.delta";
/// In the cache's channel of a person: the whole text so far; content [`crate::ai::Delta`].
pub const AI_SNAP: &str = "ai.snap";

/// To those who watch: how present people are; content a list of [`Presence`].
pub const PRESENCE: &str = "presence";

/// How present a person is, for those who share a chat with them and watch them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The person.
    pub user: UserId,
    /// How present they are.
    pub state: PresenceState,
    /// Since when, RFC 3339 in UTC with milliseconds; left out when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// How present a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// At one of their devices at least.
    Active,
    /// Connected, though nobody has touched a device for a while.
    Idle,
    /// Not connected.
    Offline,
    /// It cannot be known at the moment.
    Unknown,
}

/// Names a chat, and the position from which on the change holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRef {
    /// The chat.
    pub chat: ChatId,
    /// The event that made it so.
    pub o: i64,
}

/// Tells `chat` which of its decisions `message` has applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projected {
    /// The chat.
    pub chat: ChatId,
    /// The last decision that was applied; 0 when there is none.
    pub version: i64,
}

/// The answer to a send that was a duplicate or is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Who sent.
    pub author: UserId,
    /// With which key.
    pub key: Key,
    /// For what; see [`crate::pipeline::waiter`].
    pub intent: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is stored.
    Ok(Stored),
    /// It is refused for good; nothing was stored.
    Err(Refusal),
}

/// Why a send was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// `not_found` for chats that the author may not write to and for a reply to no message of the chat, `conflict`
    /// for a key that was used with another content, `superseded` and `binding_gone` for replies of the AI that came
    /// too late, `bad_request` for a text that cannot be stored.
    pub code: String,
    /// A sentence for a person.
    pub msg: String,
}
