//! A process with `chat` and all that it asks, on real stores and the real embedded log.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cache::{Limits, Memory};
use contracts::{
    ChatId, UserId,
    ai::AiClient,
    auth::Verifier,
    chat::{BindingMode, ChatClient},
    events::Topics,
    message::MessageClient,
    user::UserClient,
};
use eventlog::EventLog;
use kit::{Call, CancellationToken, Clock, Node, RandomIds, SystemClock, config::SecretString};
use serde_json::{Value, json};
use sql::testing::TestDb;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running process.
pub(crate) struct World {
    pub(crate) name: String,
    /// The service itself, or the way there.
    pub(crate) chat: ChatClient,
    /// Where it offers gRPC.
    pub(crate) address: String,
    /// The way that other processes take to it.
    pub(crate) channel: rpc::Channel,
    pub(crate) call: Call,
    door: String,
    http: reqwest::Client,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
    _folder: tempfile::TempDir,
    _stores: [TestDb; 5],
}

/// Somebody with an account.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) email: String,
    token: String,
}

/// The stores of one engine, in the order of [`World::start`].
async fn stores() -> [[TestDb; 5]; 2] {
    let mut user = sql::testing::both("user", &user::MIGRATIONS).await;
    let mut auth = sql::testing::both("auth", &auth::MIGRATIONS).await;
    let mut message = sql::testing::both("message", &message::MIGRATIONS).await;
    let mut ai = sql::testing::both("ai", &ai::MIGRATIONS).await;
    let mut chat = sql::testing::both("chat", &chat::MIGRATIONS).await;
    [(); 2].map(|()| {
        [&mut user, &mut auth, &mut message, &mut ai, &mut chat].map(|dbs| dbs.pop().unwrap())
    })
}

/// What every service of the process stands on.
struct Base {
    log: Arc<dyn EventLog>,
    cache: Arc<Memory>,
    topics: Arc<Topics>,
    clock: Arc<dyn Clock>,
}

impl Base {
    async fn open(folder: &tempfile::TempDir, node: &Node) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = format!("embedded:{}/log.db", folder.path().display());
        let config = eventlog::Config::default();
        let log = eventlog::open(
            &url,
            config,
            clock.clone(),
            Arc::new(RandomIds),
            node.spawner(),
        );
        let log = log.await.unwrap();
        let topics = Arc::new(Topics::default());
        let mut needed = [
            message::topics(&topics, 4),
            ai::topics(&topics, 4),
            chat::topics(&topics, 4),
        ]
        .concat();
        needed.sort_by(|a, b| a.name.cmp(&b.name));
        needed.dedup();
        log.ensure(&needed).await.unwrap();
        let cache = Arc::new(Memory::new());
        Self {
            log,
            cache,
            topics,
            clock,
        }
    }

    fn user(&self, db: &sql::Db, node: &mut Node) -> UserClient {
        let deps = user::Deps {
            db: db.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
        };
        user::build(deps, node)
    }

    async fn auth(&self, db: &sql::Db, user: &UserClient, node: &mut Node) -> Arc<Verifier> {
        let config = auth::Config {
            secret: Some(SecretString::from("a secret that only the tests know of")),
            ..auth::Config::default()
        };
        let deps = auth::Deps {
            db: db.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
            user: user.clone(),
            limits: Limits::new(self.cache.clone()),
            key_file: None,
        };
        let auth = auth::build(&config, deps, node).await.unwrap();
        let verifier = Verifier::new(auth.clone(), self.clock.clone());
        verifier.start(node);
        node.http(auth::routes(auth, verifier.clone()).0);
        verifier
    }

    fn message(&self, db: &sql::Db, node: &mut Node) -> MessageClient {
        let deps = message::Deps {
            db: db.clone(),
            log: self.log.clone(),
            topics: self.topics.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
            replica: "test".into(),
        };
        message::build(&message::Config::default(), deps, node).unwrap()
    }

    fn ai(
        &self,
        db: &sql::Db,
        message: &MessageClient,
        user: &UserClient,
        verifier: &Arc<Verifier>,
        node: &mut Node,
    ) -> AiClient {
        let deps = ai::Deps {
            db: db.clone(),
            log: self.log.clone(),
            cache: self.cache.clone(),
            message: message.clone(),
            user: user.clone(),
            topics: self.topics.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
            verifier: verifier.clone(),
            replica: "test".into(),
            session_timeout: Duration::from_secs(6),
        };
        ai::build(&ai::Config::default(), deps, node).unwrap()
    }
}

