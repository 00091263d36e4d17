//! What every configuration section needs: durations as people write them, secrets that do not print.

pub use secrecy::{ExposeSecret, SecretString};

/// Durations as `250ms`, `30s`, `15m`, `24h` or `30d`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a whole number with a unit.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a duration such as 30s"))?;
        let ms = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(format!("`{text}` needs a unit: ms, s, m, h or d")),
        };
        number
            .checked_mul(ms)
            .map(Duration::from_millis)
            .ok_or_else(|| format!("`{text}` is too long"))
    }

    /// The shortest exact writing.
    pub fn format(duration: Duration) -> String {
        let ms = duration.as_millis();
        for (unit, size) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
        ] {
            if ms > 0 && ms.is_multiple_of(size) {
                return format!("{}{unit}", ms / size);
            }
        }
        format!("{ms}ms")
    }

    /// For `#[serde(with = "kit::config::duration")]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// For `#[serde(with = "kit::config::duration")]`.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }
}

/// For `#[serde(serialize_with = "kit::config::redacted")]`: prints whether a secret is set, never the secret.
pub fn redacted<S: serde::Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.is_some() { "(set)" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        assert_eq!(
            duration::parse("15m"),
            Ok(std::time::Duration::from_mins(15))
        );
        for wrong in [
            "",
            "15",
            "m",
            "-1s",
            "1.5s",
            "9999999999999999999d",
            "99999999999999999d",
        ] {
            assert!(duration::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            duration::format(std::time::Duration::from_millis(1500)),
            "1500ms"
        );
    }
}
