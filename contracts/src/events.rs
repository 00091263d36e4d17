//! The topics and what is on them. JSON; described for others in `docs/api/asyncapi.json`.

use serde::{Deserialize, Serialize};

use crate::{ChatId, Key, MessageId, RunId, ThreadId, UserId, ai::Why, message::Via};

/// The names of the topics; each can be configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// What is to be stored: [`Persist`], key = chat id.
    pub message_persist: String,
    /// What was stored, and hints: a frame of [`crate::frames`], key = `c:<chat>` or `u:<user>`.
    pub forward_message: String,
    /// A stored message for one binding: [`Feed`], key = thread id.
    pub ai_feed: String,
    /// A reply of the AI: [`Autoreply`], key = thread id.
    pub ai_autoreply: String,
    /// A person asks for advice: [`AdviceRequest`], key = thread id.
    pub ai_advice_request: String,
    /// An advice is ready: [`crate::ai::Run`], key = thread id.
    pub ai_advice_response: String,
    /// A binding was made: [`BindingInit`], key = thread id.
    pub ai_binding_init: String,
    /// Its thread is ready or has failed: [`ThreadCreated`], key = chat id.
    pub ai_thread_created: String,
    /// Somebody was invited: key = user id.
    pub chat_invite: String,
    /// What stands before the name of each topic of dead letters.
    pub dead_letter_prefix: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            message_persist: "chat.message.persist".to_owned(),
            forward_message: "chat.message.forward".to_owned(),
            ai_feed: "chat.message.ai.feed".to_owned(),
            ai_autoreply: "chat.message.ai-autoreply".to_owned(),
            ai_advice_request: "chat.ai.advice-request".to_owned(),
            ai_advice_response: "chat.message.ai-advice-response".to_owned(),
            ai_binding_init: "chat.binding.init".to_owned(),
            ai_thread_created: "chat.binding.thread-created".to_owned(),
            chat_invite: "chat.invite.send".to_owned(),
            dead_letter_prefix: String::new(),
        }
    }
}

impl Topics {
    /// The names of all topics but those of dead letters.
    pub fn names(&self) -> [&str; 9] {
        [
            &self.message_persist,
            &self.forward_message,
            &self.ai_feed,
            &self.ai_autoreply,
            &self.ai_advice_request,
            &self.ai_advice_response,
            &self.ai_binding_init,
            &self.ai_thread_created,
            &self.chat_invite,
        ]
    }

    /// The dead-letter topic of one consumer group.
    pub fn dead_letters(&self, group: &str) -> String {
        format!("{}{group}.dead-letter", self.dead_letter_prefix)
    }
}

/// What reaches the one consumer that writes chat streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Persist {
    /// A message of a person, or of the AI in a person's name.
    Send(Send),
    /// A decision of `chat` about members or bindings.
    Change(Change),
}

/// A message on its way to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Send {
    /// Where it goes.
    pub chat: ChatId,
    /// The token's user, or the owner of the binding.
    pub author: UserId,
    /// Made once per intent; the run's id when the AI writes.
    pub key: Key,
    /// The text, 1 to [`crate::message::MAX_TEXT`] bytes.
    pub text: String,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The advice run that the person says the text is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_run: Option<RunId>,
    /// Set by `message` alone, when it takes a reply of the AI in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai: Option<Autoreply>,
    /// The request that it came with, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// One decision of `chat`; versions count from 1 for each chat without a hole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The chat.
    pub chat: ChatId,
    /// Its place among the decisions about this chat.
    pub version: i64,
    /// Who decided.
    pub actor: UserId,
    /// What was decided.
    pub change: ChangeKind,
}

/// What `chat` can decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeKind {
    /// The chat exists, with these members. Always version 1.
    Created {
        /// What kind of chat.
        chat_kind: crate::chat::Kind,
        /// The name, for groups and rooms.
        title: Option<String>,
        /// Those who are members from the first event on.
        members: Vec<UserId>,
    },
    /// A person became a member.
    MemberJoined {
        /// Who.
        user: UserId,
    },
    /// A person is no longer a member; the event itself is the last that reaches them.
    MemberLeft {
        /// Who.
        user: UserId,
    },
    /// A person bound the chat to the AI, or the binding changed.
    BindingSet {
        /// The owner.
        owner: UserId,
        /// Its thread.
        thread: ThreadId,
        /// What the AI does there.
        mode: crate::chat::BindingMode,
        /// Whether it works already.
        state: crate::chat::BindingState,
    },
    /// The binding is gone.
    BindingRemoved {
        /// The owner.
        owner: UserId,
        /// Its thread.
        thread: ThreadId,
    },
}

/// A stored message that the AI of one binding should know. It carries no text: the AI reads stored messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// The binding's thread.
    pub thread: ThreadId,
    /// The chat.
    pub chat: ChatId,
    /// The binding's owner.
    pub owner: UserId,
    /// What the binding does.
    pub mode: crate::chat::BindingMode,
    /// The event's place in the chat.
    pub o: i64,
    /// The request that it came with, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A reply that the AI wants to give in its owner's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Autoreply {
    /// The binding's thread; `message` finds chat and owner by it.
    pub thread: ThreadId,
    /// The run; also the idempotency key.
    pub run: RunId,
    /// What to say.
    pub text: String,
    /// How it is labelled.
    pub via: Via,
    /// The newest event of the chat that the reply takes into account.
    pub trigger_o: i64,
}

/// A person asks for advice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdviceRequest {
    /// The run that will answer; made by `chat` from the request's key.
    pub run: RunId,
    /// The binding's thread.
    pub thread: ThreadId,
    /// The chat.
    pub chat: ChatId,
    /// Who asks, and alone is told.
    pub owner: UserId,
    /// The decision of `chat` that made the binding what it was when it was asked.
    #[serde(default)]
    pub version: i64,
    /// What the person wants to know, at most 1000 bytes.
    pub hint: Option<String>,
    /// The request that it came with, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A binding was made and needs a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingInit {
    /// The thread.
    pub thread: ThreadId,
    /// The chat.
    pub chat: ChatId,
    /// The owner.
    pub owner: UserId,
    /// What the binding does.
    pub mode: crate::chat::BindingMode,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadCreated {
    /// The thread.
    pub thread: ThreadId,
    /// The chat.
    pub chat: ChatId,
    /// The owner.
    pub owner: UserId,
    /// Why it failed; `None` when it is ready.
    pub failed: Option<Why>,
}
