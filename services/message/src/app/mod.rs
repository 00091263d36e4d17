//! Use cases: the worker that stores, the consumer of replies, sending, reading.

pub(crate) mod autoreply;
pub(crate) mod publish;
pub(crate) mod reader;
pub(crate) mod worker;
