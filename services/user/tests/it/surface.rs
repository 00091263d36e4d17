//! The gRPC surface as a client without our port sees it.

use contracts::r#gen::user::{
    CreateUserRequest, GetUserByEmailRequest, GetUserByIdRequest, RegisterUserRequest,
    user_service_client::UserServiceClient,
};
use tonic::Code;

use super::worlds;

/// row:A17
#[tokio::test]
async fn users_are_made_and_found_over_grpc() {
    for world in worlds().await {
        let Some(channel) = world.channel else {
            continue;
        };
        let mut client = UserServiceClient::new(channel);
        let request = CreateUserRequest {
            username: "ann".into(),
            email: Some("ann@example.org".into()),
            password_hash: None,
        };
        let ann = client
            .create_user(request.clone())
            .await
            .unwrap()
            .into_inner();
        let by_email = GetUserByEmailRequest {
            email: "ann@example.org".into(),
        };
        assert_eq!(
            client
                .get_user_by_email(by_email)
                .await
                .unwrap()
                .into_inner(),
            ann
        );
        let by_id = GetUserByIdRequest { id: ann.id.clone() };
        assert_eq!(
            client.get_user_by_id(by_id).await.unwrap().into_inner(),
            ann
        );

        let again = client.create_user(request).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);
        assert_eq!(
            again.metadata().get("fault-code").unwrap(),
            "username_taken"
        );
        let nobody = GetUserByEmailRequest {
            email: "nobody@example.org".into(),
        };
        assert_eq!(
            client.get_user_by_email(nobody).await.unwrap_err().code(),
            Code::NotFound
        );
        let malformed = GetUserByIdRequest { id: "1".into() };
        assert_eq!(
            client.get_user_by_id(malformed).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

/// row:A18
#[tokio::test]
async fn a_user_is_registered_by_name_alone() {
    for world in worlds().await {
        let Some(channel) = world.channel else {
            continue;
        };
        let client = UserServiceClient::new(channel);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut client = client.clone();
            tasks.spawn(async move {
                client
                    .register_user(RegisterUserRequest {
                        username: "ann".into(),
                    })
                    .await
            });
        }
        let (made, refused): (Vec<_>, Vec<_>) =
            tasks.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, 19), "{}", world.name);
        let made = made.into_iter().next().unwrap().unwrap().into_inner();
        assert_eq!((made.username.as_str(), made.email), ("ann", None));
        assert!(!made.id.is_empty() && !made.created_at.is_empty());
        assert!(
            refused
                .into_iter()
                .all(|answer| answer.unwrap_err().code() == Code::AlreadyExists)
        );
        let mut client = client;
        let empty = client
            .register_user(RegisterUserRequest::default())
            .await
            .unwrap_err();
        assert_eq!(empty.code(), Code::InvalidArgument);
    }
}
