//! One node with a gateway, and what it stands on.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use cache::Cache;
use contracts::{
    SessionId, UserId,
    auth::{AuthApi, Caller, PublicKey, Revocation, Verifier},
    events::Topics,
};
use kit::{Call, Clock, Fault, Node, RandomIds, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use uuid::Uuid;

use crate::{
    client::{Client, in_time},
    logs::SwitchedLog,
    streams::Streams,
};

pub(crate) struct World {
    pub(crate) streams: Arc<Streams>,
    pub(crate) log: Arc<SwitchedLog>,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) address: SocketAddr,
    pair: Arc<Ed25519KeyPair>,
    _folder: TempDir,
    _stop: oneshot::Sender<()>,
}

struct Keys(Arc<Ed25519KeyPair>);

#[async_trait]
impl AuthApi for Keys {
    async fn validate_token(&self, _: &Call, _: &str) -> Result<Caller, Fault> {
        Err(Fault::invalid("doors check tokens themselves"))
    }

    async fn public_keys(&self, _: &Call) -> Result<Vec<PublicKey>, Fault> {
        let x = self.0.public_key().as_ref().try_into().unwrap();
        Ok(vec![PublicKey {
            kid: "k1".to_owned(),
            x,
        }])
    }

    async fn revoked_since(&self, _: &Call, _: i64) -> Result<Vec<Revocation>, Fault> {
        Ok(Vec::new())
    }
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
        let pair = Arc::new(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
        let verifier = Verifier::new(Arc::new(Keys(pair.clone())), clock.clone());
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
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let health = node.health();
        let node = node.bind(any, any).await.unwrap();
        let address = node.public_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(node.serve(async {
            let _ = stopped.await;
        }));
        in_time("the node is ready", async {
            while !health.is_ready().await {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        Self {
            streams,
            log,
            cache,
            verifier,
            topics,
            address,
            pair,
            _folder: folder,
            _stop: stop,
        }
    }

    pub(crate) fn token(&self, user: UserId) -> String {
        let now_s = SystemClock.now_ms() / 1000;
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" });
        let claims = json!({
            "iss": "messenger", "aud": "messenger", "sub": user, "name": "somebody",
            "sid": SessionId(user.0), "iat": now_s, "exp": now_s + 900, "jti": Uuid::now_v7(),
        });
        let input = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims.to_string())
        );
        let signature = BASE64.encode(self.pair.sign(input.as_bytes()).as_ref());
        format!("{input}.{signature}")
    }

    pub(crate) async fn connect(&self) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws/v1", self.address))
            .await
            .unwrap();
        Client::new(socket)
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
