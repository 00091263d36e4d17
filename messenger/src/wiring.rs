//! Puts the services of a process together: one short function for each, in the order of their needs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use cache::{Cache, Limits};
use contracts::{
    ai::AiClient, auth::Verifier, events::Topics, message::MessageClient, user::UserClient,
};
use eventlog::{EventLog, TopicSpec};
use futures_util::future::try_join_all;
use kit::{Clock, Ids, Node, OnFailure, RandomIds, SystemClock};

use crate::{
    config::Config,
    front::Front,
    topology::{Service, Topology},
};

/// What every service stands on.
pub(crate) struct Base {
    config: Config,
    log: Arc<dyn EventLog>,
    cache: Arc<dyn Cache>,
    limits: Limits,
    topics: Arc<Topics>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    replica: Arc<str>,
    stores: HashMap<Service, sql::Db>,
    topology: Topology,
    /// What this process offers to the others.
    offers: rpc::Server,
}

/// Distributed processes wait so long for the migration job before they give up.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);

/// Builds every service of `topology` on `node`; the answer is what the process offers to others, and its log.
pub(crate) async fn build(
    node: &mut Node,
    config: &Config,
    topology: &Topology,
) -> anyhow::Result<(rpc::Server, Arc<dyn EventLog>)> {
    topology
        .check(config)
        .map_err(|troubles| anyhow!(troubles.join("; ")))?;
    crate::check::make_folders(config)?;
    node.trust(config.http.trusted_proxies.clone());
    node.limit_connections(config.http.connections_per_address);
    let mut base = Base::open(node, config, topology).await?;

    let user = user(node, &mut base)?;
    let verifier = auth(node, &mut base, &user).await?;
    if base.is_here(Service::User) {
        let door = user::Door {
            user: user.clone(),
            limits: base.limits.clone(),
            config: base.config.user.clone(),
        };
        node.http(user::routes(door, verifier.clone()).0);
    }
    let message = message(node, &mut base, &user, &verifier)?;
    let ai = ai(node, &mut base, &user, &message, &verifier)?;
    if base.is_here(Service::Chat) {
        chat(node, &mut base, &user, &message, &ai, &verifier)?;
    }
    if base.is_here(Service::Notification) {
        notification(node, &base, &message);
    }
    if base.is_here(Service::WsGateway) {
        ws_gateway(node, &mut base, &message, &ai, &verifier)?;
    }
    if base.is_here(Service::WsAiAdvice) {
        ws_ai_advice(node, &mut base, &verifier)?;
    }
    if base.is_here(Service::WsAutoreply) {
        ws_autoreply(node, &mut base, &verifier)?;
    }
    elsewhere(node, &base)?;
    node.http(crate::web::routes());
    Ok((base.offers, base.log))
}

/// Hands on what belongs to services of other processes.
fn elsewhere(node: &mut Node, base: &Base) -> anyhow::Result<()> {
    let front = Front::new(node.spawner().doors());
    let others = Service::ALL
        .into_iter()
        .filter(|service| !base.is_here(*service));
    for service in others {
        let addresses = &base.config.services.of(service).http;
        let paths = crate::web::paths(service);
        let routes = front.routes(&paths, service.name(), addresses);
        node.http(routes.map_err(|error| anyhow!("services.{service}.http: {error}"))?);
    }
    Ok(())
}

impl Base {
    async fn open(node: &mut Node, config: &Config, topology: &Topology) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(RandomIds);
        let log = open_log(node, config).await?;
        let cache = cache::open(&config.cache, &node.spawner())?;
        log.ensure(&topics(config)).await?;

        let checked = log.clone();
        node.ready("event log", move || {
            let log = checked.clone();
            async move { log.check().await.map_err(|error| error.to_string()) }
        });
        let closed = log.clone();
        node.on_stop("event log", move || async move { closed.close().await });
        Ok(Self {
            config: config.clone(),
            limits: Limits::new(cache.clone()),
            replica: config.replica.as_str().into(),
            log,
            cache,
            topics: Arc::new(config.topics.clone()),
            clock,
            ids,
            stores: open_stores(config, topology).await?,
            topology: topology.clone(),
            offers: rpc::Server::new(contracts::DESCRIPTORS),
        })
    }

    fn is_here(&self, service: Service) -> bool {
        self.topology.is_here(service)
    }

    /// The way to a service that runs elsewhere.
    fn way_to(&self, service: Service) -> anyhow::Result<rpc::Channel> {
        let addresses = &self.config.services.of(service).rpc;
        let channel = self.config.rpc.channel(addresses);
        channel.map_err(|error| anyhow!("services.{service}.rpc: {error}"))
    }

    /// The store of a service, watched and closed with the node.
    fn db(&mut self, node: &mut Node, service: Service) -> anyhow::Result<sql::Db> {
        let db = self
            .stores
            .remove(&service)
            .context("a service without tables has no store")?;
        let (watched, stop) = (db.clone(), node.token());
        node.task("store", OnFailure::Fatal, move || {
            let (db, stop) = (watched.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = db.broken() => Err(format!("the store of {service} failed for good").into()),
                    () = stop.cancelled() => Ok(()),
                }
            }
        });
        let closed = db.clone();
        node.on_stop("store", move || async move { closed.close().await });
        Ok(db)
    }
}

