//! Access tokens at the doors, and the key that signs them.

use contracts::auth::{AuthApi as _, Verifier};
use kit::{Call, config::SecretString};
use serde_json::Value;

use super::{Config, all_worlds, config, worlds};

/// Method and path of every route that the description says needs a token.
fn protected_routes() -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for document in [auth::openapi(), user::openapi()] {
        let document = serde_json::to_value(document).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if operation["security"] != Value::Null {
                    let path = path.replace("{id}", "01980000-0000-7000-8000-000000000001");
                    routes.push((method.to_uppercase(), path));
                }
            }
        }
    }
    routes
}

/// row:A07
#[tokio::test]
async fn protected_routes_need_a_token() {
    let routes = protected_routes();
    assert_eq!(routes.len(), 9, "{routes:?}");
    for world in all_worlds(&config()).await {
        let door = world.door();
        let expired = door.register("ann").await.text("access_token");
        world.clock.advance(15 * 60 * 1000);
        let basic = format!("Basic {expired}");
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        for (method, path) in &routes {
            for headers in [
                &[][..],
                &[("authorization", "Bearer")],
                &[("authorization", "Bearer x.y.z")],
                &[("authorization", basic.as_str())],
                &twice,
            ] {
                let answer = door.send(method, path, headers, String::new()).await;
                assert_eq!(
                    answer.code(),
                    (401, "unauthorized"),
                    "{} {method} {path} {headers:?}",
                    world.engine
                );
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
            assert_eq!(
                door.with(&expired, method, path, None).await.code(),
                (401, "token_expired"),
                "{method} {path}"
            );
        }
    }
}

/// row:A06, threat:T8: whoever starts with the same secret signs with the same key; another secret does not start.
#[tokio::test]
async fn one_key_signs_for_all() {
    for world in all_worlds(&config()).await {
        let door = world.door();
        let token = door.register("ann").await.text("access_token");
        let (second, app) = world.another(&config()).await.unwrap();
        let call = Call::internal("test");
        assert_eq!(
            second.public_keys(&call).await.unwrap(),
            world.api.public_keys(&call).await.unwrap(),
            "{}",
            world.engine
        );
        assert_eq!(
            second.validate_token(&call, &token).await.unwrap().username,
            "ann",
            "{}",
            world.engine
        );
        let elsewhere = door
            .with_app(app)
            .login("ann", &super::door::password("ann"))
            .await;
        let verifier = Verifier::new(world.api.clone(), world.clock.clone());
        assert!(
            verifier
                .verify(&call, &elsewhere.text("access_token"))
                .await
                .is_ok(),
            "{}",
            world.engine
        );

        let other = Config {
            secret: Some(SecretString::from("another secret that is long enough")),
            ..config()
        };
        let refused = world
            .another(&other)
            .await
            .err()
            .map(|error| error.to_string());
        assert!(
            refused.is_some_and(|text| text.contains("auth.secret")),
            "{}",
            world.engine
        );
        let stored = "SELECT sealed_key FROM signing_key";
        let row = world
            .auth_db
            .fetch_optional(stored, sql::Args::none())
            .await
            .unwrap()
            .unwrap();
        let sealed: Vec<u8> = row.get("sealed_key").unwrap();
        // The plain form of a private key (RFC 5958) begins with these bytes of its algorithm.
        assert!(
            !sealed
                .windows(5)
                .any(|bytes| bytes == [0x06, 0x03, 0x2b, 0x65, 0x70]),
            "{}",
            world.engine
        );
    }
}

/// row:A06: an ended login's token is refused by the one who asks the store.
#[tokio::test]
async fn validate_token_knows_of_ended_logins() {
    for world in all_worlds(&config()).await {
        let door = world.door();
        let token = door.register("ann").await.text("access_token");
        let call = Call::internal("test");
        assert_eq!(
            world
                .api
                .validate_token(&call, &token)
                .await
                .unwrap()
                .username,
            "ann"
        );
        door.with(&token, "POST", "/api/logout", None).await;
        let fault = world.api.validate_token(&call, &token).await.unwrap_err();
        assert_eq!(fault.word(), "session_ended", "{}", world.engine);
        let (head, tail) = token.rsplit_once('.').unwrap();
        let changed = format!("{head}.{}", tail.chars().rev().collect::<String>());
        assert_eq!(
            world
                .api
                .validate_token(&call, &changed)
                .await
                .unwrap_err()
                .word(),
            "unauthorized"
        );
    }
}

/// A setting that cannot work names itself.
#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    use std::time::Duration;
    let hour = Duration::from_hours(1);
    let worlds = worlds(&config()).await;
    for (broken, name) in [
        (
            Config {
                access_ttl: 25 * hour,
                ..config()
            },
            "auth.access_ttl",
        ),
        (
            Config {
                access_ttl: Duration::ZERO,
                ..config()
            },
            "auth.access_ttl",
        ),
        (
            Config {
                refresh_absolute: hour,
                ..config()
            },
            "auth.refresh_absolute",
        ),
        (
            Config {
                public_url: "chat.example.org".to_owned(),
                ..config()
            },
            "auth.public_url",
        ),
        (
            Config {
                secret: None,
                ..config()
            },
            "auth.secret",
        ),
    ] {
        let error = worlds[0]
            .another(&broken)
            .await
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains(name), "{name}: {error}");
    }
    let shown = serde_json::to_string(&config()).unwrap();
    assert!(!shown.contains(super::SECRET), "{shown}");
}
