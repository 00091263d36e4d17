#![doc = include_str!("../README.md")]

mod api;
mod app;
mod config;
mod domain;
mod hasher;
mod keys;
mod metrics;
mod store;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use contracts::user::UserClient;
use kit::{Clock, Ids, Node};

pub use api::http::{openapi, routes};
pub use app::Auth;
pub use config::Config;
pub use keys::StartError;

/// The tables of this service.
pub const MIGRATIONS: sql::Migrations = sql::migrations!("0001_create_sessions");

/// What the service is given.
pub struct Deps {
    /// Its migrated store.
    pub db: sql::Db,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids of logins and tokens come from.
    pub ids: Arc<dyn Ids>,
    /// Who keeps accounts and hashes.
    pub user: UserClient,
    /// The rate limits.
    pub limits: cache::Limits,
    /// Where the secret is kept when [`Config::secret`] is not set: a file in the data folder, made at the first start.
    /// `None` where several processes would need the same file.
    pub key_file: Option<PathBuf>,
}

/// Whether the secret that is configured, or that of the file, opens the signing key of a store: then it does so wherever
/// the store goes. A store that has no key yet gets one.
///
/// # Errors
/// As [`build`].
pub async fn check_secret(
    config: &Config,
    key_file: Option<&Path>,
    db: &sql::Db,
    clock: &dyn Clock,
) -> Result<(), StartError> {
    let sealer = keys::Sealer::open(config.secret.as_ref(), key_file)?;
    let store = store::Store::new(db.clone());
    keys::Signer::load(&store, &sealer, clock.now_ms())
        .await
        .map(drop)
}

/// Builds the service: reads or makes the signing key and starts to remove what has ended. Its HTTP routes are
/// made by [`routes`], once tokens can be checked.
///
/// # Errors
/// A setting that cannot work, a secret that does not open the stored key, or a store that does not answer.
pub async fn build(config: &Config, deps: Deps, node: &mut Node) -> Result<Arc<Auth>, StartError> {
    metrics::describe();
    config
        .check(deps.key_file.is_some())
        .map_err(|troubles| StartError::Refused(troubles.join("; ")))?;
    let sealer = keys::Sealer::open(config.secret.as_ref(), deps.key_file.as_deref())?;
    let store = store::Store::new(deps.db.clone());
    let signer = keys::Signer::load(&store, &sealer, deps.clock.now_ms()).await?;
    let auth = Arc::new(Auth {
        spawner: node.spawner(),
        sealer,
        hasher: hasher::Hasher::new(config.hash_workers(), config.hash_queue),
        config: config.clone(),
        store,
        signer,
        clock: deps.clock,
        ids: deps.ids,
        user: deps.user,
        limits: deps.limits,
    });
    let db = deps.db;
    node.ready("auth store", move || {
        let db = db.clone();
        async move { db.check().await.map_err(|error| error.to_string()) }
    });
    app::remove_ended(&auth, node);
    Ok(auth)
}
