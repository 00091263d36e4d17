use std::time::Duration;

use axum::{Router, routing::get};
use kit::Node;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::{ask, eventually, serve};

/// threat:T16: a connection that says nothing, or stops in the middle of a head, is closed.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let served = serve(Node::new()).await;
    for said in ["", "GET / HTT", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(served.public).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let limit = Duration::from_mins(1);
        let closed = tokio::time::timeout(limit, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{said:?} {answer:?}");
    }
    served.end().await;
}

/// A connection that has had its answer and asks nothing more is closed as well.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let served = serve(Node::new()).await;
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    stream
        .write_all(b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    served.end().await;
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let mut node = Node::new();
    node.limit_connections(2);
    node.http(Router::new().route("/", get(|| async { "here" })));
    let served = serve(node).await;
    let connect = || TcpStream::connect(served.public);
    let (first, _second) = (connect().await.unwrap(), connect().await.unwrap());
    let mut third = connect().await.unwrap();
    let mut answer = Vec::new();
    assert_eq!(third.read_to_end(&mut answer).await.unwrap_or(0), 0);
    drop(first);
    eventually("the place of the first is free", || async {
        let Ok(mut stream) = connect().await else {
            return false;
        };
        let asked = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(asked).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.ends_with("here")
    })
    .await;
    served.end().await;
}

/// Whatever word a client sends as a method, it makes no series of its own.
#[tokio::test]
async fn a_made_up_method_has_no_label_of_its_own() {
    let served = serve(Node::new()).await;
    for method in ["MADEUP1", "MADEUP2", "get"] {
        ask(served.public, method, "/nothing").await;
    }
    ask(served.public, "PATCH", "/nothing").await;
    let metrics = ask(served.private, "GET", "/metrics").await;
    assert!(metrics.contains("method=\"other\"") && metrics.contains("method=\"PATCH\""));
    assert!(!metrics.contains("MADEUP") && !metrics.contains("method=\"get\""));
    served.end().await;
}
