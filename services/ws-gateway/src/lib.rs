#![doc = include_str!("../README.md")]
//!
//! Start reading at `api/socket.rs` for a connection, at `app/topic.rs` for what a chat does with an
//! event, and at `domain/subscription.rs` for the rule that keeps a stream whole.

mod api;
mod app;
mod domain;
mod metrics;

use std::sync::{Arc, atomic::AtomicBool};

use axum::Router;
use cache::Cache;
use contracts::{SessionId, ai::AiClient, auth::Verifier, events::Topics, message::MessageClient};
use eventlog::{EventLog, TopicSpec};
use kit::{Clock, Fault, Ids, Node, OnFailure};
use realtime::Hub;

/// The settings of this service: those of its door.
pub type Config = realtime::Config;

/// What this service stands on.
pub struct Deps {
    /// The event log; the topics of [`topics`] exist.
    pub log: Arc<dyn EventLog>,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Where deltas of the AI come from.
    pub cache: Arc<dyn Cache>,
    /// The streams.
    pub message: MessageClient,
    /// The runs, where there is an AI.
    pub ai: Option<AiClient>,
    /// Checks tokens and follows ended logins.
    pub verifier: Arc<Verifier>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Names this process for clients.
    pub ids: Arc<dyn Ids>,
}

/// The topics that this service uses, with `partitions` each.
pub fn topics(topics: &Topics, partitions: u32) -> Vec<TopicSpec> {
    [&topics.message_persist, &topics.forward_message]
        .map(|name| TopicSpec {
            name: name.as_str().into(),
            partitions,
        })
        .into()
}

/// Starts the service on `node`: the route `/ws/v1`, and what feeds its sockets.
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<(), Fault> {
    metrics::describe();
    let hub = Hub::start(
        "ws-gateway",
        config.clone(),
        deps.clock,
        deps.ids.as_ref(),
        node,
    )
    .map_err(|wrong| Fault::invalid(format!("ws-gateway: {wrong}")))?;
    let topics = Arc::new(app::topics::Topics::default());
    let gateway = Arc::new(app::Gateway {
        hub: hub.clone(),
        log: deps.log,
        names: deps.topics,
        verifier: deps.verifier,
        ai: deps.ai,
        replay: app::replay::Replay::new(deps.message, topics.clone()),
        topics,
        people: app::people::People::default(),
        is_following: AtomicBool::new(false),
    });
    start_tasks(&gateway, deps.cache, node);
    node.http(Router::new().route(
        "/ws/v1",
        realtime::door(hub, Arc::new(api::socket::Door(gateway))),
    ));
    Ok(())
}

fn start_tasks(gateway: &Arc<app::Gateway>, cache: Arc<dyn Cache>, node: &Node) {
    let stop = node.token();
    let (this, token) = (gateway.clone(), stop.clone());
    node.task("ws-gateway forward", OnFailure::Restart, move || {
        let (this, token) = (this.clone(), token.clone());
        async move { this.follow_forward(token).await }
    });
    let (this, token) = (gateway.clone(), stop.clone());
    node.task("ws-gateway hints", OnFailure::Restart, move || {
        let (this, token) = (this.clone(), token.clone());
        async move { this.send_hints(token).await }
    });
    let this = gateway.clone();
    node.task("ws-gateway people", OnFailure::Restart, move || {
        let (this, token, cache) = (this.clone(), stop.clone(), cache.clone());
        async move { this.people.follow(cache.as_ref(), token).await }
    });
    let (hub, verifier) = (&gateway.hub, gateway.verifier.clone());
    let ended = verifier.revocations();
    let is_ended = move |login| verifier.is_revoked(SessionId(login));
    hub.close_ended("ws-gateway logins", ended, is_ended, node);
    let this = gateway.clone();
    node.ready("ws-gateway forward", move || {
        let is_following = this.is_following();
        async move {
            if is_following {
                Ok(())
            } else {
                Err("the forward topic is not followed".to_owned())
            }
        }
    });
}
