//! Which services run here, and whether that can work. The only file that knows.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use crate::config::Config;

/// A service. One name everywhere: folder, package, `--services`, configuration, schema, label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Tokens and sessions.
    Auth,
    /// Accounts.
    User,
    /// Chats and bindings.
    Chat,
    /// Chat streams.
    Message,
    /// The AI.
    Ai,
    /// Who must be told.
    Notification,
    /// Sockets of clients.
    WsGateway,
    /// Sockets that receive advice.
    WsAiAdvice,
    /// Sockets that receive replies of the AI.
    WsAutoreply,
}

impl Service {
    /// Every service, in the order in which they are built.
    pub const ALL: [Self; 9] = [
        Self::User,
        Self::Auth,
        Self::Message,
        Self::Chat,
        Self::Ai,
        Self::Notification,
        Self::WsGateway,
        Self::WsAiAdvice,
        Self::WsAutoreply,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::User => "user",
            Self::Chat => "chat",
            Self::Message => "message",
            Self::Ai => "ai",
            Self::Notification => "notification",
            Self::WsGateway => "ws-gateway",
            Self::WsAiAdvice => "ws-ai-advice",
            Self::WsAutoreply => "ws-autoreply",
        }
    }

    /// The tables of this service, if it has any.
    pub const fn migrations(self) -> Option<&'static sql::Migrations> {
        match self {
            Self::Auth => Some(&auth::MIGRATIONS),
            Self::User => Some(&user::MIGRATIONS),
            Self::Chat => Some(&chat::MIGRATIONS),
            Self::Message => Some(&message::MIGRATIONS),
            Self::Ai => Some(&ai::MIGRATIONS),
            Self::Notification | Self::WsGateway | Self::WsAiAdvice | Self::WsAutoreply => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{name}` is no service; the services are {names}, or all of them: all")
            })
    }
}

/// The services of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    here: Vec<Service>,
}

impl Topology {
    /// Reads `all` or a list of names.
    ///
    /// # Errors
    /// The name that is unknown, with those that are known.
    pub fn parse(names: &str) -> Result<Self, String> {
        if names.trim() == "all" {
            return Ok(Self {
                here: Service::ALL.to_vec(),
            });
        }
        let mut here = names
            .split(',')
            .map(|name| name.trim().parse())
            .collect::<Result<Vec<Service>, _>>()?;
        here.sort_unstable();
        here.dedup();
        Ok(Self { here })
    }

    /// The first of the services here, when others run elsewhere.
    pub fn part(&self) -> Option<Service> {
        let is_part = self.here.len() < Service::ALL.len();
        self.here.first().copied().filter(|_| is_part)
    }

    /// Whether a service runs in this process.
    pub fn is_here(&self, service: Service) -> bool {
        self.here.contains(&service)
    }

    /// Refuses what cannot work, and says why.
    ///
    /// # Errors
    /// One line for each thing that cannot work.
    pub fn check(&self, config: &Config) -> Result<(), Vec<String>> {
        let mut troubles = Vec::new();
        let embedded = [
            ("log", &config.log, "embedded:"),
            ("sql", &config.sql, "sqlite:"),
            ("cache", &config.cache, "memory:"),
        ];
        let elsewhere: Vec<_> = Service::ALL
            .into_iter()
            .filter(|service| !self.is_here(*service))
            .collect();
        if !elsewhere.is_empty() {
            for (setting, url, scheme) in embedded {
                if url.starts_with(scheme) {
                    troubles.push(format!(
                        "{setting} = \"{url}\" lives in one process, and {} would run elsewhere: run all services here, or \
                         use a server for {setting}",
                        names(&elsewhere)
                    ));
                }
            }
            if config.rpc.secret.is_none() {
                troubles.push(format!(
                    "rpc.secret must be set, the same for all processes: {} would run elsewhere",
                    names(&elsewhere)
                ));
            }
        }
        if !(1..=1024).contains(&config.partitions) {
            troubles.push(format!(
                "partitions = {} is not within 1..=1024",
                config.partitions
            ));
        }
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles)
        }
    }

    /// The table that `messenger check` prints.
    pub fn table(&self, config: &Config) -> String {
        let mut table = format!(
            "log    {}\nsql    {}\ncache  {}\npublic {}\nprivate {}\n",
            config.log,
            without_password(&config.sql),
            without_password(&config.cache),
            config.http.public,
            config.http.private
        );
        for service in Service::ALL {
            let place = if self.is_here(service) {
                "here"
            } else {
                "elsewhere"
            };
            writeln!(table, "{:<13} {place}", service.name())
                .expect("writing to a string cannot fail");
        }
        table
    }
}

fn names(services: &[Service]) -> String {
    services
        .iter()
        .map(|service| service.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A URL that can be printed: no password before the host, none among the parameters.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.rsplit_once('@').map_or_else(
        || place.to_owned(),
        |(user, host)| {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{name}@{host}")
        },
    );
    let is_open = |parameter: &&str| !parameter.to_ascii_lowercase().contains("password");
    let parameters: Vec<_> = parameters.split('&').filter(is_open).collect();
    let parameters = parameters.join("&");
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{mark}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password is nowhere in what is printed of a URL.
    #[test]
    fn a_printed_url_has_no_password() {
        for (url, printed) in [
            ("postgres://u:p@h/d", "postgres://u@h/d"),
            (
                "postgres://u@h/d?password=p&sslmode=require&sslpassword=p",
                "postgres://u@h/d?sslmode=require",
            ),
            ("https://k:p@h/v1", "https://k@h/v1"),
            ("sqlite:data", "sqlite:data"),
        ] {
            assert_eq!(without_password(url), printed);
        }
    }

    #[test]
    fn an_unknown_service_is_answered_with_the_known_ones() {
        let error = Topology::parse("auth,chatt").unwrap_err();
        assert!(
            error.contains("`chatt`") && error.contains("ws-gateway"),
            "{error}"
        );
    }

    #[test]
    fn embedded_engines_cannot_be_split() {
        let troubles = Topology::parse("auth,user")
            .unwrap()
            .check(&Config::default())
            .unwrap_err();
        assert_eq!(troubles.len(), 4, "{troubles:?}");
        assert!(
            Topology::parse("all")
                .unwrap()
                .check(&Config::default())
                .is_ok()
        );
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(
            without_password("postgres://ann:secret@host/db"),
            "postgres://ann@host/db"
        );
        assert_eq!(without_password("sqlite:data"), "sqlite:data");
    }
}
