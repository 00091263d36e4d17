//! What other services ask of `chat`, of the object itself and over gRPC, on both engines. The decisions are made as the
//! use cases make them.

mod lookups;
mod surface;

use std::sync::Arc;

use contracts::{
    ChatId, ThreadId, UserId,
    ai::Why,
    chat::{BindingMode, ChatClient},
    events::{ThreadCreated, Topics},
    user::testing::People,
};
use kit::{Call, Ids as _, Node, RandomIds};
use sql::testing::TestDb;
use uuid::Uuid;

use crate::{
    MIGRATIONS,
    api::rpc::Lookups,
    store::{Places, Store},
};

/// 2027-01-15T08:00:00Z.
const NOW_MS: i64 = 1_800_000_000_000;
const ANN: UserId = UserId(Uuid::from_u128(1));
const BOB: UserId = UserId(Uuid::from_u128(2));

/// The lookups over tables of their own.
struct World {
    name: String,
    /// The service itself, or the way there.
    chat: ChatClient,
    /// Where it offers gRPC.
    address: String,
    /// The way that other processes take to it.
    channel: rpc::Channel,
    call: Call,
    store: Store,
    topics: Topics,
    _node: Node,
    _db: TestDb,
}

/// One world on each engine.
async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for db in sql::testing::both("chat", &MIGRATIONS).await {
        let node = Node::new();
        let store = Store::new((*db).clone());
        let chat: ChatClient = Arc::new(Lookups {
            store: store.clone(),
            users: Arc::new(People),
        });
        let (address, channel) = offer(&node, chat.clone()).await;
        worlds.push(World {
            name: db.engine().to_string(),
            chat,
            address,
            channel,
            call: Call::internal("test"),
            store,
            topics: Topics::default(),
            _node: node,
            _db: db,
        });
    }
    worlds
}

/// The service on each engine, itself and over gRPC.
async fn all_worlds() -> Vec<World> {
    let mut all = worlds().await;
    for mut world in worlds().await {
        world.name += " over gRPC";
        world.chat = contracts::chat::connect(world.channel.clone());
        all.push(world);
    }
    all
}

/// Offers `chat` on `node`: the address, and the way there for those who belong to us.
async fn offer(node: &Node, chat: ChatClient) -> (String, rpc::Channel) {
    let config = rpc::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::chat::serve(chat));
    let bound = server.bind(&config).await.unwrap().unwrap();
    let address = bound.address().unwrap().to_string();
    bound.serve(node);
    let channel = config.channel(&address).unwrap();
    (address, channel)
}

impl World {
    /// A private chat of ann and bob, opened by ann.
    async fn open(&self) -> ChatId {
        let id = ChatId(RandomIds.next());
        let opened = self.store.open_private(&self.topics, id, ANN, BOB, NOW_MS);
        opened.await.unwrap().chat
    }

    /// A binding whose thread is not there yet.
    async fn bind(&self, chat: ChatId, owner: UserId, mode: BindingMode) -> ThreadId {
        let thread = ThreadId(RandomIds.next());
        let bound = self
            .store
            .bind(&self.topics, chat, owner, mode, thread, NOW_MS);
        let version = bound.await.unwrap().version;
        self.project(chat, version).await;
        thread
    }

    /// `ai` says what became of a thread; then `message` has projected that.
    async fn created(&self, chat: ChatId, owner: UserId, thread: ThreadId, failed: Option<Why>) {
        let told = ThreadCreated {
            thread,
            chat,
            owner,
            failed,
        };
        let nowhere = Places::new();
        self.store
            .threads_created(&self.topics, &[told], (&nowhere, &nowhere), NOW_MS)
            .await
            .unwrap();
        self.project(chat, i64::MAX).await;
    }

    async fn unbind(&self, chat: ChatId, owner: UserId) {
        let unbound = self.store.unbind(&self.topics, chat, owner, NOW_MS);
        unbound.await.unwrap();
    }

    async fn project(&self, chat: ChatId, version: i64) {
        let nowhere = Places::new();
        let projected = [(chat, version)];
        self.store
            .projections(&projected, (&nowhere, &nowhere))
            .await
            .unwrap();
    }
}
