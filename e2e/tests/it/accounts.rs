//! Accounts over HTTP, as a stranger and an owner see them.

use e2e::{Person, World, key};
use serde_json::{Value, json};

async fn register(world: &World, body: Value) -> (u16, Value) {
    let answer = e2e::client()
        .post(world.url("/api/register"))
        .json(&body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn login(world: &World, login: &str, password: &str) -> (u16, Value) {
    let body = json!({ "login": login, "password": password, "cookie": false });
    let answer = e2e::client()
        .post(world.url("/api/login"))
        .json(&body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

scenarios! {
    /// row:A01, row:A02, row:A03, row:A04, row:A05: register, be refused, log in by name and by address, be refused alike.
    async fn registering_and_logging_in(engine) {
        let world = World::start(engine).await;
        let ann = Person::register(&world, "ann").await;
        let email = format!("{}@example.org", ann.name);
        for (wrong, body) in [
            ("address", json!({ "username": "somebody", "email": "no", "password": "long enough 1" })),
            ("short password", json!({ "username": "somebody", "email": "a@example.org", "password": "short" })),
            ("no name", json!({ "email": "a@example.org", "password": "long enough 1" })),
            ("unknown field", json!({ "username": "somebody", "email": "a@example.org", "password": "long enough 1", "admin": true })),
        ] {
            let (status, body) = register(&world, body).await;
            assert!(status == 400 && body["code"].is_string(), "{wrong}: {status} {body}");
        }
        let taken = json!({ "username": ann.name.to_uppercase(), "email": "new@example.org", "password": "long enough 1" });
        let (status, body) = register(&world, taken).await;
        assert_eq!((status, &body["code"]), (409, &json!("username_taken")));
        let taken = json!({ "username": "fresh-name", "email": email.to_uppercase(), "password": "long enough 1" });
        let (status, body) = register(&world, taken).await;
        assert_eq!((status, &body["code"]), (409, &json!("email_taken")));
        for name in [&ann.name, &email] {
            let (status, body) = login(&world, name, &ann.password).await;
            assert_eq!((status, &body["user"]["id"]), (200, &json!(ann.id)), "{name}");
        }
        let wrong = login(&world, &ann.name, "not the password").await;
        let unknown = login(&world, "nobody-here", "not the password").await;
        assert_eq!((wrong.0, unknown.0), (401, 401));
        assert_eq!(wrong.1["detail"], unknown.1["detail"]);
        world.stop().await;
    }

    /// row:A07: every route that is not open wants a token.
    async fn protected_routes_need_a_token(engine) {
        let world = World::start(engine).await;
        let http = e2e::client();
        for path in [
            "/api/users/me", "/api/sessions", "/api/chats", "/api/ai/runs", &format!("/api/chats/{}", key()),
            &format!("/api/messages/{}", key()), &format!("/api/users/{}", key()), &format!("/api/chats/{}/binding", key()),
        ] {
            for token in [None, Some("nonsense"), Some("a.b.c")] {
                let request = http.get(world.url(path));
                let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 401, "{path} {token:?}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
            }
        }
        world.stop().await;
    }

    /// row:A08: the sixth login and the fourth registration of a minute wait.
    async fn logins_and_registrations_are_limited_by_address(engine) {
        let world = World::start(engine).await;
        let http = e2e::client();
        let mut last = 0;
        for n in 0..4 {
            let body = json!({ "username": format!("many-{n}"), "email": format!("many{n}@example.org"), "password": "long enough 1" });
            let answer = http.post(world.url("/api/register")).json(&body).send().await.unwrap();
            last = answer.status().as_u16();
            assert!(n == 3 || last == 201, "{n}: {last}");
        }
        assert_eq!(last, 429);
        for n in 0..6 {
            let body = json!({ "login": "many-0", "password": "wrong password" });
            let answer = http.post(world.url("/api/login")).json(&body).send().await.unwrap();
            let wanted = if n < 5 { 401 } else { 429 };
            assert_eq!(answer.status().as_u16(), wanted, "{n}");
            assert!(n < 5 || answer.headers().contains_key("retry-after"));
        }
        world.stop().await;
    }

    /// row:A12, row:A13, row:A14, row:A15: the own profile, a part of it changed, and others' public face.
    async fn profiles(engine) {
        let world = World::start(engine).await;
        let (ann, bob) = tokio::join!(Person::register(&world, "ann"), Person::register(&world, "bob"));
        let me = ann.get("/api/users/me").await.ok();
        assert_eq!((&me["username"], me.get("password_hash")), (&json!(ann.name), None));
        let name = format!("new-{}", &key()[24..]);
        let changed = ann.patch("/api/users/me", json!({ "username": name })).await.ok();
        assert_eq!((&changed["username"], &changed["email"]), (&json!(name), &me["email"]));
        assert_eq!(ann.patch("/api/users/me", json!({ "username": bob.name })).await.status, 409);
        let found = bob.get(&format!("/api/users?username={name}")).await.ok();
        assert_eq!(found, json!({ "id": ann.id, "username": name }));
        assert_eq!(bob.get(&format!("/api/users/{}", ann.id)).await.ok(), found);
        assert_eq!(bob.get("/api/users?username=nobody-at-all").await.status, 404);
        world.stop().await;
    }
}
