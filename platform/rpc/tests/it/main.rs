//! Processes that speak to each other over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod health;
mod process;
mod server;
