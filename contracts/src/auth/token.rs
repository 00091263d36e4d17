//! The access token: a JWT (RFC 7519, RFC 9068) signed with Ed25519, and the rules by which it holds.
//!
//! Nothing here asks anybody: keys, clock and revocations belong to [`super::Verifier`].

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kit::{Code, Fault};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Caller, PublicKey};
use crate::{SessionId, UserId};

/// Who signs.
pub const ISSUER: &str = "messenger";
/// Whom the token is for.
pub const AUDIENCE: &str = "messenger";
/// The `typ` that sets an access token apart from every other JWT (RFC 9068 section 2.1).
pub const TYPE: &str = "at+jwt";
/// The longest life of a token, in seconds.
pub const MAX_LIFETIME_S: i64 = 24 * 60 * 60;
/// How far the clocks of two processes may be apart, in seconds. The end of a token gets no leeway.
pub const LEEWAY_S: i64 = 30;
/// The longest token that is looked at, in bytes.
const MAX_BYTES: usize = 4096;

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The person.
    pub sub: UserId,
    /// Their name when the token was made.
    pub name: String,
    /// The login.
    pub sid: SessionId,
    /// Made at, seconds since 1970.
    pub iat: i64,
    /// Not valid before, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Not valid from here on, seconds since 1970.
    pub exp: i64,
    /// Unlike that of every other token.
    pub jti: Uuid,
}

/// The key that a token says it is signed with; refuses what no token of ours looks like.
pub fn key_id(token: &str) -> Result<String, Fault> {
    if token.len() > MAX_BYTES {
        return Err(refused());
    }
    let header =
        jsonwebtoken::decode_header(token).map_err(|error| refused().with_source(error))?;
    let is_ours = header.alg == Algorithm::EdDSA
        && header.typ.as_deref() == Some(TYPE)
        && header.crit.is_none();
    match header.kid {
        Some(kid) if is_ours && is_key_id(&kid) => Ok(kid),
        _ => Err(refused()),
    }
}

/// Checks signature, issuer, audience and times of a token whose [`key_id`] is `key.kid`.
///
/// `now_ms` is in milliseconds since 1970. Revocation is not looked at.
pub fn check(token: &str, key: &PublicKey, now_ms: i64) -> Result<Caller, Fault> {
    // The library proves the signature; the claims are checked here, by the clock that we were given.
    let mut signature_only = Validation::new(Algorithm::EdDSA);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    let claims =
        jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&key.x), &signature_only)
            .map_err(|error| refused().with_source(error))?
            .claims;
    if claims.iss != ISSUER || claims.aud != AUDIENCE {
        return Err(refused());
    }
    let latest_start = now_ms / 1000 + LEEWAY_S;
    if claims.iat > latest_start || claims.nbf.is_some_and(|nbf| nbf > latest_start) {
        return Err(refused());
    }
    let lifetime = claims.exp.checked_sub(claims.iat);
    let Some(expires_ms) = claims.exp.checked_mul(1000) else {
        return Err(refused());
    };
    if !lifetime.is_some_and(|seconds| (1..=MAX_LIFETIME_S).contains(&seconds)) {
        return Err(refused());
    }
    if now_ms >= expires_ms {
        return Err(
            Fault::new(Code::Unauthenticated, "the access token has ended").reason("token_expired"),
        );
    }
    Ok(Caller {
        user: claims.sub,
        username: claims.name,
        session: claims.sid,
        expires_ms,
    })
}

/// The answer to every token that is not ours, whatever is wrong with it.
pub fn refused() -> Fault {
    Fault::new(Code::Unauthenticated, "the access token is not valid")
}

/// The answer to a token whose login was ended.
pub fn ended() -> Fault {
    Fault::new(Code::Unauthenticated, "this login was ended").reason("session_ended")
}

fn is_key_id(kid: &str) -> bool {
    (1..=64).contains(&kid.len())
        && kid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
