//! The name by which people find each other.

use std::collections::HashSet;

use icu_properties::{CodePointMapData, props::Script};
use unicode_normalization::UnicodeNormalization as _;

use super::{Error, fold};

/// 3 to 32 letters, digits, `_`, `-` or `.`, of any one script, at least one of them a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Username {
    text: String,
    key: String,
}

/// Letters by their class that nobody sees: the fillers of Hangul.
const INVISIBLE: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

impl Username {
    /// Reads a new name as its owner wrote it; white space around it is not part of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let name = Self::sought(text)?;
        if is_of_one_script(&name.text) {
            Ok(name)
        } else {
            Err(Error::Username(
                "mixes letters of different alphabets, which look alike",
            ))
        }
    }

    /// Reads a name that somebody looks for; one that was taken before [`Self::parse`] became stricter is found.
    pub(crate) fn sought(text: &str) -> Result<Self, Error> {
        // Nothing longer can become a name; this bounds the work of normalising.
        if text.len() > 512 {
            return Err(Error::Username("is longer than 32 characters"));
        }
        let text: String = text.trim().nfc().collect();
        match text.chars().count() {
            0..3 => return Err(Error::Username("is shorter than 3 characters")),
            33.. => return Err(Error::Username("is longer than 32 characters")),
            _ => {}
        }
        let is_letter = |c: char| c.is_alphanumeric() && !INVISIBLE.contains(&c);
        if !text
            .chars()
            .all(|c| is_letter(c) || matches!(c, '_' | '-' | '.'))
        {
            return Err(Error::Username(
                "may hold letters, digits, `_`, `-` and `.` only",
            ));
        }
        if !text.chars().any(is_letter) {
            return Err(Error::Username("needs a letter or a digit"));
        }
        let key = fold(&text);
        Ok(Self { text, key })
    }

    /// The name as its owner writes it, in NFC.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The name as it is compared.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Scripts that people write together: Latin beside the three of East Asia. They do not look alike.
const TOGETHER: [&[Script]; 3] = [
    &[
        Script::Latin,
        Script::Han,
        Script::Hiragana,
        Script::Katakana,
    ],
    &[Script::Latin, Script::Han, Script::Hangul],
    &[Script::Latin, Script::Han, Script::Bopomofo],
];

/// Whether no letter of another alphabet stands among the others: one script, with what all scripts share such as digits;
/// UTS 39 section 5.2 calls it highly restrictive. Whole names of two alphabets may still look alike.
fn is_of_one_script(text: &str) -> bool {
    let of = CodePointMapData::<Script>::new();
    let scripts: HashSet<_> = text
        .chars()
        .map(|c| of.get(c))
        .filter(|script| !matches!(*script, Script::Common | Script::Inherited))
        .collect();
    let are_together = |known: &&[Script]| scripts.iter().all(|script| known.contains(script));
    scripts.len() < 2 || TOGETHER.iter().any(are_together)
}

#[cfg(test)]
mod tests {
    use super::Username;

    /// row:A02
    #[test]
    fn a_name_is_three_to_thirty_two_letters_digits_and_joiners() {
        for name in [
            "ann",
            "Ann_B-2.0",
            "Зоя",
            "張偉明",
            "  ann\n",
            &"x".repeat(32),
            &"я".repeat(32),
        ] {
            assert!(Username::parse(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "an",
            "   a   ",
            "...",
            "_-_",
            "a b c",
            "ann@home",
            "ann/..",
            "an\nn",
            "an\u{7}n",
            &"x".repeat(33),
            &"я".repeat(600),
        ] {
            assert!(Username::parse(name).is_err(), "{name:?}");
        }
    }

    /// row:A02: a letter of another alphabet does not stand in for one that looks like it.
    #[test]
    fn look_alikes_of_another_alphabet_are_refused() {
        for name in [
            "аnn",     // Cyrillic, Latin
            "раураl",  // Cyrillic but for the last letter
            "pαul",    // Latin, Greek
            "Аλфа",    // Cyrillic, Greek
            "ann_зоя", // both in full
            "Օwner",   // Armenian, Latin
            "зоя山",   // Cyrillic, Han
        ] {
            let refused = Username::parse(name).unwrap_err().to_string();
            assert!(refused.contains("different alphabets"), "{name}: {refused}");
        }
        for name in [
            "ann-2.0",
            "Зоя_1995",
            "Ελένη",
            "José",
            "山田たろう",
            "ヤマダ太郎x",
            "김철수kim",
            "ราม",
            "محمد",
            "देवी",
        ] {
            assert!(Username::parse(name).is_ok(), "{name}");
        }
    }

    /// row:A02: nothing that hides in a name or turns the writing direction.
    #[test]
    fn invisible_and_direction_characters_are_refused() {
        for hidden in [
            '\u{0}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2066}',
            '\u{3164}',
            '\u{feff}',
            '\u{e0041}',
            '\u{115f}',
        ] {
            assert!(
                Username::parse(&format!("an{hidden}n")).is_err(),
                "{hidden:?}"
            );
        }
    }
}
