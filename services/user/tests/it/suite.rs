//! What [`contracts::user::UserApi`] promises.

use std::time::Duration;

use contracts::{
    UserId,
    user::{MAX_IDS, NewUser, ProfileChange, User},
};
use kit::{Call, Code};

use super::{World, worlds};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA";

fn call() -> Call {
    Call::internal("test")
}

fn new(username: &str, email: Option<&str>) -> NewUser {
    NewUser {
        username: username.to_owned(),
        email: email.map(str::to_owned),
        password_hash: Some(HASH.to_owned()),
    }
}

async fn create(world: &World, username: &str, email: Option<&str>) -> User {
    world
        .user
        .create(&call(), new(username, email))
        .await
        .unwrap()
}

/// row:A01, row:A12, row:A15, row:A17
#[tokio::test]
async fn an_account_is_found_by_id_name_and_address() {
    for world in worlds().await {
        let (user, name) = (&world.user, &world.name);
        let ann = create(&world, "Ann", Some("Ann@Example.org")).await;
        assert_eq!(
            (ann.username.as_str(), ann.email.as_deref()),
            ("Ann", Some("Ann@Example.org")),
            "{name}"
        );
        assert_eq!(ann.created_at, "2027-01-15T08:00:00.000Z", "{name}");
        assert_eq!(
            user.by_id(&call(), ann.id).await.unwrap().as_ref(),
            Some(&ann),
            "{name}"
        );
        assert_eq!(
            user.by_username(&call(), "aNN").await.unwrap().as_ref(),
            Some(&ann),
            "{name}"
        );
        assert_eq!(
            user.by_email(&call(), "ANN@example.ORG")
                .await
                .unwrap()
                .as_ref(),
            Some(&ann),
            "{name}"
        );
        for login in ["ann", "ann@example.org"] {
            let found = user.credentials(&call(), login).await.unwrap().unwrap();
            assert_eq!(
                (found.user, found.password_hash.as_deref()),
                (ann.clone(), Some(HASH)),
                "{name}"
            );
        }
        let found = user
            .credentials_by_id(&call(), ann.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.user, found.password_hash.as_deref()),
            (ann, Some(HASH)),
            "{name}"
        );
    }
}

/// row:A11, row:A15: nobody is an answer, also for what could be nobody's name.
#[tokio::test]
async fn nobody_is_an_answer_and_no_fault() {
    for world in worlds().await {
        let nobody = UserId(uuid::Uuid::from_u128(1));
        for _ in 0..10 {
            assert_eq!(
                world.user.by_id(&call(), nobody).await.unwrap(),
                None,
                "{}",
                world.name
            );
            assert_eq!(
                world.user.by_username(&call(), "nobody").await.unwrap(),
                None,
                "{}",
                world.name
            );
            assert_eq!(
                world
                    .user
                    .by_username(&call(), "' OR 1=1 --")
                    .await
                    .unwrap(),
                None,
                "{}",
                world.name
            );
            assert_eq!(
                world
                    .user
                    .by_email(&call(), "not an address")
                    .await
                    .unwrap(),
                None,
                "{}",
                world.name
            );
            assert!(
                world
                    .user
                    .credentials(&call(), "nobody@example.org")
                    .await
                    .unwrap()
                    .is_none(),
                "{}",
                world.name
            );
            assert!(
                world
                    .user
                    .credentials_by_id(&call(), nobody)
                    .await
                    .unwrap()
                    .is_none(),
                "{}",
                world.name
            );
        }
        create(&world, "ann", None).await;
    }
}

/// row:A03, row:A17
#[tokio::test]
async fn a_name_or_an_address_belongs_to_one_person() {
    for world in worlds().await {
        create(&world, "Ann", Some("ann@example.org")).await;
        for (username, email, word) in [
            ("ANN", Some("other@example.org"), "username_taken"),
            ("Ａｎｎ", None, "username_taken"),
            ("bob", Some("ANN@EXAMPLE.org"), "email_taken"),
        ] {
            let fault = world
                .user
                .create(&call(), new(username, email))
                .await
                .unwrap_err();
            assert_eq!(
                (fault.code(), fault.word()),
                (Code::Conflict, word),
                "{}",
                world.name
            );
        }
        create(&world, "bob", None).await;
        create(&world, "carol", None).await;
    }
}

/// row:A03, row:A18: the unique keys decide, so a race has exactly one winner.
#[tokio::test]
async fn twenty_parallel_creates_make_one_account() {
    for world in worlds().await {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let user = world.user.clone();
            tasks.spawn(async move {
                user.create(&call(), new("ann", Some("ann@example.org")))
                    .await
            });
        }
        let results = tasks.join_all().await;
        assert_eq!(
            results.iter().filter(|result| result.is_ok()).count(),
            1,
            "{}",
            world.name
        );
        for fault in results.into_iter().filter_map(Result::err) {
            assert_eq!(fault.code(), Code::Conflict, "{}: {fault:?}", world.name);
        }
    }
}

