//! Staying logged in: a refresh token is exchanged for a new pair.

use kit::Call;

use super::{Auth, Issued};
use crate::{
    domain::{Error, refresh::Token},
    metrics,
    store::{Rotation, Why},
};

impl Auth {
    pub(crate) async fn refresh(&self, call: &Call, presented: &str) -> Result<Issued, Error> {
        let result = self.exchange(call, presented).await;
        match &result {
            Err(Error::Refresh) => metrics::refresh("refused"),
            Err(Error::Reused(session)) => {
                metrics::refresh("reused");
                tracing::warn!(session.id = %session, "a refresh token came back: the login is ended");
            }
            _ => {}
        }
        result
    }

    async fn exchange(&self, call: &Call, presented: &str) -> Result<Issued, Error> {
        let token = Token::parse(presented).ok_or(Error::Refresh)?;
        let (session, owner) = self.store.owner(&token).await?.ok_or(Error::Refresh)?;
        // Asked before anything changes: when `user` is away, the token stays good.
        let user = self.user.by_id(call, owner).await?;
        let Some(user) = user else {
            self.store
                .end(owner, session, Why::AccountGone, self.clock.now_ms())
                .await?;
            return Err(Error::Refresh);
        };
        match self
            .store
            .rotate(&token, self.lifetimes(), self.clock.now_ms())
            .await?
        {
            Rotation::Next {
                session,
                next,
                is_repeat,
            } => {
                metrics::refresh(if is_repeat { "repeated" } else { "rotated" });
                self.issue(user, session, next)
            }
            Rotation::Revoked(session) => Err(Error::Reused(session)),
            Rotation::Refused => Err(Error::Refresh),
        }
    }
}
