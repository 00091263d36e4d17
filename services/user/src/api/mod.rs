//! The doors in: other services ([`rpc`]) and clients ([`http`]).

pub(crate) mod http;
mod rpc;
