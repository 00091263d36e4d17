//! A running messenger, in this process or as a child.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use contracts::events::Topics;
use kit::CancellationToken;
use messenger::{Config, Process, Topology, config::Place};
use tempfile::TempDir;

/// What stands behind the ports; every scenario runs on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded log, SQLite, memory.
    Embedded,
    /// Apache Kafka, PostgreSQL, Redis.
    Servers,
    /// The same, and every service a node of its own that reaches the others over gRPC; some of them twice.
    Split,
}

impl Engine {
    /// What runs together, and its name among replicas. People knock at the first.
    fn parts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Embedded | Self::Servers => &[("all", "0")],
            Self::Split => &[
                ("auth", "0"),
                ("user", "0"),
                ("chat", "0"),
                ("message", "0"),
                ("message", "1"),
                ("ai", "0"),
                ("ai", "1"),
                ("notification", "0"),
                ("ws-gateway", "0"),
                ("ws-gateway", "1"),
                ("ws-ai-advice", "0"),
                ("ws-autoreply", "0"),
            ],
        }
    }
}

/// A messenger in this process.
pub struct World {
    pub config: Config,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub engine: Engine,
    parts: Vec<Part>,
    folder: Option<TempDir>,
}

/// One node of it.
struct Part {
    name: &'static str,
    public: SocketAddr,
    rpc: SocketAddr,
    private: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
}

/// What seals the signing key where there is no data folder of one process alone.
pub const SECRET: &str = "only-for-tests-0123456789-abcdefghij";

/// Settings for a fresh installation in `folder`: the defaults, ports of the system's choice, and an AI
/// that does not keep a test waiting.
pub(crate) async fn settings(engine: Engine, folder: &Path) -> Config {
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
    if engine != Engine::Embedded {
        config.sql = fresh_database().await;
        config.auth.secret = Some(SECRET.into());
        config.log = format!("kafka://{}", server("KAFKA_BROKERS"));
        config.cache = server("REDIS_URL");
        share(&mut config);
    }
    config.resolved()
}

/// Names of its own for everything on the broker, where the worlds of other scenarios are as well.
fn share(config: &mut Config) {
    let prefix = format!("e2e-{}.", crate::key());
    let Topics {
        message_persist,
        forward_message,
        ai_feed,
        ai_autoreply,
        ai_advice_request,
        ai_advice_response,
        ai_binding_init,
        ai_thread_created,
        chat_invite,
        dead_letter_prefix,
    } = &mut config.topics;
    for name in [
        message_persist,
        forward_message,
        ai_feed,
        ai_autoreply,
        ai_advice_request,
        ai_advice_response,
        ai_binding_init,
        ai_thread_created,
        chat_invite,
        dead_letter_prefix,
    ] {
        name.insert_str(0, &prefix);
    }
    config.eventlog.kafka.group_prefix = prefix;
    // Sixty worlds share one small broker.
    config.partitions = 2;
}

/// Where a server for tests is.
fn server(variable: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests learn of the running servers from here"
    )]
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} names a server for tests: run scripts/test"))
}

/// A database of its own on the server of `DATABASE_URL`, migrated. It stays until the server goes.
pub async fn fresh_database() -> String {
    let url = server("DATABASE_URL");
    let name = format!(
        "e2e_{}",
        uuid::Uuid::parse_str(&crate::key()).unwrap().simple()
    );
    let psql = tokio::process::Command::new("psql")
        .args([&url, "-qc", &format!("CREATE DATABASE {name}")])
        .status()
        .await
        .expect("psql comes with PostgreSQL");
    assert!(psql.success(), "the database could not be made");
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

impl World {
    /// A fresh installation.
    pub async fn start(engine: Engine) -> Self {
        Self::with(engine, |_| {}).await
    }

    /// A fresh installation with other settings.
    pub async fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(engine, folder.path()).await;
        change(&mut config);
        Self::run(engine, config, Some(folder)).await
    }

    async fn run(engine: Engine, config: Config, folder: Option<TempDir>) -> Self {
        let building = configs(engine, &config)
            .into_iter()
            .map(|(topology, config)| async move {
                let process = Process::build(&config, &topology).await;
                process.map(|process| (process, config.rpc.listen))
            });
        let processes = futures_util::future::try_join_all(building).await.unwrap();
        let addresses = processes[0].0.addresses().unwrap();
        let parts = processes.into_iter().zip(engine.parts());
        let parts = parts.map(|((process, rpc), (name, _))| {
            let (public, private) = process.addresses().unwrap();
            let stop = CancellationToken::new();
            let served = tokio::spawn(process.serve(stop.clone().cancelled_owned()));
            Part {
                name,
                public,
                rpc,
                private,
                stop,
                served,
            }
        });
        let world = Self {
            config,
            public: addresses.0,
            private: addresses.1,
            engine,
            parts: parts.collect(),
            folder,
        };
        crate::eventually("ready", async || world.is_ready().await).await;
        world
    }

    pub async fn is_ready(&self) -> bool {
        for part in &self.parts {
            let url = format!("http://{}/readyz", part.private);
            let answer = reqwest::get(url).await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    /// The value of a metric, summed over its labels that contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.private))
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
        values.sum()
    }

    /// Stops gracefully and starts again on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop_parts().await;
        Self::run(self.engine, self.config.clone(), self.folder.take()).await
    }

    /// Stops gracefully.
    pub async fn stop(mut self) {
        self.stop_parts().await;
    }

    /// The services that run apart, with their replicas.
    pub fn services(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.parts.iter().map(|part| (part.name, part.public))
    }

    fn replica(&self, service: &str, n: usize) -> usize {
        let parts = self.parts.iter().enumerate();
        let mut replicas = parts.filter(|(_, part)| part.name == service);
        replicas.nth(n).unwrap().0
    }

    /// The public address of one replica of a service.
    pub fn http(&self, service: &str, n: usize) -> SocketAddr {
        self.parts[self.replica(service, n)].public
    }

    /// The gRPC address of one replica of a service.
    pub fn rpc(&self, service: &str, n: usize) -> SocketAddr {
        self.parts[self.replica(service, n)].rpc
    }

    /// Stops one replica of a service gracefully.
    pub async fn stop_one(&mut self, service: &str, n: usize) {
        let part = self.parts.remove(self.replica(service, n));
        part.stop.cancel();
        part.served.await.unwrap().unwrap();
    }

    async fn stop_parts(&mut self) {
        for part in &self.parts {
            part.stop.cancel();
        }
        for part in self.parts.drain(..) {
            part.served.await.unwrap().unwrap();
        }
    }
}

