//! A plain WebSocket client that keeps every frame it saw.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use crate::Person;

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    next_id: u64,
    /// Frames that were read and not asked for yet.
    unread: std::collections::VecDeque<Value>,
    pub closed: Option<u16>,
}

impl Socket {
    /// Upgrades and nothing more.
    pub async fn open(
        server: SocketAddr,
        from: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(server).await.map_err(|_| 0_u16)?;
        let mut request = format!("ws://{server}/ws/v1")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Self {
                stream,
                next_id: 1,
                unread: std::collections::VecDeque::new(),
                closed: None,
            }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                Err(answer.status().as_u16())
            }
            Err(_) => Err(0),
        }
    }

    /// Says hello and waits for `ready`.
    pub async fn connect(person: &Person) -> Self {
        let mut socket = Self::open(person.server, "127.0.0.1", &[]).await.unwrap();
        socket.hello(&person.token, json!({})).await;
        socket
    }

    /// Says hello with positions to resume from; gives the welcome's content and the replayed frames.
    pub async fn hello(&mut self, token: &str, resume: Value) -> (Value, Vec<Value>) {
        self.write(&json!({ "t": "hello", "d": { "proto": 1, "token": token, "resume": resume } }))
            .await;
        let welcome = self.wait(|frame| frame["t"] == "welcome").await;
        let mut replayed = Vec::new();
        loop {
            let frame = self.next().await.expect("ready follows the welcome");
            if frame["t"] == "ready" {
                return (welcome["d"].clone(), replayed);
            }
            if frame["o"].is_i64() || frame["t"] == "gap" {
                replayed.push(frame);
            }
        }
    }

    pub async fn write(&mut self, frame: &Value) {
        self.raw(Message::text(frame.to_string())).await;
    }

    pub async fn raw(&mut self, message: Message) {
        // A closed socket shows at the next read.
        let _ = self.stream.send(message).await;
    }

    /// The next frame; `None` when the socket is closed or nothing comes in time.
    pub async fn next(&mut self) -> Option<Value> {
        if let Some(frame) = self.unread.pop_front() {
            return Some(frame);
        }
        self.read(crate::SOON).await
    }

    /// The next frame, when one comes within `time`.
    pub async fn within(&mut self, time: Duration) -> Option<Value> {
        if let Some(frame) = self.unread.pop_front() {
            return Some(frame);
        }
        self.read(time).await
    }

    async fn read(&mut self, within: Duration) -> Option<Value> {
        let deadline = tokio::time::Instant::now() + within;
        while self.closed.is_none() {
            if let Some(frame) = self.unread.pop_front() {
                return Some(frame);
            }
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => return None,
                Ok(Some(Ok(Message::Text(text)))) => {
                    let lines = text
                        .lines()
                        .map(|line| serde_json::from_str::<Value>(line).unwrap());
                    self.unread.extend(
                        lines.filter(|frame| {
                            frame.as_object().is_some_and(|frame| !frame.is_empty())
                        }),
                    );
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    self.closed = Some(frame.map_or(1005, |frame| CloseCode::into(frame.code)));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => self.closed = Some(self.closed.unwrap_or(1006)),
            }
        }
        self.unread.pop_front()
    }

    /// The next frame that `wanted` accepts; others are dropped.
    #[track_caller]
    pub fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let mut seen = Vec::new();
            while let Some(frame) = self.next().await {
                if wanted(&frame) {
                    return frame;
                }
                seen.push(frame);
            }
            panic!(
                "{place}: the frame did not come; closed: {:?}, seen: {seen:#?}",
                self.closed
            )
        }
    }

    /// What comes within `time`, and nothing else.
    pub async fn during(&mut self, time: Duration) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + time;
        let mut seen = Vec::new();
        while let Some(frame) = self
            .read(deadline.saturating_duration_since(tokio::time::Instant::now()))
            .await
        {
            seen.push(frame);
        }
        seen
    }

    /// Sends a command and waits for its answer; events in between stay to be read.
    pub async fn ask(&mut self, t: &str, d: Value) -> Value {
        let id = self.command(t, d).await;
        self.answer(id).await
    }

    /// Sends a command and gives its id.
    pub async fn command(&mut self, t: &str, d: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.write(&json!({ "id": id, "t": t, "d": d })).await;
        id
    }

    /// Waits for the answer to `id`.
    pub async fn answer(&mut self, id: u64) -> Value {
        let mut others = std::collections::VecDeque::new();
        let answer = loop {
            let Some(frame) = self.next().await else {
                panic!(
                    "no answer to {id}; closed: {:?}, seen: {others:#?}",
                    self.closed
                )
            };
            if frame["id"] == id {
                break frame;
            }
            others.push_back(frame);
        };
        others.append(&mut self.unread);
        self.unread = others;
        answer
    }

    /// Watches a chat from now on.
    pub async fn watch(&mut self, chat: &str) -> Value {
        let answer = self.ask("sub", json!({ "s": format!("c:{chat}") })).await;
        assert!(answer["ok"].is_object(), "{answer}");
        answer["ok"].clone()
    }

    /// Sends a message and gives `ok`.
    pub async fn say(&mut self, chat: &str, text: &str) -> Value {
        let answer = self
            .ask(
                "msg.send",
                json!({ "chat": chat, "key": crate::key(), "text": text }),
            )
            .await;
        assert!(answer["ok"].is_object(), "{answer}");
        answer["ok"].clone()
    }

    /// The next message event.
    #[track_caller]
    pub fn message(&mut self) -> impl Future<Output = Value> {
        self.wait(|frame| frame["t"] == "msg.new")
    }

    /// Waits until the server closes; gives the code.
    pub async fn close_code(&mut self) -> u16 {
        while self.closed.is_none() {
            if self.next().await.is_none() {
                break;
            }
        }
        self.closed.expect("the server closes the socket")
    }

    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}

/// The message that a frame carries.
pub fn message_of(frame: &Value) -> contracts::message::Message {
    serde_json::from_value(frame["d"].clone()).unwrap()
}
