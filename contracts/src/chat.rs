//! Chats, members and AI bindings as decisions. Owned by the service `chat`. Over gRPC: [`connect`] and [`serve`].

mod connect;
mod serve;

pub use connect::connect;
pub use serve::serve;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use serde::{Deserialize, Serialize};

use crate::{ChatId, ThreadId, UserId, ai::Why};

/// What kind of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Exactly two people, one chat per pair.
    Private,
    /// By invitation.
    Group,
    /// Open to join.
    Room,
}

/// What the AI does in a chat for one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BindingMode {
    /// Private advice on request.
    Advice,
    /// Answers in the owner's name.
    Autoreply,
}

/// How far a binding has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BindingState {
    /// Its thread is being made.
    Pending,
    /// It works.
    Ready,
    /// Its thread could not be made.
    Failed,
}

/// A chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Chat {
    /// The id.
    pub id: ChatId,
    /// What kind.
    pub kind: Kind,
    /// The name; `None` for private chats.
    pub title: Option<String>,
    /// Who made it.
    pub creator: UserId,
    /// When, RFC 3339 in UTC.
    pub created_at: String,
}

/// A binding as the members of its chat see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Binding {
    /// The chat.
    pub chat: ChatId,
    /// Whose binding it is.
    pub owner: UserId,
    /// Its thread.
    pub thread: ThreadId,
    /// What the AI does.
    pub mode: BindingMode,
    /// Whether it works.
    pub state: BindingState,
    /// Why not, for the owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
}

/// Whose thread it is, and who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadContext {
    /// The owner of the binding.
    pub owner: UserId,
    /// Their address, if they have one. Never for a provider of AI.
    pub email: Option<String>,
    /// The chat.
    pub chat: ChatId,
    /// Everybody in it, the owner too, by rising id.
    pub members: Vec<UserId>,
}

/// What `chat` offers to other services. No reader is named: whoever asks answers for what a person is shown.
#[async_trait]
pub trait ChatApi: Send + Sync + 'static {
    /// A chat; `not_found` when there is no such id.
    async fn by_id(&self, call: &Call, chat: ChatId) -> Result<Chat, Fault>;

    /// The bindings of all its members, by rising owner, without the reasons, which are their owners' business;
    /// `not_found` when there is no such chat.
    async fn bindings(&self, call: &Call, chat: ChatId) -> Result<Vec<Binding>, Fault>;

    /// Its members, by rising id; `not_found` when there is no such chat.
    async fn members(&self, call: &Call, chat: ChatId) -> Result<Vec<UserId>, Fault>;

    /// Whose thread it is, and who is there; `not_found` when no binding has it.
    async fn thread(&self, call: &Call, thread: ThreadId) -> Result<ThreadContext, Fault>;
}

/// How callers hold it.
pub type ChatClient = Arc<dyn ChatApi>;
