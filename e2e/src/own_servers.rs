//! Servers of a test's own, which it may stop, kill and flush: brought up by the scripts, with data of their own that goes
//! with them.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use crate::settings::Servers;

/// One of them; the name of its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Kafka,
    Postgres,
    Redis,
}

impl Server {
    const ALL: [Self; 3] = [Self::Kafka, Self::Postgres, Self::Redis];

    const fn script(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    const fn port_variable(self) -> &'static str {
        match self {
            Self::Kafka => "MESSENGER_TEST_KAFKA_PORT",
            Self::Postgres => "MESSENGER_TEST_PG_PORT",
            Self::Redis => "MESSENGER_TEST_REDIS_PORT",
        }
    }
}

/// All three of them.
pub struct OwnServers {
    ports: [u16; 3],
    pub servers: Servers,
}

impl OwnServers {
    pub async fn start() -> Self {
        let ports = ports();
        let own = Self {
            ports,
            servers: Servers {
                kafka: format!("127.0.0.1:{}", ports[0]),
                postgres: format!("postgres://messenger@127.0.0.1:{}/messenger", ports[1]),
                redis: format!("redis://127.0.0.1:{}/0", ports[2]),
            },
        };
        futures_util::future::join_all(Server::ALL.map(|server| own.up(server))).await;
        own
    }

    const fn port(&self, server: Server) -> u16 {
        self.ports[server as usize]
    }

    fn script(&self, server: Server, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new(root.join("scripts").join(server.script()));
        command
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BROKERS")
            .env_remove("REDIS_URL")
            .env(server.port_variable(), self.port(server).to_string())
            .env("MESSENGER_TEST_KAFKA_SESSION", "2000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    async fn tell(&self, server: Server, arguments: &[&str]) {
        let mut command = tokio::process::Command::from(self.script(server, arguments));
        let status = command.status().await.unwrap();
        assert!(
            status.success(),
            "scripts/{} {arguments:?}",
            server.script()
        );
    }

    /// Starts one on the data that it has, and waits until it takes connections.
    pub async fn up(&self, server: Server) {
        self.tell(server, &["up"]).await;
    }

    /// Stops one as an operator does.
    pub async fn down(&self, server: Server) {
        self.tell(server, &["down"]).await;
    }

    /// Ends one as a crash does.
    pub async fn kill(&self, server: Server) {
        self.tell(server, &["kill"]).await;
    }

    /// Makes Redis forget everything.
    pub async fn flush(&self) {
        self.tell(Server::Redis, &["flush"]).await;
    }

    /// Deletes a topic of Kafka.
    pub async fn delete_topic(&self, topic: &str) {
        self.tell(Server::Kafka, &["delete", topic]).await;
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        for server in Server::ALL {
            // What cannot be stopped any more is gone already.
            let _ = self.script(server, &["remove"]).status();
        }
    }
}

/// Free ports for the three; Kafka's controller has the port 4000 above.
fn ports() -> [u16; 3] {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = 5_000 + u16::try_from(std::process::id() % 3_000).unwrap();
    let mut free = (first..9_000).filter(|port| is_free(port) && is_free(&(port + 4_000)));
    std::array::from_fn(|_| free.next().unwrap())
}
