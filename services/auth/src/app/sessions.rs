//! The logins of a person: listed, ended, and what a new password does to them.

use contracts::{SessionId, auth::Caller, user::ProfileChange};
use kit::Call;

use super::Auth;
use crate::{
    domain::{Error, password::Password},
    store::{Session, Why},
};

impl Auth {
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        Ok(self
            .store
            .sessions(caller.user, self.clock.now_ms())
            .await?)
    }

    /// Ends the caller's own login; one that is over already is fine.
    pub(crate) async fn logout(&self, caller: &Caller) -> Result<(), Error> {
        self.store
            .end(
                caller.user,
                caller.session,
                Why::Logout,
                self.clock.now_ms(),
            )
            .await?;
        tracing::info!(user.id = %caller.user, session.id = %caller.session, "logged out");
        Ok(())
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
        &self,
        call: &Call,
        caller: &Caller,
        current: &str,
        new: &str,
    ) -> Result<Vec<SessionId>, Error> {
        self.limit_account(&caller.user.to_string()).await?;
        let known = self
            .user
            .credentials_by_id(call, caller.user)
            .await?
            .ok_or(Error::NoAccount)?;
        let email = known.user.email.as_deref().unwrap_or_default();
        let new = Password::chosen(new, &[&known.user.username, email])?;
        if !self
            .hasher
            .verify(Password::typed(current), known.password_hash)
            .await?
        {
            return Err(Error::WrongPassword);
        }
        let password_hash = Some(self.hasher.hash(new).await?);
        let change = ProfileChange {
            password_hash,
            ..ProfileChange::default()
        };
        self.user.update(call, caller.user, change).await?;
        let ended = self
            .store
            .end_others(caller.user, caller.session, self.clock.now_ms())
            .await?;
        tracing::info!(user.id = %caller.user, ended = ended.len(), "password changed");
        Ok(ended)
    }
}