/// The log; its tasks run on the node.
pub(crate) async fn open_log(node: &Node, config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let settings = config.eventlog.clone();
    Ok(eventlog::open(&config.log, settings, clock, ids, node.spawner()).await?)
}

/// The consumer groups of all services, and what each reads.
pub(crate) fn groups(topics: &Topics) -> Vec<(&'static str, &str)> {
    [
        message::groups(topics).as_slice(),
        &chat::groups(topics),
        &ai::groups(topics),
        &notification::groups(topics),
        &ws_ai_advice::groups(topics),
        &ws_autoreply::groups(topics),
    ]
    .concat()
}

/// Where the secret of an embedded installation is, unless it is configured.
pub(crate) fn key_file(config: &Config) -> std::path::PathBuf {
    config.data.join("auth.key")
}

/// The topics of all services, by name.
pub(crate) fn topics(config: &Config) -> Vec<TopicSpec> {
    let (topics, partitions) = (&config.topics, config.partitions);
    let mut specs = [
        message::topics(topics, partitions),
        chat::topics(topics, partitions),
        ai::topics(topics, partitions),
        notification::topics(topics, partitions),
        ws_gateway::topics(topics, partitions),
        ws_ai_advice::topics(topics, partitions),
        ws_autoreply::topics(topics, partitions),
    ]
    .concat();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    specs.dedup();
    specs
}

/// Opens the own stores of all services that run here, side by side: making them is mostly waiting for the disk. An embedded
/// one migrates itself; on a server that is a job of its own. One that was moved, or is not whole yet, is refused.
async fn open_stores(
    config: &Config,
    topology: &Topology,
) -> anyhow::Result<HashMap<Service, sql::Db>> {
    let open = async |(service, migrations): (Service, &'static sql::Migrations)| {
        let db = sql::open(&config.sql, service.name(), &config.pool).await?;
        match db.engine() {
            sql::Engine::Sqlite => {
                db.check_usable().await?;
                sql::migrate_up(&db, migrations).await?;
            }
            sql::Engine::Postgres => {
                sql::wait_for(&db, migrations, MIGRATION_PATIENCE).await?;
                db.check_usable().await?;
            }
        }
        anyhow::Ok((service, db))
    };
    let with_tables = Service::ALL
        .into_iter()
        .filter(|service| topology.is_here(*service))
        .filter_map(|service| Some((service, service.migrations()?)));
    let stores = try_join_all(with_tables.map(open)).await?;
    Ok(stores.into_iter().collect())
}

fn user(node: &mut Node, base: &mut Base) -> anyhow::Result<UserClient> {
    if !base.is_here(Service::User) {
        return Ok(contracts::user::connect(base.way_to(Service::User)?));
    }
    let db = base.db(node, Service::User)?;
    let deps = user::Deps {
        db,
        clock: base.clock.clone(),
        ids: base.ids.clone(),
    };
    let user = user::build(deps, node);
    base.offers.offer(contracts::user::serve(user.clone()));
    Ok(user)
}

async fn auth(
    node: &mut Node,
    base: &mut Base,
    user: &UserClient,
) -> anyhow::Result<Arc<Verifier>> {
    if !base.is_here(Service::Auth) {
        let auth = contracts::auth::connect(base.way_to(Service::Auth)?);
        let verifier = Verifier::new(auth, base.clock.clone());
        verifier.start(node);
        return Ok(verifier);
    }
    let db = base.db(node, Service::Auth)?;
    let embedded = db.engine() == sql::Engine::Sqlite;
    let deps = auth::Deps {
        db,
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        user: user.clone(),
        limits: base.limits.clone(),
        key_file: embedded.then(|| key_file(&base.config)),
    };
    let auth = auth::build(&base.config.auth, deps, node).await?;
    let verifier = Verifier::new(auth.clone(), base.clock.clone());
    verifier.start(node);
    let offered = contracts::auth::serve(auth.clone(), user.clone());
    base.offers.offer(offered);
    node.http(auth::routes(auth, verifier.clone()).0);
    Ok(verifier)
}

