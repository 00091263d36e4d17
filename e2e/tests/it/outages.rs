//! The database server goes away, or keeps everybody waiting, while the program runs.

use std::time::{Duration, Instant};

use e2e::{Engine, Line, Person, Proxy, World, eventually, key};
use serde_json::json;

/// A world whose way to the database leads through a proxy.
async fn world(engine: Engine) -> (World, Proxy) {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests learn of the running server from here"
    )]
    let url =
        std::env::var("DATABASE_URL").expect("DATABASE_URL names the PostgreSQL server for tests");
    let place = url
        .split('@')
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("postgres://user@host:port/database");
    let proxy = Proxy::start(place.to_owned()).await;
    let through = proxy.address.to_string();
    let world = World::with(engine, |config| {
        config.sql = config.sql.replacen(place, &through, 1);
    })
    .await;
    (world, proxy)
}

async fn private(world: &World, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", world.private))
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// row:A10, row:C17, row:G11, row:G19, row:G28, guarantee:G3, guarantee:G14: while the database is away it is said so
/// and nothing is confirmed; the process lives and goes on by itself. The same key settles what was unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_and_comes_back() {
    for engine in [Engine::Servers, Engine::Split] {
        is_told_and_comes_back(engine).await;
    }
}

async fn is_told_and_comes_back(engine: Engine) {
    let (world, proxy) = world(engine).await;
    let (ann, bob) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    ann.say(&chat, "before").await;
    let errors = world.metric("sql_errors_total", "").await;
    proxy.set(Line::Cut);

    eventually("it is not ready", async || {
        private(&world, "/readyz").await.0 == 503
    })
    .await;
    let (_, report) = private(&world, "/readyz").await;
    println!("{report}");
    assert_eq!(private(&world, "/healthz").await.0, 200);
    let login = json!({ "login": ann.name, "password": ann.password });
    let refused = ann.post("/api/login", login.clone()).await;
    assert_eq!(
        (refused.status, refused.code()),
        (503, "unavailable"),
        "{}",
        refused.body
    );
    let (path, intent) = (
        format!("/api/messages/{chat}"),
        json!({ "key": key(), "text": "meanwhile" }),
    );
    let unknown = ann.post(&path, intent.clone()).await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (503, "unavailable"),
        "{}",
        unknown.body
    );
    assert!(world.metric("sql_errors_total", "").await > errors);

    proxy.set(Line::Open);
    eventually("it is ready again", async || {
        private(&world, "/readyz").await.0 == 200
    })
    .await;
    let settled = ann.post(&path, intent.clone()).await.ok();
    assert_eq!(settled["seq"], 2);
    // Events of which nobody knew whether they were published come twice, and one may be the answer.
    eventually("it is known to be the same", async || {
        let again = ann.post(&path, intent.clone()).await.ok();
        assert_eq!(again["msg"], settled["msg"]);
        again["dup"] == true
    })
    .await;
    assert_eq!(bob.texts(&chat).await, ["before", "meanwhile"]);
    assert_eq!(ann.post("/api/login", login).await.status, 200);
    world.stop().await;
}

/// row:F13: whoever asks while the database keeps silent is answered within the deadline; afterwards all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_answered_for_within_the_deadline() {
    let (world, proxy) = world(Engine::Servers).await;
    let (ann, bob) = tokio::join!(
        Person::register(&world, "ann"),
        Person::register(&world, "bob")
    );
    let chat = ann.chat_with(&bob).await;
    ann.say(&chat, "before").await;
    proxy.set(Line::Silent);
    let (path, intent) = (
        format!("/api/messages/{chat}"),
        json!({ "key": key(), "text": "late" }),
    );
    let before = Instant::now();
    let (own, chats, history, sent) = tokio::join!(
        ann.get("/api/users/me"),
        ann.get("/api/chats"),
        ann.get(&path),
        ann.post(&path, intent.clone())
    );
    assert!(
        before.elapsed() < Duration::from_secs(12),
        "{:?}",
        before.elapsed()
    );
    for answer in [own, chats, history, sent] {
        assert!(
            [503, 504].contains(&answer.status) && answer.body["code"].is_string(),
            "{answer:?}"
        );
    }
    assert_eq!(private(&world, "/healthz").await.0, 200);
    proxy.set(Line::Open);
    eventually("the send is settled", async || {
        ann.post(&path, intent.clone()).await.status < 300
    })
    .await;
    assert_eq!(bob.texts(&chat).await, ["before", "late"]);
    world.stop().await;
}
