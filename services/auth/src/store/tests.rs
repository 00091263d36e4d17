use kit::{Ids as _, RandomIds};
use sql::testing::{TestDb, both};

use super::*;

const DAY: i64 = 86_400_000;
const NOW: i64 = 1_800_000_000_000;
const LIFETIMES: Lifetimes = Lifetimes {
    idle: 14 * DAY,
    absolute: 60 * DAY,
};

async fn stores() -> Vec<(TestDb, Store)> {
    let stores = both("auth", &crate::MIGRATIONS).await;
    stores
        .into_iter()
        .map(|db| {
            let store = Store::new(db.clone());
            (db, store)
        })
        .collect()
}

async fn log_in(store: &Store, user: UserId) -> (SessionId, Token) {
    let id = SessionId(RandomIds.next());
    let token = Token::random().unwrap();
    let session = Session {
        id,
        user,
        device: "test".to_owned(),
        created_at: NOW,
        last_used_at: NOW,
        ends_at: NOW + LIFETIMES.idle,
    };
    store
        .insert_session(NewSession {
            session,
            seed: [3; 32],
            token: token.clone(),
        })
        .await
        .unwrap();
    (id, token)
}

fn somebody() -> UserId {
    UserId(RandomIds.next())
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    db.fetch_optional(sql, Args::none())
        .await
        .unwrap()
        .unwrap()
        .get("n")
        .unwrap()
}

async fn next(store: &Store, token: &Token, now: i64) -> Token {
    match store.rotate(token, LIFETIMES, now).await.unwrap() {
        Rotation::Next { next, .. } => next,
        _ => panic!("the token should be good"),
    }
}

/// threat:T6: two tabs, ten processes: everybody gets the same successor, one token is good.
#[tokio::test]
async fn parallel_refreshes_agree_on_one_successor() {
    for (db, store) in stores().await {
        let (_, token) = log_in(&store, somebody()).await;
        let store = std::sync::Arc::new(store);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (store, token) = (store.clone(), token.clone());
            tasks.spawn(async move { next(&store, &token, NOW + 1000).await });
        }
        let successors = tasks.join_all().await;
        assert!(
            successors.iter().all(|token| *token == successors[0]),
            "{}",
            db.engine()
        );
        assert_eq!(count(&db, "SELECT COUNT(*) AS n FROM refresh").await, 2);
        assert_eq!(
            count(
                &db,
                "SELECT COUNT(*) AS n FROM refresh WHERE used_at IS NULL"
            )
            .await,
            1
        );
    }
}

/// threat:T6: what comes back too late ends the login, and that stays written.
#[tokio::test]
async fn a_token_that_comes_back_ends_the_login() {
    for (db, store) in stores().await {
        let (late, first) = log_in(&store, somebody()).await;
        next(&store, &first, NOW).await;
        let result = store.rotate(&first, LIFETIMES, NOW + 30_001).await.unwrap();
        assert!(
            matches!(result, Rotation::Revoked(session) if session == late),
            "{}",
            db.engine()
        );

        let (passed, first) = log_in(&store, somebody()).await;
        let second = next(&store, &first, NOW).await;
        let third = next(&store, &second, NOW + 1).await;
        let result = store.rotate(&first, LIFETIMES, NOW + 2).await.unwrap();
        assert!(
            matches!(result, Rotation::Revoked(session) if session == passed),
            "{}",
            db.engine()
        );
        assert!(matches!(
            store.rotate(&third, LIFETIMES, NOW + 3).await.unwrap(),
            Rotation::Refused
        ));

        let ended = store.revoked_since(NOW).await.unwrap();
        let expected = [
            Revocation {
                session: passed,
                at_ms: NOW + 2,
            },
            Revocation {
                session: late,
                at_ms: NOW + 30_001,
            },
        ];
        assert_eq!(ended, expected, "{}", db.engine());
        assert!(
            store.is_revoked(late).await.unwrap()
                && store.revoked_since(NOW + 30_002).await.unwrap().is_empty()
        );
        let unknown = Token::random().unwrap();
        assert!(matches!(
            store.rotate(&unknown, LIFETIMES, NOW).await.unwrap(),
            Rotation::Refused
        ));
    }
}

