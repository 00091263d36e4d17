//! The address of a person.

use super::{Error, fold};

/// `local@domain`, at most 320 bytes, the domain with a dot. Whether mail arrives there is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email {
    text: String,
    key: String,
}

impl Email {
    /// The longest address: 64 bytes, `@`, 255 bytes (RFC 5321 section 4.5.3.1).
    const MAX_BYTES: usize = 320;

    /// Reads an address; white space around it is not part of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() > Self::MAX_BYTES {
            return Err(Error::Email("is longer than 320 bytes"));
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Err(Error::Email("has no `@`"));
        };
        if !is_local(local) || !is_domain(domain) {
            return Err(Error::Email("is not of the form name@example.org"));
        }
        Ok(Self {
            text: text.to_owned(),
            key: fold(text),
        })
    }

    /// The address as its owner writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The address as it is compared.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// A dot-atom (RFC 5322 section 3.2.3), letters of any script (RFC 6531); nobody has a quoted local part.
fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .chars()
                .all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    local.len() <= 64 && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 255 && domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::Email;

    /// row:A02
    #[test]
    fn an_address_has_a_local_part_and_a_domain() {
        for good in [
            "ann@example.org",
            "a.b+c@x-y.example",
            " ann@example.org ",
            "зоя@пример.рф",
            &format!("{}@example.org", "x".repeat(64)),
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "ann",
            "@example.org",
            "ann@",
            "ann@example",
            "ann@@example.org",
            "a n@example.org",
            "ann@exa mple.org",
            ".ann@example.org",
            "ann.@example.org",
            "a..b@example.org",
            "ann@-example.org",
            "ann@example..org",
            "ann@.org",
            "ann@example.org.",
            "a\u{202e}nn@example.org",
            "ann\u{0}@example.org",
            "ann@example.org\nbcc:x@example.org",
            "\"ann\"@example.org",
            "<ann@example.org>",
            &format!("{}@example.org", "x".repeat(65)),
            &format!("ann@{}.org", "x".repeat(64)),
            &format!("ann@{}org", "x.".repeat(160)),
        ];
        for bad in bad {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }
}
