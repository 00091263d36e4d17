//! What is remembered of the chats: how far each was followed, and who reads it there.
//!
//! Events of a chat come in order and are numbered without a hole, so one number says both whether an event was here
//! before and whether anything lies between it and the last one.

use std::collections::HashMap;

use contracts::{ChatId, message::Readers};

/// Chats that are remembered; beyond that all are forgotten, which costs a question for each that goes on.
const CHATS: usize = 50_000;

/// The chats that were followed since the start.
#[derive(Debug, Default)]
pub(crate) struct Followed(HashMap<ChatId, Place>);

/// How far a chat was followed.
#[derive(Debug)]
struct Place {
    o: i64,
    /// Who reads the event `o`, and the next one too if that is a message.
    readers: Option<Readers>,
}

impl Followed {
    /// Whether the event `o` was here before.
    pub(crate) fn has(&self, chat: ChatId, o: i64) -> bool {
        self.0.get(&chat).is_some_and(|place| o <= place.o)
    }

    /// Who reads the message `o`, if nothing but messages came since that was learned.
    pub(crate) fn readers(&mut self, chat: ChatId, o: i64) -> Option<Readers> {
        let place = self.0.get_mut(&chat)?;
        place.readers.take().filter(|_| place.o + 1 == o)
    }

    /// The event `o` is done; `readers` is who reads it, unless it may have changed that.
    pub(crate) fn reach(&mut self, chat: ChatId, o: i64, readers: Option<Readers>) {
        if self.0.len() >= CHATS && !self.0.contains_key(&chat) {
            self.0.clear();
        }
        self.0.insert(chat, Place { o, readers });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn chat(n: usize) -> ChatId {
        ChatId(Uuid::from_u128(n as u128))
    }

    fn readers(count: u64) -> Readers {
        let first = Vec::new();
        Readers { count, first }
    }

    /// An event is new once, and who reads is known as long as messages follow each other.
    #[test]
    fn readers_hold_from_message_to_message() {
        let mut followed = Followed::default();
        assert!(!followed.has(chat(1), 5) && followed.readers(chat(1), 5).is_none());
        followed.reach(chat(1), 5, Some(readers(2)));
        assert!(followed.has(chat(1), 4) && followed.has(chat(1), 5) && !followed.has(chat(1), 6));
        assert!(followed.readers(chat(2), 6).is_none());
        assert_eq!(followed.readers(chat(1), 6), Some(readers(2)));
    }

    /// After an event that is no message, and after a hole, who reads is asked anew.
    #[test]
    fn readers_are_not_guessed() {
        let mut followed = Followed::default();
        followed.reach(chat(1), 5, Some(readers(2)));
        followed.reach(chat(1), 6, None);
        assert!(followed.has(chat(1), 6) && followed.readers(chat(1), 7).is_none());
        followed.reach(chat(1), 7, Some(readers(3)));
        assert!(followed.readers(chat(1), 9).is_none());
    }

    /// row:C23: however many chats there are, a bounded number is remembered.
    #[test]
    fn the_memory_is_bounded() {
        let mut followed = Followed::default();
        for n in 0..=CHATS {
            followed.reach(chat(n), 1, None);
        }
        assert_eq!(followed.0.len(), 1);
        assert!(followed.has(chat(CHATS), 1));
    }
}
