//! Browsers that logged in to an account before: strangers who guess at it do not keep them out (threat:T1).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::{SessionId, UserId};

use super::Auth;
use crate::domain::Error;

/// What the proof is sealed under, so that nothing else that is sealed can stand in for it.
const NAME: &str = "known browser";
/// The bytes of an id.
const ID: usize = 16;

impl Auth {
    /// What a browser keeps as proof of the login `session` of `user`, whatever becomes of that login.
    pub(crate) fn proof(&self, user: UserId, session: SessionId) -> Option<String> {
        let ids = [user.0.as_bytes().as_slice(), session.0.as_bytes()].concat();
        let sealed = self.sealer.seal(NAME, &ids);
        sealed.ok().map(|sealed| BASE64.encode(sealed))
    }

    /// The login of `user` that `proof` is of.
    pub(super) fn proven(&self, proof: Option<&str>, user: UserId) -> Option<SessionId> {
        let sealed = BASE64.decode(proof?).ok()?;
        let ids = self.sealer.unseal(NAME, &sealed)?;
        let (owner, session) = ids.split_at_checked(ID)?;
        let session = session.try_into().ok()?;
        (owner == user.0.as_bytes()).then(|| SessionId(uuid::Uuid::from_bytes(session)))
    }

    /// Guesses at one account are slowed down wherever they come from. Whoever has proven a login of it before has a
    /// bucket of their own; so strangers lock nobody out of a browser that is known.
    pub(super) async fn limit_account(
        &self,
        account: &str,
        known: Option<SessionId>,
    ) -> Result<(), Error> {
        let bucket = known.map_or_else(
            || format!("auth:account:{account}"),
            |session| format!("auth:known:{session}"),
        );
        self.limit(&bucket, self.config.account_limit).await
    }
}
