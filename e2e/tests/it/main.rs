//! The scenarios: what people and clients see, on every engine.
//!
//! A scenario is written once and becomes one test for each engine, so both have the same number.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "scenarios start their own tasks")]
#![expect(clippy::print_stdout, reason = "verdicts and counts are worth reading")]

/// Makes of each scenario a test on embedded engines, one on the servers, and one with every service apart.
macro_rules! scenarios {
    ($($(#[$doc:meta])* async fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$doc])*
        async fn $name($engine: e2e::Engine) $body

        mod $name {
            crate::on_engines! { super::$name: embedded Embedded, servers Servers, split Split }
        }
    )*};
}

/// The same for what a process of its own is started for.
macro_rules! scenarios_of_a_child {
    ($($(#[$doc:meta])* async fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$doc])*
        async fn $name($engine: e2e::Engine) $body

        mod $name {
            crate::on_engines! { super::$name: embedded Embedded, servers Servers }
        }
    )*};
}

macro_rules! on_engines {
    ($scenario:path: $($name:ident $engine:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $scenario(e2e::Engine::$engine).await;
        }
    )*};
}
use on_engines;

mod accounts;
mod agreement;
mod assistant;
mod checker;
mod child;
mod conversation;
mod ledger;
mod moving;
mod operation;
mod outages;
mod processes;
mod provider;
mod secrecy;
mod sockets;
mod stops;
mod tidy;
mod topics;
mod trouble;
