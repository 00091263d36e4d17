//! The scenarios: what people and clients see, on every engine.
//!
//! A scenario is written once and becomes one test for each engine, so both have the same number.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "scenarios start their own tasks")]
#![expect(clippy::print_stdout, reason = "verdicts and counts are worth reading")]

/// Makes of each scenario a test on SQLite and one on PostgreSQL.
macro_rules! scenarios {
    ($($(#[$doc:meta])* async fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$doc])*
        async fn $name($engine: e2e::Engine) $body

        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name(e2e::Engine::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$name(e2e::Engine::Postgres).await;
            }
        }
    )*};
}

mod accounts;
mod agreement;
mod assistant;
mod checker;
mod child;
mod conversation;
mod ledger;
mod operation;
mod outages;
mod provider;
mod secrecy;
mod sockets;
mod stops;
mod tidy;
mod topics;
mod trouble;
