//! The gRPC surface as a client without our port sees it.

use contracts::{
    chat::BindingMode,
    r#gen::chat::{
        GetBindingsByChatRequest, GetChatByIdRequest, GetThreadContextRequest,
        GetUserWithChatByThreadIdRequest, GetUsersByChatIdRequest, Kind,
        chat_service_client::ChatServiceClient,
    },
};
use tonic::{Code, transport::Endpoint};

use super::{ANN, BOB, worlds};

/// row:B10, row:B19, row:E04, row:E32
#[tokio::test]
async fn chats_and_threads_are_found_over_grpc() {
    for world in worlds().await {
        let id = world.open().await;
        world.bind(id, ANN, BindingMode::Advice).await;
        let mut client = ChatServiceClient::new(world.channel.clone());
        let request = GetChatByIdRequest { id: id.to_string() };
        let chat = client.get_chat_by_id(request).await.unwrap().into_inner();
        let ann = ANN.to_string();
        assert_eq!((chat.kind(), &chat.creator_id), (Kind::Private, &ann));

        let chat_id = id.to_string();
        let request = GetUsersByChatIdRequest { chat_id };
        let members = client.get_users_by_chat_id(request).await.unwrap();
        let everybody = [ann.clone(), BOB.to_string()];
        assert_eq!(members.into_inner().user_ids, everybody);
        let chat_id = id.to_string();
        let request = GetBindingsByChatRequest { chat_id };
        let bindings = client.get_bindings_by_chat(request).await.unwrap();
        let thread_id = bindings.into_inner().bindings[0].thread_id.clone();

        let request = GetUserWithChatByThreadIdRequest {
            thread_id: thread_id.clone(),
        };
        let owner = client.get_user_with_chat_by_thread_id(request).await;
        let owner = owner.unwrap().into_inner();
        assert_eq!(
            (owner.user_id, owner.chat_id),
            (ann.clone(), id.to_string())
        );
        assert_eq!(owner.user_email.as_deref(), Some("ann@example.org"));
        let request = GetThreadContextRequest { thread_id };
        let context = client.get_thread_context(request).await.unwrap();
        let context = context.into_inner();
        assert_eq!((context.user_id, context.chat_id), (ann, id.to_string()));
        assert_eq!(context.chat_user_ids, everybody);

        for (broken, code) in [
            ("1", Code::InvalidArgument),
            (chat.id.as_str(), Code::NotFound),
        ] {
            let thread_id = broken.to_owned();
            let request = GetThreadContextRequest { thread_id };
            let status = client.get_thread_context(request).await.unwrap_err();
            assert_eq!(status.code(), code, "{broken}");
        }
    }
}

/// row:A19: without the credential of the processes nobody is answered.
#[tokio::test]
async fn strangers_are_not_answered() {
    for world in worlds().await {
        let channel = Endpoint::from_shared(format!("http://{}", world.address))
            .unwrap()
            .connect_lazy();
        let answer = ChatServiceClient::new(channel)
            .get_chat_by_id(GetChatByIdRequest::default())
            .await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
}
