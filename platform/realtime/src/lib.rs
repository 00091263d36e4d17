#![doc = include_str!("../README.md")]
//!
//! Start reading at [`Service`], what a door needs of the service behind it; then [`Socket`], the
//! handle by which everybody reaches a client, and `driver`, the task of one connection.

mod bucket;
mod command;
mod config;
mod driver;
mod frame;
mod hub;
mod metrics;
mod origin;
mod protocol;
mod pulse;
mod queue;
mod socket;
mod upgrade;
mod watchers;

pub use command::{Command, ephemeral, err, ok};
pub use config::{Close, Config};
pub use frame::Frame;
pub use hub::Hub;
pub use protocol::{Hello, ResumeAt, Service, Session};
pub use queue::Crowded;
pub use socket::{Identity, Socket};
pub use upgrade::door;
pub use watchers::{Watcher, Watchers};
