//! Browsers that logged in to an account before: strangers who guess at it do not keep them out (threat:T1).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::{SessionId, UserId};

use super::Auth;
use crate::domain::Error;

/// What the proof is sealed under, so that nothing else that is sealed can stand in for it.
const NAME: &str = "known browser";

impl Auth {
    /// What a browser keeps as proof of the login `session` of `user`, whatever becomes of that login.
    pub(crate) fn proof(&self, user: UserId, session: SessionId) -> Option<String> {
        let ids = [user.0.as_bytes().as_slice(), session.0.as_bytes()].concat();
        let sealed = self.sealer.seal(NAME, &ids);
        sealed.ok().map(|sealed| BASE64.encode(sealed))
    }

    /// Whether `proof` is of a login of `user`.
    pub(super) fn is_proven(&self, proof: Option<&str>, user: UserId) -> bool {
        let sealed = proof.and_then(|proof| BASE64.decode(proof).ok());
        let ids = sealed.and_then(|sealed| self.sealer.unseal(NAME, &sealed));
        ids.is_some_and(|ids| ids.starts_with(user.0.as_bytes()))
    }

    /// Guesses at one account are slowed down wherever they come from. Those who have proven a login of it before have
    /// a bucket beside (`known`), and so has each login (`session`): strangers lock nobody out.
    pub(super) async fn limit_guesses(&self, kind: &'static str, of: &str) -> Result<(), Error> {
        let bucket = format!("auth:{kind}:{of}");
        self.limit(&bucket, self.config.account_limit).await
    }
}
