//! The services of a process on one listener.

use std::{io, net::SocketAddr};

use axum::{Router, middleware::from_fn_with_state};
use kit::Node;
use tokio::net::TcpListener;
use tonic::{server::NamedService as _, service::Routes};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;

use crate::{
    Config, Service,
    guard::{Guard, guard},
    health, listener,
};

/// Collects what a process offers; then [`bind`](Self::bind) and [`serve`](BoundServer::serve).
pub struct Server {
    descriptors: &'static [u8],
    services: Vec<Service>,
}

impl Server {
    /// Offers nothing yet. `descriptors` is the encoded file descriptor set of every proto file that is spoken, for
    /// reflection.
    pub fn new(descriptors: &'static [u8]) -> Self {
        Self {
            descriptors,
            services: Vec::new(),
        }
    }

    /// Offers `service` too.
    pub fn offer(&mut self, service: Service) {
        self.services.push(service);
    }

    /// Binds the listener; nothing is served yet. `None` without a secret: then there is no door at all.
    ///
    /// # Errors
    /// The address when it cannot be listened on, the setting when that is wrong, or the descriptors.
    pub async fn bind(self, config: &Config) -> io::Result<Option<BoundServer>> {
        config.check().map_err(invalid)?;
        let Some(credential) = config.credential().map_err(invalid)? else {
            return Ok(None);
        };
        let guarded = Guard::new(credential, config.calls);
        let reporter = HealthReporter::new();
        let mut names: Vec<_> = self.services.iter().map(Service::name).collect();
        let mut router = self.ground(&reporter, &names)?;
        for service in self.services {
            router = router.merge(service.into_router());
        }
        // The whole process goes by the empty name.
        names.push("");
        health::set(&reporter, &names, false).await;
        let address = config.listen;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        Ok(Some(BoundServer {
            listener,
            router: router.layer(from_fn_with_state(guarded, guard)),
            reporter,
            names,
        }))
    }

    /// Health, reflection in its two versions, and `Unimplemented` for what nobody offers.
    fn ground(&self, reporter: &HealthReporter, names: &[&'static str]) -> io::Result<Router> {
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let reflection = || {
            let builder = Builder::configure()
                .register_encoded_file_descriptor_set(self.descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name(HealthServer::<HealthService>::NAME);
            names
                .iter()
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let routes = Routes::new(health)
            .add_service(reflection().build_v1().map_err(invalid)?)
            .add_service(reflection().build_v1alpha().map_err(invalid)?);
        Ok(routes.into_axum_router())
    }
}

fn invalid(error: impl Into<kit::BoxError>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// A server whose address is known.
pub struct BoundServer {
    listener: TcpListener,
    router: Router,
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl BoundServer {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves from now on, as one of the node's doors: when the node begins to stop, health says so, nobody is let in
    /// any more, and open calls end.
    pub fn serve(self, node: &Node) {
        let doors = node.spawner().doors();
        let stop = doors.token().clone();
        let follow = health::follow(self.reporter, self.names, node.health(), stop);
        doors.spawn("rpc health", follow);
        let serve = listener::serve(self.listener, self.router, doors.clone());
        doors.spawn("rpc listener", serve);
    }
}
