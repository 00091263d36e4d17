//! A small model of `user` for the tests of those who ask it: two accounts, which are only looked up.

use async_trait::async_trait;
use kit::{Call, Fault};
use uuid::Uuid;

use super::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi};
use crate::UserId;

/// The accounts 1 and 2: ann, and bob who was made by name alone.
pub struct People;

fn people() -> [User; 2] {
    let person = |n, username: &str, email: Option<&str>| User {
        id: UserId(Uuid::from_u128(n)),
        username: username.to_owned(),
        email: email.map(str::to_owned),
        created_at: "2027-01-15T08:00:00Z".to_owned(),
        updated_at: "2027-01-15T08:00:00Z".to_owned(),
    };
    [
        person(1, "ann", Some("ann@example.org")),
        person(2, "bob", None),
    ]
}

fn not_asked<T>() -> Result<T, Fault> {
    Err(Fault::internal("this is not asked here"))
}

#[async_trait]
impl UserApi for People {
    async fn by_id(&self, _: &Call, id: UserId) -> Result<Option<User>, Fault> {
        Ok(people().into_iter().find(|person| person.id == id))
    }

    async fn profiles(&self, _: &Call, ids: Vec<UserId>) -> Result<Vec<User>, Fault> {
        let mut people = people().to_vec();
        people.retain(|person| ids.contains(&person.id));
        Ok(people)
    }

    async fn by_ids(&self, _: &Call, _: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        not_asked()
    }

    async fn create(&self, _: &Call, _: NewUser) -> Result<User, Fault> {
        not_asked()
    }

    async fn by_username(&self, _: &Call, _: &str) -> Result<Option<User>, Fault> {
        not_asked()
    }

    async fn by_email(&self, _: &Call, _: &str) -> Result<Option<User>, Fault> {
        not_asked()
    }

    async fn credentials(&self, _: &Call, _: &str) -> Result<Option<Credentials>, Fault> {
        not_asked()
    }

    async fn credentials_by_id(&self, _: &Call, _: UserId) -> Result<Option<Credentials>, Fault> {
        not_asked()
    }

    async fn update(&self, _: &Call, _: UserId, _: ProfileChange) -> Result<User, Fault> {
        not_asked()
    }
}
