//! Accounts as a client sees them: `auth` and `user` behind one door, on both engines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod changes;
mod door;
mod load;
mod outage;
mod profile;
mod refresh;
mod remote;
mod surface;
mod tokens;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use auth::{Auth, Config};
use axum::Router;
use cache::{Limits, Memory};
use contracts::{
    auth::{AuthClient, Verifier},
    user::UserClient,
};
use door::Door;
use kit::{Clock, ManualClock, Node, RandomIds, config::SecretString};
use sql::testing::TestDb;

/// 2027-01-15T08:00:00Z.
const NOW_MS: i64 = 1_800_000_000_000;
const SECRET: &str = "a secret that only the tests know of";

/// Everything that a process with `auth` and `user` has.
struct World {
    engine: String,
    auth: Arc<Auth>,
    /// What other services have of it: itself, or the way there.
    api: AuthClient,
    user: UserClient,
    verifier: Arc<Verifier>,
    clock: Arc<ManualClock>,
    cache: Arc<Memory>,
    app: Router,
    auth_db: TestDb,
    _user_db: TestDb,
    node: Node,
    addresses: AtomicU8,
}

impl World {
    /// A client with an address of its own, so that limits count it alone.
    fn door(&self) -> Door {
        let last = self.addresses.fetch_add(1, Ordering::SeqCst);
        self.door_at(IpAddr::from([127, 1, 0, last]))
    }

    fn door_at(&self, address: IpAddr) -> Door {
        Door::new(self.app.clone(), SocketAddr::new(address, 40_000))
    }

    /// Another process with `auth` on the same store, cache and accounts.
    async fn another(&self, config: &Config) -> Result<(Arc<Auth>, Router), auth::StartError> {
        let mut node = Node::new();
        let deps = deps(&self.auth_db, &self.clock, &self.user, &self.cache);
        let auth = auth::build(config, deps, &mut node).await?;
        let app = app(&auth, &self.user, &self.cache, &self.clock, &node).1;
        Ok((auth, app))
    }
}

fn config() -> Config {
    Config {
        secret: Some(SecretString::from(SECRET)),
        ..Config::default()
    }
}

fn deps(
    db: &sql::Db,
    clock: &Arc<ManualClock>,
    user: &UserClient,
    cache: &Arc<Memory>,
) -> auth::Deps {
    auth::Deps {
        db: db.clone(),
        clock: clock.clone(),
        ids: Arc::new(RandomIds),
        user: user.clone(),
        limits: Limits::new(cache.clone()),
        key_file: None,
    }
}

fn app(
    auth: &Arc<Auth>,
    user: &UserClient,
    cache: &Arc<Memory>,
    clock: &Arc<ManualClock>,
    node: &Node,
) -> (Arc<Verifier>, Router) {
    app_over(
        &(auth.clone() as AuthClient),
        auth,
        user,
        cache,
        clock,
        node,
    )
}

/// The same with a check of tokens that asks `api`.
fn app_over(
    api: &AuthClient,
    auth: &Arc<Auth>,
    user: &UserClient,
    cache: &Arc<Memory>,
    clock: &Arc<ManualClock>,
    node: &Node,
) -> (Arc<Verifier>, Router) {
    let verifier = Verifier::new(api.clone(), clock.clone() as Arc<dyn Clock>);
    verifier.start(node);
    let (auth_routes, _) = auth::routes(auth.clone(), verifier.clone());
    let door = user::Door {
        user: user.clone(),
        limits: Limits::new(cache.clone()),
        config: user::Config::default(),
    };
    let (user_routes, _) = user::routes(door, verifier.clone());
    (
        verifier,
        kit::http::with_ground_rules(auth_routes.merge(user_routes)),
    )
}

/// The two services on each engine, with `auth` as another process has it too: over gRPC.
async fn all_worlds(config: &Config) -> Vec<World> {
    let mut each = worlds(config).await;
    for mut world in worlds(config).await {
        let (_, channel) = remote::offer(&world).await;
        world.engine += " over gRPC";
        world.api = contracts::auth::connect(channel);
        let (api, auth, node) = (&world.api, &world.auth, &world.node);
        (world.verifier, world.app) =
            app_over(api, auth, &world.user, &world.cache, &world.clock, node);
        each.push(world);
    }
    each
}

/// The two services on each engine.
async fn worlds(config: &Config) -> Vec<World> {
    let auth_dbs = sql::testing::both("auth", &auth::MIGRATIONS).await;
    let user_dbs = sql::testing::both("user", &user::MIGRATIONS).await;
    let mut worlds = Vec::new();
    for (auth_db, user_db) in auth_dbs.into_iter().zip(user_dbs) {
        let mut node = Node::new();
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let user_deps = user::Deps {
            db: user_db.clone(),
            clock: clock.clone(),
            ids: Arc::new(RandomIds),
        };
        let user = user::build(user_deps, &mut node);
        let cache = Arc::new(Memory::new());
        let auth = auth::build(config, deps(&auth_db, &clock, &user, &cache), &mut node)
            .await
            .unwrap();
        let (verifier, app) = app(&auth, &user, &cache, &clock, &node);
        worlds.push(World {
            engine: auth_db.engine().to_string(),
            api: auth.clone(),
            auth,
            user,
            verifier,
            clock,
            cache,
            app,
            auth_db,
            _user_db: user_db,
            node,
            addresses: AtomicU8::new(1),
        });
    }
    worlds
}

/// Every step of the schema can be undone and taken again.
#[tokio::test]
async fn the_tables_go_and_come_back() {
    for db in sql::testing::both("auth", &auth::MIGRATIONS).await {
        let undone = sql::migrate_down(&db, &auth::MIGRATIONS, 1).await.unwrap();
        assert_eq!(
            undone,
            sql::migrate_up(&db, &auth::MIGRATIONS).await.unwrap()
        );
    }
}
