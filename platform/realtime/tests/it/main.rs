//! Doors as foreign clients find them.

#![expect(clippy::disallowed_methods, reason = "tests start their own tasks")]
#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

mod bounds;
mod flow;
mod listening;
mod support;
