//! The service as a whole, on both engines and the embedded log, with a small model of the chats around it.

mod advice;
mod bindings;
mod chats;
mod operation;
mod replies;
mod script;

use std::{future::Future, sync::Arc, time::Duration};

use contracts::{
    ChatId, RunId, ThreadId, UserId,
    ai::{AiClient, Run, RunState},
    auth::Verifier,
    chat::BindingMode,
    events::{AdviceRequest, Topics},
    frames::{self, Head},
    pipeline,
};
use eventlog::{EventLog, Record, TopicSpec};
use kit::{CancellationToken, Ids as _, Node, RandomIds, SystemClock};
use sql::testing::TestDb;

use self::{
    chats::Chats,
    script::{Handle, Script},
};
use crate::{
    Config, Deps, Limits, MIGRATIONS, Timeouts, app::desk::Desk, ports::Provider, store::Store,
};

/// Quick enough for tests, with every guard in force.
fn quick() -> Config {
    let limits = Limits {
        takeover: Duration::ZERO,
        pause: Duration::from_millis(40),
        pause_max: Duration::from_millis(200),
        delay_min: Duration::from_millis(10),
        delay_max: Duration::from_millis(30),
        ..Limits::default()
    };
    let timeouts = Timeouts {
        retry: Duration::from_millis(1),
        ..Timeouts::default()
    };
    Config {
        limits,
        timeouts,
        probe_tries: 4,
        ..Config::default()
    }
}

/// What outlives the service: its tables, the log, the chats, the provider.
struct World {
    db: TestDb,
    log: Arc<dyn EventLog>,
    cache: Arc<dyn cache::Cache>,
    chats: Arc<Chats>,
    script: Arc<Script>,
    topics: Arc<Topics>,
    config: Config,
    /// Whether others have the service over gRPC.
    is_remote: bool,
    _log_node: Node,
    _folder: tempfile::TempDir,
}

/// One life of the service.
struct Service {
    desk: Desk,
    /// What other services have of it: itself, or the way there.
    api: AiClient,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), String>>,
}

/// One world on each engine.
async fn worlds(config: Config) -> Vec<World> {
    let mut worlds = Vec::new();
    for db in sql::testing::both("ai", &MIGRATIONS).await {
        worlds.push(World::new(db, config.clone()).await);
    }
    worlds
}

/// One world on each engine with the service itself, and one with the service over gRPC.
async fn all_worlds(config: Config) -> Vec<World> {
    let mut each = worlds(config.clone()).await;
    for mut world in worlds(config).await {
        world.is_remote = true;
        each.push(world);
    }
    each
}

/// Offers the service on `node`, and the way there.
async fn elsewhere(node: &Node, api: AiClient) -> AiClient {
    let config = rpc::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        secret: Some("by this the processes of a test know each other".into()),
        ..rpc::Config::default()
    };
    let mut server = rpc::Server::new(contracts::DESCRIPTORS);
    server.offer(contracts::ai::serve(api));
    let bound = server.bind(&config).await.expect("a free port");
    let bound = bound.expect("there is a secret");
    let address = bound.address().expect("a bound port").to_string();
    bound.serve(node);
    contracts::ai::connect(config.channel(&address).expect("a way"))
}

impl World {
    async fn new(db: TestDb, config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let node = Node::new();
        let url = format!("embedded:{}", folder.path().join("log.db").display());
        let log_config = eventlog::Config::default();
        let log = eventlog::open(
            &url,
            log_config,
            Arc::new(SystemClock),
            Arc::new(RandomIds),
            node.spawner(),
        )
        .await;
        let log = log.expect("a log");
        let topics = Arc::new(Topics::default());
        let mut specs = crate::topics(&topics, 4);
        specs.push(TopicSpec {
            name: topics.message_persist.as_str().into(),
            partitions: 4,
        });
        log.ensure(&specs).await.expect("topics");
        let chats = Chats::start(log.clone(), topics.clone()).await;
        Self {
            db,
            log,
            cache: Arc::new(cache::Memory::new()),
            chats,
            script: Script::new(),
            topics,
            config,
            is_remote: false,
            _log_node: node,
            _folder: folder,
        }
    }

    async fn start(&self) -> Service {
        self.start_with(Arc::new(Handle(self.script.clone()))).await
    }

