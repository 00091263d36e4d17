//! Staying logged in, and ending it.

use std::time::Duration;

use contracts::auth::Verifier;
use kit::Node;
use serde_json::json;

use super::{all_worlds, config, door::password, worlds};

/// threat:T6: rotation, a lost answer, two tabs; then a theft, which ends the login for both.
#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_little_longer() {
    for world in worlds(&config()).await {
        let door = world.door();
        let first = door.register("ann").await.refresh_token();
        world.clock.advance(1000);
        let answer = door.refresh(&first).await;
        assert_eq!(answer.status, 200, "{} {answer:?}", world.engine);
        let second = answer.refresh_token();
        assert_ne!(first, second);

        world.clock.advance(29_000);
        let again = door.refresh(&first).await;
        assert_eq!(
            (again.status.as_u16(), again.refresh_token()),
            (200, second.clone()),
            "{}",
            world.engine
        );
        let third = door.refresh(&second).await.refresh_token();

        let stolen = door.refresh(&first).await;
        assert_eq!(stolen.code(), (401, "refresh_invalid"), "{}", world.engine);
        assert_eq!(
            door.refresh(&third).await.code(),
            (401, "refresh_invalid"),
            "{}",
            world.engine
        );
        let token = answer.text("access_token");
        assert_eq!(
            door.with(&token, "GET", "/api/users/me", None).await.code(),
            (401, "session_ended"),
            "{}",
            world.engine
        );
        assert_eq!(
            door.login("ann", &password("ann")).await.status,
            200,
            "a new login is fine"
        );
    }
}

#[tokio::test]
async fn a_browser_refreshes_with_its_cookie_and_no_other_site_can() {
    for world in worlds(&config()).await {
        let door = world.door();
        let cookie = format!("refresh={}", door.register("ann").await.refresh_token());
        for foreign in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
        ] {
            let headers = [("cookie", cookie.as_str()), foreign];
            let answer = door
                .send("POST", "/api/refresh", &headers, String::new())
                .await;
            assert_eq!(answer.code(), (403, "other_site"), "{}", world.engine);
        }
        let headers = [
            ("cookie", cookie.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        let answer = door
            .send("POST", "/api/refresh", &headers, String::new())
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.get("refresh_token")),
            (200, None),
            "{}",
            world.engine
        );
        assert!(answer.cookie().unwrap().starts_with("refresh="));

        let next = format!("refresh={}", answer.refresh_token());
        let headers = [
            ("cookie", next.as_str()),
            ("content-type", "application/json"),
        ];
        let answer = door
            .send(
                "POST",
                "/api/refresh",
                &headers,
                json!({"cookie": false}).to_string(),
            )
            .await;
        assert!(
            answer.cookie().is_some_and(|cookie| cookie.len() > 43)
                && answer.body.get("refresh_token").is_none(),
            "{}: what was in the cookie stays there",
            world.engine
        );
        let token = answer.refresh_token();
        let answer = door.refresh(&token).await;
        assert!(
            answer.cookie().is_none() && answer.text("refresh_token").len() == 43,
            "{}: what was in the body comes in the body",
            world.engine
        );

        let none = door.send("POST", "/api/refresh", &[], String::new()).await;
        assert_eq!(none.code(), (401, "refresh_invalid"), "{}", world.engine);
        let wrong = door
            .post("/api/refresh", json!({"refresh_token": "abc", "more": 1}))
            .await;
        assert_eq!(wrong.code(), (400, "bad_request"), "{}", world.engine);
    }
}

/// The token follows the person's new name; a login that nobody uses ends after 14 days.
#[tokio::test]
async fn a_login_lasts_while_it_is_used() {
    let day = 86_400_000;
    for world in worlds(&config()).await {
        let door = world.door();
        let made = door.register("ann").await;
        door.with(
            &made.text("access_token"),
            "PATCH",
            "/api/users/me",
            Some(json!({"username": "anna"})),
        )
        .await;
        world.clock.advance(13 * day);
        assert_eq!(
            door.with(&made.text("access_token"), "GET", "/api/users/me", None)
                .await
                .code(),
            (401, "token_expired")
        );
        let answer = door.refresh(&made.refresh_token()).await;
        assert_eq!(answer.body["user"]["username"], "anna", "{}", world.engine);
        assert_eq!(
            door.with(&answer.text("access_token"), "GET", "/api/users/me", None)
                .await
                .status,
            200
        );
        world.clock.advance(14 * day);
        assert_eq!(
            door.refresh(&answer.refresh_token()).await.code(),
            (401, "refresh_invalid"),
            "{}",
            world.engine
        );
    }
}

