#![doc = include_str!("../README.md")]

mod api;
mod app;
mod metrics;

use std::{sync::Arc, time::Duration};

use contracts::{auth::Verifier, events::Topics};
use eventlog::{EventLog, TopicSpec};
use kit::{Clock, Fault, Ids, Node, OnFailure};
use realtime::Hub;
use serde::{Deserialize, Serialize};

/// The settings of this service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Limits and times of the sockets.
    pub sockets: realtime::Config,
    /// A consumer that does not come back for so long loses its partitions.
    #[serde(with = "kit::config::duration")]
    pub session_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sockets: realtime::Config::default(),
            session_timeout: Duration::from_secs(6),
        }
    }
}

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
        spec(&Topics::dead_letters(app::deliver::GROUP), 1),
    ]
}

/// Starts the service on `node`. The topics exist.
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<(), Fault> {
    metrics::describe();
    let hub = Hub::start(
        "ws-ai-advice",
        config.sockets.clone(),
        deps.clock,
        deps.ids.as_ref(),
        node,
    );
    let hub = hub.map_err(|error| Fault::invalid(format!("ws-ai-advice.sockets.{error}")))?;
    let people = Arc::new(app::people::People::default());
    let stop = node.token();
    let deliver = app::deliver::Deliver {
        log: deps.log.clone(),
        topics: deps.topics.clone(),
        member: deps.replica,
        session_timeout: config.session_timeout,
        token: stop.clone(),
    };
    node.task("ws-ai-advice deliver", OnFailure::Restart, move || {
        deliver.clone().run()
    });
    let (this, token, behind) = (people.clone(), stop.clone(), hub.clone());
    let (log, topics) = (deps.log, deps.topics);
    node.task("ws-ai-advice lanes", OnFailure::Restart, move || {
        let (this, token, behind) = (this.clone(), token.clone(), behind.clone());
        let (log, topics) = (log.clone(), topics.clone());
        async move {
            this.follow_lanes(log.as_ref(), &topics.forward_message, &behind, token)
                .await
        }
    });
    let (this, cache) = (people.clone(), deps.cache);
    node.task("ws-ai-advice pieces", OnFailure::Restart, move || {
        let (this, cache, token) = (this.clone(), cache.clone(), stop.clone());
        async move { this.follow_pieces(cache.as_ref(), token).await }
    });
    let (this, behind, verifier) = (people.clone(), hub.clone(), deps.verifier.clone());
    let stop = node.token();
    node.task("ws-ai-advice logins", OnFailure::Restart, move || {
        let (this, behind) = (this.clone(), behind.clone());
        let (verifier, token) = (verifier.clone(), stop.clone());
        async move { this.close_ended(&behind, &verifier, token).await }
    });
    let this = people.clone();
    node.ready("ws-ai-advice lanes", move || {
        let is_following = this.is_following();
        async move {
            if is_following {
                Ok(())
            } else {
                Err("the lanes are not followed".to_owned())
            }
        }
    });
    let door = api::socket::Door {
        people,
        verifier: deps.verifier,
    };
    node.http(axum::Router::new().route("/ws/ai-advice", realtime::door(hub, Arc::new(door))));
    Ok(())
}
