//! What gRPC between services has in common, whatever they say to each other.
//!
//! The caller's end: [`Channel`] leads to the replicas of a service, [`Remote`] asks over it, with [`read!`] and
//! [`write!`]. The other end: a contract becomes a [`Service`] whose methods [`answer`]. Both ends carry the deadline and the request id of a
//! [`kit::Call`] and speak [`kit::Fault`]; messages and methods are the contracts' business.

mod channel;
mod envelope;
mod fault;
mod metrics;
mod remote;
mod service;

pub use channel::Channel;
pub use fault::optional;
pub use remote::Remote;
pub use service::{Answer, Service, answer};

/// Asks a [`Remote`] for something that changes nothing: `read!(remote, call, method, message)`.
#[macro_export]
macro_rules! read {
    ($remote:expr, $call:expr, $method:ident, $message:expr) => {
        $remote.read(
            $call,
            stringify!($method),
            $message,
            |mut client, request| async move { client.$method(request).await },
        )
    };
}

/// Asks a [`Remote`] for what must not happen twice: `write!(remote, call, method, message)`.
#[macro_export]
macro_rules! write {
    ($remote:expr, $call:expr, $method:ident, $message:expr) => {
        $remote.write(
            $call,
            stringify!($method),
            $message,
            |mut client, request| async move { client.$method(request).await },
        )
    };
}
