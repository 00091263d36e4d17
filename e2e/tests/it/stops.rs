//! A stop by the operator in the middle of everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{Child, Person};
use tokio::task::JoinSet;

use crate::checker::{Cast, started};

/// What each of eight people says during two stops.
const EACH: usize = 250;

scenarios_of_a_child! {
    /// row:G12, guarantee:G1: SIGTERM in the middle of sends ends the process with 0 in time; nothing confirmed is lost, and everybody
    /// goes on with the next process.
    async fn a_stop_signal_under_load_loses_nothing(engine) {
        let folder = tempfile::tempdir().unwrap();
        let addresses = Child::prepare(engine, folder.path(), |config| {
            config.ws_gateway.sockets.commands_per_10s = 1_000_000;
            config.ws_gateway.sockets.command_burst = 1_000_000;
        }).await;
        let mut child = started(folder.path(), addresses, None).await;
        let cast = Cast::gather(addresses.0, 8).await;
        let mut talking = cast.talk(EACH);
        for part in 1..=2 {
            e2e::eventually("a part is said", async || cast.said() > part * 150).await;
            let before = Instant::now();
            assert_eq!(child.stop().await, Some(0));
            assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
            child = started(folder.path(), addresses, None).await;
        }
        let all = async { while let Some(ended) = talking.join_next().await { ended.unwrap() } };
        tokio::time::timeout(Duration::from_mins(1), all).await.expect("everybody has said and heard everything");
        let verdict = cast.verdict().await;
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!(verdict.confirmed, 8 * EACH);
        assert!(verdict.interruptions > 0, "the stops came too late to be noticed");
        assert_eq!(child.stop().await, Some(0));
    }

    /// fault:P11, row:G12: SIGTERM under sends over HTTP: whoever has a connection is answered, with success, and told to come back;
    /// then nobody opens.
    async fn a_stop_signal_fails_no_send_over_http(engine) {
        let folder = tempfile::tempdir().unwrap();
        let addresses = Child::prepare(engine, folder.path(), |config| {
            config.message.http_sends.count = 1_000_000;
            config.message.http_sends.burst = 1_000_000;
        }).await;
        let child = started(folder.path(), addresses, None).await;
        let (ann, bob) = (Person::register_at(addresses.0, "ann").await, Person::register_at(addresses.0, "bob").await);
        let chat = ann.chat_with(&bob).await;
        let answered = Arc::new(AtomicU32::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            let (ann, path, answered) = (ann.clone(), format!("/api/messages/{chat}"), answered.clone());
            senders.spawn(async move {
                let mut sent = Vec::new();
                loop {
                    let key = e2e::key();
                    let request = ann.http.post(ann.url(&path)).json(&serde_json::json!({ "key": key, "text": "on" }));
                    let answer = match request.bearer_auth(&ann.token).send().await {
                        Ok(answer) => answer,
                        Err(error) if error.is_connect() => return sent,
                        Err(error) => panic!("a send that was begun is not answered: {error:?}"),
                    };
                    let status = answer.status();
                    assert!(status.is_success(), "{status} {}", answer.text().await.unwrap_or_default());
                    sent.push(key);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        e2e::eventually("sends are under way", async || answered.load(Ordering::Relaxed) > 40).await;
        let before = Instant::now();
        assert_eq!(child.stop().await, Some(0));
        assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
        let sent = senders.join_all().await.concat();

        let child = started(folder.path(), addresses, None).await;
        let page = ann.get(&format!("/api/chats/{chat}")).await.ok();
        let stored = page["seq"].as_u64().or_else(|| page["chat"]["seq"].as_u64()).unwrap();
        assert!(stored >= sent.len() as u64, "{stored} of {}", sent.len());
        assert_eq!(child.stop().await, Some(0));
    }
}
