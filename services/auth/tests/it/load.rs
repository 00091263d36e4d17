//! Passwords cost work; everybody else goes on.

use std::time::{Duration, Instant};

use super::{config, worlds};

/// row:A09, threat:T2: fifty registrations at once are made or told to come back, while others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashing_does_not_stop_the_rest() {
    for world in worlds(&config()).await {
        let door = world.door();
        let token = door.register("ann").await.text("access_token");
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..50 {
            let door = world.door();
            tasks.spawn(async move { door.register(&format!("user{n}")).await });
        }
        let mut slowest = Duration::ZERO;
        let mut done = 0;
        while !tasks.is_empty() {
            while let Some(answer) = tasks.try_join_next() {
                let answer = answer.unwrap();
                assert!(
                    matches!(answer.status.as_u16(), 201 | 503),
                    "{} {answer:?}",
                    world.engine
                );
                assert!(answer.status == 201 || answer.headers.contains_key("retry-after"));
                done += 1;
            }
            let started = Instant::now();
            assert_eq!(
                door.with(&token, "GET", "/api/users/me", None).await.status,
                200
            );
            slowest = slowest.max(started.elapsed());
        }
        assert_eq!(done, 50);
        assert!(
            slowest < Duration::from_secs(1),
            "{}: {slowest:?}",
            world.engine
        );
    }
}
