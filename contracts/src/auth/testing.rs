//! Tokens for the tests of doors.

#![expect(
    clippy::missing_panics_doc,
    reason = "what fails in a test is a failure"
)]

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use kit::{Call, Clock as _, Fault, Ids as _, RandomIds, SystemClock};
use serde_json::json;

use super::{
    AuthApi, Caller, PublicKey, Revocation,
    token::{self, Claims},
};
use crate::{SessionId, UserId};

/// Signs tokens as `auth` does, with a key of its own; ends no login.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Always with the same key.
    pub fn new() -> Arc<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]);
        Arc::new(Self(pair.expect("a key")))
    }

    /// A token of `user` in a login of the same number, good for a quarter of an hour.
    pub fn token(&self, user: UserId) -> String {
        let now_s = SystemClock.now_ms() / 1000;
        let header = json!({ "alg": "EdDSA", "typ": token::TYPE, "kid": "k1" });
        let claims = Claims {
            iss: token::ISSUER.to_owned(),
            aud: token::AUDIENCE.to_owned(),
            sub: user,
            name: "somebody".to_owned(),
            sid: SessionId(user.0),
            iat: now_s,
            nbf: None,
            exp: now_s + 900,
            jti: RandomIds.next(),
        };
        let claims = serde_json::to_string(&claims).expect("JSON");
        let input = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims)
        );
        let signature = BASE64.encode(self.0.sign(input.as_bytes()).as_ref());
        format!("{input}.{signature}")
    }
}

#[async_trait]
impl AuthApi for Signer {
    async fn validate_token(&self, _: &Call, _: &str) -> Result<Caller, Fault> {
        Err(Fault::invalid("doors check tokens themselves"))
    }

    async fn public_keys(&self, _: &Call) -> Result<Vec<PublicKey>, Fault> {
        let x = self.0.public_key().as_ref().try_into().expect("32 bytes");
        Ok(vec![PublicKey {
            kid: "k1".to_owned(),
            x,
        }])
    }

    async fn revoked_since(&self, _: &Call, _: i64) -> Result<Vec<Revocation>, Fault> {
        Ok(Vec::new())
    }
}
