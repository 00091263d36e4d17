//! The logins of a person: listed, ended; and what takes the password beside the login.

use std::sync::Arc;

use contracts::{
    SessionId,
    auth::Caller,
    user::{Credentials, ProfileChange, User},
};
use kit::{Call, Fault};
use tokio::sync::oneshot;

use super::Auth;
use crate::{
    domain::{Error, password::Password, refresh::Token},
    store::{Session, Why},
};

impl Auth {
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        Ok(self
            .store
            .sessions(caller.user, self.clock.now_ms())
            .await?)
    }

    /// Ends the login of the caller and the one that a refresh token belongs to, good or not, and names them. What is
    /// over already is fine.
    pub(crate) async fn logout(
        &self,
        caller: Option<&Caller>,
        token: Option<&str>,
    ) -> Result<Vec<SessionId>, Error> {
        let kept = match token.and_then(Token::parse) {
            Some(token) => self.store.owner(&token).await?,
            None => None,
        };
        let own = caller.map(|caller| (caller.session, caller.user));
        let mut ended = Vec::new();
        for (session, user) in own.into_iter().chain(kept) {
            let now = self.clock.now_ms();
            self.store.end(user, session, Why::Logout, now).await?;
            tracing::info!(user.id = %user, session.id = %session, "logged out");
            ended.push(session);
        }
        ended.dedup();
        Ok(ended)
    }

    /// Ends one of the caller's logins.
    pub(crate) async fn end_session(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<(), Error> {
        if !self
            .store
            .end(caller.user, session, Why::Ended, self.clock.now_ms())
            .await?
        {
            return Err(Error::NoSession);
        }
        tracing::info!(user.id = %caller.user, session.id = %session, "login ended");
        Ok(())
    }

    /// Sets a new password and ends every other login, which it names (threat:T10).
    pub(crate) async fn change_password(
        self: &Arc<Self>,
        call: &Call,
        caller: &Caller,
        current: &str,
        new: &str,
    ) -> Result<Vec<SessionId>, Error> {
        let Credentials {
            user,
            password_hash,
        } = self.account(call, caller).await?;
        let chosen = Password::chosen(
            new,
            &[&user.username, user.email.as_deref().unwrap_or_default()],
        )?;
        let is_current = self.is_right(current, password_hash.clone()).await?;
        // Whoever lost the answer asks again: then the new password is the current one already.
        if !is_current && !self.is_right(new, password_hash).await? {
            return Err(Error::WrongPassword);
        }
        let hash = self.hasher.hash(chosen).await?;
        let (done, outcome) = oneshot::channel();
        let (auth, caller) = (self.clone(), caller.clone());
        // From here on it goes to its end, also when the request is over.
        self.spawner.spawn("password change", async move {
            let _ = done.send(auth.replace_password(&caller, hash).await);
        });
        outcome
            .await
            .map_err(|gone| Error::User(Fault::unavailable(gone)))?
    }

    /// Ends the other logins before, so that none outlives a change of which nobody learns how it went, and after, for
    /// those that came in between. One that comes later finds its password changed; see [`Auth::login`].
    async fn replace_password(
        &self,
        caller: &Caller,
        hash: String,
    ) -> Result<Vec<SessionId>, Error> {
        let change = ProfileChange {
            password_hash: Some(hash),
            ..ProfileChange::default()
        };
        let mut ended = self.end_others(caller).await?;
        let call = Call::internal("password change");
        let changed = self.user.update(&call, caller.user, change).await;
        ended.extend(self.end_others(caller).await?);
        changed?;
        tracing::info!(user.id = %caller.user, ended = ended.len(), "password changed");
        Ok(ended)
    }

    /// Sets a new address; whoever has only a token cannot (threat:T10).
    pub(crate) async fn change_email(
        &self,
        call: &Call,
        caller: &Caller,
        current: &str,
        email: String,
    ) -> Result<User, Error> {
        let account = self.account(call, caller).await?;
        if !self.is_right(current, account.password_hash).await? {
            return Err(Error::WrongPassword);
        }
        let change = ProfileChange {
            email: Some(email),
            ..ProfileChange::default()
        };
        let user = self.user.update(call, caller.user, change).await?;
        tracing::info!(user.id = %caller.user, "address changed");
        Ok(user)
    }

    /// The account of a caller whose password is about to be checked.
    async fn account(&self, call: &Call, caller: &Caller) -> Result<Credentials, Error> {
        self.limit_guesses("session", &caller.session.to_string())
            .await?;
        let found = self.user.credentials_by_id(call, caller.user).await?;
        found.ok_or(Error::NoAccount)
    }

    async fn is_right(&self, password: &str, hash: Option<String>) -> Result<bool, Error> {
        self.hasher.verify(Password::typed(password), hash).await
    }

    async fn end_others(&self, caller: &Caller) -> Result<Vec<SessionId>, sql::Error> {
        let now = self.clock.now_ms();
        self.store
            .end_others(caller.user, caller.session, now)
            .await
    }
}
