//! The rules of logins: passwords, refresh tokens, and what can go wrong.

pub(crate) mod password;
pub(crate) mod refresh;

use std::time::Duration;

use contracts::SessionId;
use kit::{BoxError, Code, Fault};

/// Why a request of `auth` is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The new password does not follow the rules.
    #[error("the password {0}")]
    Password(&'static str),
    /// Wrong password or unknown user; they look alike.
    #[error("the name or the password is wrong")]
    Credentials,
    /// The refresh token is unknown, or its login has ended.
    #[error("the refresh token is not valid")]
    Refresh,
    /// The refresh token was used before: this login is over for everybody who holds it.
    #[error("the refresh token is not valid")]
    Reused(SessionId),
    /// The cookie came with a request of another site.
    #[error("this request came from another site")]
    OtherSite,
    /// The current password is wrong, of somebody who is logged in.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The account of a valid token is gone.
    #[error("the account is gone")]
    NoAccount,
    /// There is no such login of this person.
    #[error("no such session")]
    NoSession,
    /// Too many tries; one more is fine after this time.
    #[error("too many tries; wait a moment")]
    TooMany(Duration),
    /// All places of the password pool are taken.
    #[error("too many logins at once; try again")]
    Busy,
    /// What `user` answered.
    #[error(transparent)]
    User(#[from] Fault),
    /// The store.
    #[error(transparent)]
    Store(#[from] sql::Error),
    /// A defect of ours.
    #[error("something went wrong on our side")]
    Internal(#[source] BoxError),
}

impl Error {
    /// A defect of ours.
    pub(crate) fn internal(cause: impl Into<BoxError>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Password(_) => Self::invalid(text).reason("password_invalid"),
            Error::Credentials => Self::new(Code::Unauthenticated, text).reason("bad_credentials"),
            Error::Refresh | Error::Reused(_) => {
                Self::new(Code::Unauthenticated, text).reason("refresh_invalid")
            }
            Error::OtherSite => Self::new(Code::Forbidden, text).reason("other_site"),
            Error::WrongPassword => Self::new(Code::Forbidden, text).reason("wrong_password"),
            Error::NoAccount => Self::not_found("user"),
            Error::NoSession => Self::not_found("session"),
            Error::TooMany(wait) => Self::new(Code::Exhausted, text).retry_in(wait),
            Error::Busy => Self::new(Code::Unavailable, text).retry_in(Duration::from_secs(1)),
            Error::User(fault) => fault,
            Error::Store(error) => error.into(),
            Error::Internal(cause) => Self::internal(cause),
        }
    }
}
