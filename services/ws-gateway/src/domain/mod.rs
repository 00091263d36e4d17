//! The rules of a subscription, of the order of sends, and of who is present for whom. No I/O.

mod books;
mod held;
mod presence;
mod subscription;
mod watchlist;

pub(crate) use books::{Books, Job};
pub(crate) use held::Held;
pub(crate) use presence::{Registered, Seen};
pub(crate) use subscription::{Release, Step, Subscription};
pub(crate) use watchlist::Watchlist;
