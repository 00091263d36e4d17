//! What stands on the persist topic: read, or fit for the dead letters; and what a batch of it has to know.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use contracts::{
    ChatId, MessageId, UserId,
    events::{Change, ChangeKind, Persist, Send},
    pipeline,
};

/// A record that was read: understood, or fit for the dead letters.
#[derive(Clone, Debug)]
pub(crate) enum Parsed {
    Send(Box<Send>),
    Change(Box<Change>),
    Dead {
        key: Bytes,
        value: Bytes,
        why: String,
    },
}

/// Reads a record of the persist topic. The key has to be the chat's, or order would not hold.
pub(crate) fn parse(key: &Bytes, value: &Bytes) -> Parsed {
    let dead = |why: String| Parsed::Dead {
        key: key.clone(),
        value: value.clone(),
        why,
    };
    let record = match serde_json::from_slice(value) {
        Ok(record) => record,
        Err(error) => return dead(error.to_string()),
    };
    let chat = match &record {
        Persist::Send(send) => send.chat,
        Persist::Change(change) => change.chat,
    };
    if pipeline::persist_key(chat) != *key {
        return dead("the key is not the chat's id".to_owned());
    }
    match record {
        Persist::Send(send) => Parsed::Send(Box::new(send)),
        Persist::Change(change) => Parsed::Change(Box::new(change)),
    }
}

/// What a batch has to know before it can be applied.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) chats: BTreeSet<ChatId>,
    pub(crate) members: HashSet<(ChatId, UserId)>,
    pub(crate) messages: HashSet<MessageId>,
}

impl Needs {
    pub(crate) fn of<'a>(records: impl Iterator<Item = &'a Parsed>) -> Self {
        let mut needs = Self::default();
        for record in records {
            match record {
                Parsed::Send(send) => {
                    needs.chats.insert(send.chat);
                    needs.members.insert((send.chat, send.author));
                    needs
                        .messages
                        .insert(MessageId::derive(send.author, send.key));
                    needs.messages.extend(send.reply_to);
                }
                Parsed::Change(change) => {
                    needs.chats.insert(change.chat);
                    if let ChangeKind::MemberJoined { user } | ChangeKind::MemberLeft { user } =
                        change.change
                    {
                        needs.members.insert((change.chat, user));
                    }
                }
                Parsed::Dead { .. } => {}
            }
        }
        needs
    }
}
