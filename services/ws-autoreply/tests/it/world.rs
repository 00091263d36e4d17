//! One node with this door, and clients that are not ours.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::{
    SessionId, UserId,
    auth::{AuthApi, Caller, PublicKey, Revocation, Verifier},
    events::Topics,
};
use eventlog::{EventLog, Record};
use futures_util::{SinkExt as _, StreamExt as _};
use kit::{Call, CancellationToken, Clock, Fault, Ids as _, Node, RandomIds, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) verifier: Arc<Verifier>,
    address: SocketAddr,
    pair: Arc<Ed25519KeyPair>,
    _folder: tempfile::TempDir,
    _stop: Stop,
}

/// Stops the node with the test.
struct Stop(CancellationToken);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct Keys(Arc<Ed25519KeyPair>);

#[async_trait]
impl AuthApi for Keys {
    async fn validate_token(&self, _: &Call, _: &str) -> Result<Caller, Fault> {
        Err(Fault::invalid("doors check tokens themselves"))
    }

    async fn public_keys(&self, _: &Call) -> Result<Vec<PublicKey>, Fault> {
        let x = self.0.public_key().as_ref().try_into().expect("32 bytes");
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

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

impl World {
    pub(crate) async fn new() -> Self {
        let mut node = Node::new();
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, ids): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Arc::new(RandomIds));
        let url = format!("embedded:{}", folder.path().join("log.db").display());
        let log = eventlog::open(
            &url,
            eventlog::Config::default(),
            clock.clone(),
            ids.clone(),
            node.spawner(),
        )
        .await;
        let log = log.expect("a log");
        let topics = Arc::new(Topics::default());
        log.ensure(&ws_autoreply::topics(&topics, 4))
            .await
            .expect("topics");
        let pair = Arc::new(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"));
        let verifier = Verifier::new(Arc::new(Keys(pair.clone())), clock.clone());
        verifier.start(&node);
        let deps = ws_autoreply::Deps {
            log: log.clone(),
            topics: topics.clone(),
            verifier: verifier.clone(),
            clock,
            ids,
            replica: "one".into(),
        };
        ws_autoreply::build(&ws_autoreply::Config::default(), deps, &mut node)
            .expect("a configuration that works");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let health = node.health();
        let node = node.bind(any, any).await.expect("free ports");
        let address = node.public_address().expect("an address");
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(node.serve(async move { stopping.cancelled().await }));
        in_time("the node is ready", async {
            while !health.is_ready().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Self {
            log,
            topics,
            verifier,
            address,
            pair,
            _folder: folder,
            _stop: Stop(stop),
        }
    }

    pub(crate) fn token(&self, user: UserId) -> String {
        let now_s = SystemClock.now_ms() / 1000;
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k1" });
        let claims = json!({
            "iss": "messenger", "aud": "messenger", "sub": user, "name": "somebody",
            "sid": SessionId(user.0), "iat": now_s, "exp": now_s + 900, "jti": RandomIds.next(),
        });
        let input = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims.to_string())
        );
        let signature = BASE64.encode(self.pair.sign(input.as_bytes()).as_ref());
        format!("{input}.{signature}")
    }

    /// A client that has said hello with this token.
    pub(crate) async fn hello(&self, token: &str) -> Client {
        let url = format!("ws://{}/ws/autoreply", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("an upgrade");
        let mut client = Client(socket);
        let hello = json!({ "t": "hello", "d": { "proto": 1, "token": token } }).to_string();
        client.0.send(Message::text(hello)).await.expect("a frame");
        client
    }

    /// A client that is ready.
    pub(crate) async fn listen(&self, user: UserId) -> Client {
        let mut client = self.hello(&self.token(user)).await;
        assert_eq!(client.next().await["t"], "welcome");
        assert_eq!(client.next().await["t"], "ready");
        client
    }

    pub(crate) async fn append(&self, topic: &str, key: bytes::Bytes, value: bytes::Bytes) {
        self.log
            .append(topic, vec![Record { key, value }])
            .await
            .expect("an append");
    }
}

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// The next thing that the server says.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match in_time("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// The code with which the server closes.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match in_time("the end", self.0.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|frame| CloseCode::into(frame.code));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
