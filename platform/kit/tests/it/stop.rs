use std::sync::Arc;

use axum::{Router, routing::get};
use kit::{Node, OnFailure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, Notify, mpsc, oneshot},
};

use super::{ask, eventually, serve};

type Question = oneshot::Sender<&'static str>;

/// row:G12: a request that is open when the stop begins is answered, because the tasks that answer it go on until
/// the doors are closed.
#[tokio::test]
async fn tasks_stop_after_the_doors() {
    let mut node = Node::new();
    let (questions, asked) = mpsc::channel::<Question>(8);
    let (asked, entered) = (Arc::new(Mutex::new(asked)), Arc::new(Notify::new()));
    let (stop, gate) = (node.token(), Arc::new(Notify::new()));
    node.task("worker", OnFailure::Restart, move || {
        let (asked, stop) = (asked.clone(), stop.clone());
        async move {
            let mut asked = asked.lock().await;
            loop {
                let question = tokio::select! {
                    question = asked.recv() => question.ok_or("nobody asks")?,
                    () = stop.cancelled() => return Ok(()),
                };
                question.send("answered").map_err(|_| "nobody waits")?;
            }
        }
    });
    let (arrived, opened) = (entered.clone(), gate.clone());
    node.http(Router::new().route(
        "/question",
        get(move || {
            let (questions, arrived, opened) = (questions.clone(), arrived.clone(), opened.clone());
            async move {
                arrived.notify_one();
                opened.notified().await;
                let (sender, answer) = oneshot::channel();
                questions.send(sender).await.map_err(|_| "no worker")?;
                answer.await.map_err(|_| "no answer")
            }
        }),
    ));
    let served = serve(node).await;
    let (public, private) = (served.public, served.private);
    let open = tokio::spawn(ask(public, "GET", "/question"));
    entered.notified().await;

    served.stop.cancel();
    eventually("it says that it stops", || async {
        ask(private, "GET", "/readyz").await.contains("stopping")
    })
    .await;
    eventually("the door is closed", || async {
        TcpStream::connect(public).await.is_err()
    })
    .await;
    gate.notify_one();
    assert!(open.await.unwrap().ends_with("answered"));
    served.end().await;
}

/// What is told to stop first ends first; everything that waited for it has its turn then.
#[tokio::test]
async fn the_doors_are_told_before_the_tasks() {
    let node = Node::new();
    let (doors, tasks) = (node.spawner().doors(), node.spawner());
    let (early, late) = (doors.token().clone(), tasks.token().clone());
    let (told, gate) = (early.clone(), Arc::new(Notify::new()));
    let opened = gate.clone();
    doors.spawn("door", async move {
        told.cancelled().await;
        opened.notified().await;
    });
    let served = serve(node).await;
    served.stop.cancel();
    early.cancelled().await;
    assert!(!late.is_cancelled(), "a door is still open");
    gate.notify_one();
    late.cancelled().await;
    served.end().await;
}

/// A door that does not close holds nobody up for longer than agreed on.
#[tokio::test(start_paused = true)]
async fn a_door_that_does_not_close_is_cut_off() {
    let node = Node::new();
    node.spawner()
        .doors()
        .spawn("stuck", std::future::pending());
    let served = serve(node).await;
    let begun = tokio::time::Instant::now();
    served.end().await;
    assert_eq!(
        begun.elapsed().as_secs(),
        kit::node::BoundNode::DOORS.as_secs()
    );
}

const QUESTION: &[u8] = b"GET /question HTTP/1.1\r\nHost: here\r\n\r\n";

fn answering() -> Node {
    let mut node = Node::new();
    node.http(Router::new().route("/question", get(|| async { "answered" })));
    node
}

/// row:G12: whoever stood in line when the door closed is let in and answered. All of this happens in one thread, so the
/// server has not heard of any of them.
#[tokio::test]
async fn those_in_line_are_answered() {
    use std::io::{Read as _, Write as _};
    let served = serve(answering()).await;
    eventually("it answers", || async {
        let answer = ask(served.public, "GET", "/question").await;
        answer.ends_with("answered")
    })
    .await;
    let in_line: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(served.public).unwrap();
            stream.write_all(QUESTION).unwrap();
            stream
        })
        .collect();
    served.end().await;
    for mut stream in in_line {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("answered"), "{answer:?}");
        assert!(answer.contains("connection: close"), "{answer:?}");
    }
}

/// row:G12: a connection that is kept open is not closed before its client can hear of it: the next request is answered,
/// as the last one.
#[tokio::test]
async fn a_kept_connection_is_told_that_it_ends() {
    let served = serve(answering()).await;
    let mut kept = TcpStream::connect(served.public).await.unwrap();
    kept.write_all(QUESTION).await.unwrap();
    let mut answer = [0; 4096];
    let read = kept.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(!answer.contains("connection: close"), "{answer:?}");

    served.stop.cancel();
    eventually("the door is closed", || async {
        TcpStream::connect(served.public).await.is_err()
    })
    .await;
    kept.write_all(QUESTION).await.unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.ends_with("answered") && answer.contains("connection: close"),
        "{answer:?}"
    );
    served.end().await;
}
