//! What other services may ask.

use std::pin::Pin;

use async_trait::async_trait;
use contracts::{
    UserId,
    user::{Credentials, NewUser, ProfileChange, PublicUser, User, UserApi},
};
use kit::{Call, Fault};

use crate::{app::Accounts, domain::Error};

#[async_trait]
impl UserApi for Accounts {
    async fn create(&self, call: &Call, user: NewUser) -> Result<User, Fault> {
        within(call, self.create(user)).await
    }

    async fn by_id(&self, call: &Call, id: UserId) -> Result<Option<User>, Fault> {
        Ok(within(call, self.by_id(id)).await?.map(|found| found.user))
    }

    async fn by_ids(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<PublicUser>, Fault> {
        let found = within(call, self.by_ids(&ids)).await?;
        let public = |User { id, username, .. }| PublicUser { id, username };
        Ok(found.into_iter().map(public).collect())
    }

    async fn profiles(&self, call: &Call, ids: Vec<UserId>) -> Result<Vec<User>, Fault> {
        within(call, self.by_ids(&ids)).await
    }

    async fn by_username(&self, call: &Call, username: &str) -> Result<Option<User>, Fault> {
        Ok(within(call, self.by_username(username))
            .await?
            .map(|found| found.user))
    }

    async fn by_email(&self, call: &Call, email: &str) -> Result<Option<User>, Fault> {
        Ok(within(call, self.by_email(email))
            .await?
            .map(|found| found.user))
    }

    async fn credentials(&self, call: &Call, login: &str) -> Result<Option<Credentials>, Fault> {
        if login.contains('@') {
            within(call, self.by_email(login)).await
        } else {
            within(call, self.by_username(login)).await
        }
    }

    async fn credentials_by_id(
        &self,
        call: &Call,
        id: UserId,
    ) -> Result<Option<Credentials>, Fault> {
        within(call, self.by_id(id)).await
    }

    async fn update(&self, call: &Call, id: UserId, change: ProfileChange) -> Result<User, Fault> {
        within(call, self.update(id, change)).await
    }
}

/// Runs a use case until the deadline, on the heap: the futures of statements are large.
fn within<'a, T: 'a>(
    call: &'a Call,
    work: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>> {
    let work = Box::pin(work);
    Box::pin(call.run(async { work.await.map_err(Fault::from) }))
}
