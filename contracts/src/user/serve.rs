//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use kit::Fault;
use rpc::{Answer, Service, answer};
use tonic::Request;

use super::{Credentials, NewUser, ProfileChange, PublicUser, User, UserClient};
use crate::{
    r#gen::user::{
        self as proto,
        get_credentials_request::By,
        user_service_server::{UserService, UserServiceServer},
    },
    wire::asked,
};

/// Offers the contract over gRPC.
pub fn serve(api: UserClient) -> Service {
    Service::new(UserServiceServer::new(Served(api)))
}

struct Served(UserClient);

#[async_trait]
impl UserService for Served {
    async fn create_user(&self, request: Request<proto::CreateUserRequest>) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            let proto::CreateUserRequest {
                username,
                email,
                password_hash,
            } = message;
            let user = NewUser {
                username,
                email,
                password_hash,
            };
            self.0.create(&call, user).await
        })
        .await
    }

    async fn register_user(
        &self,
        request: Request<proto::RegisterUserRequest>,
    ) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            let user = NewUser {
                username: message.username,
                email: None,
                password_hash: None,
            };
            self.0.create(&call, user).await
        })
        .await
    }

    async fn get_user_by_email(
        &self,
        request: Request<proto::GetUserByEmailRequest>,
    ) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            found(self.0.by_email(&call, &message.email).await?)
        })
        .await
    }

    async fn get_user_by_id(
        &self,
        request: Request<proto::GetUserByIdRequest>,
    ) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            found(self.0.by_id(&call, asked("id", &message.id)?).await?)
        })
        .await
    }

    async fn get_user_by_username(
        &self,
        request: Request<proto::GetUserByUsernameRequest>,
    ) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            found(self.0.by_username(&call, &message.username).await?)
        })
        .await
    }

    async fn get_users(
        &self,
        request: Request<proto::GetUsersRequest>,
    ) -> Answer<proto::GetUsersResponse> {
        answer(request, |call, message| async move {
            let ids = message.ids.iter().map(|text| asked("ids", text));
            let users = self.0.by_ids(&call, ids.collect::<Result<_, _>>()?).await?;
            Ok(proto::GetUsersResponse {
                users: users.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_profiles(
        &self,
        request: Request<proto::GetProfilesRequest>,
    ) -> Answer<proto::GetProfilesResponse> {
        answer(request, |call, message| async move {
            let ids = message.ids.iter().map(|text| asked("ids", text));
            let users = self
                .0
                .profiles(&call, ids.collect::<Result<_, _>>()?)
                .await?;
            Ok(proto::GetProfilesResponse {
                users: users.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_credentials(
        &self,
        request: Request<proto::GetCredentialsRequest>,
    ) -> Answer<proto::Credentials> {
        answer(request, |call, message| async move {
            found(match message.by {
                Some(By::Login(login)) => self.0.credentials(&call, &login).await?,
                Some(By::Id(text)) => self.0.credentials_by_id(&call, asked("id", &text)?).await?,
                None => return Err(Fault::invalid("a login or an id is needed")),
            })
        })
        .await
    }

    async fn update_user(&self, request: Request<proto::UpdateUserRequest>) -> Answer<proto::User> {
        answer(request, |call, message| async move {
            let proto::UpdateUserRequest {
                id: text,
                username,
                email,
                password_hash,
            } = message;
            let change = ProfileChange {
                username,
                email,
                password_hash,
            };
            self.0.update(&call, asked("id", &text)?, change).await
        })
        .await
    }
}

fn found<T>(object: Option<T>) -> Result<T, Fault> {
    object.ok_or_else(|| Fault::not_found("user"))
}

impl From<User> for proto::User {
    fn from(user: User) -> Self {
        let User {
            id,
            username,
            email,
            created_at,
            updated_at,
        } = user;
        Self {
            id: id.to_string(),
            username,
            email,
            created_at,
            updated_at,
        }
    }
}

impl From<PublicUser> for proto::PublicUser {
    fn from(user: PublicUser) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username,
        }
    }
}

impl From<Credentials> for proto::Credentials {
    fn from(credentials: Credentials) -> Self {
        Self {
            user: Some(credentials.user.into()),
            password_hash: credentials.password_hash,
        }
    }
}
