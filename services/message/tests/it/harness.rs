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

pub(crate) struct World {
    pub(crate) message: MessageClient,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) call: Call,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
    _folder: tempfile::TempDir,
    _db: TestDb,
}

impl World {
    /// One world for each engine.
    pub(crate) async fn both(workers: u32) -> Vec<Self> {
        let mut worlds = Vec::new();
        for db in sql::testing::both("message", &message::MIGRATIONS).await {
            worlds.push(Self::on(db, workers).await);
        }
        worlds
    }

    pub(crate) async fn on(db: TestDb, workers: u32) -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}/log.db", folder.path().display());
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let log = eventlog::open(
            &url,
            eventlog::Config::default(),
            clock.clone(),
            ids.clone(),
            node.spawner(),
        )
        .await
        .unwrap();
        let topics = Arc::new(Topics::default());
        log.ensure(&message::topics(&topics, 8)).await.unwrap();
        let deps = message::Deps {
            db: db.clone(),
            log: log.clone(),
            topics: topics.clone(),
            clock,
            ids,
            replica: "test".into(),
        };
        let config = message::Config {
            persist_workers: workers,
            ..message::Config::default()
        };
        let message = message::build(&config, deps, &mut node).unwrap();
        let stop = CancellationToken::new();
        let health = node.health();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = node.bind(any, any).await.unwrap();
        let served = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
        eventually("ready", async || health.is_ready().await).await;
        Self {
            message,
            log,
            topics,
            call: Call::new("test", Duration::from_mins(1)),
            stop,
            served,
            _folder: folder,
            _db: db,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
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
