//! What can be set.

use std::{num::NonZeroUsize, time::Duration};

use axum::http::uri::Authority;
use cache::Rule;
use contracts::auth::token::MAX_LIFETIME_S;
use kit::config::SecretString;

use crate::keys::Sealer;

/// The section `auth`.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an access token holds: one second to 24 hours.
    #[serde(with = "kit::config::duration")]
    pub access_ttl: Duration,
    /// How long a login lasts without being used.
    #[serde(with = "kit::config::duration")]
    pub refresh_idle: Duration,
    /// How long a login lasts at all.
    #[serde(with = "kit::config::duration")]
    pub refresh_absolute: Duration,
    /// Seals the signing key in the store; at least 32 characters, the same for every process. Without it a file in the
    /// data folder is used, where there is one.
    #[serde(serialize_with = "kit::config::redacted")]
    pub secret: Option<SecretString>,
    /// Logins from one address.
    pub login_limit: Rule,
    /// Registrations from one address.
    pub register_limit: Rule,
    /// Password checks of one account by strangers, from everywhere; and by each browser that logged in to it before.
    pub account_limit: Rule,
    /// Passwords hashed at the same time, 19 MiB each; 0 is one for each core.
    pub hash_workers: usize,
    /// Requests that wait for their turn at most; the next one is answered with 503.
    pub hash_queue: usize,
    /// The address by which browsers reach the server. With `https:` cookies are marked `Secure` and bound to the host.
    pub public_url: String,
}

impl Default for Config {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            access_ttl: Duration::from_mins(15),
            refresh_idle: 14 * day,
            refresh_absolute: 60 * day,
            secret: None,
            login_limit: Rule::per_minute(5),
            register_limit: Rule::per_minute(3),
            account_limit: Rule::per_minute(30),
            hash_workers: 0,
            hash_queue: 64,
            public_url: "http://localhost:8080".to_owned(),
        }
    }
}

impl Config {
    /// Refuses what cannot work, naming the settings. `has_key_file` says whether the secret may be left to a file.
    ///
    /// # Errors
    /// One line for each trouble.
    pub fn check(&self, has_key_file: bool) -> Result<(), Vec<String>> {
        let longest = Duration::from_secs(MAX_LIFETIME_S.unsigned_abs());
        let ten_years = Duration::from_hours(10 * 366 * 24);
        let mut troubles = Vec::new();
        if !(Duration::from_secs(1)..=longest).contains(&self.access_ttl) {
            troubles.push("auth.access_ttl must be between 1s and 24h".to_owned());
        }
        if self.refresh_idle < self.access_ttl || self.refresh_absolute < self.refresh_idle {
            troubles.push("auth.access_ttl, auth.refresh_idle and auth.refresh_absolute must rise in this order".to_owned());
        }
        if self.refresh_absolute > ten_years {
            troubles.push("auth.refresh_absolute must not be longer than ten years".to_owned());
        }
        if self.host().is_none_or(|host| !is_authority(host)) {
            troubles.push(format!(
                "auth.public_url: `{}` must be http:// or https:// and a host",
                self.public_url
            ));
        }
        troubles.extend(Sealer::check(self.secret.as_ref(), has_key_file).err());
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles)
        }
    }

    pub(crate) fn hash_workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if self.hash_workers == 0 {
            cores
        } else {
            self.hash_workers
        }
    }

    /// Whether browsers come over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Host and port of [`Config::public_url`].
    pub(crate) fn host(&self) -> Option<&str> {
        origin_host(&self.public_url)
    }
}

/// Host and port of an origin or an address that begins like one.
pub(crate) fn origin_host(origin: &str) -> Option<&str> {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    (!host.is_empty()).then_some(host)
}

/// Whether a text is a host with or without a port, and nobody's password.
fn is_authority(host: &str) -> bool {
    host.parse::<Authority>().is_ok() && !host.contains('@')
}

/// Milliseconds as the tables count them.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
