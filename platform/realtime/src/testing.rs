//! What the tests of doors stand on: a node that serves, and a client that is not ours.

#![expect(
    clippy::missing_panics_doc,
    reason = "what fails in a test is a failure"
)]

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use kit::{CancellationToken, Node};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

/// Nothing in these tests takes longer on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `work`, and panics when it takes too long.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A node that serves for as long as this lives.
pub struct Served {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    /// Serves `node` on free ports and waits until it is ready.
    pub async fn start(node: Node) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let health = node.health();
        let node = node.bind(any, any).await.expect("free ports");
        let address = node.public_address().expect("an address");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "no node starts a node")]
        tokio::spawn(node.serve(stop.clone().cancelled_owned()));
        in_time("the node is ready", async {
            while !health.is_ready().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Self { address, stop }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that has said nothing yet at the door `path`.
    pub async fn connect(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.address);
        let upgraded = tokio_tungstenite::connect_async(url).await;
        Client(upgraded.expect("an upgrade").0)
    }

    /// A client that has said hello at the door `path`.
    pub async fn hello(&self, path: &str, token: &str) -> Client {
        let mut client = self.connect(path).await;
        let hello = json!({ "t": "hello", "d": { "proto": 1, "token": token } });
        client.send(hello.to_string()).await;
        client
    }

    /// A client that is ready at the door `path`.
    pub async fn listen(&self, path: &str, token: &str) -> Client {
        let mut client = self.hello(path, token).await;
        assert_eq!(client.next().await["t"], "welcome");
        assert_eq!(client.next().await["t"], "ready");
        client
    }
}

/// The other end of a socket.
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Says something.
    pub async fn send(&mut self, text: impl Into<String>) {
        let message = Message::text(text.into());
        self.0.send(message).await.expect("a frame");
    }

    /// The next thing that the server says.
    pub async fn next(&mut self) -> Value {
        loop {
            match in_time("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// The code with which the server closes; what it says before does not matter.
    pub async fn close_code(&mut self) -> Option<u16> {
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
