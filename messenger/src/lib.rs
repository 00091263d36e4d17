//! The one binary: configuration, topology, wiring, commands. The only crate that names all services.
//!
//! [`topology`] knows which services run here, `wiring` puts them together, [`start`] runs them; the
//! scenarios of `e2e` use the same function as the command line.

mod check;
pub mod cli;
pub mod commands;
pub mod config;
mod front;
mod metrics;
mod moving;
pub mod topology;
mod web;
mod wiring;

use std::{future::Future, net::SocketAddr};

use kit::{Node, node::BoundNode};

pub use config::Config;
pub use topology::{Service, Topology};
pub use web::openapi;

/// Everything that speaks TLS uses this one implementation.
fn choose_cryptography() {
    // Fails only when a provider was installed before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A process that is built and bound and does not serve yet.
pub struct Process(BoundNode);

impl Process {
    /// Builds the services of `topology` and binds the listeners.
    ///
    /// # Errors
    /// What cannot work, in words for the person who starts it.
    pub async fn build(config: &Config, topology: &Topology) -> anyhow::Result<Self> {
        choose_cryptography();
        kit::telemetry::metrics();
        let mut node = Node::new();
        let (offers, _) = wiring::build(&mut node, config, topology).await?;
        if let Some(offers) = offers.bind(&config.rpc).await? {
            offers.serve(&node);
        }
        Ok(Self(
            node.bind(config.http.public, config.http.private).await?,
        ))
    }

    /// The addresses of the public and the private listener.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.0.public_address()?, self.0.private_address()?))
    }

    /// Serves until `stop` ends.
    ///
    /// # Errors
    /// The task whose failure ended the process.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), String> {
        self.0.serve(stop).await
    }
}
