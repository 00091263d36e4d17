//! The bench: what a message costs our server, beside what it would cost a program that does nothing else.
//!
//! `floor` has the programs that do nothing else, `scenario` the measurements of docs/performance.md, `swarm` the load
//! generator's event loop, `ledger` the count of what was delivered, `server` the one place that knows how the product
//! is configured for a run, `servers` what stands behind it when that is not embedded. Start reading at `scenario`. Not here: functional tests (see `e2e`) and other peoples' servers.

pub mod event;
pub mod floor;
pub mod handshake;
pub mod http;
pub mod ledger;
pub mod machine;
pub mod options;
pub mod process;
pub mod report;
pub mod scenario;
pub mod server;
pub mod servers;
pub mod swarm;
pub mod wire;
pub mod world;
