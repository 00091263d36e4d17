//! The own profile, the names of others, and the password.

use serde_json::json;

use super::{config, door::password, worlds};

/// row:A13, row:A14: one field changes, the others stay; what is taken is refused.
#[tokio::test]
async fn a_profile_is_changed_in_parts() {
    for world in worlds(&config()).await {
        let door = world.door();
        let ann = door.register("ann").await;
        door.register("bob").await;
        let token = ann.text("access_token");
        world.clock.advance(2000);
        let changed = door
            .with(
                &token,
                "PATCH",
                "/api/users/me",
                Some(json!({"username": "Anna"})),
            )
            .await;
        let mut expected = ann.body["user"].clone();
        expected["username"] = json!("Anna");
        expected["updated_at"] = json!("2027-01-15T08:00:02.000Z");
        assert_eq!(
            (changed.status.as_u16(), &changed.body),
            (200, &expected),
            "{}",
            world.engine
        );
        for (body, status, code) in [
            (json!({"username": "Bob"}), 409, "username_taken"),
            (json!({"email": "new@example.org"}), 400, "bad_request"),
            (json!({}), 400, "bad_request"),
            (json!({"password": "correct horse"}), 400, "bad_request"),
            (json!({"id": "x"}), 400, "bad_request"),
        ] {
            let answer = door
                .with(&token, "PATCH", "/api/users/me", Some(body.clone()))
                .await;
            assert_eq!(answer.code(), (status, code), "{} {body}", world.engine);
        }
        let me = door.with(&token, "GET", "/api/users/me", None).await;
        assert_eq!(me.body, expected, "{}", world.engine);
        assert_eq!(
            door.login("anna", &password("ann")).await.status,
            200,
            "{}",
            world.engine
        );
    }
}

/// row:A15, threat:T40: public fields of whom one knows; nobody is listed.
#[tokio::test]
async fn others_are_found_by_id_and_whole_name() {
    for world in worlds(&config()).await {
        let door = world.door();
        let ann = door.register("Ann").await;
        let bob = door.register("Bob").await;
        let token = ann.text("access_token");
        let bob_id = bob.body["user"]["id"].as_str().unwrap();
        let ann_id = ann.body["user"]["id"].as_str().unwrap();
        let public = json!({"id": bob_id, "username": "Bob"});
        for path in [
            format!("/api/users/{bob_id}"),
            "/api/users?username=bOb".to_owned(),
        ] {
            let answer = door.with(&token, "GET", &path, None).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body),
                (200, &public),
                "{} {path}",
                world.engine
            );
        }
        let nobody = "01980000-0000-7000-8000-000000000001";
        let path = format!("/api/users?ids={bob_id},{nobody},{ann_id}");
        let many = door.with(&token, "GET", &path, None).await;
        assert_eq!(
            many.body,
            json!({"users": [{"id": ann_id, "username": "Ann"}, public]}),
            "{}",
            world.engine
        );
        for (path, status) in [
            (format!("/api/users/{nobody}"), 404),
            ("/api/users?username=nobody".to_owned(), 404),
            ("/api/users?username=Bo".to_owned(), 404),
            ("/api/users".to_owned(), 400),
            ("/api/users?limit=10".to_owned(), 400),
            (format!("/api/users?username=bob&ids={bob_id}"), 400),
            ("/api/users?ids=1,2".to_owned(), 400),
            ("/api/users/1".to_owned(), 400),
            (
                format!("/api/users?ids={}", vec![nobody; 501].join(",")),
                400,
            ),
        ] {
            let answer = door.with(&token, "GET", &path, None).await;
            assert_eq!(answer.status.as_u16(), status, "{} {path}", world.engine);
        }
    }
}

