//! Before a move: everything that is on its way through the log has to arrive.
//!
//! The positions of the consumers come along with the tables, yet they mean nothing in another log. So nothing may be left that
//! a group has not read or an outbox has not published. Where something is, the services run for a moment, as at any start,
//! but without a door that anybody knows of.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{anyhow, bail};
use eventlog::{EventLog, Pace, Poll, StartAt, Subscription, TopicSpec};
use kit::{Node, health::Health};
use sql::transfer;
use tokio::time::Instant;

use super::{screen::Screen, stores::Stores};
use crate::{Config, Topology, wiring};

/// How often the services are let run.
const ROUNDS: u32 = 5;
/// So long nothing is appended any more before they are stopped; twice as long in each later round.
const QUIET: Duration = Duration::from_secs(1);
/// The longest they run at once.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often it is looked whether it is quiet.
const LOOK: Duration = Duration::from_millis(100);

/// An embedded installation that stands still, locked, with nothing on its way.
pub(super) struct Still {
    pub(super) stores: Stores,
    log: Arc<dyn EventLog>,
}

impl Still {
    pub(super) async fn close(self) {
        self.log.close().await;
        self.stores.close().await;
    }
}

/// Lets an installation come to rest, and keeps it there.
pub(super) async fn still(config: &Config, screen: &mut Screen) -> anyhow::Result<Still> {
    let mut round = 0;
    loop {
        let node = Node::new();
        let log = wiring::open_log(&node, config).await?;
        let stores = Stores::open_source(config).await?;
        let still = Still { stores, log };
        let left = left(config, &still).await?;
        if left.is_empty() {
            return Ok(still);
        }
        still.close().await;
        let left = left.join(", ");
        if round == ROUNDS {
            bail!(
                "the log is not read to its end: {left}; docs/runbook.md says what a stopped partition is"
            );
        }
        screen.say(&format!(
            "on its way: {left}; the services run for a moment, with closed doors"
        ));
        run(config, QUIET * 2_u32.pow(round)).await?;
        round += 1;
    }
}

/// What is still on its way.
async fn left(config: &Config, still: &Still) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    let log = still.log.as_ref();
    log.ensure(&wiring::topics(config)).await?;
    for (group, topic) in wiring::groups(&config.topics) {
        if has_unread(log, group, topic).await? {
            left.push(format!("{topic} by {group}"));
        }
    }
    for (service, db) in still.stores.each() {
        if transfer::rows(db, "outbox").await? > 0 {
            left.push(format!("the outbox of {service}"));
        }
    }
    Ok(left)
}

/// Whether there is a record that a group has not told the log to be done with.
async fn has_unread(log: &dyn EventLog, group: &str, topic: &str) -> anyhow::Result<bool> {
    let mut consumer = log
        .subscribe(Subscription {
            group: group.into(),
            member: "move".into(),
            topics: vec![topic.into()],
            start: StartAt::Group,
            session_timeout: Duration::from_secs(6),
            pace: Pace::Prompt,
        })
        .await?;
    loop {
        if let Poll::Records(records) = consumer.poll(1, Duration::ZERO).await? {
            return Ok(!records.is_empty());
        }
    }
}

/// Runs all services until nothing is appended to the log any more. What they have to say is in their log.
async fn run(config: &Config, quiet: Duration) -> anyhow::Result<()> {
    kit::telemetry::init_logs(&config.log_filter).map_err(|error| anyhow!(error))?;
    let mut config = config.clone();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.http.public, config.http.private) = (nowhere, nowhere);
    config.rpc.secret = None;
    "memory:".clone_into(&mut config.cache);
    let topology = Topology::parse("all").map_err(|error| anyhow!(error))?;
    let topics = wiring::topics(&config);
    let mut node = Node::new();
    let (_, log) = wiring::build(&mut node, &config, &topology).await?;
    let health = node.health();
    let bound = node.bind(nowhere, nowhere).await?;
    let resting = rest(health, log, topics, quiet);
    bound.serve(resting).await.map_err(|error| anyhow!(error))
}

/// Ends when all is ready and the log has not grown for so long.
async fn rest(health: Health, log: Arc<dyn EventLog>, topics: Vec<TopicSpec>, quiet: Duration) {
    let patience = Instant::now() + PATIENCE;
    let (mut last, mut since) = (Vec::new(), Instant::now());
    while Instant::now() < patience && since.elapsed() < quiet {
        tokio::time::sleep(LOOK).await;
        let mut ends = Vec::new();
        for topic in &topics {
            ends.push(log.watermarks(&topic.name).await.unwrap_or_default());
        }
        if ends != last || !health.is_ready().await {
            (last, since) = (ends, Instant::now());
        }
    }
}
