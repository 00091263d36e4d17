//! The caller's end of the contract over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};
use rpc::{Channel, Remote};

use super::{AuthApi, AuthClient, Caller, PublicKey, Revocation};
use crate::{
    r#gen::auth::{self as proto, auth_service_client::AuthServiceClient},
    wire::id,
};

/// The contract as a service elsewhere offers it.
pub fn connect(channel: impl Into<Channel>) -> AuthClient {
    let client = AuthServiceClient::new(channel.into());
    Arc::new(Connected(Remote::new("auth", client)))
}

struct Connected(Remote<AuthServiceClient<Channel>>);

#[async_trait]
impl AuthApi for Connected {
    async fn validate_token(&self, call: &Call, token: &str) -> Result<Caller, Fault> {
        let token = token.to_owned();
        let message = proto::ValidateTokenRequest { token };
        rpc::read!(self.0, call, validate_token, message)
            .await?
            .try_into()
    }

    async fn public_keys(&self, call: &Call) -> Result<Vec<PublicKey>, Fault> {
        let message = proto::GetPublicKeysRequest {};
        let found = rpc::read!(self.0, call, get_public_keys, message).await?;
        found.keys.into_iter().map(TryInto::try_into).collect()
    }

    async fn revoked_since(&self, call: &Call, since_ms: i64) -> Result<Vec<Revocation>, Fault> {
        let message = proto::GetRevocationsRequest { since_ms };
        let found = rpc::read!(self.0, call, get_revocations, message).await?;
        found
            .revocations
            .into_iter()
            .map(TryInto::try_into)
            .collect()
    }
}

impl TryFrom<proto::ValidateTokenResponse> for Caller {
    type Error = Fault;

    fn try_from(caller: proto::ValidateTokenResponse) -> Result<Self, Fault> {
        Ok(Self {
            user: id(&caller.user_id)?,
            username: caller.username,
            session: id(&caller.session_id)?,
            expires_ms: caller.expires_ms,
        })
    }
}

impl TryFrom<proto::PublicKey> for PublicKey {
    type Error = Fault;

    fn try_from(key: proto::PublicKey) -> Result<Self, Fault> {
        let x = key
            .x
            .try_into()
            .map_err(|_| Fault::internal("a public key is not 32 bytes long"))?;
        Ok(Self { kid: key.kid, x })
    }
}

impl TryFrom<proto::Revocation> for Revocation {
    type Error = Fault;

    fn try_from(revocation: proto::Revocation) -> Result<Self, Fault> {
        Ok(Self {
            session: id(&revocation.session_id)?,
            at_ms: revocation.at_ms,
        })
    }
}
