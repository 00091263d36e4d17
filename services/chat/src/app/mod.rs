//! Use cases: commands, publishing, and what the log tells.

pub(crate) mod commands;
pub(crate) mod consumers;
pub(crate) mod publish;
