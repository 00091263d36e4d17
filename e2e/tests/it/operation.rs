//! What the person at the console sees: health, metrics, documents, migrations, logs.

use e2e::{Cluster, Person, Socket, World, eventually, key};
use serde_json::{Value, json};

scenarios! {
    /// row:G11, row:G14: every process has health and metrics on its private listener and nowhere else.
    async fn health_and_metrics_are_private(engine) {
        let mut cluster = Cluster::start(engine, |_| {}).await;
        for at in cluster.all() {
            let at_once = reqwest::get(format!("http://{}/", cluster.public_of(at))).await.unwrap();
            assert!(at_once.status().is_success(), "{}", cluster.name(at));
            for (path, text) in [("/healthz", "ok"), ("/readyz", "process: ok"), ("/metrics", "http_requests_total")] {
                let answer = reqwest::get(format!("http://{}{path}", cluster.private_of(at))).await.unwrap();
                assert!(answer.status().is_success(), "{} {path}", cluster.name(at));
                let body = answer.text().await.unwrap();
                assert!(body.contains(text), "{} {path}: {body}", cluster.name(at));
            }
            let outside = reqwest::get(format!("http://{}/metrics", cluster.public_of(at))).await.unwrap();
            let body = outside.text().await.unwrap();
            assert!(!body.contains("http_requests_total"), "{}: {body}", cluster.name(at));
        }
        cluster.stop(cluster.all()).await;
    }

    /// row:F01, row:F02: every route is in a document, and the documents are shown with no network.
    async fn documents_are_served_without_a_token(engine) {
        let world = World::start(engine).await;
        let mut paths = Vec::new();
        for name in ["auth", "user", "chat", "message", "ai"] {
            let answer = reqwest::get(world.url(&format!("/openapi/{name}.json"))).await.unwrap();
            let document: Value = answer.error_for_status().unwrap().json().await.unwrap();
            assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{name}");
            paths.extend(document["paths"].as_object().unwrap().keys().cloned());
        }
        for path in ["/api/register", "/api/users/me", "/api/chats", "/api/chats/{id}/advice", "/api/messages/{chat}", "/api/ai/runs"] {
            assert!(paths.iter().any(|known| known == path), "{path} in {paths:?}");
        }
        let page = reqwest::get(world.url("/docs/")).await.unwrap().error_for_status().unwrap().text().await.unwrap();
        assert!(page.contains("swagger-ui") && !page.contains("https://"), "{page}");
        world.stop().await;
    }

    /// row:G16, row:G18, row:G23: requests are counted by route and status, and each has an id that comes back.
    async fn requests_are_counted_and_named(engine) {
        let world = World::start(engine).await;
        let ann = Person::register(&world, "ann").await;
        let labels = r#"route="/api/users/me""#;
        let before = world.metric("http_requests_total", labels).await;
        let errors = world.metric("errors_total", "not_found").await;
        for _ in 0..10 {
            ann.get("/api/users/me").await.ok();
        }
        assert!(world.metric("http_requests_total", labels).await >= before + 10.0);
        assert_eq!(ann.get(&format!("/api/chats/{}", e2e::key())).await.status, 404);
        assert!(world.metric("errors_total", "not_found").await > errors);
        let answer = ann.http.get(world.url("/api/users/me")).header("x-request-id", "my-own-request-1").send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], "my-own-request-1");
        let answer = ann.http.get(world.url("/api/users/me")).header("x-request-id", "no spaces\tplease").send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"].len(), 32);
        world.stop().await;
    }

    /// threat:T23: every answer carries the headers that keep browsers from guessing and framing.
    async fn every_answer_carries_security_headers(engine) {
        let world = World::start(engine).await;
        for path in ["/", "/api/nothing", "/api/users/me", "/openapi/chat.json", "/docs/"] {
            let answer = reqwest::get(world.url(path)).await.unwrap();
            for header in ["x-content-type-options", "content-security-policy", "referrer-policy", "x-frame-options", "x-request-id"] {
                assert!(answer.headers().contains_key(header), "{path} has no {header}");
            }
        }
        world.stop().await;
    }
}

scenarios! {
    /// row:G23: a message and a question are followed by one id through door, gateway, message and AI; a send over a socket is
    /// named after its connection.
    async fn one_id_follows_a_message_through_all_logs(engine) {
        let mut cluster = Cluster::start(engine, |config| {
            "info,kit=debug,ws_gateway=debug,message=debug,ai=debug".clone_into(&mut config.log_filter);
        }).await;
        let server = cluster.public();
        let (ann, bob) = (Person::register_at(server, "ann").await, Person::register_at(server, "bob").await);
        let chat = ann.chat_with(&bob).await;
        ann.bind(&chat, "advice").await;
        let named = |path: String, content: Value| ann.http.post(format!("http://{server}{path}")).bearer_auth(&ann.token).json(&content);
        let sent = named(format!("/api/messages/{chat}"), json!({ "key": key(), "text": "hello" })).send().await.unwrap();
        let asked = named(format!("/api/chats/{chat}/advice"), json!({ "key": key() })).send().await.unwrap();
        let id = |answer: &reqwest::Response| {
            assert!(answer.status().is_success());
            answer.headers()["x-request-id"].to_str().unwrap().to_owned()
        };
        let mut socket = Socket::open(server, "127.0.0.1", &[]).await.unwrap();
        let (welcome, _) = socket.hello(&ann.token, json!({})).await;
        socket.say(&chat, "hello over a socket").await;
        let conn = welcome["conn"].as_str().unwrap().to_owned();
        for (id, targets) in [
            (id(&sent), ["kit", "message", "ai"]),
            (id(&asked), ["kit", "ai", "ai"]),
            (conn, ["ws_gateway", "message", "ai"]),
        ] {
            for target in targets {
                eventually(&format!("{id} in the log of {target}"), async || {
                    let log = cluster.log();
                    let mut lines = log.lines().filter(|line| line.contains(&format!("\"request.id\":\"{id}")));
                    lines.any(|line| line.contains(&format!("\"target\":\"{target}::")))
                })
                .await;
            }
        }
        cluster.stop(cluster.all()).await;
    }
}
