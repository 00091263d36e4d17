//! Configuration: defaults, then a file, then the environment. Read once, here.
//!
//! Every setting is documented in `config.default.toml`. An unknown key or a bad value stops the start
//! and names itself.

mod environment;
mod places;

use std::{net::SocketAddr, path::PathBuf};

use contracts::events::Topics;
use serde::{Deserialize, Serialize};

pub use places::{Place, Places};

use crate::topology::Topology;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where embedded engines and keys keep their files.
    pub data: PathBuf,
    /// The event log.
    pub log: String,
    /// The databases.
    pub sql: String,
    /// Sessions, presence, limits.
    pub cache: String,
    /// Partitions of each topic; fixed when the topic is made.
    pub partitions: u32,
    /// What is written to standard output.
    pub log_filter: String,
    /// Unique among the replicas of a process, the same after a restart.
    pub replica: String,
    /// Listeners.
    pub http: Http,
    /// Between processes.
    pub rpc: rpc::Config,
    /// Where services are that run in other processes.
    pub services: Places,
    /// Pools and time-outs of the databases.
    pub pool: sql::PoolConfig,
    /// The embedded log.
    pub eventlog: eventlog::Config,
    /// The names of the topics.
    pub topics: Topics,
    /// Accounts.
    pub user: user::Config,
    /// Tokens and sessions.
    pub auth: auth::Config,
    /// Chats and bindings.
    pub chat: chat::Config,
    /// Chat streams.
    pub message: message::Config,
    /// The AI.
    pub ai: ai::Config,
    /// Who must be told.
    pub notification: notification::Config,
    /// Sockets.
    #[serde(rename = "ws-gateway")]
    pub ws_gateway: ws_gateway::Config,
    /// Sockets that receive advice.
    #[serde(rename = "ws-ai-advice")]
    pub ws_ai_advice: ws_ai_advice::Config,
    /// Sockets that receive replies of the AI.
    #[serde(rename = "ws-autoreply")]
    pub ws_autoreply: ws_autoreply::Config,
}

/// The listeners.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// For people.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
    /// The reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<kit::http::Network>,
    /// How many connections one address may have at once, sockets and trusted proxies aside.
    pub connections_per_address: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            public: SocketAddr::from(([127, 0, 0, 1], 8080)),
            private: SocketAddr::from(([127, 0, 0, 1], 9090)),
            trusted_proxies: Vec::new(),
            connections_per_address: kit::http::CONNECTIONS_PER_ADDRESS,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            log: "embedded:".to_owned(),
            sql: "sqlite:".to_owned(),
            cache: "memory:".to_owned(),
            partitions: 8,
            log_filter: "info".to_owned(),
            replica: "0".to_owned(),
            http: Http::default(),
            rpc: rpc::Config::default(),
            services: Places::default(),
            pool: sql::PoolConfig::default(),
            eventlog: eventlog::Config::default(),
            topics: Topics::default(),
            user: user::Config::default(),
            auth: auth::Config::default(),
            chat: chat::Config::default(),
            message: message::Config::default(),
            ai: ai::Config::default(),
            notification: notification::Config::default(),
            ws_gateway: ws_gateway::Config::default(),
            ws_ai_advice: ws_ai_advice::Config::default(),
            ws_autoreply: ws_autoreply::Config::default(),
        }
    }
}

