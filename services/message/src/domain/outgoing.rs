//! What is published after a commit.

use bytes::Bytes;
use contracts::{
    ChatId,
    events::Send,
    frames::{self, Answer, Outcome, Refusal},
    message::Auto,
    pipeline,
};

/// Where an outgoing record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Forward,
    Feed,
    Dead,
}

/// What became of a send.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Stored(Auto),
    /// Known already, or refused with a code.
    Answered(String),
}

/// A record to publish after the commit.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) target: Target,
    pub(crate) chat: ChatId,
    /// The event whose frame this is; its row need not hold the bytes again.
    pub(crate) o: Option<i64>,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// Of the send that this tells the outcome of.
    pub(crate) fate: Option<Fate>,
}

/// The record that answers a send which makes no event.
pub(crate) fn answer(send: &Send, outcome: Outcome) -> Outgoing {
    let fate = match &outcome {
        Outcome::Ok(_) => "dup".to_owned(),
        Outcome::Err(refusal) => refusal.code.clone(),
    };
    let (author, key, intent) = pipeline::waiter(send);
    let answer = Answer {
        author,
        key,
        intent,
        outcome,
    };
    Outgoing {
        target: Target::Forward,
        chat: send.chat,
        o: None,
        key: frames::chat_key(send.chat),
        value: frames::ephemeral(frames::ANSWER, &answer),
        fate: Some(Fate::Answered(fate)),
    }
}

/// Why nothing is stored.
pub(crate) fn refusal(code: &str, msg: &str) -> Outcome {
    Outcome::Err(Refusal {
        code: code.to_owned(),
        msg: msg.to_owned(),
    })
}
