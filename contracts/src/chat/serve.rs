//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use rpc::{Answer, Service, answer};
use tonic::Request;

use super::{Binding, Chat, ChatClient, ThreadContext};
use crate::{
    UserId,
    r#gen::chat::{
        self as proto,
        chat_service_server::{ChatService, ChatServiceServer},
    },
    wire::asked,
};

/// Offers the contract over gRPC.
pub fn serve(api: ChatClient) -> Service {
    Service::new(ChatServiceServer::new(Served(api)))
}

struct Served(ChatClient);

#[async_trait]
impl ChatService for Served {
    async fn get_chat_by_id(
        &self,
        request: Request<proto::GetChatByIdRequest>,
    ) -> Answer<proto::Chat> {
        answer(request, |call, message| async move {
            self.0.by_id(&call, asked("id", &message.id)?).await
        })
        .await
    }

    async fn get_bindings_by_chat(
        &self,
        request: Request<proto::GetBindingsByChatRequest>,
    ) -> Answer<proto::GetBindingsByChatResponse> {
        answer(request, |call, message| async move {
            let chat = asked("chat_id", &message.chat_id)?;
            let bindings = self.0.bindings(&call, chat).await?;
            Ok(proto::GetBindingsByChatResponse {
                bindings: bindings.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_users_by_chat_id(
        &self,
        request: Request<proto::GetUsersByChatIdRequest>,
    ) -> Answer<proto::GetUsersByChatIdResponse> {
        answer(request, |call, message| async move {
            let chat = asked("chat_id", &message.chat_id)?;
            let members = self.0.members(&call, chat).await?;
            Ok(proto::GetUsersByChatIdResponse {
                user_ids: members.iter().map(UserId::to_string).collect(),
            })
        })
        .await
    }

    async fn get_user_with_chat_by_thread_id(
        &self,
        request: Request<proto::GetUserWithChatByThreadIdRequest>,
    ) -> Answer<proto::GetUserWithChatByThreadIdResponse> {
        answer(request, |call, message| async move {
            let thread = asked("thread_id", &message.thread_id)?;
            let context = self.0.thread(&call, thread).await?;
            Ok(proto::GetUserWithChatByThreadIdResponse {
                user_id: context.owner.to_string(),
                user_email: context.email,
                chat_id: context.chat.to_string(),
            })
        })
        .await
    }

    async fn get_thread_context(
        &self,
        request: Request<proto::GetThreadContextRequest>,
    ) -> Answer<proto::GetThreadContextResponse> {
        answer(request, |call, message| async move {
            let thread = asked("thread_id", &message.thread_id)?;
            self.0.thread(&call, thread).await
        })
        .await
    }
}

impl From<Chat> for proto::Chat {
    fn from(chat: Chat) -> Self {
        Self {
            id: chat.id.to_string(),
            kind: proto::Kind::from(chat.kind).into(),
            title: chat.title,
            creator_id: chat.creator.to_string(),
            created_at: chat.created_at,
        }
    }
}

impl From<Binding> for proto::Binding {
    fn from(binding: Binding) -> Self {
        Self {
            chat_id: binding.chat.to_string(),
            user_id: binding.owner.to_string(),
            thread_id: binding.thread.to_string(),
            mode: proto::BindingMode::from(binding.mode).into(),
            state: proto::BindingState::from(binding.state).into(),
        }
    }
}

impl From<ThreadContext> for proto::GetThreadContextResponse {
    fn from(context: ThreadContext) -> Self {
        Self {
            user_id: context.owner.to_string(),
            user_email: context.email,
            chat_id: context.chat.to_string(),
            chat_user_ids: context.members.iter().map(UserId::to_string).collect(),
        }
    }
}