impl Config {
    /// Reads `file`, if there is one, and then `environment` on top of it. Where nothing is said of the listeners, a process
    /// with some of the services has those of the first.
    ///
    /// # Errors
    /// One line that names the file or variable and what is wrong with it.
    pub fn load(
        file: Option<&std::path::Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        topology: &Topology,
    ) -> Result<Self, String> {
        let mut table = toml::Table::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let wrong = |error| format!("{}: {}", path.display(), told(&error, &text));
            table = toml::from_str(&text).map_err(wrong)?;
            environment::complete(&mut table)?;
            // When it cannot be read as settings, it is read once more as it stands there, for the line.
            if let Err(error) = table.clone().try_into::<Self>() {
                return Err(wrong(toml::from_str::<Self>(&text).err().unwrap_or(error)));
            }
        }
        environment::overlay(&mut table, environment)?;
        let read = |table: &toml::Table| {
            let config = table.clone().try_into::<Self>();
            config.map_err(|error| format!("configuration: {}", told(&error, "")))
        };
        let mut config = read(&table)?;
        if let Some(first) = topology.part() {
            environment::listen(&mut table, first, config.services.of(first))?;
            config = read(&table)?;
        }
        Ok(config.resolved())
    }

    /// Fills in what follows from the data folder.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        if self.log == "embedded:" {
            self.log = format!("embedded:{}", self.data.join("log.db").display());
        }
        if self.sql == "sqlite:" {
            self.sql = format!("sqlite:{}", self.data.display());
        }
        // The page of the public address may open sockets, whatever `Host` a proxy in between sends.
        let origin = origin_of(&self.auth.public_url);
        for origins in [
            &mut self.ws_gateway.sockets.origins,
            &mut self.ws_ai_advice.sockets.origins,
            &mut self.ws_autoreply.sockets.origins,
        ] {
            if !origins.contains(&origin) {
                origins.push(origin.clone());
            }
        }
        self
    }

    /// The effective settings as TOML, secrets hidden.
    ///
    /// # Errors
    /// Never for values that were read from TOML.
    pub fn printed(&self) -> Result<String, String> {
        let mut shown = self.clone();
        shown.sql = crate::topology::without_password(&shown.sql);
        shown.cache = crate::topology::without_password(&shown.cache);
        shown.ai.base_url = crate::topology::without_password(&shown.ai.base_url);
        toml::to_string_pretty(&shown).map_err(|error| error.to_string())
    }
}

fn origin_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{host}")
}

