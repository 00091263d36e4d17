#![doc = include_str!("../README.md")]
//!
//! Start reading at `store/decide.rs`, where a decision gets its version, then `app/commands.rs`.

mod api;
mod app;
mod dialect;
mod domain;
mod metrics;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cache::Limits;
use contracts::{
    ai::AiClient, auth::Verifier, chat::ChatClient, events::Topics, message::MessageClient,
    user::UserClient,
};
use eventlog::{EventLog, TopicSpec, submit::Submitter};
use kit::{Clock, Ids, Node, OnFailure};
use serde::{Deserialize, Serialize};

pub use store::MIGRATIONS;

/// The settings of this service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often one person may ask for advice.
    pub advice_per_minute: u32,
    /// How often one person may set or remove a binding; a new one makes the AI call its provider.
    pub bindings_per_minute: u32,
    /// How often one person may open a chat.
    pub chats_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            advice_per_minute: 20,
            bindings_per_minute: 30,
            chats_per_minute: 60,
        }
    }
}

/// What this service stands on.
pub struct Deps {
    /// Its own tables.
    pub db: sql::Db,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// Shared limits.
    pub limits: Limits,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Accounts.
    pub users: UserClient,
    /// The chat streams.
    pub message: MessageClient,
    /// Whether there is budget for another call.
    pub ai: AiClient,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Ids of chats and threads.
    pub ids: Arc<dyn Ids>,
    /// How long `ai` keeps its answers: so long it is known which question a key was used for.
    pub answers_kept: std::time::Duration,
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
        spec(&topics.message_persist, partitions),
        spec(&topics.forward_message, partitions),
        spec(&topics.ai_binding_init, partitions),
        spec(&topics.ai_thread_created, partitions),
        spec(&topics.ai_advice_request, partitions),
        spec(&topics.dead_letters(app::consumers::THREADS_GROUP), 1),
    ]
}

/// The consumer groups of this service, and what each reads.
pub fn groups(topics: &Topics) -> [(&'static str, &str); 2] {
    [
        (app::consumers::FORWARD_GROUP, &topics.forward_message),
        (app::consumers::THREADS_GROUP, &topics.ai_thread_created),
    ]
}

/// Starts the service on `node`. The topics exist and the tables are migrated.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> ChatClient {
    metrics::describe();
    let store = store::Store::new(deps.db);
    let token = node.token();
    let publisher = app::publish::Publisher {
        store: store.clone(),
        log: deps.log.clone(),
        clock: deps.clock.clone(),
        appended: Arc::default(),
    };
    let waiters = Submitter::default();
    let consumers = app::consumers::Consumers {
        store: store.clone(),
        log: deps.log,
        topics: deps.topics.clone(),
        publisher: publisher.clone(),
        clock: deps.clock.clone(),
        waiters: waiters.clone(),
        token: token.clone(),
        replica: deps.replica,
    };
    let threads = consumers.clone();
    node.task("chat projections", OnFailure::Restart, move || {
        consumers.clone().follow_projections()
    });
    node.task("chat threads", OnFailure::Restart, move || {
        threads.clone().follow_threads()
    });
    let outbox = publisher.clone();
    node.task("chat outbox", OnFailure::Restart, move || {
        outbox.clone().run(token.clone())
    });
    let (questions, kept, stop) = (publisher.clone(), deps.answers_kept, node.token());
    node.task("chat retention", OnFailure::Restart, move || {
        questions.clone().forget(kept, stop.clone())
    });
    let checked = store.clone();
    node.ready("chat store", move || {
        let store = checked.clone();
        async move { store.check().await.map_err(|error| error.to_string()) }
    });
    let lookups = api::rpc::Lookups {
        store: store.clone(),
        users: deps.users.clone(),
    };
    let commands = app::commands::Commands {
        config: config.clone(),
        store,
        publisher,
        waiters,
        topics: deps.topics,
        users: deps.users,
        message: deps.message,
        ai: deps.ai,
        limits: deps.limits,
        clock: deps.clock,
        ids: deps.ids,
    };
    node.http(api::http::router(Arc::new(commands), deps.verifier));
    Arc::new(lookups)
}

/// The description of the HTTP routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::http::openapi()
}
