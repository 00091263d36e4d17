#![doc = include_str!("../README.md")]
//!
//! Start reading at `domain/kernel.rs` for the guards, at `app/bindings.rs` for how they are applied and at
//! `app/call.rs` for a call to the provider.

mod adapters;
mod api;
mod app;
mod config;
mod dialect;
mod domain;
mod metrics;
mod outbox;
mod ports;
mod store;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]
mod tests;

use std::{sync::Arc, time::Duration};

use api::{
    events::{Feeds, Inits, Requests, Streams},
    intake::{Handler, Intake},
};
use app::{
    bindings::Bindings, call::Calls, desk::Desk, live::Lives, names::Names, scheduler::Scheduler,
    writer::Writer,
};
use contracts::{
    ai::AiClient, auth::Verifier, events::Topics, message::MessageClient, user::UserClient,
};
use eventlog::{EventLog, TopicSpec};
use kit::{Breaker, Clock, Fault, Ids, Node, OnFailure};
use ports::Provider;
use tokio::sync::Semaphore;

pub use config::{Config, Context, Dialect, Limits, Timeouts};
pub use store::MIGRATIONS;

/// Reads new bindings.
const INIT_GROUP: &str = "ai-init";
/// Reads messages for bindings.
const FEED_GROUP: &str = "ai-feed";
/// Reads requests for advice.
const ADVICE_GROUP: &str = "ai-advice";
/// Reads what the streams of the chats say about bindings and releases.
const FORWARD_GROUP: &str = "ai";
/// Not a consumer: runs that the provider did not answer.
const RUNS_GROUP: &str = "ai-runs";

/// What this service stands on.
pub struct Deps {
    /// Its own tables.
    pub db: sql::Db,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// Where pieces of texts are sent to.
    pub cache: Arc<dyn cache::Cache>,
    /// The messages of a thread.
    pub message: MessageClient,
    /// Names for the model.
    pub user: UserClient,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Runs, and whatever has to be random.
    pub ids: Arc<dyn Ids>,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Unique among the replicas of this service, the same after a restart.
    pub replica: Arc<str>,
    /// A consumer that does not come back for so long loses its partitions.
    pub session_timeout: Duration,
}

/// The topics that this service uses, with `partitions` each; one for dead letters.
pub fn topics(topics: &Topics, partitions: u32) -> Vec<TopicSpec> {
    let spec = |name: &str, partitions| TopicSpec {
        name: name.into(),
        partitions,
    };
    let mut specs: Vec<_> = [
        &topics.ai_binding_init,
        &topics.ai_feed,
        &topics.ai_advice_request,
        &topics.forward_message,
        &topics.ai_autoreply,
        &topics.ai_advice_response,
        &topics.ai_thread_created,
    ]
    .map(|name| spec(name, partitions))
    .into();
    let groups = [
        INIT_GROUP,
        FEED_GROUP,
        ADVICE_GROUP,
        FORWARD_GROUP,
        RUNS_GROUP,
    ];
    specs.extend(groups.map(|group| spec(&topics.dead_letters(group), 1)));
    specs
}

/// The consumer groups of this service, and what each reads.
pub fn groups(topics: &Topics) -> [(&'static str, &str); 4] {
    [
        (INIT_GROUP, &topics.ai_binding_init),
        (FEED_GROUP, &topics.ai_feed),
        (ADVICE_GROUP, &topics.ai_advice_request),
        (FORWARD_GROUP, &topics.forward_message),
    ]
}

/// Starts the service on `node`. The topics exist and the tables are migrated.
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<AiClient, Fault> {
    let refused = |troubles: Vec<String>| Fault::invalid(troubles.join("; "));
    config.check().map_err(refused)?;
    let provider = config.provider().map_err(Fault::internal)?;
    Ok(Arc::new(start(config, deps, provider, node)))
}

/// Starts the service with a provider that was made elsewhere.
fn start(config: &Config, deps: Deps, provider: Arc<dyn Provider>, node: &mut Node) -> Desk {
    metrics::describe();
    let store = store::Store::new(deps.db);
    let bindings = Bindings {
        store: store.clone(),
        outbox: outbox::Outbox::new(
            store.clone(),
            deps.log.clone(),
            deps.clock.clone(),
            deps.replica.clone(),
        ),
        lives: Lives::new(deps.cache),
        due: Arc::default(),
        clock: deps.clock,
        ids: deps.ids,
        topics: deps.topics,
        limits: Arc::new(config.limits.clone()),
        worker: deps.replica,
    };
    let breaker = Breaker::new("ai provider", config.breaker.clone());
    let calls = Calls {
        bindings: bindings.clone(),
        writer: Writer::new(provider, breaker, config.timeouts.clone()),
        message: deps.message.clone(),
        names: Names::new(deps.user),
        context: config.context,
        token: node.token(),
    };
    let scheduler = Scheduler {
        calls,
        permits: Arc::new(Semaphore::new(config.concurrency)),
        spawner: node.spawner(),
        probe_tries: config.probe_tries,
        has_begun: Arc::default(),
    };
    node.task("ai scheduler", OnFailure::Restart, move || {
        scheduler.clone().run()
    });
    let (outbox, stop) = (bindings.outbox.clone(), node.token());
    node.task("ai outbox", OnFailure::Restart, move || {
        outbox.clone().run(stop.clone())
    });
    let (cleaned, keep, stop) = (bindings.clone(), config.retention, node.token());
    node.task("ai retention", OnFailure::Restart, move || {
        cleaned.clone().forget(keep, stop.clone())
    });
    let intakes = Intakes {
        bindings: bindings.clone(),
        log: deps.log,
        session_timeout: deps.session_timeout,
    };
    intakes.start(node, deps.message);
    node.ready("ai store", move || {
        let store = store.clone();
        async move { store.check().await.map_err(|error| error.to_string()) }
    });
    let desk = Desk { bindings };
    node.http(api::http::router(desk.clone(), deps.verifier));
    desk
}

struct Intakes {
    bindings: Bindings,
    log: Arc<dyn EventLog>,
    session_timeout: Duration,
}

impl Intakes {
    fn start(&self, node: &Node, message: MessageClient) {
        let bindings = self.bindings.clone();
        let topics = bindings.topics.clone();
        let inits = Inits(bindings.clone());
        self.add(node, "ai init", &topics.ai_binding_init, INIT_GROUP, inits);
        let requests = Requests(bindings.clone());
        self.add(
            node,
            "ai advice",
            &topics.ai_advice_request,
            ADVICE_GROUP,
            requests,
        );
        let streams = Streams(bindings.clone());
        self.add(
            node,
            "ai streams",
            &topics.forward_message,
            FORWARD_GROUP,
            streams,
        );
        let feeds = Feeds { bindings, message };
        self.add(node, "ai feed", &topics.ai_feed, FEED_GROUP, feeds);
    }

    fn add<H: Handler>(
        &self,
        node: &Node,
        name: &'static str,
        topic: &str,
        group: &'static str,
        handler: H,
    ) {
        let intake = Arc::new(Intake {
            bindings: self.bindings.clone(),
            log: self.log.clone(),
            topic: topic.to_owned(),
            group,
            session_timeout: self.session_timeout,
            token: node.token(),
            handler,
        });
        node.task(name, OnFailure::Restart, move || intake.clone().run());
    }
}

/// The description of the routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::http::openapi()
}
