//! A server that speaks Chat Completions, as somebody else's would: it answers in pieces and keeps what it was sent.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it answers, in pieces.
const ANSWER: [&str; 3] = ["Noon ", "is ", "fine."];

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: String,
    pub body: Value,
}

#[derive(Clone)]
pub struct Provider {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_broken: Arc<AtomicBool>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let this = Self {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            asked: Arc::default(),
            is_broken: Arc::default(),
        };
        let serving = this.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        this
    }

    /// From now on every call is answered with 500, or not any more.
    pub fn break_down(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
    }

    /// The calls so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Answers one call; the connection ends with it.
    async fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let lines = head.iter().filter_map(|line| line.split_once(": "));
            let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
            values.next().map_or("", |(_, value)| value)
        };
        let mut body = vec![0; header("content-length").parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        self.asked.lock().push(Asked {
            path: head[0].split(' ').nth(1)?.to_owned(),
            authorization: header("authorization").to_owned(),
            body: serde_json::from_slice(&body).ok()?,
        });
        let answer = if self.is_broken.load(Ordering::SeqCst) {
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned()
        } else {
            let pieces =
                ANSWER.map(|text| json!({ "choices": [{ "delta": { "content": text } }] }));
            let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
            let events = pieces
                .iter()
                .chain([&end])
                .map(|event| format!("data: {event}\n\n"));
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            head.to_owned() + &events.collect::<String>() + "data: [DONE]\n\n"
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()
    }
}
