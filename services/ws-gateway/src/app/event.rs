//! A frame of the forward topic as the gateway needs it: read once, encoded once, shared by everybody.

use std::hash::{DefaultHasher, Hash, Hasher};

use contracts::{
    ChatId, UserId,
    frames::{self, Head},
    message::Marks,
};
use realtime::Frame;
use serde::Deserialize;
use serde_json::json;

/// A durable event of a chat.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Its place.
    pub(crate) o: i64,
    /// What a client gets.
    pub(crate) frame: Frame,
    /// What the gateway has to know of it.
    pub(crate) kind: Kind,
}

/// What the gateway has to know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message with its number.
    Message(i64),
    /// A person is no longer a member: this is the last that they get.
    Left(UserId),
    /// Anything else.
    Other,
}

/// What a record of a chat says.
#[derive(Debug)]
pub(crate) enum News {
    /// An event of the stream.
    Event(Event),
    /// Something without a position; of two with the same `replaces` only the newer counts.
    Passing { frame: Frame, replaces: Option<u64> },
    /// Nothing for clients.
    Internal,
}

impl News {
    /// Reads a frame whose head is parsed already.
    pub(crate) fn of(head: &Head<'_>, bytes: &[u8]) -> Self {
        if let Some(o) = head.o {
            return Self::Event(Event {
                o,
                frame: Frame::text(bytes),
                kind: kind(head),
            });
        }
        match head.t.as_ref() {
            frames::ANSWER | frames::PROJECTED => Self::Internal,
            frames::MARKS => {
                let marks = head.content::<Marks>().ok();
                let replaces = marks.map(|marks| key(frames::MARKS, &(marks.chat, marks.user)));
                Self::Passing {
                    frame: Frame::text(bytes),
                    replaces,
                }
            }
            _ => Self::Passing {
                frame: Frame::text(bytes),
                replaces: None,
            },
        }
    }
}

impl Event {
    pub(crate) fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Message(_))
    }

    /// Reads an event that the database holds; `None` when it is none, which is a defect of ours.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        match News::of(&Head::parse(bytes).ok()?, bytes) {
            News::Event(event) => Some(event),
            News::Passing { .. } | News::Internal => None,
        }
    }
}

fn kind(head: &Head<'_>) -> Kind {
    #[derive(Deserialize)]
    struct Numbered {
        seq: i64,
    }
    #[derive(Deserialize)]
    struct Left {
        user: UserId,
    }
    match head.t.as_ref() {
        frames::MSG_NEW => head
            .content::<Numbered>()
            .map_or(Kind::Other, |message| Kind::Message(message.seq)),
        frames::MEMBER_LEFT => head
            .content::<Left>()
            .map_or(Kind::Other, |left| Kind::Left(left.user)),
        _ => Kind::Other,
    }
}

/// What makes two ephemera the same thing at two times.
pub(crate) fn key(kind: &str, of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, of).hash(&mut hasher);
    hasher.finish()
}

/// Something happened in an own chat that is not subscribed.
pub(crate) fn hint(chat: ChatId, seq: i64, o: i64) -> Frame {
    realtime::ephemeral("chat.hint", &json!({ "chat": chat, "seq": seq, "o": o }))
}

/// Why a replay is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The stream has begun anew.
    Epoch,
    /// Too much has happened since.
    TooLong,
    /// The reader may not see it, or not any more.
    Access,
}

/// The replay is not possible: history has to be read over HTTP.
pub(crate) fn gap(chat: ChatId, e: &str, o: i64, why: Why) -> Frame {
    realtime::ephemeral(
        "gap",
        &json!({ "s": stream(chat), "e": e, "o": o, "why": why }),
    )
}

/// Nothing more is pushed for a chat, because the client does not keep up.
pub(crate) fn lag(chat: ChatId, o: i64) -> Frame {
    realtime::ephemeral("lag", &json!({ "s": stream(chat), "o": o }))
}

/// The name of a chat's stream.
pub(crate) fn stream(chat: ChatId) -> String {
    format!("c:{chat}")
}
