//! What can be said before anything is opened. `messenger check` and every start ask here, so that the one accepts what
//! the other does.
//!
//! Each part of the program knows its own rules, and applies them again when it is built. What only an open door or an
//! open file can tell - a busy port, a database that does not answer, a foreign file - is not found here.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use contracts::events::Topics;
use eventlog::TopicSpec;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::{
    config::Config,
    front::Replicas,
    topology::{Service, Topology},
};

/// What is wrong with the settings: one line for each trouble.
pub(crate) fn settings(config: &Config, topology: &Topology) -> Vec<String> {
    let mut troubles = topology.check(config).err().unwrap_or_default();
    let sql = sql::check(&config.sql);
    let has_key_file = !matches!(sql, Ok(None));
    let sockets = [
        ("ws-ai-advice.sockets", &config.ws_ai_advice.sockets),
        ("ws-autoreply.sockets", &config.ws_autoreply.sockets),
    ];
    troubles.extend(same_ports(config));
    troubles.extend(addresses(config, topology));
    troubles.extend(kit::telemetry::parse_filter(&config.log_filter).err());
    troubles.extend(said(eventlog::check(&config.log, &config.eventlog)));
    troubles.extend(topics(&config.topics));
    troubles.extend(said(sql));
    troubles.extend(said(cache::check(&config.cache)));
    troubles.extend(config.auth.check(has_key_file).err().unwrap_or_default());
    troubles.extend(config.rpc.check().err());
    troubles.extend(config.message.check().err());
    troubles.extend(config.ai.check().err().unwrap_or_default());
    let gateway = config.ws_gateway.check().err();
    troubles.extend(gateway.map(|wrong| format!("ws-gateway.{wrong}")));
    for (section, sockets) in sockets {
        let wrong = sockets.check().err();
        troubles.extend(wrong.map(|wrong| format!("{section}.{wrong}")));
    }
    troubles
}

/// Names that no topic can have, and names that two of them would have.
fn topics(topics: &Topics) -> Vec<String> {
    let mut names = topics.names();
    names.sort_unstable();
    let wrong = names.iter().filter_map(|name| {
        let (name, partitions) = ((*name).into(), 1);
        said(eventlog::check_topic(&TopicSpec { name, partitions }))
    });
    let shared = names.windows(2).filter(|pair| pair[0] == pair[1]);
    let shared = shared.map(|pair| format!("two topics have the name `{}`", pair[0]));
    wrong.chain(shared).collect()
}

fn said<T, E: ToString>(result: Result<T, E>) -> Option<String> {
    result.err().map(|error| error.to_string())
}

/// What is no address of a service that runs elsewhere.
fn addresses(config: &Config, topology: &Topology) -> Vec<String> {
    let mut troubles = Vec::new();
    for service in Service::ALL {
        let place = config.services.of(service);
        let doors = [("http", &place.http), ("rpc", &place.rpc)];
        for (door, addresses) in doors.into_iter().filter(|_| !topology.is_here(service)) {
            let wrong = Replicas::parse(addresses).err();
            troubles.extend(wrong.map(|wrong| format!("services.{service}.{door}: {wrong}")));
        }
    }
    troubles
}

/// Two listeners cannot have one port of one address.
fn same_ports(config: &Config) -> Vec<String> {
    let mut listeners = vec![
        ("http.public", config.http.public),
        ("http.private", config.http.private),
    ];
    listeners.extend((config.rpc.secret.is_some()).then_some(("rpc.listen", config.rpc.listen)));
    let mut troubles = Vec::new();
    for (at, (other, there)) in listeners.iter().enumerate() {
        for (name, here) in &listeners[..at] {
            let is_same = here.port() == there.port() && here.port() != 0;
            if is_same && (covers(*here, *there) || covers(*there, *here)) {
                troubles.push(format!(
                    "{name} = {here} and {other} = {there} need the same port"
                ));
            }
        }
    }
    troubles
}

