//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Channel, Remote, optional};

use super::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi, UserClient};
use crate::{
    UserId,
    r#gen::user::{
        self as proto, get_credentials_request::By, user_service_client::UserServiceClient,
    },
    wire::{id, present},
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: impl Into<Channel>) -> UserClient {
    let client = UserServiceClient::new(channel.into());
    Arc::new(Connected(Remote::new("user", client)))
}

struct Connected(Remote<UserServiceClient<Channel>>);

impl Connected {
    async fn credentials_by(&self, call: &Call, by: By) -> Result<Option<Credentials>, Fault> {
        let message = proto::GetCredentialsRequest { by: Some(by) };
        let found = rpc::read!(self.0, call, get_credentials, message).await;
        optional(found)?.map(TryInto::try_into).transpose()
    }
}

#[async_trait]
impl UserApi for Connected {
    async fn create(&self, call: &Call, user: NewUser) -> Result<User, Fault> {
        let NewUser {
            username,
            email,
            password_hash,
        } = user;
        let message = proto::CreateUserRequest {
            username,
            email,
            password_hash,
        };
        rpc::write!(self.0, call, create_user, message)
            .await?
            .try_into()
    }

    async fn by_id(&self, call: &Call, id: UserId) -> Result<Option<User>, Fault> {
        let message = proto::GetUserByIdRequest { id: id.to_string() };
        let found = rpc::read!(self.0, call, get_user_by_id, message).await;
        optional(found)?.map(TryInto::try_into).transpose()
    }

    async fn by_ids(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        let ids = ids.iter().map(UserId::to_string).collect();
        let message = proto::GetUsersRequest { ids };
        let found = rpc::read!(self.0, call, get_users, message).await?;
        found.users.into_iter().map(TryInto::try_into).collect()
    }

    async fn profiles(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<User>, Fault> {
        let ids = ids.iter().map(UserId::to_string).collect();
        let message = proto::GetProfilesRequest { ids };
        let found = rpc::read!(self.0, call, get_profiles, message).await?;
        found.users.into_iter().map(TryInto::try_into).collect()
    }

    async fn by_username(&self, call: &Call, username: &str) -> Result<Option<User>, Fault> {
        let username = username.to_owned();
        let message = proto::GetUserByUsernameRequest { username };
        let found = rpc::read!(self.0, call, get_user_by_username, message).await;
        optional(found)?.map(TryInto::try_into).transpose()
    }

    async fn by_email(&self, call: &Call, email: &str) -> Result<Option<User>, Fault> {
        let email = email.to_owned();
        let message = proto::GetUserByEmailRequest { email };
        let found = rpc::read!(self.0, call, get_user_by_email, message).await;
        optional(found)?.map(TryInto::try_into).transpose()
    }

    async fn credentials(&self, call: &Call, login: &str) -> Result<Option<Credentials>, Fault> {
        self.credentials_by(call, By::Login(login.to_owned())).await
    }

    async fn credentials_by_id(
        &self,
        call: &Call,
        id: UserId,
    ) -> Result<Option<Credentials>, Fault> {
        self.credentials_by(call, By::Id(id.to_string())).await
    }

    async fn update(&self, call: &Call, id: UserId, change: ProfileChange) -> Result<User, Fault> {
        let ProfileChange {
            username,
            email,
            password_hash,
        } = change;
        let message = proto::UpdateUserRequest {
            id: id.to_string(),
            username,
            email,
            password_hash,
        };
        rpc::write!(self.0, call, update_user, message)
            .await?
            .try_into()
    }
}

impl TryFrom<proto::User> for User {
    type Error = Fault;

    fn try_from(user: proto::User) -> Result<Self, Fault> {
        let proto::User {
            id: text,
            username,
            email,
            created_at,
            updated_at,
        } = user;
        Ok(Self {
            id: id(&text)?,
            username,
            email,
            created_at,
            updated_at,
        })
    }
}

impl TryFrom<proto::PublicUser> for PublicUser {
    type Error = Fault;

    fn try_from(user: proto::PublicUser) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&user.id)?,
            username: user.username,
        })
    }
}

impl TryFrom<proto::Credentials> for Credentials {
    type Error = Fault;

    fn try_from(credentials: proto::Credentials) -> Result<Self, Fault> {
        Ok(Self {
            user: present(credentials.user)?.try_into()?,
            password_hash: credentials.password_hash,
        })
    }
}
