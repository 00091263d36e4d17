//! The service as another process has it: over gRPC, with everything that stands in between.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use contracts::{message::MessageClient, user::UserClient};
use kit::{Ids, Node, SystemClock};
use sql::testing::TestDb;
use uuid::Uuid;

/// What `message` asks about authors: the first accounts are those of the users 1, 2, ...
pub(crate) struct People {
    pub(crate) user: UserClient,
    _db: TestDb,
    _node: Node,
}

impl People {
    pub(crate) async fn new() -> Self {
        let db = sql::testing::sqlite("user", &user::MIGRATIONS).await;
        let deps = user::Deps {
            db: sql::Db::clone(&db),
            clock: Arc::new(SystemClock),
            ids: Arc::new(Counted::default()),
        };
        let mut node = Node::new();
        Self {
            user: user::build(deps, &mut node),
            _db: db,
            _node: node,
        }
    }
}

#[derive(Default)]
struct Counted(AtomicU64);

impl Ids for Counted {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, SeqCst)) + 1)
    }
}

/// Offers `message` on `node`: the address, and the way there for those who belong to us.
pub(crate) async fn offer(
    node: &Node,
    message: MessageClient,
    people: &People,
) -> (String, rpc::Channel) {
    let config = rpc::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::message::serve(message, people.user.clone()));
    let bound = server.bind(&config).await.unwrap().unwrap();
    let address = bound.address().unwrap().to_string();
    bound.serve(node);
    let channel = config.channel(&address).unwrap();
    (address, channel)
}
