//! The service's end of the contract over gRPC.

use async_trait::async_trait;
use rpc::{Answer, Service, answer};
use tonic::Request;

use super::{AuthClient, PublicKey, Revocation, token};
use crate::{
    r#gen::auth::{
        self as proto,
        auth_service_server::{AuthService, AuthServiceServer},
    },
    user::UserClient,
};

/// Offers the contract over gRPC. Who asks about a token is also told the person's address, which `user` keeps.
pub fn serve(api: AuthClient, user: UserClient) -> Service {
    Service::new(AuthServiceServer::new(Served { api, user }))
}

struct Served {
    api: AuthClient,
    user: UserClient,
}

#[async_trait]
impl AuthService for Served {
    async fn validate_token(
        &self,
        request: Request<proto::ValidateTokenRequest>,
    ) -> Answer<proto::ValidateTokenResponse> {
        answer(request, |call, message| async move {
            let caller = self.api.validate_token(&call, &message.token).await?;
            // A token of nobody is no token.
            let person = self.user.by_id(&call, caller.user).await?;
            Ok(proto::ValidateTokenResponse {
                user_id: caller.user.to_string(),
                username: caller.username,
                session_id: caller.session.to_string(),
                expires_ms: caller.expires_ms,
                email: person.ok_or_else(token::refused)?.email,
            })
        })
        .await
    }

    async fn get_public_keys(
        &self,
        request: Request<proto::GetPublicKeysRequest>,
    ) -> Answer<proto::GetPublicKeysResponse> {
        answer(request, |call, _| async move {
            let keys = self.api.public_keys(&call).await?;
            Ok(proto::GetPublicKeysResponse {
                keys: keys.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }

    async fn get_revocations(
        &self,
        request: Request<proto::GetRevocationsRequest>,
    ) -> Answer<proto::GetRevocationsResponse> {
        answer(request, |call, message| async move {
            let revocations = self.api.revoked_since(&call, message.since_ms).await?;
            Ok(proto::GetRevocationsResponse {
                revocations: revocations.into_iter().map(Into::into).collect(),
            })
        })
        .await
    }
}

impl From<PublicKey> for proto::PublicKey {
    fn from(key: PublicKey) -> Self {
        Self {
            kid: key.kid,
            x: key.x.to_vec(),
        }
    }
}

impl From<Revocation> for proto::Revocation {
    fn from(revocation: Revocation) -> Self {
        Self {
            session_id: revocation.session.to_string(),
            at_ms: revocation.at_ms,
        }
    }
}
