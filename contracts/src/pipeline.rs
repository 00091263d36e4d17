//! How a send enters the log, and how its answer is recognised on the forward topic.

use bytes::Bytes;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};
use kit::Fault;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    ChatId, Key, MessageId, UserId,
    events::{Persist, Send},
    frames::{self, Answer, Head, Outcome, Refusal},
    message::{Auto, MAX_TEXT, Message, Stored},
};

/// Who waits for an answer: `(author, key, intent)`. A key that is used again for something else has another answer.
pub type Waiter = (UserId, Key, u64);

/// What a waiter is told.
pub type SendResult = Result<Stored, Refusal>;

/// Checks a text at the door: 1 to [`MAX_TEXT`] bytes, something to see, no U+0000.
pub fn check_text(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_TEXT {
        return Err(Fault::new(
            kit::Code::TooLarge,
            format!("the text is longer than {MAX_TEXT} bytes"),
        ));
    }
    if !text.chars().any(is_visible) {
        return Err(Fault::invalid("the text is empty").reason("empty_text"));
    }
    if text.contains('\0') {
        return Err(Fault::invalid("the character U+0000 is not accepted"));
    }
    Ok(())
}

/// Whether a character shows: no space, nothing that is ignored in display, no mark without a letter under it.
fn is_visible(c: char) -> bool {
    /// A symbol by its class, and empty: the pattern without dots.
    const BLANK_BRAILLE: char = '\u{2800}';
    let is_ignored = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c);
    let shows_alone = !matches!(
        CodePointMapData::<GeneralCategory>::new().get(c),
        GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::EnclosingMark
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::Control
            | GeneralCategory::Format
    );
    shows_alone && !is_ignored && c != BLANK_BRAILLE
}

/// Key and payload of the record that asks for a message to be stored.
pub fn send_record(send: Send) -> (Bytes, Bytes) {
    let key = persist_key(send.chat);
    (key, encode(&Persist::Send(send)))
}

/// Who waits for the answer to `send`.
pub fn waiter(send: &Send) -> Waiter {
    let intent = intent(send.chat, &send.text, send.reply_to);
    (send.author, send.key, intent)
}

/// What a send asks for: the first bytes of a digest of chat, text and the message replied to.
fn intent(chat: ChatId, text: &str, reply_to: Option<MessageId>) -> u64 {
    let replied = reply_to.map_or(Uuid::nil(), |message| message.0);
    let digest = Sha256::new()
        .chain_update(chat.0)
        .chain_update(replied)
        .chain_update(text)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The key of a chat's records on the persist topic.
pub fn persist_key(chat: ChatId) -> Bytes {
    chat.to_string().into()
}

/// Encodes a record's payload.
///
/// # Panics
/// Never for our types: they hold only strings, numbers and lists.
pub fn encode<T: serde::Serialize>(payload: &T) -> Bytes {
    serde_json::to_vec(payload)
        .expect("records hold only strings, numbers and lists")
        .into()
}

/// Finds the answer to a send in a frame of the forward topic, if it is one.
///
/// A stored message answers its author's send; a duplicate or a refusal has an answer of its own.
pub fn answer(head: &Head<'_>) -> Option<(Waiter, SendResult)> {
    match head.t.as_ref() {
        frames::MSG_NEW => {
            let message: Message = head.content().ok()?;
            let intent = intent(message.chat, &message.text, message.reply_to);
            let waiter = (message.author, message.key, intent);
            Some((waiter, Ok(stored(&message, false))))
        }
        frames::ANSWER => {
            let answer: Answer = head.content().ok()?;
            let result = match answer.outcome {
                Outcome::Ok(stored) => Ok(stored),
                Outcome::Err(refusal) => Err(refusal),
            };
            Some(((answer.author, answer.key, answer.intent), result))
        }
        _ => None,
    }
}

/// The answer that belongs to a stored message.
pub fn stored(message: &Message, dup: bool) -> Stored {
    Stored {
        msg: message.id,
        seq: message.seq,
        o: message.o,
        ts: message.ts.clone(),
        dup,
    }
}

/// Whether the AI wrote a message.
pub fn is_automatic(message: &Message) -> bool {
    message.auto != Auto::No
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code.as_str() {
            "not_found" => kit::Code::NotFound,
            "storage_full" => kit::Code::Unavailable,
            "conflict" | "superseded" | "binding_gone" => kit::Code::Conflict,
            _ => kit::Code::Invalid,
        };
        Self::new(code, refusal.msg).reason(refusal.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Option<String> {
        check_text(text).err().map(|fault| fault.word().to_owned())
    }

    /// row:C13: a text has something to see.
    #[test]
    fn a_text_of_invisible_characters_is_empty() {
        for text in [
            "",
            " \n\t",
            "\u{200b}",
            "\u{feff}\u{2060}\u{ad}",
            "\u{200d}\u{200e}\u{202e}\u{2066}",
            "\u{301}\u{20dd}",
            "\u{3164}\u{115f}\u{ffa0}",
            "\u{2800}",
            "\u{fe0f}\u{e0041}",
            "\u{3000}\u{2028}\u{a0}",
            "\u{7}",
        ] {
            assert_eq!(word(text).as_deref(), Some("empty_text"), "{text:?}");
        }
        for text in [
            "a",
            "я",
            "張",
            ".",
            "e\u{301}",
            "\u{200b}a",
            "👩\u{200d}💻",
            "❤\u{fe0f}",
            "नि",
            "\u{e000}",
        ] {
            assert_eq!(word(text), None, "{text:?}");
        }
    }
}
