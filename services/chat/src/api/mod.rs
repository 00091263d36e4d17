//! The doors of this service.

pub(crate) mod http;
