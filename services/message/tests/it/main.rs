//! The chat streams from outside: records in, events and answers out, on both engines.

#![expect(clippy::disallowed_methods, reason = "tests start their own tasks")]
#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

mod harness;
mod keys;
mod peers;
mod quoting;
mod readers;
mod remote;
mod stage;
mod streams;
mod surface;
mod workers;
