//! A running `message` on a real store and the real embedded log.

use std::{sync::Arc, time::Duration};

use contracts::{
    ChatId, Key, ThreadId, UserId,
    chat::{BindingMode, BindingState, Kind},
    events::{Change, ChangeKind, Persist, Send, Topics},
    frames::Head,
    message::{MessageClient, Stored},
    pipeline,
};
use eventlog::{EventLog, Record};
use kit::{Call, CancellationToken, Fault, Ids, Node, RandomIds, SystemClock};
use sql::testing::TestDb;

use crate::{
    remote,
    stage::{Hand, Stage},
};

pub(crate) struct World {
    pub(crate) message: MessageClient,
    /// Where it offers gRPC.
    pub(crate) address: String,
    /// The way that other processes take to it.
    pub(crate) channel: rpc::Channel,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) call: Call,
    pub(crate) hand: Arc<Hand>,
    inner: Arc<dyn EventLog>,
    running: Running,
    _folder: tempfile::TempDir,
    db: TestDb,
}

/// A running process.
pub(crate) struct Running {
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

fn deps(
    db: &TestDb,
    log: &Arc<dyn EventLog>,
    topics: &Arc<Topics>,
    replica: &str,
) -> message::Deps {
    message::Deps {
        db: sql::Db::clone(db),
        log: log.clone(),
        topics: topics.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        replica: replica.into(),
    }
}

fn build(config: &message::Config, deps: message::Deps, node: &mut Node) -> MessageClient {
    message::build(config, deps, node).unwrap()
}

async fn serve(node: Node) -> Running {
    let stop = CancellationToken::new();
    let health = node.health();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = node.bind(any, any).await.unwrap();
    let served = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
    eventually("ready", async || health.is_ready().await).await;
    Running { stop, served }
}

impl World {
    /// The service on each engine, itself and over gRPC.
    pub(crate) async fn all_worlds(workers: u32) -> Vec<Self> {
        let mut worlds = Self::both(workers).await;
        let others = Self::both(workers).await;
        worlds.extend(others.into_iter().map(Self::over_grpc));
        worlds
    }

    /// The same world, whose service is asked as another process asks it.
    pub(crate) fn over_grpc(mut self) -> Self {
        self.message = contracts::message::connect(self.channel.clone());
        self
    }

    /// One world for each engine.
    pub(crate) async fn both(workers: u32) -> Vec<Self> {
        let mut worlds = Vec::new();
        for db in sql::testing::both("message", &message::MIGRATIONS).await {
            worlds.push(Self::on(db, workers).await);
        }
        worlds
    }

    pub(crate) async fn on(db: TestDb, workers: u32) -> Self {
        let config = message::Config {
            persist_workers: workers,
            ..message::Config::default()
        };
        Self::with(db, config).await
    }

