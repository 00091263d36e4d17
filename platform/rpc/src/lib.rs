#![doc = include_str!("../README.md")]

mod budget;
mod channel;
mod config;
mod credential;
mod envelope;
mod fault;
mod guard;
mod health;
mod listener;
mod metrics;
mod remote;
mod server;
mod service;

pub use channel::Channel;
pub use config::Config;
pub use fault::optional;
pub use remote::Remote;
pub use server::{BoundServer, Server};
pub use service::{Answer, Service, answer};

/// The largest request, in bytes. It is the default of tonic, which a generated server has by itself; what people
/// send is far below, and a caller with more is wrong.
pub const REQUEST_LIMIT: usize = 4 * 1024 * 1024;
/// The largest answer, in bytes, for the clients of methods that answer with pages: a full page of the longest texts,
/// each byte of which became six on its way into JSON, is 20 MiB. A generated client has to be told
/// (`max_decoding_message_size`); else it takes what [`REQUEST_LIMIT`] says.
pub const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// The largest head of a request or an answer, in bytes: path, credential, deadline, request id and some room.
const HEAD_LIMIT: u32 = 16 * 1024;

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
