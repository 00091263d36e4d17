//! People and worlds for the scenarios in `tests/it`: everything from outside, as a client sees it.
//!
//! [`World`] is a running messenger on one of the [`Engine`]s, in this process or as a child that can be
//! killed; [`Person`] speaks HTTP and opens [`Socket`]s. Start reading at `tests/it/main.rs`.

#![expect(missing_docs, reason = "a test library; the names say it")]
#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "scenarios start their own tasks")]
#![expect(
    clippy::missing_panics_doc,
    reason = "a scenario that cannot go on fails"
)]

pub mod checker;
mod operator;
mod person;
mod provider;
mod proxy;
mod socket;
mod world;

use std::time::Duration;

pub use operator::command;
pub use person::{Answer, Person, client};
pub use provider::{Asked, Provider};
pub use proxy::{Line, Proxy};
pub use socket::{Socket, message_of};
pub use world::{Child, Engine, SECRET, World, fresh_database};

/// The longest anything may take that should happen at once.
pub const SOON: Duration = Duration::from_secs(15);

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// A fresh UUIDv7 as text.
pub fn key() -> String {
    use kit::Ids as _;
    kit::RandomIds.next().to_string()
}
