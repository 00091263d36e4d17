//! The settings of this service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of this service. The defaults are in `messenger/config.default.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Limits and times of the sockets.
    pub sockets: realtime::Config,
    /// The registry of sessions, and who is told of it.
    pub presence: Presence,
}

/// How long a person counts as present, and how soon others learn that they are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// How long a connection stays registered when its process does not say again that it is there, which it does three
    /// times in that time.
    #[serde(with = "kit::config::duration")]
    pub lease: Duration,
    /// How long a connection that has ended still counts.
    #[serde(with = "kit::config::duration")]
    pub grace: Duration,
    /// After so long it is looked again how present those are who are watched.
    #[serde(with = "kit::config::duration")]
    pub reread: Duration,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            grace: Duration::from_secs(5),
            reread: Duration::from_secs(30),
        }
    }
}

impl Presence {
    /// After so long a connection is registered again.
    pub(crate) fn refresh(&self) -> Duration {
        self.lease / 3
    }
}

impl Config {
    /// Names the first value that cannot work, with its place below the section.
    ///
    /// # Errors
    /// That value and why.
    pub fn check(&self) -> Result<(), String> {
        self.sockets
            .check()
            .map_err(|wrong| format!("sockets.{wrong}"))?;
        let Presence {
            lease,
            grace,
            reread,
        } = self.presence;
        let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
        if !(second..=hour).contains(&lease) {
            return Err("presence.lease must be within 1s and 1h".to_owned());
        }
        if grace > lease / 2 {
            return Err("presence.grace must be at most half of presence.lease".to_owned());
        }
        if !(second..=hour).contains(&reread) {
            return Err("presence.reread must be within 1s and 1h".to_owned());
        }
        Ok(())
    }
}
