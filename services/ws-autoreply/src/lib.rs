#![doc = include_str!("../README.md")]

mod api;
mod app;
mod metrics;

use std::sync::Arc;

use contracts::{auth::Verifier, events::Topics};
use eventlog::{EventLog, TopicSpec};
use kit::{Clock, Fault, Ids, Node, OnFailure};
use realtime::{Hub, Listeners};

/// The settings of this service.
pub type Config = realtime::ListenersConfig;

/// What this service stands on.
pub struct Deps {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// The name of this process at its sockets.
    pub ids: Arc<dyn Ids>,
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
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<(), Fault> {
    metrics::describe();
    let (sockets, ids) = (config.sockets.clone(), deps.ids.as_ref());
    let hub = Hub::start("ws-autoreply", sockets, deps.clock, ids, node)
        .map_err(|error| Fault::invalid(format!("ws-autoreply.sockets.{error}")))?;
    let ended = deps.verifier.revocations();
    let people = Listeners::new(hub, api::Gate(deps.verifier));
    people.close_ended("ws-autoreply logins", ended, node);
    let why = "the lanes are not followed";
    node.ready("ws-autoreply lanes", people.readiness(why));
    node.http(axum::Router::new().route("/ws/autoreply", people.door()));
    let replies = Arc::new(app::Replies {
        log: deps.log,
        topics: deps.topics,
        people,
        member: deps.replica,
        session_timeout: config.session_timeout,
        stop: node.token(),
    });
    let this = replies.clone();
    node.task("ws-autoreply tell", OnFailure::Restart, move || {
        this.clone().tell()
    });
    node.task("ws-autoreply lanes", OnFailure::Restart, move || {
        replies.clone().follow_lanes()
    });
    Ok(())
}
