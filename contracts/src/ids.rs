//! Identifiers: UUIDs as text on every API, one type per kind.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// A person.
    UserId
);
id!(
    /// A chat: private, group or room.
    ChatId
);
id!(
    /// A stored message.
    MessageId
);
id!(
    /// What a client makes once per intent; repeating it never does the thing twice.
    Key
);
id!(
    /// One login of one device.
    SessionId
);
id!(
    /// What an AI binding of one person in one chat talks in.
    ThreadId
);
id!(
    /// One piece of work of the AI: an advice or a reply.
    RunId
);

impl MessageId {
    /// The id of the message that `author` sends with `key`: the same on every node and at every retry.
    ///
    /// A UUIDv7 with the time bits of `key`; the other bits come from a hash of both.
    pub fn derive(author: UserId, key: Key) -> Self {
        Self(derived(&[author.0], key))
    }
}

impl RunId {
    /// The id of the run that `owner` asks for in `chat` with `key`, in the same way.
    pub fn derive(owner: UserId, chat: ChatId, key: Key) -> Self {
        Self(derived(&[owner.0, chat.0], key))
    }
}

fn derived(from: &[Uuid], key: Key) -> Uuid {
    let mut hash = Sha256::new();
    for id in from.iter().chain([&key.0]) {
        hash.update(id.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&key.0.as_bytes()[..6]);
    bytes[6..].copy_from_slice(&hash.finalize()[..10]);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// guarantee:G2: the id depends on author and key, and on nothing else.
    #[test]
    fn a_message_id_is_the_same_at_every_retry() {
        let (ann, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let key = Key(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(MessageId::derive(ann, key), MessageId::derive(ann, key));
        assert_ne!(MessageId::derive(ann, key), MessageId::derive(bob, key));
        assert_eq!(MessageId::derive(ann, key).0.get_version_num(), 7);
        assert_eq!(
            MessageId::derive(ann, key).0.as_bytes()[..6],
            key.0.as_bytes()[..6]
        );
    }

    /// One key in two chats is two requests: the second is not taken for a retry of the first.
    #[test]
    fn a_run_belongs_to_its_chat() {
        let (ann, key) = (UserId(Uuid::from_u128(1)), Key(Uuid::from_u128(7)));
        let (here, there) = (ChatId(Uuid::from_u128(3)), ChatId(Uuid::from_u128(4)));
        assert_eq!(RunId::derive(ann, here, key), RunId::derive(ann, here, key));
        assert_ne!(
            RunId::derive(ann, here, key),
            RunId::derive(ann, there, key)
        );
    }
}
