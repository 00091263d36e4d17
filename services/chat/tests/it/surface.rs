//! The gRPC surface as a client without our port sees it.

use contracts::{
    chat::BindingMode,
    r#gen::chat::{
        GetBindingsByChatRequest, GetChatByIdRequest, GetThreadContextRequest,
        GetUserWithChatByThreadIdRequest, Kind, chat_service_client::ChatServiceClient,
    },
};
use tonic::{Code, transport::Endpoint};

use crate::world::World;

/// row:B19, row:E32
#[tokio::test(flavor = "multi_thread")]
async fn chats_and_threads_are_found_over_grpc() {
    for world in World::both().await {
        let (ann, bob) = (world.person("ann").await, world.person("bob").await);
        let (id, _) = world.open(&ann, &bob).await;
        world.bind(id, &ann, BindingMode::Advice).await;
        let mut client = ChatServiceClient::new(world.channel.clone());
        let request = GetChatByIdRequest { id: id.to_string() };
        let chat = client.get_chat_by_id(request).await.unwrap().into_inner();
        assert_eq!(
            (chat.kind(), chat.creator_id),
            (Kind::Private, ann.id.to_string())
        );

        let chat_id = id.to_string();
        let request = GetBindingsByChatRequest { chat_id };
        let bindings = client.get_bindings_by_chat(request).await.unwrap();
        let thread_id = bindings.into_inner().bindings[0].thread_id.clone();
        let request = GetUserWithChatByThreadIdRequest {
            thread_id: thread_id.clone(),
        };
        let owner = client.get_user_with_chat_by_thread_id(request).await;
        let owner = owner.unwrap().into_inner();
        assert_eq!(owner.user_id, ann.id.to_string());
        assert_eq!(owner.user_email, Some(ann.email));
        assert_eq!(owner.chat_id, id.to_string());
        let request = GetThreadContextRequest { thread_id };
        let context = client.get_thread_context(request).await.unwrap();
        assert_eq!(context.into_inner().chat_user_ids.len(), 2);

        for (broken, code) in [
            ("1", Code::InvalidArgument),
            (chat.id.as_str(), Code::NotFound),
        ] {
            let thread_id = broken.to_owned();
            let request = GetThreadContextRequest { thread_id };
            let status = client.get_thread_context(request).await.unwrap_err();
            assert_eq!(status.code(), code, "{broken}");
        }
        world.stop().await;
    }
}

/// row:A19: without the credential of the processes nobody is answered.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_answered() {
    for world in World::both().await {
        let channel = Endpoint::from_shared(format!("http://{}", world.address))
            .unwrap()
            .connect_lazy();
        let answer = ChatServiceClient::new(channel)
            .get_chat_by_id(GetChatByIdRequest::default())
            .await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
        world.stop().await;
    }
}
