//! Tokens: who calls. Owned by the service `auth`; checked by every door with [`Verifier`].
//!
//! [`token`] is what a token says and when it holds; the one who signs and those who check share it. Over gRPC:
//! [`connect`] and [`serve`].

mod bearer;
mod connect;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
mod verifier;

pub use bearer::{BearerAuth, bearer_token};
pub use connect::connect;
pub use serve::serve;
pub use verifier::Verifier;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{Call, Fault};

use crate::{SessionId, UserId};

/// The one who calls, as a checked token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The person.
    pub user: UserId,
    /// Their name at the time of the token.
    pub username: String,
    /// The login that the token belongs to.
    pub session: SessionId,
    /// When the token ends, milliseconds since 1970.
    pub expires_ms: i64,
}

/// A key to check signatures with (EdDSA over Ed25519, RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The `kid` of the tokens that it checks.
    pub kid: String,
    /// The 32 bytes of the key.
    pub x: [u8; 32],
}

/// A login that was ended before its tokens were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The login.
    pub session: SessionId,
    /// When it was ended, milliseconds since 1970.
    pub at_ms: i64,
}

/// The longest answer of [`AuthApi::revoked_since`]; who gets so many asks again from the last one on.
pub const MAX_REVOCATIONS: usize = 10_000;

/// What `auth` offers.
#[async_trait]
pub trait AuthApi: Send + Sync + 'static {
    /// Checks a token with everything that is known: signature, times, audience, revocation.
    async fn validate_token(&self, call: &Call, token: &str) -> Result<Caller, Fault>;

    /// The keys that may have signed a token that is still valid.
    async fn public_keys(&self, call: &Call) -> Result<Vec<PublicKey>, Fault>;

    /// The logins ended at `since_ms` or later whose tokens may still be valid: the oldest first, at most
    /// [`MAX_REVOCATIONS`] of them.
    async fn revoked_since(&self, call: &Call, since_ms: i64) -> Result<Vec<Revocation>, Fault>;
}

/// How callers hold it.
pub type AuthClient = Arc<dyn AuthApi>;
