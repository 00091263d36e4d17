//! An installation whose processes are children of this one: they can be killed, paused, stopped and started again on the
//! same data.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::future::join_all;
use messenger::{Config, Topology};
use tempfile::TempDir;
use tokio::{process, time::Instant};

use crate::{
    settings::{Engine, SECRET, Servers, free_ports, settings},
    split::configs,
};

/// How long a process may take until it takes traffic; a whole cluster starts on two cores.
const START: Duration = Duration::from_mins(1);

/// A place among the processes of a [`Cluster`].
pub type At = usize;

/// All processes of an installation.
pub struct Cluster {
    pub config: Config,
    folder: TempDir,
    parts: Vec<Part>,
    environment: Vec<(&'static str, String)>,
}

/// One process, running or not.
struct Part {
    service: &'static str,
    name: String,
    public: SocketAddr,
    private: SocketAddr,
    rpc: SocketAddr,
    process: Option<process::Child>,
}

impl Cluster {
    /// A fresh installation, all of which runs.
    pub async fn start(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let mut cluster = Self::prepare(engine, change).await;
        cluster.run(cluster.all(), None).await;
        cluster
    }

    /// A fresh installation, nothing of which runs.
    pub async fn prepare(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(engine.servers().as_ref(), engine, change).await
    }

    /// The same on servers of the test's own.
    pub async fn prepare_on(
        servers: &Servers,
        engine: Engine,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::with(Some(servers), engine, change).await
    }

    async fn with(
        servers: Option<&Servers>,
        engine: Engine,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = settings(folder.path(), servers).await;
        let (config, parts, environment) = set_up(folder.path(), engine, config, change);
        Self {
            config,
            folder,
            parts,
            environment,
        }
    }

    /// Other settings for the same data, as an operator writes them. Nothing runs meanwhile.
    pub async fn change(&mut self, engine: Engine, change: impl FnOnce(&mut Config)) {
        let folder = self.folder.path();
        let config = settings(folder, engine.servers().as_ref()).await;
        (self.config, self.parts, self.environment) = set_up(folder, engine, config, change);
    }

    /// Gives a variable to every process that is started from now on.
    pub fn set(&mut self, variable: &'static str, value: &str) {
        self.environment.push((variable, value.to_owned()));
    }

    /// Every process.
    pub fn all(&self) -> Vec<At> {
        (0..self.parts.len()).collect()
    }

    /// The processes that run a service.
    pub fn of(&self, service: &str) -> Vec<At> {
        let parts = self.parts.iter().enumerate();
        let runs = |part: &Part| {
            let topology = Topology::parse(part.service).unwrap();
            topology.is_here(service.parse().unwrap())
        };
        let of = parts.filter(|(_, part)| runs(part)).map(|(at, _)| at);
        of.collect()
    }

    pub fn name(&self, at: At) -> &str {
        &self.parts[at].name
    }

    /// Where sockets are accepted: people knock at one after the other.
    pub fn doors(&self) -> Vec<SocketAddr> {
        let gateways = self.of("ws-gateway").into_iter();
        gateways.map(|at| self.parts[at].public).collect()
    }

    /// Where the first of all processes listens, which serves every path.
    pub fn public(&self) -> SocketAddr {
        self.public_of(0)
    }

    /// Where the first of all processes has its metrics.
    pub fn private(&self) -> SocketAddr {
        self.private_of(0)
    }

    /// Where a process listens for everybody.
    pub fn public_of(&self, at: At) -> SocketAddr {
        self.parts[at].public
    }

    /// Where a process answers the other services.
    pub fn rpc_of(&self, at: At) -> SocketAddr {
        self.parts[at].rpc
    }

    /// Where a process has its metrics.
    pub fn private_of(&self, at: At) -> SocketAddr {
        self.parts[at].private
    }

    /// Starts processes and waits until they take traffic; `failpoint` as in `kit::failpoint::arm`.
    pub async fn run(&mut self, parts: Vec<At>, failpoint: Option<&str>) {
        for at in &parts {
            let child = self.command(*at, failpoint).spawn().unwrap();
            self.parts[*at].process = Some(child);
        }
        for at in parts {
            self.ready(at).await;
        }
    }

    fn command(&self, at: At, failpoint: Option<&str>) -> process::Command {
        let part = &self.parts[at];
        let settings = self.path(at, "toml");
        let mut command = program(&["run", "--services", part.service], &settings);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(at, "log"))
            .unwrap();
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(failpoint) = failpoint {
            command.env("MESSENGER_FAILPOINT", failpoint);
        }
        command
    }

    fn path(&self, at: At, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", self.parts[at].name);
        self.folder.path().join(name)
    }

    async fn ready(&mut self, at: At) {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let part = &mut self.parts[at];
            let answer = report(part.private).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = part.process.as_mut().unwrap().try_wait().unwrap();
            let name = self.name(at);
            assert!(
                ended.is_none(),
                "{name} ended before it was ready: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let report = match report(self.parts[at].private).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        panic!(
            "{} does not get ready: {report}\n{}",
            self.name(at),
            self.log()
        );
    }

    /// Makes the topics that are missing, as an operator does.
    pub async fn make_topics(&self) {
        assert!(self.tell(&["topics"], None).await.0);
    }