/// Whether a listener at `wide` takes what comes to the address of `other`.
fn covers(wide: SocketAddr, other: SocketAddr) -> bool {
    match (wide.ip(), other.ip()) {
        (IpAddr::V6(wide), _) if wide.is_unspecified() => true,
        (IpAddr::V4(wide), IpAddr::V4(_)) if wide.is_unspecified() => true,
        (wide, other) => wide == other,
    }
}

/// What is wrong with the folders that embedded engines and keys need: one line for each of them. Nothing is made.
pub(crate) fn folders(config: &Config) -> Vec<String> {
    let trouble = |folder: PathBuf| {
        let error = usable(&folder).err()?;
        Some(format!("data folder {}: {error}", folder.display()))
    };
    needed(config).into_iter().filter_map(trouble).collect()
}

/// The folders that embedded engines and keys need.
fn needed(config: &Config) -> Vec<PathBuf> {
    let log = eventlog::check(&config.log, &config.eventlog);
    let log = log.ok().flatten();
    let log = log.and_then(|file| file.parent().map(Path::to_owned));
    let mut folders = vec![config.data.clone()];
    folders.extend(sql::check(&config.sql).ok().flatten());
    folders.extend(log.filter(|folder| !folder.as_os_str().is_empty()));
    folders.sort();
    folders.dedup();
    folders
}

/// Whether `folder` is one that can be written to, or can be made.
fn usable(folder: &Path) -> io::Result<()> {
    let mut nearest = folder;
    loop {
        if nearest.as_os_str().is_empty() {
            nearest = Path::new(".");
        }
        match nearest.metadata() {
            Ok(metadata) if !metadata.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                nearest = nearest.parent().ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, nearest, wanted, AtFlags::EACCESS)?)
}

/// Makes the data folders for their owner alone: what people wrote stands in them.
///
/// # Errors
/// The folder and what the system says.
pub(crate) fn make_folders(config: &Config) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use std::os::unix::fs::DirBuilderExt as _;
    for folder in needed(config) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("data folder {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that share a port are refused only where the system would refuse them.
    #[test]
    fn two_listeners_on_one_port_are_found() {
        let found = |public: &str, private: &str, rpc: &str| {
            let mut config = Config::default();
            config.http.public = public.parse().unwrap();
            config.http.private = private.parse().unwrap();
            config.rpc.listen = rpc.parse().unwrap();
            let without = same_ports(&config).len();
            config.rpc.secret = Some("a secret of 32 characters or more".into());
            (without, same_ports(&config).len())
        };
        for (public, private, rpc, troubles) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:1", (1, 1)),
            ("0.0.0.0:8080", "127.0.0.1:8080", "127.0.0.1:1", (1, 1)),
            ("127.0.0.1:8080", "0.0.0.0:8080", "127.0.0.1:1", (1, 1)),
            ("[::]:8080", "127.0.0.1:8080", "127.0.0.1:1", (1, 1)),
            ("127.0.0.1:8080", "127.0.0.1:9090", "0.0.0.0:9090", (0, 1)),
            ("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", (1, 3)),
            ("127.0.0.1:8080", "127.0.0.2:8080", "127.0.0.3:8080", (0, 0)),
            ("0.0.0.0:8080", "[::1]:8080", "127.0.0.1:1", (0, 0)),
            ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", (0, 0)),
        ] {
            assert_eq!(
                found(public, private, rpc),
                troubles,
                "{public} {private} {rpc}"
            );
        }
    }

    #[test]
    fn addresses_are_looked_at_where_the_service_runs_elsewhere() {
        let mut config = Config::default();
        config.services.user.http = "nowhere".into();
        config.services.user.rpc = "a:1,,b:2".into();
        let found = |services| addresses(&config, &Topology::parse(services).unwrap());
        assert!(found("all").is_empty() && found("user").is_empty());
        let found = found("auth").join("\n");
        assert!(
            found.contains("services.user.http: `nowhere`")
                && found.contains("services.user.rpc: ``"),
            "{found}"
        );
    }
}
