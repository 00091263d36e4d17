//! What other services may ask.

use async_trait::async_trait;
use contracts::auth::{
    AuthApi, Caller, PublicKey, Revocation,
    token::{self, MAX_LIFETIME_S},
};
use kit::{Call, Fault};

use crate::app::Auth;

#[async_trait]
impl AuthApi for Auth {
    async fn validate_token(&self, call: &Call, token: &str) -> Result<Caller, Fault> {
        let kid = token::key_id(token)?;
        call.run(Box::pin(async {
            let keys = self.store.public_keys().await?;
            let key = keys
                .iter()
                .find(|key| key.kid == kid)
                .ok_or_else(token::refused)?;
            let caller = token::check(token, key, self.clock.now_ms())?;
            if self.store.is_revoked(caller.session).await? {
                Err(token::ended())
            } else {
                Ok(caller)
            }
        }))
        .await
    }

    async fn public_keys(&self, call: &Call) -> Result<Vec<PublicKey>, Fault> {
        call.run(Box::pin(async { Ok(self.store.public_keys().await?) }))
            .await
    }

    async fn revoked_since(&self, call: &Call, since_ms: i64) -> Result<Vec<Revocation>, Fault> {
        let oldest = self.clock.now_ms() - MAX_LIFETIME_S * 1000;
        call.run(Box::pin(async {
            Ok(self.store.revoked_since(since_ms.max(oldest)).await?)
        }))
        .await
    }
}