/// The settings of each node: where it listens, and where the others are.
fn configs(engine: Engine, config: &Config) -> Vec<(Topology, Config)> {
    let parts = engine.parts();
    if parts.len() == 1 {
        return vec![(Topology::parse("all").unwrap(), config.clone())];
    }
    let listeners = free_ports(3 * parts.len());
    let mut common = config.clone();
    common.rpc.secret = Some(SECRET.into());
    common.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    common.pool.max_connections = 4;
    for service in messenger::Service::ALL {
        let replicas = parts.iter().zip(listeners.chunks(3));
        let replicas = replicas.filter(|((name, _), _)| *name == service.name());
        let places: Vec<_> = replicas.map(|(_, ports)| ports).collect();
        let list = |n: usize| {
            places
                .iter()
                .map(|ports| ports[n].to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        *common.services.of_mut(service) = Place {
            http: list(0),
            private: list(1),
            rpc: list(2),
        };
    }
    let each = parts
        .iter()
        .zip(listeners.chunks(3))
        .map(|((name, replica), ports)| {
            let mut config = common.clone();
            config.http.public = ports[0];
            config.http.private = ports[1];
            config.rpc.listen = ports[2];
            config.replica = String::from(*replica);
            (Topology::parse(name).unwrap(), config)
        });
    each.collect()
}

/// This very program in a process of its own, on the settings of `folder`.
pub(crate) fn program(folder: &Path, failpoint: Option<&str>) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::serves_when_asked_to", "--nocapture"])
        .env_remove("DATABASE_URL")
        .env_remove("KAFKA_BROKERS")
        .env_remove("REDIS_URL")
        .env("E2E_CHILD", folder.join("messenger.toml"))
        .env("MESSENGER_AUTH__SECRET", SECRET)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(failpoint) = failpoint {
        command.env("MESSENGER_FAILPOINT", failpoint);
    }
    command
}

/// A messenger in a process of its own, which can be killed and started again on the same data.
pub struct Child {
    pub public: SocketAddr,
    pub private: SocketAddr,
    process: tokio::process::Child,
    folder: PathBuf,
}

impl Child {
    /// Writes the settings for children into `folder`; all of them share it.
    pub async fn prepare(
        engine: Engine,
        folder: &Path,
        change: impl FnOnce(&mut Config),
    ) -> (SocketAddr, SocketAddr) {
        let mut config = settings(engine, folder).await;
        change(&mut config);
        let [public, private] = free_ports(2).try_into().unwrap();
        config.http.public = public;
        config.http.private = private;
        // Secrets are hidden in print; these tests have none, and the tests' server asks for no password.
        let printed = config.printed().unwrap();
        let hidden = ["api_key = \"\"", "proxy = \"\"", "secret = \"\""];
        let table = printed
            .lines()
            .filter(|line| !hidden.contains(line))
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::write(folder.join("messenger.toml"), table).unwrap();
        (public, private)
    }

    /// Starts a child on the settings of `folder`; `failpoint` as in `kit::failpoint::arm`.
    pub fn start(
        folder: &Path,
        (public, private): (SocketAddr, SocketAddr),
        failpoint: Option<&str>,
    ) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("child.log"))
            .unwrap();
        let mut command = program(folder, failpoint);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        Self {
            public,
            private,
            process,
            folder: folder.to_owned(),
        }
    }

    /// Waits until it takes traffic; `false` when it ended before.
    pub async fn ready(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + crate::SOON;
        while tokio::time::Instant::now() < deadline {
            let url = format!("http://{}/readyz", self.private);
            if reqwest::get(url)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self.folder.join("child.log")).unwrap_or_default();
        let report = reqwest::get(format!("http://{}/readyz", self.private)).await;
        let report = match report {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        panic!("the child does not get ready: {report}\n{log}");
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Stops it as an operator does; gives its exit code.
    pub async fn stop(mut self) -> Option<i32> {
        let id = self.process.id().unwrap().to_string();
        let kill = tokio::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(kill.await.unwrap().success());
        self.process.wait().await.unwrap().code()
    }

    /// Everything that children of this folder have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("child.log")).unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) {
        self.process.wait().await.unwrap();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }
}

/// Ports that nobody else of these tests has, for those who have to be found where they were, or before they are there. The
/// system gives none of them to connections.
fn free_ports(count: usize) -> Vec<SocketAddr> {
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
