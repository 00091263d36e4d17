//! The service on a real log, beside a real `message` that it asks over gRPC.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use contracts::{
    ChatId, Key, UserId,
    chat::Kind,
    events::{Change, ChangeKind, Persist, Send, Topics},
    message::{MessageClient, Stored},
    pipeline,
};
use eventlog::{EventLog, Record};
use kit::{Call, CancellationToken, Ids as _, Node, RandomIds, SystemClock};
use serde_json::Value;
use sql::testing::TestDb;
use uuid::Uuid;

use crate::lines;

/// A running process.
pub(crate) struct Running {
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
}

impl Running {
    async fn start(node: Node) -> Self {
        let stop = CancellationToken::new();
        let health = node.health();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = node.bind(any, any).await.unwrap();
        let served = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
        eventually("ready", async || health.is_ready().await).await;
        Self { stop, served }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

pub(crate) struct World {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    message: MessageClient,
    storing: Running,
    /// Where `message` offers gRPC.
    listen: SocketAddr,
    _folder: tempfile::TempDir,
    _db: TestDb,
}

/// What a process of this test asks others with.
fn between(listen: SocketAddr) -> rpc::Config {
    rpc::Config {
        listen,
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    }
}

impl World {
    /// One for each engine of `message`. Nobody listens yet.
    pub(crate) async fn both() -> Vec<Self> {
        lines::keep();
        let mut worlds = Vec::new();
        for db in sql::testing::both("message", &message::MIGRATIONS).await {
            worlds.push(Self::on(db).await);
        }
        worlds
    }

    async fn on(db: TestDb) -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}/log.db", folder.path().display());
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let config = eventlog::Config::default();
        let log = eventlog::open(&url, config, clock.clone(), ids.clone(), node.spawner());
        let log = log.await.unwrap();
        let topics = Arc::new(Topics::default());
        log.ensure(&message::topics(&topics, 4)).await.unwrap();
        let deps = message::Deps {
            db: sql::Db::clone(&db),
            log: log.clone(),
            topics: topics.clone(),
            clock,
            ids,
            replica: "one".into(),
        };
        let message = message::build(&message::Config::default(), deps, &mut node).unwrap();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self {
            log,
            topics,
            message,
            storing: Running::start(node).await,
            listen: listener.local_addr().unwrap(),
            _folder: folder,
            _db: db,
        }
    }

    /// `message` answers until this is stopped.
    pub(crate) async fn answer(&self) -> Running {
        let node = Node::new();
        // Nobody asks for names.
        let users = contracts::user::connect(between(self.listen).channel("127.0.0.1:9").unwrap());
        let mut server = rpc::Server::new(contracts::DESCRIPTORS);
        server.offer(contracts::message::serve(self.message.clone(), users));
        let bound = server.bind(&between(self.listen)).await.unwrap();
        bound.unwrap().serve(&node);
        Running::start(node).await
    }

    /// The service, until this is stopped.
    pub(crate) async fn notify(&self) -> Running {
        let node = Node::new();
        let way = between(self.listen).channel(&self.listen.to_string());
        let deps = notification::Deps {
            log: self.log.clone(),
            topics: self.topics.clone(),
            message: contracts::message::connect(way.unwrap()),
            clock: Arc::new(SystemClock),
            replica: "one".into(),
        };
        notification::build(&notification::Config::default(), deps, &node);
        Running::start(node).await
    }

    pub(crate) async fn stop(self) {
        self.storing.stop().await;
    }

    /// A chat of the users 1 to `members`.
    pub(crate) async fn chat(&self, members: u128) -> ChatId {
        let chat = ChatId(RandomIds.next());
        let created = ChangeKind::Created {
            chat_kind: Kind::Group,
            title: None,
            members: (1..=members).map(user).collect(),
        };
        self.change(chat, 1, created).await;
        chat
    }

    /// A decision of `chat`, with the place that its event gets.
    pub(crate) async fn change(&self, chat: ChatId, version: i64, change: ChangeKind) {
        let (key, actor) = (pipeline::persist_key(chat), user(1));
        let value = pipeline::encode(&Persist::Change(Change {
            chat,
            version,
            actor,
            change,
        }));
        let records = vec![Record { key, value }];
        let appended = self.log.append(&self.topics.message_persist, records).await;
        appended.unwrap();
    }

    /// A message of `author`, stored. It enters behind every decision of before.
    pub(crate) async fn say(&self, chat: ChatId, author: UserId) -> Stored {
        self.send(new(chat, author)).await
    }

    pub(crate) async fn send(&self, send: Send) -> Stored {
        let call = Call::new("test", Duration::from_secs(10));
        self.message.send(&call, send).await.unwrap()
    }
}

pub(crate) fn new(chat: ChatId, author: UserId) -> Send {
    Send {
        chat,
        author,
        key: Key(RandomIds.next()),
        text: "a secret between us".to_owned(),
        reply_to: None,
        from_run: None,
        ai: None,
        request: None,
    }
}

/// The lines about messages of `chat` as soon as there are `count`.
pub(crate) async fn told(chat: ChatId, count: usize) -> Vec<Value> {
    let lines = || lines::with("chat.id", &chat.to_string());
    eventually("all lines", async || lines().len() >= count).await;
    let lines = lines();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

pub(crate) fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

/// Waits until `condition` holds, twenty seconds at most.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}
