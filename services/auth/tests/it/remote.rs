//! The service as another process has it: over gRPC, with everything that stands in between.

use std::net::{Ipv4Addr, SocketAddr};

use super::World;

/// Offers `auth` for as long as the world lasts: the address, and the way there for those who belong to us.
pub(crate) async fn offer(world: &World) -> (String, rpc::Channel) {
    let config = rpc::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::auth::serve(
        world.auth.clone(),
        world.user.clone(),
    ));
    let bound = server.bind(&config).await.unwrap().unwrap();
    let address = bound.address().unwrap().to_string();
    bound.serve(&world.node);
    let channel = config.channel(&address).unwrap();
    (address, channel)
}
