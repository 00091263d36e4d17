//! What every listener of ours does, whatever is behind it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use axum::{Router, routing::get};
use kit::{CancellationToken, Node};

fn get_over_tcp(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// row:F07, row:F06: a handler that panics is a 500 in the form of all errors, is counted, and disturbs nobody.
#[test]
fn a_handler_that_panics_is_a_problem_and_the_process_lives() {
    async fn panics() -> &'static str {
        panic!("on purpose, with a secret word")
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut node = Node::new();
    node.http(
        Router::new()
            .route("/panics", get(panics))
            .route("/works", get(|| async { "well" })),
    );
    let node = runtime.block_on(node.bind(any, any)).unwrap();
    let (public, private) = (
        node.public_address().unwrap(),
        node.private_address().unwrap(),
    );
    let stop = CancellationToken::new();
    let served = runtime.spawn(node.serve(stop.clone().cancelled_owned()));
    for _ in 0..3 {
        let answer = get_over_tcp(public, "/panics");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(
            answer.contains("application/problem+json") && answer.contains(r#""code":"internal""#),
            "{answer}"
        );
        assert!(!answer.contains("secret word"), "{answer}");
        assert!(get_over_tcp(public, "/works").ends_with("well"));
    }
    let metrics = get_over_tcp(private, "/metrics");
    let counted = r#"http_requests_total{method="GET",route="/panics",status="500"} 3"#;
    assert!(metrics.contains(counted), "{metrics}");
    stop.cancel();
    runtime.block_on(served).unwrap().unwrap();
}
