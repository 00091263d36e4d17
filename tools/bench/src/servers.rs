//! PostgreSQL, Kafka and Redis of a run: brought up by the scripts of the tree, empty, on ports and in a folder of their
//! own, on the server's core; stopped and forgotten in the end.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use postgres::{Client, NoTls};

use crate::{machine::Cores, process::free_address, server::Folder};

/// The scripts of the tree that the bench was built in.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");
/// Kafka's second listener is so many ports above its first.
const CONTROLLER: u16 = 4000;
/// How long one question to PostgreSQL may take; only counting the rows of a round comes near it.
const STATEMENT: Duration = Duration::from_secs(60);

/// One server that was started for the run.
#[derive(Debug)]
struct Started {
    script: &'static str,
    port: (&'static str, u16),
    folder: PathBuf,
    /// What `up` printed: where it is.
    url: String,
    pid: u32,
}

/// The three of them.
#[derive(Debug)]
pub struct Servers {
    postgres: Started,
    kafka: Started,
    redis: Started,
    // Dropped last: it has what the others write to.
    _folder: Folder,
}

impl Servers {
    /// Starts them with their data below `parent`.
    ///
    /// # Errors
    /// One of them does not come up; its own words are in the text.
    pub fn start(cores: &Cores, parent: &Path) -> Result<Self> {
        let folder = Folder::new(parent, "servers")?;
        let up = |script, port| {
            let started = cores.on_server_core(|| Started::up(script, port, folder.path()))?;
            started.with_context(|| format!("scripts/{script} up"))
        };
        Ok(Self {
            postgres: up("postgres", "MESSENGER_TEST_PG_PORT")?,
            kafka: up("kafka", "MESSENGER_TEST_KAFKA_PORT")?,
            redis: up("redis", "MESSENGER_TEST_REDIS_PORT")?,
            _folder: folder,
        })
    }

    /// A database of its own and names of its own on the broker, for one installation.
    pub fn place(&self, name: &str, partitions: u32) -> Result<Place> {
        connect(&self.postgres.url)?.batch_execute(&format!("CREATE DATABASE {name}"))?;
        let (server, _) = self.postgres.url.rsplit_once('/').context("odd URL")?;
        Ok(Place {
            sql: format!("{server}/{name}"),
            brokers: self.kafka.url.clone(),
            cache: self.redis.url.clone(),
            prefix: format!("{name}."),
            partitions,
        })
    }

    /// Writes out what PostgreSQL still has in memory only, so that no round pays for another.
    pub fn checkpoint(&self) -> Result<()> {
        Ok(connect(&self.postgres.url)?.batch_execute("CHECKPOINT")?)
    }

    /// The first process of PostgreSQL, and those of Kafka and Redis.
    pub fn pids(&self) -> [u32; 3] {
        [self.postgres.pid, self.kafka.pid, self.redis.pid]
    }
}

/// Where an installation keeps what it stores.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address of its database.
    pub sql: String,
    /// The addresses of Kafka.
    pub brokers: String,
    cache: String,
    prefix: String,
    partitions: u32,
}

/// The keys of the names that every installation on a broker has for itself.
const TOPICS: &[(&str, &str)] = &[
    ("message_persist", "chat.message.persist"),
    ("forward_message", "chat.message.forward"),
    ("ai_feed", "chat.message.ai.feed"),
    ("ai_autoreply", "chat.message.ai-autoreply"),
    ("ai_advice_request", "chat.ai.advice-request"),
    ("ai_advice_response", "chat.message.ai-advice-response"),
    ("ai_binding_init", "chat.binding.init"),
    ("ai_thread_created", "chat.binding.thread-created"),
    ("chat_invite", "chat.invite.send"),
    ("dead_letter_prefix", ""),
];

impl Place {
    /// A connection to its database.
    pub fn connect(&self) -> Result<Client> {
        connect(&self.sql)
    }

    /// The name of the topic with what is to be stored.
    pub fn persist(&self) -> String {
        format!("{}chat.message.persist", self.prefix)
    }

    /// The name of the topic with what was stored.
    pub fn forward(&self) -> String {
        format!("{}chat.message.forward", self.prefix)
    }

    /// A name for a topic of a floor.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Its settings, as lines of TOML.
    pub fn settings(&self) -> String {
        let mut lines = vec![
            format!("sql = \"{}\"", self.sql),
            format!("log = \"kafka://{}\"", self.brokers),
            format!("cache = \"{}\"", self.cache),
            format!("partitions = {}", self.partitions),
            format!("eventlog.kafka.group_prefix = \"{}\"", self.prefix),
        ];
        let topics = TOPICS.iter();
        lines.extend(topics.map(|(key, name)| format!("topics.{key} = \"{}{name}\"", self.prefix)));
        lines.join("\n") + "\n"
    }
}

fn connect(url: &str) -> Result<Client> {
    let mut config: postgres::Config = url.parse()?;
    config.options(&format!("-c statement_timeout={}", STATEMENT.as_millis()));
    config
        .connect(NoTls)
        .with_context(|| format!("cannot connect to {url}"))
}

impl Started {
    fn up(script: &'static str, variable: &'static str, folder: &Path) -> Result<Self> {
        let mut started = Self {
            script,
            port: (variable, free_port()?),
            folder: folder.to_owned(),
            url: String::new(),
            pid: 0,
        };
        started.url = started.ask("up")?;
        started.pid = started.ask("pid")?.parse()?;
        Ok(started)
    }

    /// What the script prints. What it says beside goes to a file, which the server may hold open.
    fn ask(&self, what: &str) -> Result<String> {
        let log = self.folder.join(format!("{}.log", self.script));
        let beside = File::options().create(true).append(true).open(&log)?;
        let output = Command::new(Path::new(SCRIPTS).join(self.script))
            .arg(what)
            .env(self.port.0, self.port.1.to_string())
            .env("MESSENGER_TEST_DIR", &self.folder)
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BROKERS")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stderr(beside)
            .output()?;
        if !output.status.success() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("`scripts/{} {what}` failed:\n{said}", self.script);
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Err(error) = self.ask("down") {
            eprintln!("{error:#}");
        }
    }
}

/// A port that was free a moment ago, and the one for Kafka's second listener as well.
fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = free_address()?.port();
        let second = port.checked_add(CONTROLLER);
        let is_free = |second| std::net::TcpListener::bind(("127.0.0.1", second)).is_ok();
        if second.is_some_and(is_free) {
            return Ok(port);
        }
    }
    bail!("no two ports are free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_names_of_its_own_for_everything_on_the_broker() {
        let place = Place {
            sql: "postgres://messenger@127.0.0.1:1/d1".to_owned(),
            brokers: "127.0.0.1:2".to_owned(),
            cache: "redis://127.0.0.1:3/0".to_owned(),
            prefix: "d1.".to_owned(),
            partitions: 8,
        };
        let text = place.settings();
        assert!(text.contains("topics.message_persist = \"d1.chat.message.persist\"\n"));
        let named = text.lines().filter(|line| line.starts_with("topics."));
        assert_eq!(
            named.filter(|line| line.contains("\"d1.")).count(),
            TOPICS.len()
        );
        assert_eq!(place.forward(), "d1.chat.message.forward");
    }
}
