//! The use cases: accounts are made, found and changed.

use std::sync::Arc;

use contracts::{
    UserId,
    user::{Credentials, MAX_IDS, NewUser, ProfileChange, User},
};
use kit::{Clock, Ids};

use crate::{
    domain::{Email, Error, Username, check_hash},
    metrics,
    store::{By, Change, NewAccount, Store},
};

/// The service.
pub(crate) struct Accounts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Accounts {
    pub(crate) async fn create(&self, new: NewUser) -> Result<User, Error> {
        let account = NewAccount {
            id: UserId(self.ids.next()),
            username: Username::parse(&new.username)?,
            email: new.email.as_deref().map(Email::parse).transpose()?,
            password_hash: checked_hash(new.password_hash)?,
            created_at: self.clock.now_ms(),
        };
        let user = self.store.insert(account).await?;
        metrics::created();
        tracing::info!(user.id = %user.id, "account made");
        Ok(user)
    }

    pub(crate) async fn update(&self, id: UserId, change: ProfileChange) -> Result<User, Error> {
        let change = Change {
            username: change
                .username
                .as_deref()
                .map(Username::parse)
                .transpose()?,
            email: change.email.as_deref().map(Email::parse).transpose()?,
            password_hash: checked_hash(change.password_hash)?,
            updated_at: self.clock.now_ms(),
        };
        self.store.update(id, change).await?.ok_or(Error::NotFound)
    }

    pub(crate) async fn by_id(&self, id: UserId) -> Result<Option<Credentials>, Error> {
        Ok(self.store.find(By::Id(id)).await?)
    }

    /// What cannot be a name belongs to nobody.
    pub(crate) async fn by_username(&self, username: &str) -> Result<Option<Credentials>, Error> {
        let Ok(username) = Username::sought(username) else {
            return Ok(None);
        };
        Ok(self.store.find(By::Name(username)).await?)
    }

    /// What cannot be an address belongs to nobody.
    pub(crate) async fn by_email(&self, email: &str) -> Result<Option<Credentials>, Error> {
        let Ok(email) = Email::parse(email) else {
            return Ok(None);
        };
        Ok(self.store.find(By::Email(email)).await?)
    }

    pub(crate) async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, Error> {
        if ids.len() > MAX_IDS {
            return Err(Error::TooManyIds);
        }
        Ok(self.store.find_many(ids).await?)
    }
}

fn checked_hash(hash: Option<String>) -> Result<Option<String>, Error> {
    hash.as_deref().map(check_hash).transpose()?;
    Ok(hash)
}
