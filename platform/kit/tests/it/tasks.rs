use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kit::{Node, OnFailure};
use tokio::{sync::mpsc, time::Instant};

/// Whatever was away for long has everybody back soon after its return, and nobody runs in circles meanwhile.
#[tokio::test(start_paused = true)]
async fn a_task_that_fails_for_long_is_tried_every_other_second() {
    let node = Node::new();
    let (starts, mut started) = mpsc::channel(64);
    node.task("never well", OnFailure::Restart, move || {
        let starts = starts.clone();
        async move {
            starts.send(Instant::now()).await?;
            Err("failed".into())
        }
    });
    let mut times = Vec::new();
    while times.len() < 200 {
        times.push(started.recv().await.unwrap());
    }
    let waits = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(waits.clone().max().unwrap() <= Duration::from_millis(2_010));
    assert!(waits.sum::<Duration>() > Duration::from_secs(100));
}

/// A task that was well for a minute starts again at once, whatever happened before.
#[tokio::test(start_paused = true)]
async fn the_wait_before_a_restart_begins_anew_after_a_good_run() {
    let node = Node::new();
    let (runs, (starts, mut started)) = (Arc::new(AtomicU32::new(0)), mpsc::channel(64));
    node.task("sometimes well", OnFailure::Restart, move || {
        let (run, starts) = (runs.fetch_add(1, Ordering::SeqCst), starts.clone());
        async move {
            starts.send(Instant::now()).await?;
            // Twenty failures let the wait grow; every run after them is a good one.
            if run >= 20 {
                tokio::time::sleep(Duration::from_secs(61)).await;
            }
            Err("failed".into())
        }
    });
    let mut times = Vec::new();
    while times.len() < 31 {
        times.push(started.recv().await.unwrap());
    }
    for pair in times[20..].windows(2) {
        let passed = pair[1] - pair[0];
        assert!(passed <= Duration::from_millis(61_110), "{passed:?}");
    }
}
