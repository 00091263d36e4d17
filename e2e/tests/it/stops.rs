//! A stop by the operator in the middle of everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{Cast, Cluster, Engine, Person, busy};
use kit::CancellationToken;
use tokio::task::JoinSet;

/// What each of eight people says during two stops.
const EACH: usize = 250;

scenarios! {
    /// row:G12, guarantee:G1: SIGTERM in the middle of sends ends the process with 0 in time; nothing confirmed is lost, and everybody
    /// goes on with the next process.
    async fn a_stop_signal_under_load_loses_nothing(engine) {
        let mut cluster = Cluster::start(engine, busy).await;
        let mut cast = Cast::gather(&cluster.doors(), 4).await;
        cast.talk(EACH, false);
        for part in 1..=2 {
            e2e::eventually("a part is said", async || cast.confirmed() > part * 150).await;
            let before = Instant::now();
            let codes = cluster.stop(cluster.all()).await;
            assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
            assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
            cluster.run(cluster.all(), None).await;
        }
        assert!(cast.settled(Duration::from_mins(1)).await, "everybody has said and heard everything");
        let verdict = cast.verdict().await;
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert_eq!(verdict.confirmed, 8 * EACH);
        assert!(verdict.interruptions > 0, "the stops came too late to be noticed");
    }

    /// fault:P11, row:G12: SIGTERM under sends over HTTP: whoever has a connection is answered, with success, and told to come back;
    /// then nobody opens, or the replica that is left answers everybody.
    async fn a_stop_signal_fails_no_send_over_http(engine) {
        let mut cluster = Cluster::start(engine, busy).await;
        let server = cluster.public();
        let (ann, bob) = (Person::register_at(server, "ann").await, Person::register_at(server, "bob").await);
        let chat = ann.chat_with(&bob).await;
        let (answered, enough) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            let (ann, path) = (ann.clone(), format!("/api/messages/{chat}"));
            let (answered, enough) = (answered.clone(), enough.clone());
            senders.spawn(async move {
                let mut sent = Vec::new();
                while !enough.is_cancelled() {
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
                sent
            });
        }
        e2e::eventually("sends are under way", async || answered.load(Ordering::Relaxed) > 40).await;
        let parts = if engine == Engine::Split { vec![cluster.of("message")[0]] } else { cluster.all() };
        let before = Instant::now();
        assert_eq!(cluster.stop(parts.clone()).await, [Some(0)]);
        assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
        enough.cancel();
        let sent = senders.join_all().await.concat();
        cluster.run(parts, None).await;
        let page = ann.get(&format!("/api/chats/{chat}")).await.ok();
        let stored = page["seq"].as_u64().or_else(|| page["chat"]["seq"].as_u64()).unwrap();
        assert!(stored >= sent.len() as u64, "{stored} of {}", sent.len());
    }
}
