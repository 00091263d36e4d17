//! Two people talk: chats, messages, history, marks, over HTTP.

use e2e::{Person, World, key};
use serde_json::json;

scenarios! {
    /// row:B01, row:B02, row:B08, row:B09, row:B10: a pair has one private chat, whoever opens it, and both see it.
    async fn a_pair_has_one_private_chat(engine) {
        let world = World::start(engine).await;
        let (ann, bob, eve) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"), Person::register(&world, "eve"));
        let opened = ann.post("/api/chats", json!({ "kind": "private", "user": bob.id })).await;
        assert_eq!(opened.status, 201, "{}", opened.body);
        let again = bob.post("/api/chats", json!({ "kind": "private", "user": ann.id })).await;
        assert_eq!((again.status, &again.body["id"]), (200, &opened.body["id"]));
        let id = opened.body["id"].as_str().unwrap();
        for person in [&ann, &bob] {
            let chats = person.get("/api/chats").await.ok();
            assert_eq!(chats["chats"].as_array().unwrap().len(), 1);
            let members = chats["chats"][0]["members"].as_array().unwrap();
            let mut names: Vec<_> = members.iter().map(|user| user["username"].as_str().unwrap()).collect();
            names.sort_unstable();
            assert_eq!(names, [ann.name.as_str(), bob.name.as_str()]);
        }
        assert_eq!(eve.get("/api/chats").await.ok()["chats"], json!([]));
        assert_eq!(eve.get(&format!("/api/chats/{id}")).await.status, 404);
        assert_eq!(ann.get(&format!("/api/chats/{}", key())).await.status, 404);
        let alone = ann.post("/api/chats", json!({ "kind": "private", "user": ann.id })).await;
        assert_eq!((alone.status, alone.code()), (400, "chat_with_oneself"));
        assert_eq!(ann.post("/api/chats", json!({ "kind": "private", "user": key() })).await.status, 404);
        world.stop().await;
    }

    /// row:B02: opening from both sides at once makes one chat.
    async fn both_sides_at_once_make_one_chat(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let sides = (0..20).map(|n| async move { n });
        let mut ids = std::collections::HashSet::new();
        let tries = futures_util::future::join_all(sides.map(|n| {
            let (ann, bob) = (ann.clone(), bob.clone());
            async move { if n.await % 2 == 0 { ann.chat_with(&bob).await } else { bob.chat_with(&ann).await } }
        }));
        ids.extend(tries.await);
        assert_eq!(ids.len(), 1);
        world.stop().await;
    }

    /// row:C01, row:C06, row:C07, row:C12, row:C19: sent over HTTP, stored once, read by pages, in the token's name.
    async fn messages_are_stored_once_and_read_by_pages(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        let path = format!("/api/messages/{chat}");
        let first = json!({ "key": key(), "text": "hello" });
        let sent = ann.post(&path, first.clone()).await;
        assert_eq!((sent.status, &sent.body["seq"]), (201, &json!(1)));
        // Another replica may hear of the first try only now, and then its event is the answer.
        e2e::eventually("it is known to be the same", async || {
            let again = ann.post(&path, first.clone()).await;
            assert_eq!(again.body["msg"], sent.body["msg"]);
            (again.status, &again.body["dup"]) == (200, &json!(true))
        }).await;
        let forged = ann.post(&path, json!({ "key": key(), "text": "x", "author": bob.id })).await;
        assert_eq!((forged.status, forged.code()), (400, "bad_request"));
        for n in 0..60 {
            let person = if n % 2 == 0 { &ann } else { &bob };
            person.say(&chat, &n.to_string()).await;
        }
        let mut seen = Vec::new();
        let mut query = "?limit=25".to_owned();
        loop {
            let page = bob.get(&format!("{path}{query}")).await.ok();
            let numbers: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["seq"].as_i64().unwrap()).collect();
            seen.splice(0..0, numbers);
            if page["more"] == false {
                break;
            }
            query = format!("?limit=25&before={}", seen[0]);
        }
        assert_eq!(seen, (1..=61).collect::<Vec<_>>());
        let history = bob.history(&chat).await;
        assert!(history.iter().all(|message| message["author"] == ann.id.as_str() || message["author"] == bob.id.as_str()));
        assert_eq!(history[0]["author"], ann.id.as_str());
        world.stop().await;
    }

    /// row:C11, row:C13, row:F06, threat:T34: refusals have one shape and tell a stranger nothing.
    async fn refusals_are_problems_with_a_stable_code(engine) {
        let world = World::start(engine).await;
        let (ann, bob, eve) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"), Person::register(&world, "eve"));
        let chat = ann.chat_with(&bob).await;
        ann.say(&chat, "secret").await;
        let path = format!("/api/messages/{chat}");
        let unknown = format!("/api/messages/{}", key());
        for path in [&path, &unknown] {
            let read = eve.get(path).await;
            assert_eq!((read.status, read.code()), (404, "not_found"));
            let sent = eve.post(path, json!({ "key": key(), "text": "x" })).await;
            assert_eq!((sent.status, sent.code()), (404, "not_found"));
            let marked = eve.post(&format!("{path}/marks"), json!({ "delivered": 1, "read": 1 })).await;
            assert_eq!(marked.status, 404);
        }
        for (body, code, status) in [
            (json!({ "key": key(), "text": "" }), "empty_text", 400),
            (json!({ "key": key(), "text": " \n" }), "empty_text", 400),
            (json!({ "key": key(), "text": "x".repeat(16 * 1024 + 1) }), "too_large", 413),
            (json!({ "key": key(), "text": "a\u{0}b" }), "bad_request", 400),
            (json!({ "key": "no", "text": "x" }), "bad_request", 400),
            (json!({ "text": "x" }), "bad_request", 400),
            (json!([]), "bad_request", 400),
        ] {
            let answer = ann.post(&path, body.clone()).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{body}");
            for field in ["title", "detail", "request_id"] {
                assert!(answer.body[field].is_string(), "{field} in {}", answer.body);
            }
        }
        for path in ["/api/nothing", "/api/messages/not-an-id", "/api/messages"] {
            let answer = ann.get(path).await;
            assert!([400, 404].contains(&answer.status) && answer.body["code"].is_string(), "{path}: {answer:?}");
        }
        world.stop().await;
    }

    /// guarantee:G13, row:C22: marks rise, unread follows, the other side sees how far one has read.
    async fn marks_and_unread_follow_each_other(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        for n in 0..3 {
            ann.say(&chat, &n.to_string()).await;
        }
        let unread = async || bob.get(&format!("/api/chats/{chat}")).await.ok()["unread"].as_i64().unwrap();
        assert_eq!(unread().await, 3);
        let mut socket = ann.connect().await;
        socket.watch(&chat).await;
        bob.post(&format!("/api/messages/{chat}/marks"), json!({ "delivered": 3, "read": 2 })).await.ok();
        let told = socket.wait(|frame| frame["t"] == "marks").await;
        assert_eq!((&told["d"]["user"], &told["d"]["read"]), (&json!(bob.id), &json!(2)));
        assert_eq!(unread().await, 1);
        let lower = bob.post(&format!("/api/messages/{chat}/marks"), json!({ "delivered": 0, "read": 1 })).await.ok();
        assert_eq!(lower["read"], 2);
        world.stop().await;
    }

    /// row:G12, guarantee:G1: what was confirmed is there after a graceful stop and a start; positions go on.
    async fn a_restart_loses_nothing(engine) {
        let world = World::start(engine).await;
        let (mut ann, mut bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let chat = ann.chat_with(&bob).await;
        for n in 0..20 {
            ann.say(&chat, &n.to_string()).await;
        }
        let before = bob.history(&chat).await;
        let world = world.restart().await;
        ann.server = world.public;
        bob.server = world.public;
        assert_eq!(bob.history(&chat).await, before);
        let sent = bob.say(&chat, "after").await;
        assert_eq!(sent["seq"], 21);
        world.stop().await;
    }
}
