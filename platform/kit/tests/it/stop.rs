use std::sync::Arc;

use axum::{Router, routing::get};
use kit::{Node, OnFailure};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};

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
        tokio::net::TcpStream::connect(public).await.is_err()
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
