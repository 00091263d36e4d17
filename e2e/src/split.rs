//! Which processes make up an installation, and what each of them is told of the others.

use std::net::SocketAddr;

use messenger::{
    Config, Service, Topology,
    config::{Place, Places},
};
use serde_json::{Map, Value};

use crate::settings::{Engine, SECRET, free_ports};

impl Engine {
    /// What runs together, and its name among replicas. People knock at the first.
    pub(crate) fn parts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Embedded | Self::Servers => &[("all", "0")],
            Self::Split => &[
                ("auth", "0"),
                ("auth", "1"),
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
            Self::Doubled => &[
                ("auth", "0"),
                ("auth", "1"),
                ("user", "0"),
                ("user", "1"),
                ("chat", "0"),
                ("chat", "1"),
                ("message", "0"),
                ("message", "1"),
                ("ai", "0"),
                ("ai", "1"),
                ("notification", "0"),
                ("notification", "1"),
                ("ws-gateway", "0"),
                ("ws-gateway", "1"),
                ("ws-ai-advice", "0"),
                ("ws-ai-advice", "1"),
                ("ws-autoreply", "0"),
                ("ws-autoreply", "1"),
            ],
        }
    }
}

/// The settings of each part: where it listens, and where the others are. One that runs alone listens where it was told to.
pub(crate) fn configs(parts: &[(&str, &str)], config: &Config) -> Vec<(Topology, Config)> {
    if let [(services, _)] = parts {
        return vec![(Topology::parse(services).unwrap(), config.clone())];
    }
    let free = free_ports(3 * parts.len());
    let listeners = || parts.iter().zip(free.chunks(3));
    let mut common = config.clone();
    common.rpc.secret = Some(SECRET.into());
    common.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    common.pool.max_connections = 4;
    let by_service: Vec<_> = listeners()
        .map(|((service, _), ports)| (*service, ports))
        .collect();
    common.services = places(&by_service);
    let each = listeners().map(|((service, replica), ports)| {
        let mut config = common.clone();
        config.http.public = ports[0];
        config.http.private = ports[1];
        config.rpc.listen = ports[2];
        config.replica = String::from(*replica);
        (Topology::parse(service).unwrap(), config)
    });
    each.collect()
}

/// Where the replicas of every service are, from the three listeners of each.
fn places(listeners: &[(&str, &[SocketAddr])]) -> Places {
    let place = |service: Service| {
        let replicas = listeners.iter().filter(|(name, _)| *name == service.name());
        let replicas: Vec<_> = replicas.map(|(_, ports)| *ports).collect();
        let list = |n: usize| {
            let addresses = replicas.iter().map(|ports| ports[n].to_string());
            addresses.collect::<Vec<_>>().join(",")
        };
        let place = Place {
            http: list(0),
            private: list(1),
            rpc: list(2),
        };
        (
            service.name().to_owned(),
            serde_json::to_value(place).unwrap(),
        )
    };
    let places: Map<String, Value> = Service::ALL.into_iter().map(place).collect();
    serde_json::from_value(places.into()).unwrap()
}
