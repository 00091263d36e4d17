//! The scenarios: what people and clients see, on every engine.
//!
//! A scenario is written once and becomes one test for each engine, so both have the same number.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
#![expect(clippy::large_futures, reason = "a test may be large")]

/// Makes of each scenario a test on SQLite and one on PostgreSQL.
macro_rules! scenarios {
    ($($(#[$doc:meta])* async fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports, reason = "a scenario takes what it needs")]
            use super::*;

            async fn scenario($engine: e2e::Engine) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                scenario(e2e::Engine::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                scenario(e2e::Engine::Postgres).await;
            }
        }
    )*};
}

mod accounts;
mod assistant;
mod checker;
mod child;
mod conversation;
mod operation;
mod sockets;
//mod tidy;
