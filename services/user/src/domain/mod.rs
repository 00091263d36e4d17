//! Names and addresses that cannot be wrong, and what can go wrong with an account.

mod email;
mod username;

use caseless::Caseless as _;
use kit::{Code, Fault};
use unicode_normalization::UnicodeNormalization as _;

pub(crate) use email::Email;
pub(crate) use username::Username;

/// Why an account is not made, changed or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The name does not follow the rules.
    #[error("the username {0}")]
    Username(&'static str),
    /// The address does not follow the rules.
    #[error("the e-mail address {0}")]
    Email(&'static str),
    /// Somebody has the name.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// There is no such account.
    #[error("no such user")]
    NotFound,
    /// The hash is no PHC string.
    #[error("the password hash is not a PHC string of at most 512 bytes")]
    Hash,
    /// More ids than one question may have.
    #[error("more than {} ids at once", contracts::user::MAX_IDS)]
    TooManyIds,
    /// The store.
    #[error(transparent)]
    Store(#[from] sql::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Username(_) => Self::invalid(text).reason("username_invalid"),
            Error::Email(_) => Self::invalid(text).reason("email_invalid"),
            Error::UsernameTaken => Self::new(Code::Conflict, text).reason("username_taken"),
            Error::EmailTaken => Self::new(Code::Conflict, text).reason("email_taken"),
            Error::NotFound => Self::not_found("user"),
            Error::Hash | Error::TooManyIds => Self::invalid(text),
            Error::Store(error) => error.into(),
        }
    }
}

/// The form in which names and addresses are compared: NFKC and case folding, in the order of the Unicode
/// Standard's compatibility caseless match (section 3.13, D146).
fn fold(text: &str) -> String {
    text.nfd()
        .default_case_fold()
        .nfkd()
        .default_case_fold()
        .nfkc()
        .collect()
}

/// Checks what `auth` wants to be kept. The text is not looked into any further.
pub(crate) fn check_hash(hash: &str) -> Result<(), Error> {
    let is_phc =
        hash.starts_with('$') && hash.len() <= 512 && hash.bytes().all(|b| b.is_ascii_graphic());
    if is_phc { Ok(()) } else { Err(Error::Hash) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fold;

    #[test]
    fn what_people_take_for_the_same_is_the_same() {
        for (a, b) in [
            ("Ann", "aNN"),
            ("STRASSE", "straße"),
            ("Ａｎｎ", "ann"),
            ("e\u{301}", "É"),
            ("ﬁn", "FIN"),
            ("ΣΑΣ", "σας"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_ne!(
            fold("ann"),
            fold("аnn"),
            "a Cyrillic letter is another letter"
        );
    }

    proptest! {
        #[test]
        fn folding_again_changes_nothing(text in "\\PC{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
