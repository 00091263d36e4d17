//! What a fresh installation is set to: the defaults, names and ports of its own, and the servers behind it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use messenger::Config;
use serde_json::Value;

/// What stands behind the ports; every scenario runs on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded log, SQLite, memory.
    Embedded,
    /// Apache Kafka, PostgreSQL, Redis.
    Servers,
    /// The same, and every service a node of its own that reaches the others over gRPC; some of them twice.
    Split,
    /// The same, and every service twice.
    Doubled,
}

impl Engine {
    /// What this one stands on.
    pub(crate) fn servers(self) -> Option<Servers> {
        (self != Self::Embedded).then(Servers::shared)
    }
}

/// What seals the signing key where there is no data folder of one process alone.
pub const SECRET: &str = "only-for-tests-0123456789-abcdefghij";

/// Where the servers are.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `HOST:PORT` of Kafka.
    pub kafka: String,
    pub postgres: String,
    pub redis: String,
}

impl Servers {
    /// Those that all tests share: nobody stops or flushes them.
    pub fn shared() -> Self {
        Self {
            kafka: server("KAFKA_BROKERS"),
            postgres: server("DATABASE_URL"),
            redis: server("REDIS_URL"),
        }
    }
}

fn server(variable: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests learn of the running servers from here"
    )]
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} names a server for tests: run scripts/test"))
}

/// Settings for a fresh installation in `folder`: the defaults, ports of the system's choice, and an AI
/// that does not keep a test waiting.
pub(crate) async fn settings(folder: &Path, servers: Option<&Servers>) -> Config {
    let mut config = Config {
        data: folder.join("data"),
        ..Config::default()
    };
    config.http.public = SocketAddr::from(([127, 0, 0, 1], 0));
    config.http.private = SocketAddr::from(([127, 0, 0, 1], 0));
    config.message.http_sends.burst = 10_000;
    config.ai.demo_pause = std::time::Duration::from_millis(30);
    config.ai.limits.pause = std::time::Duration::from_millis(200);
    config.ai.limits.delay_min = std::time::Duration::from_millis(300);
    config.ai.limits.delay_max = std::time::Duration::from_millis(600);
    if let Some(servers) = servers {
        config.sql = fresh_database(&servers.postgres).await;
        config.auth.secret = Some(SECRET.into());
        config.log = format!("kafka://{}", servers.kafka);
        config.cache.clone_from(&servers.redis);
        share(&mut config);
    }
    config.resolved()
}

/// Names of its own for everything on the broker, where the worlds of other scenarios are as well.
fn share(config: &mut Config) {
    let prefix = format!("e2e-{}.", crate::key());
    let mut names = serde_json::to_value(&config.topics).unwrap();
    for name in names.as_object_mut().unwrap().values_mut() {
        *name = Value::from(format!("{prefix}{}", name.as_str().unwrap()));
    }
    config.topics = serde_json::from_value(names).unwrap();
    config.eventlog.kafka.group_prefix = prefix;
    // Sixty worlds share one small broker.
    config.partitions = 2;
}

/// A database of its own on the server at `url`, migrated. It stays until the server goes.
pub async fn fresh_database(url: &str) -> String {
    let name = format!(
        "e2e_{}",
        uuid::Uuid::parse_str(&crate::key()).unwrap().simple()
    );
    crate::psql(url, &format!("CREATE DATABASE {name}")).await;
    let (server, _) = url.rsplit_once('/').unwrap();
    let url = format!("{server}/{name}");
    for service in messenger::Service::ALL {
        if let Some(migrations) = service.migrations() {
            let pool = sql::PoolConfig {
                max_connections: 2,
                ..sql::PoolConfig::default()
            };
            let db = sql::open(&url, service.name(), &pool).await.unwrap();
            sql::migrate_up(&db, migrations).await.unwrap();
            db.close().await;
        }
    }
    url
}

/// Ports that nobody else of these tests has, for those who have to be found where they were, or before they are there. The
/// system gives none of them to connections.
pub(crate) fn free_ports(count: usize) -> Vec<SocketAddr> {
    static TURN: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 30_000;
    const COUNT: u16 = 2_700;
    let start = std::process::id().wrapping_mul(97).to_le_bytes();
    let start = u16::from_le_bytes([start[0], start[1]]);
    let turns = std::iter::repeat_with(|| start.wrapping_add(TURN.fetch_add(1, Relaxed)));
    turns
        .take(usize::from(COUNT))
        .map(|turn| SocketAddr::from(([127, 0, 0, 1], FIRST + turn % COUNT)))
        .filter(|address| std::net::TcpListener::bind(address).is_ok())
        .take(count)
        .collect()
}

/// People may say as much as they can.
pub fn busy(config: &mut Config) {
    config.ws_gateway.sockets.commands_per_10s = 1_000_000;
    config.ws_gateway.sockets.command_burst = 1_000_000;
    config.message.http_sends.count = 1_000_000;
    config.message.http_sends.burst = 1_000_000;
}
