//! From a URL to a log: the one place where the scheme decides.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kit::{Clock, Ids, Spawner};

#[cfg(feature = "kafka")]
use crate::kafka;
use crate::{EventLog, embedded, rules};

/// How much a log holds of what is appended, and for how long. What an adapter does not need it ignores.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of the newest records that are kept in memory, over all topics. Embedded only.
    pub memory_bytes: usize,
    /// Bytes that may wait to be written to the file or to the broker; above that an append waits.
    pub backlog_bytes: usize,
    /// The longest an append waits for room.
    #[serde(with = "kit::config::duration")]
    pub append_timeout: Duration,
    /// The age from which a record may be removed. Embedded only: brokers have their own.
    #[serde(with = "kit::config::duration")]
    pub retention_age: Duration,
    /// Bytes in the file above which the oldest records are removed, younger ones too. Embedded only.
    pub retention_bytes: u64,
    /// What only Apache Kafka needs.
    pub kafka: KafkaConfig,
}

/// How Apache Kafka is used. Everything else is configured at the broker.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Copies of each partition of a topic that is made here, 1 to 99; absent is the broker's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u8>,
    /// Copies that must have a record before an append returns; absent is the broker's default. Only for topics
    /// that are made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_insync_replicas: Option<u8>,
    /// Stands before the name of each consumer group, so that several installations can share a cluster; their topics need
    /// names of their own as well. Letters, digits, `.`, `-`, `_`.
    pub group_prefix: String,
    /// How long a record is sent again before its append fails with an unknown outcome, 1 s to 5 min. Shorter
    /// than a sender waits for an answer.
    #[serde(with = "kit::config::duration")]
    pub delivery_timeout: Duration,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            replication_factor: None,
            min_insync_replicas: None,
            group_prefix: String::new(),
            delivery_timeout: Duration::from_secs(8),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            backlog_bytes: 16 << 20,
            append_timeout: Duration::from_secs(5),
            retention_age: Duration::from_hours(24),
            retention_bytes: 8 << 30,
            kafka: KafkaConfig::default(),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.backlog_bytes < 2 * rules::MAX_VALUE || self.memory_bytes < self.backlog_bytes {
            return Err(OpenError::Config(
                "memory_bytes must be at least backlog_bytes, and that at least 2 MiB".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Why a log cannot be opened. Every message is one line for the person who starts the process.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no log that we know.
    #[error("`{0}` is not an event log: use embedded:PATH or kafka://HOST:PORT,...")]
    UnknownScheme(String),
    /// The URL has no path.
    #[error("`{0}` names no file: write embedded:PATH, such as embedded:/var/lib/messenger/log.db")]
    NoPath(String),
    /// The URL asks for Kafka and this build cannot.
    #[error("this build has no Kafka: use embedded:PATH, or a build with the feature `kafka`")]
    NoKafka,
    /// The URL has no usable list of brokers. What stood there is not repeated when it may hold a password.
    #[error("no list of brokers: {0}; write kafka://HOST:PORT,HOST:PORT")]
    Brokers(String),
    /// A setting cannot work.
    #[error("event log: {0}")]
    Config(String),
    /// Another process has the file.
    #[error("{0} is in use by another process; one process at a time may open it")]
    InUse(PathBuf),
    /// The file is something else.
    #[error("{path} is not an event log of this program ({found})")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The file cannot be used on this machine.
    #[error("cannot open the event log {path}: {cause}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// Refuses what can never be opened; gives the file of an embedded log. Nothing is touched.
pub fn check(url: &str, config: &Config) -> Result<Option<PathBuf>, OpenError> {
    match parse(url)? {
        Place::Embedded(path) => config.check().map(|()| Some(path)),
        #[cfg(feature = "kafka")]
        Place::Kafka(brokers) => kafka::check(brokers, config).map(|()| None),
    }
}

/// Opens the log that `url` names: `embedded:PATH`, or `kafka://...` in a build that has it.
///
/// The tasks of the log run under `spawner`. The caller puts [`EventLog::check`] into readiness and
/// calls [`EventLog::close`] when everything that appends has stopped. A log that fails for good, as
/// after a failed fsync, stops the node of `spawner`.
pub async fn open(
    url: &str,
    config: Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    spawner: Spawner,
) -> Result<Arc<dyn EventLog>, OpenError> {
    match parse(url)? {
        Place::Embedded(path) => Ok(Arc::new(
            embedded::EmbeddedLog::open(path, config, clock, ids, spawner).await?,
        )),
        #[cfg(feature = "kafka")]
        Place::Kafka(brokers) => Ok(Arc::new(kafka::KafkaLog::open(brokers, config, &spawner)?)),
    }
}

#[derive(Debug)]
enum Place {
    Embedded(PathBuf),
    #[cfg(feature = "kafka")]
    Kafka(Vec<kafka::Broker>),
}

fn parse(url: &str) -> Result<Place, OpenError> {
    // Only the scheme: what follows may hold a password.
    let unknown = || OpenError::UnknownScheme(url.split(':').next().unwrap_or(url).to_owned());
    let (scheme, rest) = url.split_once(':').ok_or_else(unknown)?;
    match scheme {
        "embedded" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.ends_with('/') {
                return Err(OpenError::NoPath(url.to_owned()));
            }
            Ok(Place::Embedded(path.into()))
        }
        #[cfg(feature = "kafka")]
        "kafka" => Ok(Place::Kafka(kafka::Broker::list(rest)?)),
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(OpenError::NoKafka),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_the_adapter() {
        let path = |url| match parse(url) {
            Ok(Place::Embedded(path)) => path,
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(path("embedded:/data/log.db"), PathBuf::from("/data/log.db"));
        assert_eq!(
            path("embedded:///data/log.db"),
            PathBuf::from("/data/log.db")
        );
        assert_eq!(path("embedded:data/log.db"), PathBuf::from("data/log.db"));
    }

    #[test]
    fn an_unknown_scheme_names_the_valid_ones() {
        for url in ["nats://localhost", "log.db", ""] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains("embedded:") && error.contains("kafka://"),
                "{error}"
            );
        }
        assert!(matches!(parse("embedded:"), Err(OpenError::NoPath(_))));
        let error = parse("nats://ann:hunter2@host").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[cfg(not(feature = "kafka"))]
    #[test]
    fn a_build_without_kafka_says_so() {
        let refused = parse("kafka://localhost:9092").unwrap_err();
        assert!(refused.to_string().contains("no Kafka"), "{refused}");
    }
}
