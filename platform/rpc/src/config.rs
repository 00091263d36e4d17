//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};

use kit::config::{ExposeSecret as _, SecretString};

use crate::{Channel, channel, credential::Credential};

/// The section `rpc`.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where this process offers its services to the others. What goes over it is not encrypted: an address of this
    /// machine, or of a network that is ours alone.
    pub listen: SocketAddr,
    /// By what the processes know each other: at least 32 characters, the same for all of them. Without it nothing is
    /// offered and nobody elsewhere is asked.
    #[serde(serialize_with = "kit::config::redacted")]
    pub secret: Option<SecretString>,
    /// Calls that are answered at the same time; the others wait, no longer than until their deadline.
    pub calls: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            secret: None,
            calls: 512,
        }
    }
}

impl Config {
    const SHORTEST: usize = 32;
    const MOST_CALLS: usize = 100_000;

    /// Refuses what cannot work, naming the setting.
    pub fn check(&self) -> Result<(), String> {
        self.credential()?;
        if !(1..=Self::MOST_CALLS).contains(&self.calls) {
            return Err(format!(
                "rpc.calls must be between 1 and {}",
                Self::MOST_CALLS
            ));
        }
        Ok(())
    }

    /// The way to a service that runs elsewhere: `host:port` of one process, or of several with commas between them.
    /// Nothing is connected before the first call. Needs a runtime.
    ///
    /// # Errors
    /// What is wrong with the addresses or the secret, naming the setting.
    pub fn channel(&self, addresses: &str) -> Result<Channel, String> {
        let credential = self.credential()?.ok_or(
            "rpc.secret must be set, the same for all processes, when services run elsewhere",
        )?;
        channel::open(addresses, credential)
    }

    pub(crate) fn credential(&self) -> Result<Option<Credential>, String> {
        let Some(secret) = &self.secret else {
            return Ok(None);
        };
        let secret = secret.expose_secret();
        if secret.chars().count() < Self::SHORTEST {
            return Err(format!(
                "rpc.secret must have at least {} characters",
                Self::SHORTEST
            ));
        }
        Credential::new(secret)
            .map(Some)
            .ok_or_else(|| "rpc.secret must be of letters, digits and signs of ASCII".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "thirty-two characters of a test.";

    fn with(secret: &str) -> Config {
        Config {
            secret: Some(secret.into()),
            ..Config::default()
        }
    }

    #[test]
    fn a_secret_has_32_characters_that_a_header_can_carry() {
        assert_eq!(with(SECRET).check(), Ok(()));
        for wrong in [
            "",
            "short",
            &SECRET[1..],
            &format!("{SECRET}\n"),
            &"ж".repeat(32),
        ] {
            let error = with(wrong).check().unwrap_err();
            assert!(error.contains("rpc.secret"), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn at_least_one_call_is_answered_at_a_time() {
        let config = Config {
            calls: 0,
            ..Config::default()
        };
        assert!(config.check().unwrap_err().contains("rpc.calls"));
    }

    /// row:G24: neither a log line nor `messenger config` shows the secret.
    #[test]
    fn the_secret_is_never_printed() {
        let config = with(SECRET);
        let credential = config.credential().unwrap();
        let shown = format!("{config:?} {credential:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        let serialised = serde_json::to_string(&config).unwrap();
        assert!(
            serialised.contains("(set)") && !serialised.contains(SECRET),
            "{serialised}"
        );
    }

    #[tokio::test]
    async fn an_address_is_a_host_and_a_port() {
        for right in ["127.0.0.1:50051", "user:50051", "a:1, b:2", "[::1]:50051"] {
            assert!(with(SECRET).channel(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "user",
            "user:",
            ":50051",
            "user:0",
            "a:1,,b:2",
            "http://a:1",
            "me@a:1",
        ] {
            let error = with(SECRET).channel(wrong).err();
            assert!(error.is_some_and(|error| error.contains(wrong)), "{wrong}");
        }
        assert!(Config::default().channel("a:1").is_err());
    }
}
