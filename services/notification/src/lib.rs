#![doc = include_str!("../README.md")]

mod app;
mod domain;
mod metrics;

use std::{sync::Arc, time::Duration};

use contracts::{events::Topics, message::MessageClient};
use eventlog::{EventLog, TopicSpec};
use kit::{Clock, Node, OnFailure};
use serde::{Deserialize, Serialize};

/// The settings of this service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A consumer that does not come back for so long loses its partitions.
    #[serde(with = "kit::config::duration")]
    pub session_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(6),
        }
    }
}

/// What this service stands on.
pub struct Deps {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Knows who reads.
    pub message: MessageClient,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Unique among the replicas of this service, the same after a restart.
    pub replica: Arc<str>,
}

/// The topics that this service uses, with `partitions` each.
pub fn topics(topics: &Topics, partitions: u32) -> Vec<TopicSpec> {
    vec![TopicSpec {
        name: topics.forward_message.as_str().into(),
        partitions,
    }]
}

/// The consumer group of this service, and what it reads.
pub fn groups(topics: &Topics) -> [(&'static str, &str); 1] {
    [(app::GROUP, &topics.forward_message)]
}

/// Starts the service on `node`. The topics exist.
pub fn build(config: &Config, deps: Deps, node: &Node) {
    metrics::describe();
    let notices = Arc::new(app::Notices {
        log: deps.log,
        topics: deps.topics,
        message: deps.message,
        clock: deps.clock,
        member: deps.replica,
        session_timeout: config.session_timeout,
        stop: node.token(),
        followed: tokio::sync::Mutex::default(),
    });
    node.task("notification", OnFailure::Restart, move || {
        notices.clone().tell()
    });
}
