//! Sends of one connection that were refused for a while, in their order.
//!
//! A client may send without waiting for answers. When one of its messages is refused and a later one is
//! taken, the chat would read in another order than it was written. So whatever follows a refused send to
//! the same chat is refused too, until the refused ones have come again, first things first.

use std::collections::{HashMap, VecDeque};

use contracts::{ChatId, Key};

/// What has to come again, by chat.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_chat: HashMap<ChatId, VecDeque<Key>>,
    count: usize,
}

impl Held {
    /// A send was refused; once more changes nothing.
    pub(crate) fn push(&mut self, chat: ChatId, key: Key) {
        let keys = self.by_chat.entry(chat).or_default();
        if !keys.contains(&key) {
            keys.push_back(key);
            self.count += 1;
        }
    }

    /// A send that was let through was not taken after all; it comes before all others.
    pub(crate) fn push_front(&mut self, chat: ChatId, key: Key) {
        self.by_chat.entry(chat).or_default().push_front(key);
        self.count += 1;
    }

    /// Whether a send may go now: nothing of its chat is held, or it is the first of what is.
    pub(crate) fn lets_through(&mut self, chat: ChatId, key: Key) -> bool {
        let Some(keys) = self.by_chat.get_mut(&chat) else {
            return true;
        };
        if keys.front() != Some(&key) {
            return false;
        }
        keys.pop_front();
        self.count -= 1;
        if keys.is_empty() {
            self.by_chat.remove(&chat);
        }
        true
    }

    /// How many sends are held, over all chats.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn chat(n: u128) -> ChatId {
        ChatId(Uuid::from_u128(n))
    }

    /// guarantee:G6: A, B and C are refused; then A, D, B, C, D come: D waits for B and C.
    #[test]
    fn refused_sends_come_again_in_their_order() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| Key(Uuid::from_u128(n)));
        let mut held = Held::default();
        for key in [a, b, c, b] {
            held.push(chat(1), key);
        }
        assert!(
            held.lets_through(chat(2), d),
            "another chat has an order of its own"
        );
        for key in [a, b] {
            assert!(held.lets_through(chat(1), key));
        }
        for key in [b, a] {
            // Both were let through, and then the log did not take them.
            held.push_front(chat(1), key);
        }
        let mut stored = Vec::new();
        for key in [a, d, b, c, d] {
            if held.lets_through(chat(1), key) {
                stored.push(key);
            } else {
                held.push(chat(1), key);
            }
        }
        assert_eq!(stored, [a, b, c, d]);
        assert_eq!(held.len(), 0);
        assert!(held.by_chat.is_empty());
    }
}
