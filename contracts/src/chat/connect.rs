//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Channel, Remote};

use super::{Binding, Chat, ChatApi, ChatClient, ThreadContext};
use crate::{
    ChatId, ThreadId, UserId,
    r#gen::chat::{self as proto, chat_service_client::ChatServiceClient},
    wire::{id, word},
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: impl Into<Channel>) -> ChatClient {
    let client = ChatServiceClient::new(channel.into());
    Arc::new(Connected(Remote::new("chat", client)))
}

struct Connected(Remote<ChatServiceClient<Channel>>);

#[async_trait]
impl ChatApi for Connected {
    async fn by_id(&self, call: &Call, chat: ChatId) -> Result<Chat, Fault> {
        let id = chat.to_string();
        let message = proto::GetChatByIdRequest { id };
        rpc::read!(self.0, call, get_chat_by_id, message)
            .await?
            .try_into()
    }

    async fn bindings(&self, call: &Call, chat: ChatId) -> Result<Vec<Binding>, Fault> {
        let chat_id = chat.to_string();
        let message = proto::GetBindingsByChatRequest { chat_id };
        let found = rpc::read!(self.0, call, get_bindings_by_chat, message).await?;
        found.bindings.into_iter().map(TryInto::try_into).collect()
    }

    async fn members(&self, call: &Call, chat: ChatId) -> Result<Vec<UserId>, Fault> {
        let chat_id = chat.to_string();
        let message = proto::GetUsersByChatIdRequest { chat_id };
        let found = rpc::read!(self.0, call, get_users_by_chat_id, message).await?;
        found.user_ids.iter().map(|text| id(text)).collect()
    }

    async fn thread(&self, call: &Call, thread: ThreadId) -> Result<ThreadContext, Fault> {
        let thread_id = thread.to_string();
        let message = proto::GetThreadContextRequest { thread_id };
        rpc::read!(self.0, call, get_thread_context, message)
            .await?
            .try_into()
    }
}

impl TryFrom<proto::Chat> for Chat {
    type Error = Fault;

    fn try_from(chat: proto::Chat) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&chat.id)?,
            kind: word::<proto::Kind, _>(chat.kind)?,
            title: chat.title,
            creator: id(&chat.creator_id)?,
            created_at: chat.created_at,
        })
    }
}

impl TryFrom<proto::Binding> for Binding {
    type Error = Fault;

    fn try_from(binding: proto::Binding) -> Result<Self, Fault> {
        Ok(Self {
            chat: id(&binding.chat_id)?,
            owner: id(&binding.user_id)?,
            thread: id(&binding.thread_id)?,
            mode: word::<proto::BindingMode, _>(binding.mode)?,
            state: word::<proto::BindingState, _>(binding.state)?,
            reason: None,
        })
    }
}

impl TryFrom<proto::GetThreadContextResponse> for ThreadContext {
    type Error = Fault;

    fn try_from(context: proto::GetThreadContextResponse) -> Result<Self, Fault> {
        let members = context.chat_user_ids.iter().map(|text| id(text));
        Ok(Self {
            owner: id(&context.user_id)?,
            email: context.user_email,
            chat: id(&context.chat_id)?,
            members: members.collect::<Result<_, _>>()?,
        })
    }
}