/// One line that says where in `text` and why, without a word of what stands there: it may be a secret.
fn told(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', " ");
    let why = match message.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ => message,
    };
    match error.span() {
        Some(span) if !text.is_empty() => {
            let before = text.get(..span.start).unwrap_or(text);
            format!("line {}: {why}", before.matches('\n').count() + 1)
        }
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, String> {
        Config::load(
            None,
            environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            &Topology::parse("all").unwrap(),
        )
    }

    /// What has no default: it prints as an empty text, and the documents show it as a comment.
    const SECRETS: [(&str, &str); 4] = [
        ("auth", "secret"),
        ("ai", "api_key"),
        ("ai", "proxy"),
        ("rpc", "secret"),
    ];

    /// row:G03: the documented defaults are the defaults, and they name every setting.
    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let documented: toml::Table = toml::from_str(DEFAULTS).unwrap();
        let mut defaults = toml::Table::try_from(Config::default()).unwrap();
        for (section, key) in SECRETS {
            let section = defaults
                .get_mut(section)
                .and_then(toml::Value::as_table_mut)
                .unwrap();
            assert_eq!(
                section.remove(key),
                Some(String::new().into()),
                "{key} has no default"
            );
            assert!(
                DEFAULTS.contains(&format!("\n# {key} = \"")),
                "{key} stands there as a comment"
            );
        }
        for (name, value) in &defaults {
            assert_eq!(documented.get(name), Some(value), "{name}");
        }
        assert_eq!(documented.len(), defaults.len());
        toml::from_str::<Config>(DEFAULTS).unwrap();
    }

    #[test]
    fn every_documented_default_says_what_it_is() {
        let mut before = "";
        for line in DEFAULTS.lines() {
            let is_setting = line.contains(" = ") && !line.starts_with('#');
            assert!(
                !is_setting || before.starts_with("# "),
                "no comment above `{line}`"
            );
            before = line;
        }
    }

    #[test]
    fn the_environment_wins_and_keeps_its_types() {
        let config = load(&[
            ("MESSENGER_PARTITIONS", "4"),
            ("MESSENGER_HTTP__PUBLIC", "127.0.0.1:0"),
            ("CHAT_MESSAGE_PERSIST_WORKER_COUNT", "2"),
            ("DATABASE_URL", "postgres://host/db"),
            ("TOPIC_MESSAGE_PERSIST", "other.persist"),
            ("HOME", "/root"),
        ])
        .unwrap();
        assert_eq!((config.partitions, config.message.persist_workers), (4, 2));
        assert_eq!(config.sql, "postgres://host/db");
        assert_eq!(config.topics.message_persist, "other.persist");
    }

    /// row:G08: a process with some of the services listens at the places of the first, unless it is told otherwise.
    #[test]
    fn a_process_listens_where_its_first_service_is() {
        let load = |environment: &[(&str, &str)]| {
            let environment = environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Config::load(None, environment, &Topology::parse("ai,chat").unwrap())
        };
        let config = load(&[
            ("CHAT_GRPC_PORT", "6000"),
            ("MESSENGER_SERVICES__CHAT__HTTP", "127.0.0.1:7000"),
            ("MESSENGER_SERVICES__WS_GATEWAY__RPC", "here:1,there:2"),
            ("AUTH_SERVICE_GRPC_ADDR", "auth:50052"),
            ("MESSENGER_HTTP__PRIVATE", "127.0.0.1:1"),
        ])
        .unwrap();
        let listens = [config.http.public, config.http.private, config.rpc.listen];
        assert_eq!(
            listens.map(|address| address.port()),
            [7000, 1, 6000],
            "{listens:?}"
        );
        assert_eq!(config.services.ws_gateway.rpc, "here:1,there:2");
        assert_eq!(config.services.ws_gateway.http, "127.0.0.1:8081");
        assert_eq!(config.services.auth.rpc, "auth:50052");
        let error = load(&[("MESSENGER_SERVICES__CHAT__HTTP", "chat-1:80,chat-2:80")]);
        assert!(error.unwrap_err().contains("http.public"));
    }

    /// row:G03: a part of a setting that has parts can be set alone, from a file and from the environment.
    #[test]
    fn a_part_of_a_limit_can_be_set_alone() {
        let config = load(&[("MESSENGER_AUTH__LOGIN_LIMIT__COUNT", "7")]).unwrap();
        let limit = config.auth.login_limit;
        assert_eq!(
            (limit.count, limit.burst),
            (7, auth::Config::default().login_limit.burst)
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.toml");
        std::fs::write(&file, "[user.find_limit]\ncount = 9\n").unwrap();
        let config = Config::load(Some(&file), [], &Topology::parse("all").unwrap()).unwrap();
        assert_eq!(config.user.find_limit.count, 9);
    }

    /// row:G24: what stands in a file that cannot be read is not told; it may be a secret.
    #[test]
    fn a_mistake_in_a_file_is_told_by_its_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.toml");
        for (text, line) in [
            ("[auth]\nsecret = 'hush-12345\n", "line 2"),
            ("[ai]\n\napi_key = 1234512345\n", "line 3"),
            ("[auth]\nsecret_of_mine = 'hush-12345'\n", "secret_of_mine"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error =
                Config::load(Some(&file), [], &Topology::parse("all").unwrap()).unwrap_err();
            assert!(
                error.contains(line) && error.contains("some.toml"),
                "{error}"
            );
            assert!(!error.contains("12345") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_or_a_bad_value_names_itself() {
        for (name, value) in [
            ("MESSENGER_PARTITONS", "4"),
            ("MESSENGER_PARTITIONS", "four"),
            ("MESSENGER_HTTP__PUBLIC", "here"),
            ("CHAT_MESSAGE_PERSIST_WORKER_COUNT", "-1"),
            ("MESSENGER_MESSAGE__SESSION_TIMEOUT", "6"),
        ] {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
