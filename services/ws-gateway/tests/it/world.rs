//! One node with a gateway, and what it stands on.

use std::{net::SocketAddr, sync::Arc};

use cache::Cache;
use contracts::{
    UserId,
    auth::{Verifier, testing::Signer},
    events::Topics,
};
use kit::{Clock, Node, RandomIds, SystemClock};
use realtime::testing::Served;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use uuid::Uuid;

use crate::{client::Client, logs::SwitchedLog, streams::Streams};

pub(crate) struct World {
    pub(crate) streams: Arc<Streams>,
    pub(crate) log: Arc<SwitchedLog>,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) address: SocketAddr,
    node: Served,
    signer: Arc<Signer>,
    _folder: TempDir,
}

/// A person with a login of the same number.
pub(crate) fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ws_gateway::Config::default()).await
    }

    pub(crate) async fn with(config: ws_gateway::Config) -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().unwrap();
        let (clock, ids): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let url = format!("embedded:{}", folder.path().join("log.db").display());
        let inner = eventlog::open(
            &url,
            eventlog::Config::default(),
            clock.clone(),
            ids.clone(),
            node.spawner(),
        );
        let log = Arc::new(SwitchedLog::new(inner.await.unwrap()));
        let topics = Arc::new(Topics::default());
        eventlog::EventLog::ensure(log.as_ref(), &ws_gateway::topics(&topics, 4))
            .await
            .unwrap();
        let streams = Streams::new(log.inner.clone(), topics.clone());
        let signer = Signer::new();
        let verifier = Verifier::new(signer.clone(), clock.clone());
        verifier.start(&node);
        let cache: Arc<dyn Cache> = Arc::new(cache::Memory::new());
        let deps = ws_gateway::Deps {
            log: log.clone(),
            topics: topics.clone(),
            cache: cache.clone(),
            message: streams.clone(),
            ai: None,
            verifier: verifier.clone(),
            clock,
            ids,
        };
        ws_gateway::build(&config, deps, &mut node).unwrap();
        tokio::spawn(streams.clone().pump());
        let node = Served::start(node).await;
        Self {
            streams,
            log,
            cache,
            verifier,
            topics,
            address: node.address(),
            node,
            signer,
            _folder: folder,
        }
    }

    pub(crate) fn token(&self, user: UserId) -> String {
        self.signer.token(user)
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::new(self.node.connect("/ws/v1").await)
    }

    /// A client that is ready; also its `welcome`. What was replayed is still to be read.
    pub(crate) async fn resume(&self, user: UserId, resume: Value) -> (Client, Value) {
        let mut client = self.connect().await;
        let hello = json!({ "t": "hello", "d": { "proto": 1, "token": self.token(user), "resume": resume } });
        client.text(hello.to_string()).await;
        let welcome = client.next().await;
        assert_eq!(welcome["t"], "welcome", "{welcome}");
        (client, welcome)
    }

    pub(crate) async fn hello(&self, user: UserId) -> Client {
        let (mut client, _) = self.resume(user, json!({})).await;
        assert_eq!(client.next().await["t"], "ready");
        client
    }

    /// A client that has subscribed to `chat` at its head.
    pub(crate) async fn in_chat(&self, user: UserId, chat: contracts::ChatId) -> Client {
        let mut client = self.hello(user).await;
        let answer = client.sub(chat, None).await;
        assert!(answer["ok"]["o"].is_i64(), "{answer}");
        client
    }

    pub(crate) async fn status_from(&self, origin: &str) -> u16 {
        let mut request = format!("ws://{}/ws/v1", self.address)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                response.status().as_u16()
            }
            Err(error) => panic!("{error}"),
        }
    }
}
