//! What metrics and servers say of a process. Each of these has one of its own, in which nobody else counts.

use std::{collections::BTreeMap, net::SocketAddr};

use e2e::{Cluster, Engine, Person, eventually};
use serde_json::json;
use tokio::task::JoinSet;

/// Counts as they are printed: a count is a whole number.
async fn count(private: SocketAddr, name: &str, labels: &str) -> u64 {
    let value = e2e::metric(private, name, labels).await;
    value.to_string().parse().unwrap()
}

scenarios! {
    /// row:G16: each request is counted with its route and its status, and its time is measured.
    async fn a_hundred_requests_are_a_hundred(engine) {
        let mut cluster = Cluster::start(engine, |_| {}).await;
        let ann = Person::register_at(cluster.public(), "ann").await;
        for _ in 0..100 {
            ann.get("/api/users/me").await.ok();
        }
        for _ in 0..7 {
            assert_eq!(ann.get(&format!("/api/chats/{}", e2e::key())).await.status, 404);
        }
        let (me, chat) = (r#"route="/api/users/me""#, r#"route="/api/chats/{id}""#);
        for (name, labels, wanted) in [
            ("http_requests_total", format!(r#"{me},status="200""#), 100),
            ("http_requests_total", format!(r#"{chat},status="404""#), 7),
            ("http_request_seconds_count", me.to_owned(), 100),
            ("http_request_seconds_count", chat.to_owned(), 7),
        ] {
            assert_eq!(count(cluster.private(), name, &labels).await, wanted, "{name} {labels}");
        }
        assert!(e2e::metric(cluster.private(), "http_request_seconds_sum", me).await > 0.0);
        cluster.stop(cluster.all()).await;
    }
}

/// What grows with every message that is stored.
const GROWING: [(&str, &str); 9] = [
    (
        "sql_statement_seconds_count",
        r#"service="message",kind="read""#,
    ),
    (
        "sql_statement_seconds_count",
        r#"service="message",kind="write""#,
    ),
    (
        "sql_statement_seconds_count",
        r#"service="message",kind="commit""#,
    ),
    ("sql_acquire_seconds_count", r#"service="message""#),
    ("cache_call_seconds_count", ""),
    ("eventlog_appended_records_total", PERSIST),
    ("eventlog_appended_records_total", "chat.message.forward"),
    ("eventlog_appended_bytes_total", PERSIST),
    ("eventlog_append_seconds_count", PERSIST),
];
const PERSIST: &str = "chat.message.persist";

/// row:G19: what PostgreSQL, Redis and Kafka are asked for is counted and timed.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_behind_are_measured() {
    let mut cluster = Cluster::start(Engine::Servers, |config| {
        config.ws_gateway.sockets.commands_per_10s = 1_000_000;
        config.ws_gateway.sockets.command_burst = 1_000_000;
    })
    .await;
    let (ann, bob) = (
        Person::register_at(cluster.public(), "ann").await,
        Person::register_at(cluster.public(), "bob").await,
    );
    let chat = ann.chat_with(&bob).await;
    let counts = async || {
        let mut counts = BTreeMap::new();
        for (name, labels) in GROWING {
            counts.insert((name, labels), count(cluster.private(), name, labels).await);
        }
        counts
    };
    let before = counts().await;
    for n in 0..20 {
        ann.say(&chat, &format!("number {n}")).await;
    }
    let after = counts().await;
    for (what, count) in &before {
        assert!(
            after[what] > *count,
            "{what:?}: {count}, then {}",
            after[what]
        );
    }
    let persisted = ("eventlog_appended_records_total", PERSIST);
    assert_eq!(after[&persisted], before[&persisted] + 20);

    let mut talking = JoinSet::new();
    for _ in 0..4 {
        let (mut socket, chat) = (ann.connect().await, chat.clone());
        talking.spawn(async move {
            loop {
                let mut last = 0;
                for _ in 0..500 {
                    let send = json!({ "chat": chat, "key": e2e::key(), "text": "more" });
                    last = socket.command("msg.send", send).await;
                }
                socket.answer(last).await;
            }
        });
    }
    let lag = async || count(cluster.private(), "eventlog_lag", PERSIST).await;
    eventually("the group is behind", async || lag().await > 0).await;
    talking.shutdown().await;
    eventually("it has caught up", async || lag().await == 0).await;
    cluster.stop(cluster.all()).await;
}

/// row:F12: a service has as many sessions at the database as it may, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_the_pool_is_seen_at_the_database() {
    for size in [2, 5] {
        let start = Cluster::start(Engine::Servers, |config| config.pool.max_connections = size);
        let mut cluster = start.await;
        let database = cluster.config.sql.clone();
        let (ann, bob) = (
            Person::register_at(cluster.public(), "ann").await,
            Person::register_at(cluster.public(), "bob").await,
        );
        let chat = ann.chat_with(&bob).await;
        let sessions = async || {
            let counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'messenger message'";
            e2e::psql(&database, counted).await.parse::<u32>().unwrap()
        };
        let mut readers = JoinSet::new();
        for _ in 0..20 {
            let (ann, chat) = (ann.clone(), chat.clone());
            readers.spawn(async move {
                loop {
                    ann.history(&chat).await;
                }
            });
        }
        eventually("all of them are in use", async || sessions().await >= size).await;
        for _ in 0..20 {
            assert_eq!(sessions().await, size);
        }
        readers.shutdown().await;
        let label = r#"service="message""#;
        assert_eq!(
            count(cluster.private(), "sql_connections_open", label).await,
            u64::from(size)
        );
        cluster.stop(cluster.all()).await;
    }
}
