//! How a service runs: time, ids, calls, faults, tasks, listeners, health and telemetry.
//!
//! The kit knows no service, no topic and no table. A thing enters it when its second user
//! exists. Start reading at [`Node`]: it is the only thing a service touches of its process.

mod breaker;
mod call;
mod clock;
mod fault;
mod ids;
mod retry;

pub mod config;
pub mod failpoint;
pub mod health;
pub mod http;
pub mod node;
pub mod problem;
pub mod telemetry;

pub use breaker::{Breaker, BreakerConfig};
pub use call::Call;
pub use clock::{Clock, ManualClock, SystemClock, rfc3339};
pub use fault::{Code, Fault};
pub use ids::{Ids, RandomIds, SequentialIds};
pub use node::{Node, OnFailure, Spawner};
pub use retry::Backoff;
pub use tokio_util::sync::CancellationToken;

/// Any error that can cross a task.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