/// row:A02, row:A17
#[tokio::test]
async fn what_breaks_the_rules_is_refused_with_a_word() {
    for world in worlds().await {
        let long = format!("{}@example.org", "x".repeat(320));
        for (username, email, word) in [
            ("a", None, "username_invalid"),
            ("", None, "username_invalid"),
            ("a b c", None, "username_invalid"),
            ("ann", Some("nowhere"), "email_invalid"),
            ("ann", Some(long.as_str()), "email_invalid"),
        ] {
            let fault = world
                .user
                .create(&call(), new(username, email))
                .await
                .unwrap_err();
            assert_eq!(
                (fault.code(), fault.word()),
                (Code::Invalid, word),
                "{}",
                world.name
            );
        }
        let plain = NewUser {
            password_hash: Some("secret".to_owned()),
            ..new("ann", None)
        };
        assert!(
            world
                .user
                .create(&call(), plain)
                .await
                .unwrap_err()
                .is(Code::Invalid),
            "{}",
            world.name
        );
    }
}

/// row:A13, row:A14
#[tokio::test]
async fn a_change_touches_what_it_names_and_the_time() {
    for world in worlds().await {
        let (user, name) = (&world.user, &world.name);
        let ann = create(&world, "ann", Some("ann@example.org")).await;
        create(&world, "bob", Some("bob@example.org")).await;
        world.clock.advance(1500);
        let renamed = ProfileChange {
            username: Some("Anna".to_owned()),
            ..ProfileChange::default()
        };
        let anna = user.update(&call(), ann.id, renamed).await.unwrap();
        let expected = User {
            username: "Anna".to_owned(),
            updated_at: "2027-01-15T08:00:01.500Z".to_owned(),
            ..ann.clone()
        };
        assert_eq!(anna, expected, "{name}");
        assert_eq!(
            user.by_username(&call(), "ann").await.unwrap(),
            None,
            "{name}: the old name is free"
        );

        let rehashed = ProfileChange {
            password_hash: Some(format!("{HASH}x")),
            ..ProfileChange::default()
        };
        user.update(&call(), ann.id, rehashed).await.unwrap();
        let kept = user
            .credentials(&call(), "ann@example.org")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (kept.user, kept.password_hash),
            (anna, Some(format!("{HASH}x"))),
            "{name}"
        );

        let taken = |username: Option<&str>, email: Option<&str>| ProfileChange {
            username: username.map(str::to_owned),
            email: email.map(str::to_owned),
            password_hash: None,
        };
        for (change, code, word) in [
            (taken(Some("BOB"), None), Code::Conflict, "username_taken"),
            (
                taken(None, Some("Bob@example.org")),
                Code::Conflict,
                "email_taken",
            ),
            (taken(Some("-"), None), Code::Invalid, "username_invalid"),
        ] {
            let fault = user.update(&call(), ann.id, change).await.unwrap_err();
            assert_eq!((fault.code(), fault.word()), (code, word), "{name}");
        }
        // Another spelling of the own name is no conflict with oneself.
        assert!(
            user.update(&call(), ann.id, taken(Some("ANNA"), None))
                .await
                .is_ok(),
            "{name}"
        );
        let nobody = UserId(uuid::Uuid::from_u128(1));
        let fault = user
            .update(&call(), nobody, taken(Some("zoe"), None))
            .await
            .unwrap_err();
        assert_eq!(fault.code(), Code::NotFound, "{name}");
    }
}

#[tokio::test]
async fn many_are_found_at_once_and_too_many_are_refused() {
    for world in worlds().await {
        let mut ids = Vec::new();
        for n in 0..40 {
            ids.push(create(&world, &format!("user{n}"), None).await.id);
        }
        let nobody = UserId(uuid::Uuid::from_u128(1));
        let asked = ids
            .iter()
            .rev()
            .chain([&ids[0], &nobody])
            .copied()
            .collect();
        let found = world.user.by_ids(&call(), asked).await.unwrap();
        assert_eq!(
            found.iter().map(|user| user.id).collect::<Vec<_>>(),
            ids,
            "{}",
            world.name
        );
        assert_eq!(found[7].username, "user7", "{}", world.name);
        let again = ids.iter().rev().chain([&nobody]).copied().collect();
        let profiles = world.user.profiles(&call(), again).await.unwrap();
        let own = world.user.by_id(&call(), ids[7]).await.unwrap();
        assert_eq!(profiles.len(), ids.len(), "{}", world.name);
        assert_eq!(profiles.get(7), own.as_ref(), "{}", world.name);
        assert!(
            world
                .user
                .by_ids(&call(), Vec::new())
                .await
                .unwrap()
                .is_empty(),
            "{}",
            world.name
        );
        let fault = world
            .user
            .by_ids(&call(), vec![nobody; MAX_IDS + 1])
            .await
            .unwrap_err();
        assert_eq!(fault.code(), Code::Invalid, "{}", world.name);
    }
}

/// Somebody is in the middle of taking the same name: the store waits, the caller no longer than it said.
#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    for world in worlds().await {
        let mut rival = world.db.write_tx().await.unwrap();
        let columns = "INSERT INTO account (id, username, name_key, created_at, updated_at)";
        let row = sql::args![uuid::Uuid::from_u128(1), "ann", "ann", 0_i64, 0_i64];
        rival.insert_many(columns, 5, "", vec![row]).await.unwrap();
        let short = Call::new("test", Duration::from_millis(100));
        let fault = world
            .user
            .create(&short, new("ann", None))
            .await
            .unwrap_err();
        assert_eq!(fault.code(), Code::Timeout, "{}", world.name);
        drop(rival);
        // Whether the one that timed out still came through is unknown; the store goes on.
        create(&world, "bob", None).await;
    }
}
