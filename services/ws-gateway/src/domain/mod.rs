//! The rules of a subscription and of the order of sends. No I/O.

mod held;
mod subscription;

pub(crate) use held::Held;
pub(crate) use subscription::{Release, Step, Subscription};
