//! The doors in: other services ([`rpc`]) and clients ([`http`], with the [`cookie`] of browsers).

mod cookie;
pub(crate) mod http;
mod rpc;
mod wire;
