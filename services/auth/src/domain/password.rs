//! What may become a password (NIST SP 800-63B section 3.1.1: length and a list, no composition rules).

use unicode_normalization::UnicodeNormalization as _;

use super::Error;

/// Passwords of at least eight characters that attackers try first, one a line, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");

/// A password as somebody typed it, in NFC, so that each keyboard types the same (RFC 8265 section 4.2).
pub(crate) struct Password(String);

impl Password {
    /// The fewest characters of a new password.
    const MIN_CHARS: usize = 8;
    /// The most bytes of a new password.
    const MAX_BYTES: usize = 1024;

    /// A password that is only compared.
    pub(crate) fn typed(text: &str) -> Self {
        Self(text.nfc().collect())
    }

    /// A new password; `names` are what everybody knows of its owner.
    pub(crate) fn chosen(text: &str, names: &[&str]) -> Result<Self, Error> {
        if text.len() > Self::MAX_BYTES {
            return Err(Error::Password("is longer than 1024 bytes"));
        }
        let password = Self::typed(text);
        if password.0.chars().count() < Self::MIN_CHARS {
            return Err(Error::Password("is shorter than 8 characters"));
        }
        let lower = password.0.to_lowercase();
        if COMMON.lines().any(|common| common == lower) || is_one_character(&lower) {
            return Err(Error::Password("is one of those that are tried first"));
        }
        if names.iter().any(|name| name.to_lowercase() == lower) {
            return Err(Error::Password("is the name or the address"));
        }
        Ok(password)
    }

    /// The bytes that are hashed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn is_one_character(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.all(|c| Some(c) == first)
}

#[cfg(test)]
mod tests {
    use super::{COMMON, Password};

    /// threat:T4, row:A02
    #[test]
    fn length_and_the_list_decide() {
        let long = "x9".repeat(512);
        for good in [
            "correct horse",
            "пароль-длинный",
            "🦀🦀🦀🦀🦀🦀🦀🐚",
            "        a",
            &"ab".repeat(40),
            &long,
        ] {
            assert!(
                Password::chosen(good, &["ann", "ann@example.org"]).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "short",
            "1234567",
            "password",
            "PassWord1",
            "12345678",
            "qwertyuiop",
            "aaaaaaaaaaaa",
            "ann@example.org",
            "Ann@Example.org",
            &format!("{long}x"),
        ] {
            assert!(
                Password::chosen(bad, &["ann", "ann@example.org"]).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn one_text_typed_on_two_keyboards_is_one_password() {
        assert_eq!(
            Password::typed("caf\u{e9} au lait").as_bytes(),
            Password::typed("cafe\u{301} au lait").as_bytes()
        );
    }

    #[test]
    fn the_list_holds_what_the_length_lets_through() {
        assert!(COMMON.lines().count() >= 100);
        for common in COMMON.lines() {
            assert!(
                common.chars().count() >= Password::MIN_CHARS && common == common.to_lowercase(),
                "{common}"
            );
        }
    }
}
