//! What never stands in a log, even at its most talkative.

use e2e::{Cluster, Person, Provider, Socket, eventually, key};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Stands in every text of the scenario, also in those that are refused.
const WORD: &str = "xylophone";
const API_KEY: &str = "the-key-of-the-provider";

/// Everything that people do with secrets and texts; gives what must not be found.
async fn live(server: std::net::SocketAddr) -> Vec<String> {
    let (ann, bob) = (
        Person::register_at(server, "ann").await,
        Person::register_at(server, "bob").await,
    );
    let other = ann.another_device().await;
    let mut secrets = vec![
        WORD.to_owned(),
        "@example.org".to_owned(),
        ann.name.clone(),
        API_KEY.to_owned(),
        e2e::SECRET.to_owned(),
    ];
    let wrong = format!("wrong {}", key());
    let login = json!({ "login": ann.name, "password": wrong });
    ann.post("/api/login", login).await;
    ann.post(
        "/api/login",
        json!({ "login": ann.name, "password": 5, "x": wrong }),
    )
    .await;
    let fresh = ann
        .post(
            "/api/refresh",
            json!({ "refresh_token": other.refresh, "cookie": false }),
        )
        .await
        .ok();
    ann.post(
        "/api/refresh",
        json!({ "refresh_token": format!("{}x", other.refresh) }),
    )
    .await;
    let password = format!("new {}", key());
    let change = json!({ "current_password": ann.password, "new_password": password });
    assert_eq!(ann.post("/api/password", change).await.status, 204);
    for name in ["access_token", "refresh_token"] {
        secrets.push(fresh[name].as_str().unwrap().to_owned());
    }
    for person in [&ann, &bob, &other] {
        // The middle of a token says who; the end is what makes it good.
        let signature = person.token.rsplit('.').next().unwrap().to_owned();
        secrets.extend([
            person.token.clone(),
            signature,
            person.refresh.clone(),
            person.password.clone(),
        ]);
    }
    secrets.extend([wrong, password]);

    talk(server, &ann, &bob).await;
    secrets
}

/// Everything that can be done with a text.
async fn talk(server: std::net::SocketAddr, ann: &Person, bob: &Person) {
    let chat = ann.chat_with(bob).await;
    let mut socket = bob.connect().await;
    socket.watch(&chat).await;
    socket.say(&chat, &format!("a {WORD} on a socket")).await;
    ann.say(&chat, &format!("a {WORD} over HTTP")).await;
    for bad in [
        format!("{{\"t\":\"{WORD}"),
        format!("{{\"id\":1,\"t\":\"{WORD}\",\"d\":{{}}}}"),
        format!("{WORD}\u{0}"),
    ] {
        socket.raw(Message::text(bad)).await;
        socket.wait(|frame| frame["err"].is_object()).await;
    }
    let mut stranger = Socket::open(server, "127.0.0.1", &[]).await.unwrap();
    stranger
        .write(&json!({ "t": "hello", "d": { "proto": 1, "token": format!("{}x", bob.token) } }))
        .await;
    assert_eq!(stranger.close_code().await, 4200);
    ann.post(
        &format!("/api/messages/{chat}"),
        json!({ "key": WORD, "text": WORD }),
    )
    .await;
    ann.post(
        &format!("/api/messages/{}", key()),
        json!({ "key": key(), "text": WORD }),
    )
    .await;

    ann.bind(&chat, "advice").await;
    let run = ann
        .post(
            &format!("/api/chats/{chat}/advice"),
            json!({ "key": key(), "hint": WORD }),
        )
        .await
        .ok();
    let path = format!("/api/ai/runs/{}", run["run"].as_str().unwrap());
    eventually("the advice", async || {
        ann.get(&path).await.body["state"] == "done"
    })
    .await;
    ann.bind(&chat, "autoreply").await;
    socket
        .say(&chat, &format!("a {WORD} that wants an answer"))
        .await;
    let held = parking_lot::Mutex::new(String::new());
    eventually("a draft", async || {
        let runs = ann.get("/api/ai/runs?open=true").await.ok();
        let mut runs = runs["runs"].as_array().unwrap().iter();
        let draft = runs
            .find(|run| run["state"] == "held")
            .and_then(|run: &Value| run["run"].as_str().map(str::to_owned));
        draft.is_some_and(|run| {
            *held.lock() = run;
            true
        })
    })
    .await;
    let draft = held.into_inner();
    ann.post(
        &format!("/api/ai/runs/{draft}/approve"),
        json!({ "text": format!("no {WORD}") }),
    )
    .await
    .ok();
    eventually("the reply", async || bob.history(&chat).await.len() == 4).await;
}

scenarios! {
    /// row:G24: no password, token, key or text of a message is in the log, at any level, whatever was done or refused. Its request ids are.
    async fn no_log_holds_a_secret_or_a_text(engine) {
        let provider = Provider::start().await;
        let url = provider.url.clone();
        let mut cluster = Cluster::prepare(engine, |config| {
            "trace".clone_into(&mut config.log_filter);
            config.ai.provider = serde_json::from_value(json!("chat_completions")).unwrap();
            config.ai.base_url = url;
        }).await;
        cluster.set("MESSENGER_AI__API_KEY", API_KEY);
        cluster.run(cluster.all(), None).await;
        let secrets = live(cluster.public()).await;
        assert!(provider.asked().iter().all(|call| call.authorization.ends_with(API_KEY)), "the key is in use");
        let http = e2e::client();
        let answer = http.get(format!("http://{}/api/users/me", cluster.public())).header("x-request-id", "find-me-in-the-log").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        let log = cluster.log();
        assert!(log.contains(r#""level":"TRACE""#) && log.contains("find-me-in-the-log"), "the log is talkative");
        for secret in &secrets {
            let found = log.lines().find(|line| line.contains(secret.as_str()));
            assert!(found.is_none(), "`{secret}` stands in the log: {}", found.unwrap_or_default());
        }
    }
}
