//! The doors of this service: clients ([`http`]) and other services ([`rpc`]).

pub(crate) mod http;
pub(crate) mod rpc;
