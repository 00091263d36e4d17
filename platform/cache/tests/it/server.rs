//! Redis servers for tests: the one that all share, and own ones, which may be treated badly.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cache::{Cache, Subscriber};
use kit::Node;
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The address of the server that all tests share.
pub(crate) fn shared() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests find their server by it")]
    std::env::var("REDIS_URL")
        .expect("REDIS_URL names a Redis for tests; scripts/redis up starts one")
}

/// A server of one test. It ends with the test.
pub(crate) struct Server {
    process: Child,
    port: u16,
    arguments: &'static [&'static str],
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with more arguments than the usual ones.
    pub(crate) async fn start_with(arguments: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = spawn(port, arguments, &folder);
        let server = Self {
            process,
            port,
            arguments,
            folder,
        };
        server.answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What a process sees of it.
    pub(crate) fn open(&self) -> Arc<dyn Cache> {
        open(&self.url())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts again after [`Server::kill`], with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port, self.arguments, &self.folder);
        self.answers().await;
    }

    /// From now on it takes connections and bytes, and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Has the server do something.
    pub(crate) fn run<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query(&mut connection).unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let done = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(done.success());
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        eventually("the server answers", async || {
            let connection = client.get_connection();
            connection.is_ok_and(|mut connection| {
                // With a password it refuses, which is an answer.
                let answer = redis::cmd("PING").query::<()>(&mut connection);
                answer.is_ok() || answer.is_err_and(|error| error.code() == Some("NOAUTH"))
            })
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a process sees of the server at `url`.
pub(crate) fn open(url: &str) -> Arc<dyn Cache> {
    cache::open(url, &Node::new().spawner()).unwrap()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(port: u16, arguments: &[&str], folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(port.to_string())
        .args(arguments)
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

/// What `subscriber` receives next.
pub(crate) async fn next(subscriber: &mut Box<dyn Subscriber>) -> Option<(String, Bytes)> {
    let next = tokio::time::timeout(DEADLINE, subscriber.next());
    next.await.expect("a payload or the end in time")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        look.tick().await;
    }
}
