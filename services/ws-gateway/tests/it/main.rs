//! The gateway as foreign clients find it: a real log, real tokens, and a `message` that keeps its
//! streams in memory and can be told to misbehave.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start their own tasks and make their own keys"
)]
#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]
#![expect(clippy::cast_possible_wrap, reason = "streams in tests are short")]

mod client;
mod logs;
mod others;
mod presence;
mod sending;
mod streams;
mod subscribing;
mod world;
