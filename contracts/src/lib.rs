//! What services may know about each other, and nothing else.
//!
//! [`ids`] and [`events`] are the words; [`user`], [`auth`], [`chat`], [`message`] and [`ai`] are one port each, with
//! both ends of its way over gRPC. [`frames`] is the socket's vocabulary, [`pipeline`] how a send enters the log and
//! how its answer is recognised.

pub mod ai;
pub mod auth;
pub mod chat;
pub mod events;
pub mod frames;
pub mod ids;
pub mod message;
pub mod pipeline;
pub mod user;
mod wire;

/// What `make proto` writes from `proto/`: for those who speak gRPC without our ports.
#[expect(missing_docs, clippy::allow_attributes, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
pub mod r#gen {
    pub mod messenger {
        pub mod ai {
            pub mod v1 {
                include!("gen/messenger.ai.v1.rs");
            }
        }
        pub mod auth {
            pub mod v1 {
                include!("gen/messenger.auth.v1.rs");
            }
        }
        pub mod chat {
            pub mod v1 {
                include!("gen/messenger.chat.v1.rs");
            }
        }
        pub mod message {
            pub mod v1 {
                include!("gen/messenger.message.v1.rs");
            }
        }
        pub mod user {
            pub mod v1 {
                include!("gen/messenger.user.v1.rs");
            }
        }
    }

    pub use messenger::{
        ai::v1 as ai, auth::v1 as auth, chat::v1 as chat, message::v1 as message, user::v1 as user,
    };
}

/// The file descriptor set of `proto/`, encoded: what reflection answers from.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

pub use ids::{ChatId, Key, MessageId, RunId, SessionId, ThreadId, UserId};
