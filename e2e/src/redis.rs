//! A Redis of one test, which may be treated badly.

use std::{net::SocketAddr, process::Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A server that keeps nothing. It ends with the test.
pub struct Redis {
    address: SocketAddr,
    folder: TempDir,
    process: Child,
}

impl Redis {
    pub async fn start() -> Self {
        let address = crate::settings::free_ports(1)[0];
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(address, &folder);
        let server = Self {
            address,
            folder,
            process,
        };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts again after [`Redis::kill`], with nothing in it.
    pub async fn restart(&mut self) {
        self.process = spawn(self.address, &self.folder);
        self.answers().await;
    }

    /// From now on it takes connections and bytes, and answers nothing.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        let done = Command::new("kill").args([signal, &id]).status().await;
        assert!(done.unwrap().success());
    }

    async fn answers(&self) {
        crate::eventually("Redis answers", async || {
            ask::<String>(&self.url(), "PING").await.is_some()
        })
        .await;
    }
}

/// What the server at `url` answers; `None` when it does not, or says nil.
pub async fn ask<T: redis::FromRedisValue>(url: &str, command: &str) -> Option<T> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.ok()?;
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    command.query_async(&mut connection).await.ok()
}

fn spawn(address: SocketAddr, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}
