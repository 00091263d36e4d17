//! The kit from outside: a node with its listeners, tasks and stop, and the small things beside it.

#![expect(clippy::disallowed_methods, reason = "tests start their own tasks")]
#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

mod breaker;
mod client;
mod listener;
mod retry;
mod stop;
mod tasks;

use std::{net::SocketAddr, time::Duration};

use kit::{CancellationToken, Node};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

/// A node that serves on ports of the system's choice.
struct Served {
    public: SocketAddr,
    private: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), String>>,
}

async fn serve(node: Node) -> Served {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = node.bind(any, any).await.unwrap();
    let (public, private) = (
        bound.public_address().unwrap(),
        bound.private_address().unwrap(),
    );
    let stop = CancellationToken::new();
    let ended = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
    Served {
        public,
        private,
        stop,
        ended,
    }
}

impl Served {
    async fn end(self) {
        self.stop.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

/// Asks once; gives everything that was answered until the connection closed.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until `holds`, in the time of the clock on the wall.
async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