    pub(crate) async fn with(db: TestDb, config: message::Config) -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}/log.db", folder.path().display());
        let inner = eventlog::open(
            &url,
            eventlog::Config::default(),
            Arc::new(SystemClock),
            Arc::new(RandomIds),
            node.spawner(),
        )
        .await
        .unwrap();
        let hand = Arc::new(Hand::default());
        let log: Arc<dyn EventLog> = Arc::new(Stage {
            inner: inner.clone(),
            hand: hand.clone(),
        });
        let topics = Arc::new(Topics::default());
        log.ensure(&message::topics(&topics, 8)).await.unwrap();
        let message = build(&config, deps(&db, &log, &topics, "test"), &mut node);
        let (address, channel) = remote::offer(&node, message.clone()).await;
        let running = serve(node).await;
        Self {
            message,
            address,
            channel,
            log,
            hand,
            topics,
            call: Call::new("test", Duration::from_mins(1)),
            inner,
            running,
            _folder: folder,
            db,
        }
    }

    /// Another process of the service on the same store and the same log.
    pub(crate) async fn rival(&self, config: &message::Config) -> Running {
        let mut node = Node::new();
        let deps = deps(&self.db, &self.inner, &self.topics, "rival");
        build(config, deps, &mut node);
        serve(node).await
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// Where each partition stands, and the number of its last outbox row.
    pub(crate) async fn positions(&self) -> Vec<(i64, i64, i64)> {
        let sql = "SELECT part, next_offset, outbox_n FROM position ORDER BY part";
        let rows = self.db.fetch_all(sql, sql::args![]).await.unwrap();
        let position = |row: &sql::Row| {
            let number = |name| row.get(name).unwrap();
            (number("part"), number("next_offset"), number("outbox_n"))
        };
        rows.iter().map(position).collect()
    }

    pub(crate) async fn outbox_rows(&self) -> i64 {
        let counted = self
            .db
            .fetch_optional("SELECT count(*) AS n FROM outbox", sql::args![]);
        counted.await.unwrap().unwrap().get("n").unwrap()
    }

    /// Puts a decision on the persist topic.
    pub(crate) async fn change(&self, chat: ChatId, version: i64, change: ChangeKind) {
        let actor = user(1);
        let record = Persist::Change(Change {
            chat,
            version,
            actor,
            change,
        });
        self.persist(pipeline::persist_key(chat), pipeline::encode(&record))
            .await;
    }

    pub(crate) async fn persist(&self, key: bytes::Bytes, value: bytes::Bytes) {
        self.log
            .append(&self.topics.message_persist, vec![Record { key, value }])
            .await
            .unwrap();
    }

    /// A private chat of the users 1 and 2.
    pub(crate) async fn chat(&self) -> ChatId {
        let chat = ChatId(RandomIds.next());
        let members = vec![user(1), user(2)];
        self.change(
            chat,
            1,
            ChangeKind::Created {
                chat_kind: Kind::Private,
                title: None,
                members,
            },
        )
        .await;
        eventually("the chat", async || {
            self.message.attach(&self.call, user(1), chat).await.is_ok()
        })
        .await;
        chat
    }

    /// A ready autoreply binding of user 1 as version 2.
    pub(crate) async fn bind(&self, chat: ChatId) -> ThreadId {
        let thread = ThreadId(RandomIds.next());
        let (mode, state) = (BindingMode::Autoreply, BindingState::Ready);
        self.change(
            chat,
            2,
            ChangeKind::BindingSet {
                owner: user(1),
                thread,
                mode,
                state,
            },
        )
        .await;
        eventually("the binding", async || {
            self.message
                .thread_messages(&self.call, thread, 0, 1)
                .await
                .is_ok()
        })
        .await;
        thread
    }

    pub(crate) async fn send(
        &self,
        chat: ChatId,
        author: UserId,
        text: &str,
    ) -> Result<Stored, Fault> {
        self.message.send(&self.call, new(chat, author, text)).await
    }

    /// Everything on a topic, as types and values in the order of each partition.
    pub(crate) async fn records(&self, topic: &str) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        for (part, (low, _)) in self
            .log
            .watermarks(topic)
            .await
            .unwrap()
            .into_iter()
            .enumerate()
        {
            let part = u32::try_from(part).unwrap();
            for record in self.log.read(topic, part, low, 10_000).await.unwrap() {
                found.push(serde_json::from_slice(&record.value).unwrap());
            }
        }
        found
    }
}

pub(crate) fn new(chat: ChatId, author: UserId, text: &str) -> Send {
    let key = Key(RandomIds.next());
    Send {
        chat,
        author,
        key,
        text: text.to_owned(),
        reply_to: None,
        from_run: None,
        ai: None,
        request: None,
    }
}

pub(crate) fn user(n: u128) -> UserId {
    UserId(uuid::Uuid::from_u128(n))
}

/// Waits until `condition` holds, ten seconds at most.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// The type of a frame, for filters.
pub(crate) fn kind(frame: &[u8]) -> String {
    Head::parse(frame).unwrap().t.into_owned()
}
