#![doc = include_str!("../README.md")]
//!
//! Start reading at `api/socket.rs` for a connection, at `app/topic.rs` for what a chat does with an
//! event, and at `domain/subscription.rs` for the rule that keeps a stream whole.

mod api;
mod app;
mod config;
mod domain;
mod metrics;

use std::sync::{Arc, atomic::AtomicBool};

use axum::Router;
use cache::Cache;
use contracts::{SessionId, ai::AiClient, auth::Verifier, events::Topics, message::MessageClient};
use eventlog::{EventLog, TopicSpec};
use kit::{Clock, Fault, Ids, Node, OnFailure};
use realtime::Hub;

use app::{presence::Presence as Presences, registry::Registry};

pub use config::{Config, Presence};

/// What this service stands on.
pub struct Deps {
    /// The event log; the topics of [`topics`] exist.
    pub log: Arc<dyn EventLog>,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Where sessions are registered and deltas of the AI come from.
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
    let invalid = |wrong| Fault::invalid(format!("ws-gateway.{wrong}"));
    config.check().map_err(invalid)?;
    let (sockets, presence) = (config.sockets.clone(), &config.presence);
    let (clock, ids) = (deps.clock, deps.ids.as_ref());
    let hub = Hub::start("ws-gateway", sockets, clock.clone(), ids, node).map_err(invalid)?;
    let (cache, message) = (deps.cache, deps.message);
    let topics = Arc::new(app::topics::Topics::default());
    let gateway = Arc::new(app::Gateway {
        hub: hub.clone(),
        log: deps.log,
        names: deps.topics,
        verifier: deps.verifier,
        ai: deps.ai,
        replay: app::replay::Replay::new(message.clone(), topics.clone()),
        topics,
        people: app::people::People::default(),
        registry: Registry::new(hub.clone(), cache.clone(), presence),
        presence: Presences::new(cache.clone(), message, clock, presence.reread),
        is_following: AtomicBool::new(false),
    });
    start_tasks(&gateway, cache, node);
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
    node.spawner().spawn("ws-gateway losses", async move {
        let topics = &this.topics;
        eventlog::watch_losses(&*this.log, &token, || topics.give_up_sends()).await;
    });
    let (this, token) = (gateway.clone(), stop.clone());
    node.task("ws-gateway hints", OnFailure::Restart, move || {
        let (this, token) = (this.clone(), token.clone());
        async move { this.send_hints(token).await }
    });
    let (this, token) = (gateway.clone(), stop.clone());
    node.task("ws-gateway people", OnFailure::Restart, move || {
        let (this, token, cache) = (this.clone(), token.clone(), cache.clone());
        async move {
            token.run_until_cancelled(this.people.follow(&*cache)).await;
            Ok(())
        }
    });
    let (this, token) = (gateway.clone(), stop.clone());
    node.task("ws-gateway registry", OnFailure::Restart, move || {
        let (this, token) = (this.clone(), token.clone());
        async move { this.registry.keep(token).await }
    });
    let this = gateway.clone();
    node.task("ws-gateway presence", OnFailure::Restart, move || {
        let (this, token) = (this.clone(), stop.clone());
        async move {
            token.run_until_cancelled(this.presence.follow()).await;
            Ok(())
        }
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
