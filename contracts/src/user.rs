//! Accounts and profiles. Owned by the service `user`. Over gRPC: [`connect`] and [`serve`].

mod connect;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use connect::connect;
pub use serve::serve;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use serde::{Deserialize, Serialize};

use crate::UserId;

/// A person as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublicUser {
    /// The id.
    pub id: UserId,
    /// The unique name, as its owner writes it.
    pub username: String,
}

/// A person as they see themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The unique name.
    pub username: String,
    /// The unique address; `None` for users made by name only.
    pub email: Option<String>,
    /// When the account was made, RFC 3339 in UTC.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// A new account. Names and addresses are checked by `user`; the hash is made by `auth`.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// 3 to 32 characters: letters of one alphabet, digits, `_`, `-`, `.`; unique after folding.
    pub username: String,
    /// At most 320 bytes; unique after folding.
    pub email: Option<String>,
    /// A PHC string; `None` for a user that cannot log in yet.
    pub password_hash: Option<String>,
}

/// What a person changes about themselves; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    /// The new name.
    pub username: Option<String>,
    /// The new address.
    pub email: Option<String>,
    /// The new hash.
    pub password_hash: Option<String>,
}

/// A user with the hash that only `auth` asks for.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account.
    pub user: User,
    /// A PHC string; `None` for a user that cannot log in yet.
    pub password_hash: Option<String>,
}

/// The most ids of one [`UserApi::by_ids`].
pub const MAX_IDS: usize = 500;

/// What `user` offers.
#[async_trait]
pub trait UserApi: Send + Sync + 'static {
    /// Makes an account. `conflict` with the word `username_taken` or `email_taken`.
    async fn create(&self, call: &Call, user: NewUser) -> Result<User, Fault>;

    /// Looks up an account; `None` when there is no such id.
    async fn by_id(&self, call: &Call, id: UserId) -> Result<Option<User>, Fault>;

    /// Looks up several at once, at most [`MAX_IDS`]; unknown ids are left out.
    async fn by_ids(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault>;

    /// Looks up several with everything that they see of themselves, at most [`MAX_IDS`]; unknown ids are left out.
    async fn profiles(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<User>, Fault>;

    /// Looks up by name, folded.
    async fn by_username(&self, call: &Call, username: &str) -> Result<Option<User>, Fault>;

    /// Looks up by address, folded.
    async fn by_email(&self, call: &Call, email: &str) -> Result<Option<User>, Fault>;

    /// Credentials by name or address: what holds an `@` is an address.
    async fn credentials(&self, call: &Call, login: &str) -> Result<Option<Credentials>, Fault>;

    /// Credentials by id, for a change of the password.
    async fn credentials_by_id(
        &self,
        call: &Call,
        id: UserId,
    ) -> Result<Option<Credentials>, Fault>;

    /// Changes a profile. `conflict` as for [`UserApi::create`], `not_found` for an unknown id.
    async fn update(&self, call: &Call, id: UserId, change: ProfileChange) -> Result<User, Fault>;
}

/// How callers hold it.
pub type UserClient = Arc<dyn UserApi>;
