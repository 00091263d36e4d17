//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Code, Fault};
use tonic::transport::Channel;

use super::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi, UserClient};
use crate::{
    UserId,
    r#gen::user::{
        self as proto, get_credentials_request::By, user_service_client::UserServiceClient,
    },
    wire::{self, Remote},
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: Channel) -> UserClient {
    Arc::new(Connected {
        client: UserServiceClient::new(channel),
        remote: Remote::new("user"),
    })
}

struct Connected {
    client: UserServiceClient<Channel>,
    remote: Remote,
}

/// One read: the method, the call and the message, which is sent again when no answer came.
macro_rules! read {
    ($self:ident, $method:ident, $call:ident, $message:expr) => {{
        let message = $message;
        let ask = || {
            let (mut client, request) =
                ($self.client.clone(), wire::request($call, message.clone()));
            async move { client.$method(request).await }
        };
        $self.remote.read($call, ask).await
    }};
}

#[async_trait]
impl UserApi for Connected {
    async fn create(&self, call: &Call, user: NewUser) -> Result<User, Fault> {
        let NewUser {
            username,
            email,
            password_hash,
        } = user;
        let request = wire::request(
            call,
            proto::CreateUserRequest {
                username,
                email,
                password_hash,
            },
        );
        let mut client = self.client.clone();
        self.remote
            .write(call, || async move { client.create_user(request).await })
            .await?
            .try_into()
    }

    async fn by_id(&self, call: &Call, id: UserId) -> Result<Option<User>, Fault> {
        optional(read!(
            self,
            get_user_by_id,
            call,
            proto::GetUserByIdRequest { id: id.to_string() }
        ))
    }

    async fn by_ids(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        let ids: Vec<_> = ids.iter().map(UserId::to_string).collect();
        let response = read!(
            self,
            get_users,
            call,
            proto::GetUsersRequest { ids: ids.clone() }
        )?;
        response.users.into_iter().map(TryInto::try_into).collect()
    }

    async fn by_username(&self, call: &Call, username: &str) -> Result<Option<User>, Fault> {
        let username = username.to_owned();
        optional(read!(
            self,
            get_user_by_username,
            call,
            proto::GetUserByUsernameRequest { username }
        ))
    }

    async fn by_email(&self, call: &Call, email: &str) -> Result<Option<User>, Fault> {
        let email = email.to_owned();
        optional(read!(
            self,
            get_user_by_email,
            call,
            proto::GetUserByEmailRequest { email }
        ))
    }

    async fn credentials(&self, call: &Call, login: &str) -> Result<Option<Credentials>, Fault> {
        let by = Some(By::Login(login.to_owned()));
        optional(read!(
            self,
            get_credentials,
            call,
            proto::GetCredentialsRequest { by }
        ))
    }

    async fn credentials_by_id(
        &self,
        call: &Call,
        id: UserId,
    ) -> Result<Option<Credentials>, Fault> {
        let by = Some(By::Id(id.to_string()));
        optional(read!(
            self,
            get_credentials,
            call,
            proto::GetCredentialsRequest { by }
        ))
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
        let (request, mut client) = (wire::request(call, message), self.client.clone());
        self.remote
            .write(call, || async move { client.update_user(request).await })
            .await?
            .try_into()
    }
}

/// What is not there is an answer, not a fault.
fn optional<P, T: TryFrom<P, Error = Fault>>(answer: Result<P, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => found.try_into().map(Some),
        Err(fault) if fault.is(Code::NotFound) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn id(text: &str) -> Result<UserId, Fault> {
    text.parse()
        .map_err(|error: uuid::Error| Fault::internal(error))
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
        let user = credentials
            .user
            .ok_or_else(|| Fault::internal("credentials without a user"))?;
        Ok(Self {
            user: user.try_into()?,
            password_hash: credentials.password_hash,
        })
    }
}