fn message(
    node: &mut Node,
    base: &mut Base,
    user: &UserClient,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<MessageClient> {
    if !base.is_here(Service::Message) {
        return Ok(contracts::message::connect(base.way_to(Service::Message)?));
    }
    let deps = message::Deps {
        db: base.db(node, Service::Message)?,
        log: base.log.clone(),
        topics: base.topics.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        replica: base.replica.clone(),
    };
    let message = message::build(&base.config.message, deps, node)?;
    let offered = contracts::message::serve(message.clone(), user.clone());
    base.offers.offer(offered);
    node.http(message::routes(
        &base.config.message,
        message.clone(),
        base.limits.clone(),
        verifier.clone(),
    ));
    Ok(message)
}

fn chat(
    node: &mut Node,
    base: &mut Base,
    user: &UserClient,
    message: &MessageClient,
    ai: &AiClient,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<()> {
    let deps = chat::Deps {
        answers_kept: base.config.ai.retention,
        db: base.db(node, Service::Chat)?,
        log: base.log.clone(),
        limits: base.limits.clone(),
        topics: base.topics.clone(),
        users: user.clone(),
        message: message.clone(),
        ai: ai.clone(),
        verifier: verifier.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        replica: base.replica.clone(),
    };
    let chat = chat::build(&base.config.chat, deps, node);
    base.offers.offer(contracts::chat::serve(chat));
    Ok(())
}

fn ws_gateway(
    node: &mut Node,
    base: &mut Base,
    message: &MessageClient,
    ai: &AiClient,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<()> {
    let deps = ws_gateway::Deps {
        log: base.log.clone(),
        topics: base.topics.clone(),
        cache: base.cache.clone(),
        message: message.clone(),
        ai: Some(ai.clone()),
        verifier: verifier.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
    };
    Ok(ws_gateway::build(&base.config.ws_gateway, deps, node)?)
}

fn ai(
    node: &mut Node,
    base: &mut Base,
    user: &UserClient,
    message: &MessageClient,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<AiClient> {
    if !base.is_here(Service::Ai) {
        return Ok(contracts::ai::connect(base.way_to(Service::Ai)?));
    }
    let deps = ai::Deps {
        db: base.db(node, Service::Ai)?,
        log: base.log.clone(),
        cache: base.cache.clone(),
        message: message.clone(),
        user: user.clone(),
        topics: base.topics.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        verifier: verifier.clone(),
        replica: base.replica.clone(),
        session_timeout: base.config.message.session_timeout,
    };
    let ai = ai::build(&base.config.ai, deps, node)?;
    base.offers.offer(contracts::ai::serve(ai.clone()));
    Ok(ai)
}

fn notification(node: &Node, base: &Base, message: &MessageClient) {
    let deps = notification::Deps {
        log: base.log.clone(),
        topics: base.topics.clone(),
        message: message.clone(),
        clock: base.clock.clone(),
        replica: base.replica.clone(),
    };
    notification::build(&base.config.notification, deps, node);
}

fn ws_ai_advice(node: &mut Node, base: &mut Base, verifier: &Arc<Verifier>) -> anyhow::Result<()> {
    let deps = ws_ai_advice::Deps {
        log: base.log.clone(),
        cache: base.cache.clone(),
        topics: base.topics.clone(),
        verifier: verifier.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        replica: base.replica.clone(),
    };
    Ok(ws_ai_advice::build(&base.config.ws_ai_advice, deps, node)?)
}

fn ws_autoreply(node: &mut Node, base: &mut Base, verifier: &Arc<Verifier>) -> anyhow::Result<()> {
    let deps = ws_autoreply::Deps {
        log: base.log.clone(),
        topics: base.topics.clone(),
        verifier: verifier.clone(),
        clock: base.clock.clone(),
        ids: base.ids.clone(),
        replica: base.replica.clone(),
    };
    Ok(ws_autoreply::build(&base.config.ws_autoreply, deps, node)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who moves an installation looks whether every group has read everything, so every group is known here.
    #[test]
    fn the_groups_are_those_of_the_architecture() {
        const PAGE: &str = include_str!("../../ARCHITECTURE.md");
        let (_, table) = PAGE.split_once("| consumer group |").unwrap();
        let rows = table
            .lines()
            .skip(2)
            .map_while(|line| line.strip_prefix("| `"));
        let reading = rows.filter(|row| !row.contains("| nothing"));
        let mut written: Vec<_> = reading.map(|row| row.split('`').next().unwrap()).collect();
        let topics = Topics::default();
        let mut known: Vec<_> = groups(&topics)
            .into_iter()
            .map(|(group, _)| group)
            .collect();
        written.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, written);
    }
}
