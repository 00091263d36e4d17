//! The way in: whoever has a token.

use std::sync::Arc;

use axum::http::HeaderMap;
use cache::Following;
use contracts::auth::{Verifier, bearer_token};
use kit::{Call, Fault};
use realtime::Identity;
use uuid::Uuid;

use crate::app::pieces::channel;

/// The gate of `/ws/ai-advice`.
pub(crate) struct Gate(pub(crate) Arc<Verifier>, pub(crate) Arc<Following>);

impl realtime::Gate for Gate {
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        bearer_token(headers)
    }

    async fn admit(&self, call: &Call, token: &str) -> Result<Identity, Fault> {
        let caller = self.0.verify(call, token).await?;
        Ok(Identity {
            user: caller.user.0,
            login: caller.session.0,
            expires_ms: caller.expires_ms,
        })
    }

    fn is_ended(&self, login: Uuid) -> bool {
        self.0.is_revoked(login.into())
    }

    fn changed(&self, user: Uuid) {
        self.1.change(channel(user));
    }
}
