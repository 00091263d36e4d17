//! People and worlds for the scenarios in `tests/it`: everything from outside, as a client sees it.
//!
//! [`World`] is a running messenger on one of the [`Engine`]s in this process, [`Cluster`] one of processes that can be
//! killed; [`Person`] speaks HTTP and opens [`Socket`]s, a [`Cast`] of them talks through crashes. Start reading at
//! `tests/it/main.rs`.

#![expect(missing_docs, reason = "a test library; the names say it")]
#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "scenarios start their own tasks")]
#![expect(
    clippy::missing_panics_doc,
    reason = "a scenario that cannot go on fails"
)]

mod assistant;
mod cast;
pub mod checker;
mod cluster;
mod own_servers;
mod person;
mod provider;
mod proxy;
mod redis;
mod settings;
mod socket;
mod split;
mod talker;
mod world;

use std::{net::SocketAddr, ops::Add as _, time::Duration};

pub use assistant::Assistant;
pub use cast::{Cast, Mark};
pub use cluster::{At, Cluster};
pub use own_servers::{OwnServers, Server};
pub use person::{Answer, Person, client};
pub use provider::{Asked, Provider};
pub use proxy::{Line, Proxy};
pub use redis::{Redis, ask};
pub use settings::{Engine, SECRET, Servers, busy, fresh_database};
pub use socket::{Socket, message_of};
pub use world::World;

/// The longest anything may take that should happen at once.
pub const SOON: Duration = Duration::from_secs(15);

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// The value of a metric of the process whose private listener that is, summed over its labels that contain `labels`.
pub async fn metric(private: SocketAddr, name: &str, labels: &str) -> f64 {
    let text = reqwest::get(format!("http://{private}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(labels));
    let values = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let series = series.split('{').next()?;
        (series == name)
            .then(|| value.parse::<f64>().ok())
            .flatten()
    });
    values.fold(0.0, f64::add)
}

/// What PostgreSQL answers to a statement: one line for each row.
pub async fn psql(url: &str, statement: &str) -> String {
    let mut psql = tokio::process::Command::new("psql");
    let told = psql.args([url, "-qAtc", statement]).output().await;
    let told = told.expect("psql comes with PostgreSQL");
    assert!(told.status.success(), "{statement}: {told:?}");
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// A fresh UUIDv7 as text.
pub fn key() -> String {
    use kit::Ids as _;
    kit::RandomIds.next().to_string()
}
