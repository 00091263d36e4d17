//! The way in: the socket.

pub(crate) mod socket;
