//! The rules of a subscription: what may be sent next. No I/O.

mod subscription;

pub(crate) use subscription::{Release, Step, Subscription};
