//! What clients speak.

mod commands;
pub(crate) mod socket;
