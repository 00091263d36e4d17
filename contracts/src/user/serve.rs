//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use kit::Fault;
use tonic::{Request, Response, Status, service::Routes};

use super::{Credentials, NewUser, ProfileChange, PublicUser, User, UserClient};
use crate::{
    UserId,
    r#gen::user::{
        self as proto,
        get_credentials_request::By,
        user_service_server::{UserService, UserServiceServer},
    },
    wire,
};

/// Offers the contract over gRPC.
pub fn serve(api: UserClient) -> Routes {
    Routes::new(UserServiceServer::new(Served(api)))
}

struct Served(UserClient);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl UserService for Served {
    async fn create_user(&self, request: Request<proto::CreateUserRequest>) -> Answer<proto::User> {
        let call = wire::call(&request);
        let proto::CreateUserRequest {
            username,
            email,
            password_hash,
        } = request.into_inner();
        let user = call
            .run(self.0.create(
                &call,
                NewUser {
                    username,
                    email,
                    password_hash,
                },
            ))
            .await?;
        Ok(Response::new(user.into()))
    }

    async fn register_user(
        &self,
        request: Request<proto::RegisterUserRequest>,
    ) -> Answer<proto::User> {
        let call = wire::call(&request);
        let username = request.into_inner().username;
        let user = call
            .run(self.0.create(
                &call,
                NewUser {
                    username,
                    email: None,
                    password_hash: None,
                },
            ))
            .await?;
        Ok(Response::new(user.into()))
    }

    async fn get_user_by_email(
        &self,
        request: Request<proto::GetUserByEmailRequest>,
    ) -> Answer<proto::User> {
        let call = wire::call(&request);
        found(
            call.run(self.0.by_email(&call, &request.get_ref().email))
                .await?,
        )
    }

    async fn get_user_by_id(
        &self,
        request: Request<proto::GetUserByIdRequest>,
    ) -> Answer<proto::User> {
        let call = wire::call(&request);
        found(
            call.run(self.0.by_id(&call, id(&request.get_ref().id)?))
                .await?,
        )
    }

    async fn get_user_by_username(
        &self,
        request: Request<proto::GetUserByUsernameRequest>,
    ) -> Answer<proto::User> {
        let call = wire::call(&request);
        found(
            call.run(self.0.by_username(&call, &request.get_ref().username))
                .await?,
        )
    }

    async fn get_users(
        &self,
        request: Request<proto::GetUsersRequest>,
    ) -> Answer<proto::GetUsersResponse> {
        let call = wire::call(&request);
        let ids = request
            .get_ref()
            .ids
            .iter()
            .map(|text| id(text))
            .collect::<Result<_, _>>()?;
        let users = call.run(self.0.by_ids(&call, ids)).await?;
        Ok(Response::new(proto::GetUsersResponse {
            users: users.into_iter().map(Into::into).collect(),
        }))
    }

    async fn get_credentials(
        &self,
        request: Request<proto::GetCredentialsRequest>,
    ) -> Answer<proto::Credentials> {
        let call = wire::call(&request);
        let credentials = match request.into_inner().by {
            Some(By::Login(login)) => call.run(self.0.credentials(&call, &login)).await?,
            Some(By::Id(text)) => {
                call.run(self.0.credentials_by_id(&call, id(&text)?))
                    .await?
            }
            None => return Err(Fault::invalid("a login or an id is needed").into()),
        };
        found(credentials)
    }

    async fn update_user(&self, request: Request<proto::UpdateUserRequest>) -> Answer<proto::User> {
        let call = wire::call(&request);
        let proto::UpdateUserRequest {
            id: text,
            username,
            email,
            password_hash,
        } = request.into_inner();
        let change = ProfileChange {
            username,
            email,
            password_hash,
        };
        let user = call.run(self.0.update(&call, id(&text)?, change)).await?;
        Ok(Response::new(user.into()))
    }
}

fn found<T, P: From<T>>(object: Option<T>) -> Answer<P> {
    let object = object.ok_or_else(|| Status::from(Fault::not_found("user")))?;
    Ok(Response::new(object.into()))
}

fn id(text: &str) -> Result<UserId, Fault> {
    text.parse()
        .map_err(|_| Fault::invalid("the id is not a UUID"))
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
