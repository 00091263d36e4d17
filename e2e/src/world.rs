//! A running messenger, in this process or as a child.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use contracts::events::Topics;
use kit::CancellationToken;
use messenger::{Config, Process, Topology};
use tempfile::TempDir;

/// What stands behind the ports; every scenario runs on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded log, SQLite, memory.
    Embedded,
    /// Apache Kafka, PostgreSQL, Redis.
    Servers,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Servers];
}

/// A messenger in this process.
pub struct World {
    pub config: Config,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub engine: Engine,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
    folder: Option<TempDir>,
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
    if engine == Engine::Servers {
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
async fn fresh_database() -> String {
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
        let process = Process::build(&config, &Topology::parse("all").unwrap())
            .await
            .unwrap();
        let (public, private) = process.addresses().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(process.serve(stop.clone().cancelled_owned()));
        let world = Self {
            config,
            public,
            private,
            engine,
            stop,
            served,
            folder,
        };
        crate::eventually("ready", async || world.is_ready().await).await;
        world
    }

    pub async fn is_ready(&self) -> bool {
        let url = format!("http://{}/readyz", self.private);
        reqwest::get(url)
            .await
            .is_ok_and(|answer| answer.status().is_success())
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
        self.stop.cancel();
        (&mut self.served).await.unwrap().unwrap();
        Self::run(self.engine, self.config.clone(), self.folder.take()).await
    }

    /// Stops gracefully.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.served).await.unwrap().unwrap();
    }
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
        let (public, private) = free_ports();
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
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child::serves_when_asked_to", "--nocapture"])
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BROKERS")
            .env_remove("REDIS_URL")
            .env("E2E_CHILD", folder.join("messenger.toml"))
            .env("MESSENGER_AUTH__SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(failpoint) = failpoint {
            command.env("MESSENGER_FAILPOINT", failpoint);
        }
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

/// Two ports that were free a moment ago. Children get fixed ones, so that clients find the next process
/// where the last one was.
fn free_ports() -> (SocketAddr, SocketAddr) {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let [public, private] = listeners.map(|listener| listener.local_addr().unwrap());
    (public, private)
}
