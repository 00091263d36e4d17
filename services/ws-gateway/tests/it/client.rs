//! A client that is not ours: tokio-tungstenite and JSON.

use std::collections::VecDeque;

use contracts::{ChatId, Key};
use realtime::testing;
use serde_json::{Value, json};

pub(crate) struct Client {
    socket: testing::Client,
    /// What came while something else was waited for.
    passed: VecDeque<Value>,
    last_id: u64,
}

impl Client {
    pub(crate) fn new(socket: testing::Client) -> Self {
        Self {
            socket,
            passed: VecDeque::new(),
            last_id: 0,
        }
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.socket.send(text).await;
    }

    /// Sends a command; the id is the answer's.
    pub(crate) async fn command(&mut self, t: &str, d: Value) -> u64 {
        self.last_id += 1;
        self.text(json!({ "id": self.last_id, "t": t, "d": d }).to_string())
            .await;
        self.last_id
    }

    /// Sends a command and waits for its answer; what comes before it is kept for [`Client::next`].
    pub(crate) async fn ask(&mut self, t: &str, d: Value) -> Value {
        let id = self.command(t, d).await;
        self.answer(id).await
    }

    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self.passed.iter().position(|value| value["id"] == id) {
            return self.passed.remove(at).unwrap();
        }
        loop {
            let value = self.socket.next().await;
            if value["id"] == id {
                return value;
            }
            self.passed.push_back(value);
        }
    }

    pub(crate) async fn send(&mut self, chat: ChatId, key: Key, text: &str) -> u64 {
        self.command(
            "msg.send",
            json!({ "chat": chat, "key": key, "text": text }),
        )
        .await
    }

    pub(crate) async fn sub(&mut self, chat: ChatId, since: Option<i64>) -> Value {
        let since = since.map(|o| json!({ "e": "k1", "o": o }));
        self.ask("sub", json!({ "s": format!("c:{chat}"), "since": since }))
            .await
    }

    /// The next thing that the server says.
    pub(crate) async fn next(&mut self) -> Value {
        match self.passed.pop_front() {
            Some(value) => value,
            None => self.socket.next().await,
        }
    }

    /// The next event of type `t`; others are skipped.
    pub(crate) async fn next_of(&mut self, t: &str) -> Value {
        loop {
            let value = self.next().await;
            if value["t"] == t {
                return value;
            }
        }
    }

    /// The next `count` durable events' positions; everything else is skipped.
    pub(crate) async fn positions(&mut self, count: usize) -> Vec<i64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            positions.extend(self.next().await["o"].as_i64());
        }
        positions
    }

    /// The code with which the server closes; what it says before does not matter.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        self.socket.close_code().await
    }
}