#[tokio::test]
async fn logins_are_listed_and_ended_one_by_one() {
    for world in worlds(&config()).await {
        let door = world.door();
        let ann = door.register("ann").await;
        let laptop = json!({"login": "ann", "password": password("ann"), "device": "  Laptop\u{7}  ", "cookie": false});
        let laptop = door.post("/api/login", laptop).await;
        let bob = door.register("bob").await;
        let token = ann.text("access_token");

        let list = door.with(&token, "GET", "/api/sessions", None).await;
        let sessions = list.body["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2, "{} {list:?}", world.engine);
        let devices: Vec<_> = sessions
            .iter()
            .map(|s| {
                (
                    s["device"].as_str().unwrap(),
                    s["current"].as_bool().unwrap(),
                )
            })
            .collect();
        assert!(
            devices.contains(&("Laptop", false)) && devices.contains(&("", true)),
            "{devices:?}"
        );

        let path =
            |answer: &super::door::Answer| format!("/api/sessions/{}", answer.text("session"));
        assert_eq!(
            door.with(&token, "DELETE", &path(&bob), None).await.code(),
            (404, "not_found"),
            "{}",
            world.engine
        );
        assert_eq!(
            door.with(&token, "DELETE", &path(&laptop), None)
                .await
                .status,
            204,
            "{}",
            world.engine
        );
        assert_eq!(
            door.with(&token, "DELETE", &path(&laptop), None)
                .await
                .status,
            404,
            "{}",
            world.engine
        );
        let ended = door
            .with(&laptop.text("access_token"), "GET", "/api/users/me", None)
            .await;
        assert_eq!(ended.code(), (401, "session_ended"), "{}", world.engine);
        assert_eq!(
            door.refresh(&laptop.refresh_token()).await.status,
            401,
            "{}",
            world.engine
        );

        let out = door.with(&token, "POST", "/api/logout", None).await;
        assert_eq!(out.status, 204, "{}", world.engine);
        assert!(
            out.cookie()
                .unwrap()
                .starts_with("refresh=; Path=/api; Max-Age=0")
        );
        assert_eq!(
            door.with(&token, "GET", "/api/sessions", None).await.code(),
            (401, "session_ended"),
            "{}",
            world.engine
        );
        assert_eq!(
            door.with(&bob.text("access_token"), "GET", "/api/sessions", None)
                .await
                .status,
            200
        );
    }
}

/// An access token that has ended keeps nobody logged in: the cookie is enough to leave, and is cleared in any case.
/// threat:T24: another site cannot do it.
#[tokio::test]
async fn the_cookie_is_enough_to_log_out() {
    for world in worlds(&config()).await {
        let door = world.door();
        let made = door.register("ann").await;
        let (token, cookie) = (
            made.text("access_token"),
            format!("refresh={}", made.refresh_token()),
        );
        let bearer = format!("Bearer {token}");
        let out = async |headers: &[(&str, &str)]| {
            door.send("POST", "/api/logout", headers, String::new())
                .await
        };
        let clears = |answer: &super::door::Answer| {
            answer
                .cookie()
                .is_some_and(|cookie| cookie.starts_with("refresh=; "))
        };
        let foreign = ("sec-fetch-site", "cross-site");
        let refused = out(&[("cookie", &cookie), foreign]).await;
        assert_eq!(refused.code(), (403, "other_site"), "{}", world.engine);
        assert!(!clears(&refused), "{}", world.engine);

        world.clock.advance(15 * 60 * 1000);
        let ended = out(&[("authorization", &bearer)]).await;
        assert_eq!(ended.code(), (401, "token_expired"), "{}", world.engine);
        assert!(clears(&ended), "{}", world.engine);
        for _ in 0..2 {
            let own = ("sec-fetch-site", "same-origin");
            let answer = out(&[("authorization", &bearer), ("cookie", &cookie), own]).await;
            assert_eq!(answer.status, 204, "{} {answer:?}", world.engine);
            assert!(clears(&answer), "{}", world.engine);
        }
        let again = door.refresh(&made.refresh_token()).await;
        assert_eq!(again.code(), (401, "refresh_invalid"), "{}", world.engine);

        // A good token ends its own login, and that of the cookie beside it.
        let (first, second) = (
            door.login("ann", &password("ann")).await,
            door.login("ann", &password("ann")).await,
        );
        let bearer = format!("Bearer {}", first.text("access_token"));
        let cookie = format!("refresh={}", second.refresh_token());
        let answer = out(&[("authorization", &bearer), ("cookie", &cookie)]).await;
        assert!(answer.status == 204 && clears(&answer), "{}", world.engine);
        for ended in [first, second] {
            let token = ended.text("access_token");
            let answer = door.with(&token, "GET", "/api/users/me", None).await;
            assert_eq!(answer.code(), (401, "session_ended"), "{}", world.engine);
        }
    }
}

/// guarantee:G15, threat:T9: refused at once where it was ended, within two seconds everywhere else.
#[tokio::test]
async fn an_ended_login_is_known_everywhere_within_two_seconds() {
    for world in all_worlds(&config()).await {
        let door = world.door();
        let token = door.register("ann").await.text("access_token");
        let elsewhere = Verifier::new(world.api.clone(), world.clock.clone());
        let node = Node::new();
        elsewhere.start(&node);
        let call = kit::Call::internal("test");
        let caller = elsewhere.verify(&call, &token).await.unwrap();
        let mut news = elsewhere.revocations();

        assert_eq!(
            door.with(&token, "POST", "/api/logout", None).await.status,
            204
        );
        assert!(
            world.verifier.is_revoked(caller.session),
            "{}",
            world.engine
        );
        let told = tokio::time::timeout(Duration::from_secs(2), news.recv()).await;
        assert_eq!(
            told.expect("within two seconds").unwrap(),
            caller.session,
            "{}",
            world.engine
        );
        assert_eq!(
            elsewhere.verify(&call, &token).await.unwrap_err().word(),
            "session_ended",
            "{}",
            world.engine
        );
    }
}
