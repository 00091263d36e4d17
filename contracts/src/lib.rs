//! What services may know about each other, and nothing else.
//!
//! [`ids`], [`events`] and [`chat`] are the words; [`user`], [`auth`], [`message`] and [`ai`] are one port
//! each, with the wire ends of those that already run apart. [`frames`] is the socket's vocabulary,
//! [`pipeline`] how a send enters the log and how its answer is recognised.

pub mod ai;
pub mod auth;
pub mod chat;
pub mod events;
pub mod frames;
pub mod ids;
pub mod message;
pub mod pipeline;
pub mod user;

/// What `make proto` writes from `proto/`: for those who speak gRPC without our ports.
#[expect(missing_docs, clippy::allow_attributes, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
pub mod r#gen {
    pub mod user {
        include!("gen/messenger.user.v1.rs");
    }
}

pub use ids::{ChatId, Key, MessageId, RunId, SessionId, ThreadId, UserId};
