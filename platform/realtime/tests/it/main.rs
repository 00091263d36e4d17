//! Doors as foreign clients find them.

#![expect(clippy::disallowed_methods, reason = "tests start their own tasks")]

mod bounds;
mod flow;
mod support;
