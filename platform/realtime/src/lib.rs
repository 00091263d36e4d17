#![doc = include_str!("../README.md")]
//!
//! Start reading at [`Service`], what a door needs of the service behind it; then [`Socket`], the
//! handle by which everybody reaches a client, and `driver`, the task of one connection.

mod bucket;
mod burst;
mod command;
mod config;
mod driver;
mod frame;
mod hub;
mod listening;
mod logins;
mod metrics;
mod origin;
mod protocol;
mod pulse;
mod queue;
mod socket;
#[cfg(feature = "testing")]
pub mod testing;
mod upgrade;
mod watchers;
mod wire;

pub use burst::Burst;
pub use command::{Command, ephemeral, err, ok};
pub use config::{Close, Config};
pub use frame::Frame;
pub use hub::Hub;
pub use listening::{Gate, Listeners, ListenersConfig};
pub use protocol::{Activity, Hello, ResumeAt, Service, Session};
pub use queue::Crowded;
pub use socket::{Identity, Socket};
pub use upgrade::door;
pub use watchers::{Watcher, Watchers};
