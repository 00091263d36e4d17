//! The chat streams from outside: records in, events and answers out, on both engines.

#![expect(clippy::large_futures, reason = "a test may be large")]

mod harness;
mod streams;
