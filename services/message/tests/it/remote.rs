//! The service as another process has it: over gRPC, with everything that stands in between.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use contracts::{message::MessageClient, user::testing::People};
use kit::Node;

/// Offers `message` on `node`: the address, and the way there for those who belong to us.
pub(crate) async fn offer(node: &Node, message: MessageClient) -> (String, rpc::Channel) {
    let config = rpc::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::message::serve(message, Arc::new(People)));
    let bound = server.bind(&config).await.unwrap().unwrap();
    let address = bound.address().unwrap().to_string();
    bound.serve(node);
    let channel = config.channel(&address).unwrap();
    (address, channel)
}