/// Offers `chat` on `node`: the address, and the way there for those who belong to us.
async fn offer(node: &Node, chat: ChatClient) -> (String, rpc::Channel) {
    let config = rpc::Config {
        listen: ANY,
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
    /// The service on each engine, itself and over gRPC.
    pub(crate) async fn each() -> Vec<Self> {
        let mut worlds = Self::both().await;
        for mut world in Self::both().await {
            world.name += " over gRPC";
            world.chat = contracts::chat::connect(world.channel.clone());
            worlds.push(world);
        }
        worlds
    }

    /// The service on each engine.
    pub(crate) async fn both() -> Vec<Self> {
        let mut worlds = Vec::new();
        for stores in stores().await {
            worlds.push(Self::start(stores).await);
        }
        worlds
    }

    async fn start(stores: [TestDb; 5]) -> Self {
        let (mut node, folder) = (Node::new(), tempfile::tempdir().unwrap());
        let base = Base::open(&folder, &node).await;
        let user = base.user(&stores[0], &mut node);
        let verifier = base.auth(&stores[1], &user, &mut node).await;
        let message = base.message(&stores[2], &mut node);
        let ai = base.ai(&stores[3], &message, &user, &verifier, &mut node);
        let deps = chat::Deps {
            db: sql::Db::clone(&stores[4]),
            log: base.log.clone(),
            limits: Limits::new(base.cache.clone()),
            topics: base.topics.clone(),
            users: user,
            message,
            ai,
            verifier,
            clock: base.clock.clone(),
            ids: Arc::new(RandomIds),
            replica: "test".into(),
        };
        let chat = chat::build(&chat::Config::default(), deps, &mut node);
        let (address, channel) = offer(&node, chat.clone()).await;
        let health = node.health();
        let bound = node.bind(ANY, ANY).await.unwrap();
        let door = format!("http://{}", bound.public_address().unwrap());
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        let served = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
        eventually("ready", async || health.is_ready().await.then_some(())).await;
        Self {
            name: stores[4].engine().to_string(),
            chat,
            address,
            channel,
            call: Call::new("test", Duration::from_mins(1)),
            door,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop,
            served,
            _folder: folder,
            _stores: stores,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        let email = format!("{name}@example.org");
        let password = format!("the long password of {name}");
        let body = json!({ "username": name, "email": email, "password": password });
        let made = self.ask("POST", "/api/register", "", &body).await;
        Person {
            id: serde_json::from_value(made["user"]["id"].clone()).unwrap(),
            email,
            token: made["access_token"].as_str().unwrap().to_owned(),
        }
    }

    /// A request of a client; it succeeds.
    async fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.door));
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.bearer_auth(token).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The private chat of two, as its member reads it.
    pub(crate) async fn open(&self, one: &Person, other: &Person) -> (ChatId, Value) {
        let body = json!({ "kind": "private", "user": other.id });
        let view = self.ask("POST", "/api/chats", &one.token, &body).await;
        let id = serde_json::from_value(view["id"].clone()).unwrap();
        (id, view)
    }

    /// Binds a chat to the AI and waits until that works.
    pub(crate) async fn bind(&self, chat: ChatId, owner: &Person, mode: BindingMode) -> Value {
        let path = format!("/api/chats/{chat}/binding");
        let body = json!({ "mode": mode });
        self.ask("PUT", &path, &owner.token, &body).await;
        eventually("the binding is ready", async || {
            let binding = self.ask("GET", &path, &owner.token, &Value::Null).await;
            (binding["state"] == "ready").then_some(binding)
        })
        .await
    }

    pub(crate) async fn unbind(&self, chat: ChatId, owner: &Person) {
        let path = format!("/api/chats/{chat}/binding");
        self.ask("DELETE", &path, &owner.token, &Value::Null).await;
    }
}

/// Waits for an answer, twenty seconds at most.
async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}