#[tokio::test]
async fn a_login_lasts_while_it_is_used_and_not_for_ever() {
    for (db, store) in stores().await {
        let (_, idle) = log_in(&store, somebody()).await;
        assert!(matches!(
            store
                .rotate(&idle, LIFETIMES, NOW + 14 * DAY)
                .await
                .unwrap(),
            Rotation::Refused
        ));
        let (_, mut token) = log_in(&store, somebody()).await;
        for day in (10..60).step_by(10) {
            token = next(&store, &token, NOW + day * DAY).await;
        }
        assert!(
            matches!(
                store
                    .rotate(&token, LIFETIMES, NOW + 60 * DAY)
                    .await
                    .unwrap(),
                Rotation::Refused
            ),
            "{}",
            db.engine()
        );
    }
}

#[tokio::test]
async fn a_person_sees_and_ends_own_logins_only() {
    for (db, store) in stores().await {
        let (ann, bob) = (somebody(), somebody());
        let (first, token) = log_in(&store, ann).await;
        let (second, _) = log_in(&store, ann).await;
        let (foreign, _) = log_in(&store, bob).await;
        assert_eq!(
            store.owner(&token).await.unwrap(),
            Some((first, ann)),
            "{}",
            db.engine()
        );
        next(&store, &token, NOW + 5).await;
        let listed: Vec<_> = store
            .sessions(ann, NOW + 6)
            .await
            .unwrap()
            .into_iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(listed, [first, second], "{}", db.engine());
        assert!(!store.end(ann, foreign, Why::Ended, NOW + 7).await.unwrap());
        assert!(store.end(ann, second, Why::Ended, NOW + 7).await.unwrap());
        assert!(!store.end(ann, second, Why::Ended, NOW + 8).await.unwrap());
        let (third, _) = log_in(&store, ann).await;
        assert_eq!(
            store.end_others(ann, first, NOW + 9).await.unwrap(),
            [third],
            "{}",
            db.engine()
        );
        assert_eq!(store.sessions(ann, NOW + 9).await.unwrap().len(), 1);
        assert_eq!(store.sessions(bob, NOW + 9).await.unwrap().len(), 1);
        let why = "SELECT revoked_why FROM session WHERE revoked_why = 'password_changed'";
        assert_eq!(db.fetch_all(why, Args::none()).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_has_ended_is_removed_and_the_rest_stays() {
    for (db, store) in stores().await {
        let user = somebody();
        for _ in 0..120 {
            log_in(&store, user).await;
        }
        let (_, kept) = log_in(&store, user).await;
        let kept = next(&store, &kept, NOW + 13 * DAY).await;
        let now = NOW + 16 * DAY;
        let mut rounds = 0;
        while store.remove_ended(LIFETIMES.idle, now).await.unwrap() > 0 {
            rounds += 1;
        }
        assert!(rounds >= 3, "a round has a bound");
        assert_eq!(
            count(&db, "SELECT COUNT(*) AS n FROM session").await,
            1,
            "{}",
            db.engine()
        );
        assert_eq!(
            count(&db, "SELECT COUNT(*) AS n FROM refresh").await,
            2,
            "{}",
            db.engine()
        );
        next(&store, &kept, now).await;
        while store
            .remove_ended(LIFETIMES.idle, now + 13 * DAY)
            .await
            .unwrap()
            > 0
        {}
        assert_eq!(
            count(&db, "SELECT COUNT(*) AS n FROM refresh").await,
            2,
            "{}",
            db.engine()
        );
    }
}

/// Of processes that start at once, one makes the key and all use it.
#[tokio::test]
async fn the_first_signing_key_wins() {
    for (db, store) in stores().await {
        assert!(store.newest_key().await.unwrap().is_none());
        for n in 1..=3_u8 {
            let key = StoredKey {
                kid: format!("k{n}"),
                public_key: vec![n; 32],
                sealed_key: vec![n; 60],
            };
            store.insert_key_if_absent(key, NOW).await.unwrap();
        }
        let newest = store.newest_key().await.unwrap().unwrap();
        assert_eq!(
            (newest.kid.as_str(), newest.sealed_key),
            ("k1", vec![1; 60]),
            "{}",
            db.engine()
        );
        let keys = store.public_keys().await.unwrap();
        assert_eq!(
            keys,
            [PublicKey {
                kid: "k1".to_owned(),
                x: [1; 32]
            }],
            "{}",
            db.engine()
        );
    }
}
