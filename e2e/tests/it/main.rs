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
            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                super::$name(e2e::Engine::Embedded).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn servers() {
                super::$name(e2e::Engine::Servers).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn split() {
                super::$name(e2e::Engine::Split).await;
            }
        }
    )*};
}

/// The same for what is seen only where there are servers.
macro_rules! scenarios_on_servers {
    ($($(#[$doc:meta])* async fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$doc])*
        async fn $name($engine: e2e::Engine) $body

        mod $name {
            crate::on_engines! { super::$name: servers Servers, split Split }
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
mod foreign;
mod grpc;
mod ledger;
mod measures;
mod moving;
mod notification;
mod operation;
mod outages;
mod presence;
mod processes;
mod provider;
mod registry;
mod secrecy;
mod sockets;
mod stops;
mod tidy;
mod topics;
mod trouble;