    async fn start_with(&self, provider: Arc<dyn Provider>) -> Service {
        let mut node = Node::new();
        let deps = Deps {
            db: (*self.db).clone(),
            log: self.log.clone(),
            cache: self.cache.clone(),
            message: self.chats.clone(),
            user: self.chats.clone(),
            topics: self.topics.clone(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            verifier: Verifier::new(self.chats.clone(), Arc::new(SystemClock)),
            replica: "ai-1".into(),
            session_timeout: Duration::from_secs(6),
        };
        let desk = crate::start(&self.config, deps, provider, &mut node);
        let mut api: AiClient = Arc::new(desk.clone());
        if self.is_remote {
            api = elsewhere(&node, api).await;
        }
        let stop = CancellationToken::new();
        let (any, stopping) = (([127, 0, 0, 1], 0).into(), stop.clone());
        let bound = node.bind(any, any).await.expect("free ports");
        let ended = tokio::spawn(bound.serve(async move { stopping.cancelled().await }));
        Service {
            desk,
            api,
            stop,
            ended,
        }
    }

    fn store(&self) -> Store {
        Store::new((*self.db).clone())
    }

    /// Binds and waits until the service says that the binding is ready.
    async fn bind(&self, chat: ChatId, owner: UserId, mode: BindingMode) -> ThreadId {
        let thread = self.chats.bind(chat, owner, mode).await;
        let failed = eventually("the binding is told", || async {
            self.chats.created(thread)
        })
        .await;
        assert_eq!(failed, Ok(()));
        self.chats.ready(thread).await;
        thread
    }

    /// Asks for advice as `chat` does.
    async fn ask(
        &self,
        chat: ChatId,
        thread: ThreadId,
        owner: UserId,
        hint: Option<&str>,
    ) -> RunId {
        let version = self.chats.version(thread);
        self.ask_at(chat, thread, owner, hint, version).await
    }

    /// Asks for advice on the ground of that decision.
    async fn ask_at(
        &self,
        chat: ChatId,
        thread: ThreadId,
        owner: UserId,
        hint: Option<&str>,
        version: i64,
    ) -> RunId {
        let run = RunId(RandomIds.next());
        let request = AdviceRequest {
            run,
            thread,
            chat,
            owner,
            version,
            hint: hint.map(str::to_owned),
            request: None,
        };
        self.append(
            &self.topics.ai_advice_request,
            &thread.to_string(),
            pipeline::encode(&request),
        )
        .await;
        run
    }

    async fn append(&self, topic: &str, key: &str, value: bytes::Bytes) {
        let record = Record {
            key: key.to_owned().into(),
            value,
        };
        self.log
            .append(topic, vec![record])
            .await
            .expect("an append");
    }

    /// Every record of a topic.
    async fn records(&self, topic: &str) -> Vec<eventlog::Delivered> {
        let mut records = Vec::new();
        let ends = self.log.watermarks(topic).await.expect("watermarks");
        for (number, (low, _)) in (0..).zip(ends) {
            records.extend(
                self.log
                    .read(topic, number, low, 10_000)
                    .await
                    .expect("a read"),
            );
        }
        records
    }

    /// The hints that an owner was given, in order.
    async fn hints(&self, owner: UserId) -> Vec<(String, Run)> {
        let records = self.records(&self.topics.forward_message).await;
        let own = records
            .iter()
            .filter(|record| record.key == frames::user_key(owner));
        own.map(|record| {
            let head = Head::parse(&record.value).expect("a frame");
            (head.t.to_string(), head.content().expect("a run"))
        })
        .collect()
    }
}

impl Service {
    async fn stop(self) {
        self.stop.cancel();
        self.ended.await.expect("no panic").expect("a clean stop");
    }

    async fn reaches(&self, owner: UserId, run: RunId, state: RunState) -> Run {
        eventually(&format!("the run is {state:?}"), || async {
            let run = self.desk.run(owner, run).await.ok()?;
            let ended = matches!(
                run.state,
                RunState::Failed | RunState::Blocked | RunState::Done
            );
            assert!(!ended || run.state == state, "{run:?}");
            (run.state == state).then_some(run)
        })
        .await
    }

    /// The newest run of an owner, once it is in this state.
    async fn newest(&self, owner: UserId, chat: ChatId, state: RunState) -> Run {
        eventually(&format!("the newest run is {state:?}"), || async {
            let runs = self.desk.runs(owner, Some(chat), false).await.ok()?;
            runs.into_iter().next().filter(|run| run.state == state)
        })
        .await
    }
}

/// Waits until there is an answer.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn chat_id() -> ChatId {
    ChatId(RandomIds.next())
}

fn person() -> UserId {
    UserId(RandomIds.next())
}