/// threat:T40: names cannot be tried one after the other; ids, which nobody can guess, are not counted.
#[tokio::test]
async fn names_are_looked_up_in_moderation() {
    for world in worlds(&config()).await {
        let door = world.door();
        let (ann, bob) = (door.register("ann").await, door.register("bob").await);
        let find = async |who: &super::door::Answer, n: i32| {
            let path = format!("/api/users?username=name{n}");
            let token = who.text("access_token");
            door.with(&token, "GET", &path, None).await
        };
        for n in 0..30 {
            assert_eq!(find(&ann, n).await.status, 404, "{} {n}", world.engine);
        }
        let answer = find(&ann, 30).await;
        assert_eq!(answer.code(), (429, "rate_limited"), "{}", world.engine);
        assert!(answer.headers.contains_key("retry-after"));
        let id = bob.body["user"]["id"].as_str().unwrap();
        let path = format!("/api/users/{id}");
        let token = ann.text("access_token");
        let known = door.with(&token, "GET", &path, None).await;
        assert_eq!(known.status, 200, "{}", world.engine);
        assert_eq!(find(&bob, 0).await.status, 404, "{}", world.engine);
    }
}

/// row:A13, row:A14, threat:T10: a token alone does not move the account to another address.
#[tokio::test]
async fn the_address_is_changed_with_the_password() {
    for world in worlds(&config()).await {
        let door = world.door();
        let ann = door.register("ann").await;
        door.register("bob").await;
        let token = ann.text("access_token");
        let change = async |password: &str, email: &str| {
            let body = json!({"current_password": password, "email": email});
            door.with(&token, "POST", "/api/email", Some(body)).await
        };
        let right = password("ann");
        for (password, email, status, code) in [
            ("wrong password", "new@example.org", 403, "wrong_password"),
            (&right, "BOB@example.org", 409, "email_taken"),
            (&right, "nowhere", 400, "email_invalid"),
        ] {
            let answer = change(password, email).await;
            assert_eq!(answer.code(), (status, code), "{} {email}", world.engine);
        }
        let changed = change(&right, "new@example.org").await;
        let mut expected = ann.body["user"].clone();
        expected["email"] = json!("new@example.org");
        assert_eq!(
            (changed.status.as_u16(), &changed.body),
            (200, &expected),
            "{}",
            world.engine
        );
        let login = door.login("new@example.org", &right).await;
        assert_eq!(login.status, 200, "{}", world.engine);
        let before = door.login("ann@example.org", &right).await;
        assert_eq!(before.status, 401, "{}", world.engine);
    }
}

/// row:A13, threat:T10: the new password works, the old one does not, and every other login is over.
#[tokio::test]
async fn a_new_password_ends_the_other_logins() {
    for world in worlds(&config()).await {
        let door = world.door();
        let first = door.register("ann").await;
        let second = door.login("ann", &password("ann")).await;
        let (token, other) = (first.text("access_token"), second.text("access_token"));
        let change = |current: &str, new: &str| {
            Some(json!({"current_password": current, "new_password": new}))
        };
        for (body, status, code) in [
            (
                change("wrong password", "another horse"),
                403,
                "wrong_password",
            ),
            (change(&password("ann"), "short"), 400, "password_invalid"),
            (
                change(&password("ann"), "ann@example.org"),
                400,
                "password_invalid",
            ),
            (
                Some(json!({"new_password": "another horse"})),
                400,
                "bad_request",
            ),
        ] {
            assert_eq!(
                door.with(&token, "POST", "/api/password", body)
                    .await
                    .code(),
                (status, code),
                "{}",
                world.engine
            );
        }
        let changed = door
            .with(
                &token,
                "POST",
                "/api/password",
                change(&password("ann"), "another horse"),
            )
            .await;
        assert_eq!(changed.status, 204, "{} {changed:?}", world.engine);
        let again = change(&password("ann"), "another horse");
        let again = door.with(&token, "POST", "/api/password", again).await;
        assert_eq!(again.status, 204, "{}: its answer was lost", world.engine);
        assert_eq!(
            door.with(&token, "GET", "/api/users/me", None).await.status,
            200,
            "{}",
            world.engine
        );
        assert_eq!(
            door.with(&other, "GET", "/api/users/me", None).await.code(),
            (401, "session_ended"),
            "{}",
            world.engine
        );
        assert_eq!(
            door.refresh(&second.refresh_token()).await.code(),
            (401, "refresh_invalid"),
            "{}",
            world.engine
        );
        assert_eq!(
            door.login("ann", &password("ann")).await.status,
            401,
            "{}",
            world.engine
        );
        assert_eq!(
            door.login("ann", "another horse").await.status,
            200,
            "{}",
            world.engine
        );
    }
}
