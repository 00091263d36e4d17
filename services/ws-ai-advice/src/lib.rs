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
    /// Where pieces of texts come from.
    pub cache: Arc<dyn cache::Cache>,
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

/// The topics that this service uses, with `partitions` each; one for dead letters.
pub fn topics(topics: &Topics, partitions: u32) -> Vec<TopicSpec> {
    let spec = |name: &str, partitions| TopicSpec {
        name: name.into(),
        partitions,
    };
    vec![
        spec(&topics.ai_advice_response, partitions),
        spec(&topics.forward_message, partitions),
        spec(&topics.dead_letters(app::GROUP), 1),
    ]
}

/// The consumer group of this service, and what it reads.
pub fn groups(topics: &Topics) -> [(&'static str, &str); 1] {
    [(app::GROUP, &topics.ai_advice_response)]
}

/// Starts the service on `node`. The topics exist.
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<(), Fault> {
    metrics::describe();
    let (sockets, ids) = (config.sockets.clone(), deps.ids.as_ref());
    let hub = Hub::start("ws-ai-advice", sockets, deps.clock, ids, node)
        .map_err(|error| Fault::invalid(format!("ws-ai-advice.sockets.{error}")))?;
    let (ended, following) = (deps.verifier.revocations(), Arc::default());
    let people = Listeners::new(hub, api::Gate(deps.verifier, Arc::clone(&following)));
    people.close_ended("ws-ai-advice logins", ended, node);
    let why = "the lanes are not followed";
    node.ready("ws-ai-advice lanes", people.readiness(why));
    node.http(axum::Router::new().route("/ws/ai-advice", people.door()));
    let advice = Arc::new(app::Advice {
        log: deps.log,
        cache: deps.cache,
        topics: deps.topics,
        people,
        following,
        member: deps.replica,
        session_timeout: config.session_timeout,
        stop: node.token(),
    });
    let this = advice.clone();
    node.task("ws-ai-advice deliver", OnFailure::Restart, move || {
        this.clone().deliver()
    });
    let this = advice.clone();
    node.task("ws-ai-advice lanes", OnFailure::Restart, move || {
        this.clone().follow_lanes()
    });
    node.task("ws-ai-advice pieces", OnFailure::Restart, move || {
        advice.clone().follow_pieces()
    });
    Ok(())
}