    /// Does what an operator wants with the settings of the first process; gives whether it succeeded, and all that was
    /// printed.
    pub async fn tell(&self, words: &[&str], failpoint: Option<&str>) -> (bool, String) {
        let mut command = program(words, &self.path(0, "toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(failpoint) = failpoint {
            command.env("MESSENGER_FAILPOINT", failpoint);
        }
        let output = tokio::time::timeout(START, command.output()).await;
        let output = output.expect("the command ends").unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// `kill -9` to all of these at once; waits until they are gone.
    pub async fn kill(&mut self, parts: Vec<At>) {
        let mut ended = Vec::new();
        for at in parts {
            if let Some(mut process) = self.parts[at].process.take() {
                process.start_kill().unwrap();
                ended.push(process);
            }
        }
        join_all(ended.iter_mut().map(process::Child::wait)).await;
    }

    /// Stops these at once, as an operator does, and gives their exit codes.
    pub async fn stop(&mut self, parts: Vec<At>) -> Vec<Option<i32>> {
        for at in &parts {
            self.signal(*at, "-TERM").await;
        }
        let taken = parts.iter().map(|at| self.parts[*at].process.take());
        let taken: Vec<_> = taken.map(Option::unwrap).collect();
        let ended = taken
            .into_iter()
            .map(|mut process| async move { process.wait().await.unwrap().code() });
        join_all(ended).await
    }

    /// Holds a process up: it does nothing more, and its connections stay.
    pub async fn pause(&self, at: At) {
        self.signal(at, "-STOP").await;
    }

    pub async fn wake(&self, at: At) {
        self.signal(at, "-CONT").await;
    }

    async fn signal(&self, at: At, signal: &str) {
        let id = self.id(at).to_string();
        let kill = process::Command::new("kill").args([signal, &id]).status();
        assert!(kill.await.unwrap().success());
    }

    /// Waits until one of these has ended by itself, and says which.
    pub async fn ended(&mut self, parts: &[At]) -> At {
        loop {
            for at in parts {
                let process = &mut self.parts[*at].process;
                let has_ended =
                    |process: &mut process::Child| process.try_wait().unwrap().is_some();
                if process.as_mut().is_some_and(has_ended) {
                    *process = None;
                    return *at;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether any process that should run has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let mut running = self
            .parts
            .iter_mut()
            .filter_map(|part| part.process.as_mut());
        running.any(|process| process.try_wait().unwrap().is_some())
    }

    pub fn id(&self, at: At) -> u32 {
        let process = self.parts[at].process.as_ref().unwrap();
        process.id().unwrap()
    }

    /// What the processes have logged stays when a test fails.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
        eprintln!("the logs are in {}", self.folder.path().display());
    }

    /// Everything that all processes have logged.
    pub fn log(&self) -> String {
        let logs = self.all().into_iter().map(|at| {
            let log = std::fs::read_to_string(self.path(at, "log"));
            format!("== {}\n{}", self.name(at), log.unwrap_or_default())
        });
        logs.collect()
    }
}

/// Writes the settings of every process into `folder`, with ports of its own; gives what the processes are.
fn set_up(
    folder: &Path,
    engine: Engine,
    mut config: Config,
    change: impl FnOnce(&mut Config),
) -> (Config, Vec<Part>, Vec<(&'static str, String)>) {
    change(&mut config);
    [config.http.public, config.http.private, config.rpc.listen] =
        free_ports(3).try_into().unwrap();
    let mut environment = vec![("MESSENGER_AUTH__SECRET", SECRET.to_owned())];
    let parts = engine.parts();
    if parts.len() > 1 {
        environment.push(("MESSENGER_RPC__SECRET", SECRET.to_owned()));
    }
    let each = configs(parts, &config).into_iter().zip(parts);
    let parts = each.map(|((_, config), (service, replica))| {
        let name = format!("{service}-{replica}");
        write(&config, &folder.join(format!("{name}.toml")));
        Part {
            service,
            name,
            public: config.http.public,
            private: config.http.private,
            rpc: config.rpc.listen,
            process: None,
        }
    });
    let parts = parts.collect();
    (config, parts, environment)
}

/// The program, as this executable: `tests/it/child.rs` is its other side, in every program of tests.
fn program(arguments: &[&str], settings: &Path) -> process::Command {
    let mut command = process::Command::new(std::env::current_exe().unwrap());
    let arguments = format!("{}\n--config\n{}", arguments.join("\n"), settings.display());
    command
        .args(["--exact", "child::serves_when_asked_to", "--nocapture"])
        .env_remove("DATABASE_URL")
        .env_remove("KAFKA_BROKERS")
        .env_remove("REDIS_URL")
        .env("E2E_CHILD", arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Secrets are hidden in print, and come from the environment; the tests' server asks for no password.
fn write(config: &Config, path: &Path) {
    let printed = config.printed().unwrap();
    let hidden = ["api_key = \"\"", "proxy = \"\"", "secret = \"\""];
    let lines = printed.lines().filter(|line| !hidden.contains(line));
    std::fs::write(path, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

async fn report(private: SocketAddr) -> reqwest::Result<reqwest::Response> {
    reqwest::get(format!("http://{private}/readyz")).await
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}
