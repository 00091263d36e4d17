use std::time::Duration;

use kit::{Breaker, BreakerConfig, Code, Fault};

async fn fail(breaker: &Breaker, code: Code) -> Code {
    breaker
        .run(async { Err::<(), _>(Fault::new(code, "no")) })
        .await
        .unwrap_err()
        .code()
}

#[tokio::test(start_paused = true)]
async fn it_opens_on_outages_tries_once_and_closes_again() {
    let breaker = Breaker::new(
        "test",
        BreakerConfig {
            failures: 2,
            open: Duration::from_secs(1),
        },
    );
    fail(&breaker, Code::Timeout).await;
    assert!(!breaker.is_open());
    fail(&breaker, Code::Unavailable).await;
    assert!(breaker.is_open());
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert!(breaker.run(async { Ok(()) }).await.is_ok());
    assert!(breaker.run(async { Ok(()) }).await.is_ok());
}

/// row:A11: answers such as "not found" never trip the breaker.
#[tokio::test]
async fn answers_are_not_outages() {
    let breaker = Breaker::new(
        "test",
        BreakerConfig {
            failures: 2,
            open: Duration::from_secs(1),
        },
    );
    for _ in 0..20 {
        fail(&breaker, Code::NotFound).await;
    }
    assert!(!breaker.is_open());
}
