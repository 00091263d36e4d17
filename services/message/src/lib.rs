#![doc = include_str!("../README.md")]
//!
//! Start reading at `domain/batch.rs` for the rules and at `app/worker.rs` for the way of a message.

mod api;
mod app;
mod dialect;
mod domain;
mod metrics;
mod store;

use std::{sync::Arc, time::Duration};

use cache::{Limits, Rule};
use contracts::{auth::Verifier, events::Topics, message::MessageClient};
use eventlog::{EventLog, TopicSpec, submit::Submitter};
use kit::{Clock, Fault, Ids, Node, OnFailure};
use serde::{Deserialize, Serialize};

pub use store::MIGRATIONS;

/// The settings of this service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Workers that store, 1 to 64; the partitions are shared out among them.
    pub persist_workers: u32,
    /// A worker that does not come back for so long loses its partitions.
    #[serde(with = "kit::config::duration")]
    pub session_timeout: Duration,
    /// What one person may send over HTTP; a connection of `/ws/v1` has a limit of its own.
    pub http_sends: Rule,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            persist_workers: 1,
            session_timeout: Duration::from_secs(6),
            http_sends: Rule {
                per: Duration::from_secs(10),
                count: 100,
                burst: 30,
            },
        }
    }
}

impl Config {
    /// Refuses what cannot work, naming the setting.
    pub fn check(&self) -> Result<(), String> {
        if (1..=64).contains(&self.persist_workers) {
            Ok(())
        } else {
            Err("message.persist_workers is not within 1..=64".to_owned())
        }
    }
}

/// What this service stands on.
pub struct Deps {
    /// Its own tables.
    pub db: sql::Db,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The names of the topics.
    pub topics: Arc<Topics>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Epochs.
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
        spec(&topics.message_persist, partitions),
        spec(&topics.forward_message, partitions),
        spec(&topics.ai_feed, partitions),
        spec(&topics.ai_autoreply, partitions),
        spec(&topics.dead_letters(app::publish::GROUP), 1),
        spec(&topics.dead_letters(app::autoreply::GROUP), 1),
    ]
}

/// The consumer groups of this service, and what each reads.
pub fn groups(topics: &Topics) -> [(&'static str, &str); 2] {
    [
        (app::publish::GROUP, &topics.message_persist),
        (app::autoreply::GROUP, &topics.ai_autoreply),
    ]
}

/// Gives every stream another epoch: what clients remember of it is from before the tables were copied or put back.
/// Nothing runs on the store meanwhile.
///
/// # Errors
/// The store's.
pub async fn begin_anew(db: &sql::Db, ids: &dyn Ids) -> Result<(), sql::Error> {
    store::begin_anew(db, &domain::epoch(ids.next())).await
}

/// Starts the service on `node`. The topics exist and the tables are migrated.
///
/// # Errors
/// A setting that cannot work.
pub fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<MessageClient, Fault> {
    config.check().map_err(Fault::invalid)?;
    metrics::describe();
    let store = store::Store::new(deps.db);
    let marks = app::publish::Marks::default();
    let token = node.token();
    let publisher = app::publish::Publisher {
        log: deps.log.clone(),
        topics: deps.topics.clone(),
        token: token.clone(),
    };
    for n in 0..config.persist_workers {
        let worker = app::worker::Worker {
            store: store.clone(),
            log: deps.log.clone(),
            publisher: publisher.clone(),
            marks: marks.clone(),
            clock: deps.clock.clone(),
            ids: deps.ids.clone(),
            token: token.clone(),
            member: format!("{}-{n}", deps.replica).into(),
            session_timeout: config.session_timeout,
        };
        node.task("message persist", OnFailure::Restart, move || {
            worker.clone().run()
        });
    }
    let replies = app::autoreply::Replies {
        store: store.clone(),
        log: deps.log.clone(),
        topics: deps.topics.clone(),
        token: token.clone(),
        member: deps.replica.clone(),
        session_timeout: config.session_timeout,
    };
    node.task("message replies", OnFailure::Restart, move || {
        replies.clone().run()
    });
    let (log, stop) = (deps.log.clone(), token.clone());
    node.task("message marks", OnFailure::Restart, move || {
        marks.clone().run(log.clone(), stop.clone())
    });

    let submitter = Submitter::on_demand();
    let (log, topics, answers) = (deps.log.clone(), deps.topics.clone(), submitter.clone());
    node.task("message answers", OnFailure::Restart, move || {
        app::reader::answer_sends(log.clone(), topics.clone(), answers.clone(), token.clone())
    });
    let (log, answers, stop) = (deps.log.clone(), submitter.clone(), node.token());
    node.spawner().spawn("message losses", async move {
        eventlog::watch_losses(log.as_ref(), &stop, || answers.give_up()).await;
    });
    let checked = store.clone();
    node.ready("message store", move || {
        let store = checked.clone();
        async move { store.check().await.map_err(|error| error.to_string()) }
    });
    Ok(Arc::new(app::reader::Reader {
        store,
        log: deps.log,
        topics: deps.topics,
        submitter,
    }))
}

/// The HTTP routes over `message`, wherever it runs.
pub fn routes(
    config: &Config,
    message: MessageClient,
    limits: Limits,
    verifier: Arc<Verifier>,
) -> axum::Router {
    let sends = config.http_sends;
    api::http::router(
        api::http::Door {
            message,
            limits,
            sends,
        },
        verifier,
    )
}

/// The description of the HTTP routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api::http::openapi()
}
