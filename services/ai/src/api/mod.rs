//! The ways in: HTTP for owners, the log for everybody else.

pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod intake;
