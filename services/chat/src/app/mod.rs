//! Use cases: commands, look-ups, publishing, and what the log tells.

pub(crate) mod commands;
pub(crate) mod consumers;
pub(crate) mod lookup;
pub(crate) mod publish;
