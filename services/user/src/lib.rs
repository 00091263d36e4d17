#![doc = include_str!("../README.md")]

mod api;
mod app;
mod domain;
mod metrics;
mod store;

use std::sync::Arc;

use cache::Rule;
use contracts::user::UserClient;
use kit::{Clock, Ids, Node};

pub use api::http::{Door, openapi, routes};

/// The tables of this service.
pub const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_users");

/// The section `user`.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often one person may look for somebody by name.
    pub find_limit: Rule,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            find_limit: Rule::per_minute(30),
        }
    }
}

/// What the service is given.
pub struct Deps {
    /// Its migrated store.
    pub db: sql::Db,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids of accounts come from.
    pub ids: Arc<dyn Ids>,
}

/// Builds the service. Its HTTP routes are made by [`routes`], once tokens can be checked.
pub fn build(deps: Deps, node: &mut Node) -> UserClient {
    metrics::describe();
    let db = deps.db.clone();
    node.ready("user store", move || {
        let db = db.clone();
        async move { db.check().await.map_err(|error| error.to_string()) }
    });
    Arc::new(app::Accounts {
        store: store::Store::new(deps.db),
        clock: deps.clock,
        ids: deps.ids,
    })
}
