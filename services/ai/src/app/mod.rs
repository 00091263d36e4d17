//! What the AI does: follow the events of its bindings, let the provider write, tell what came of it.
//!
//! [`bindings`] is the heart: one transaction that locks a thread, asks the kernel and does what it says.
//! [`scheduler`] wakes what is due and starts calls, [`call`] makes one, [`desk`] is what owners can do.

pub(crate) mod bindings;
pub(crate) mod call;
pub(crate) mod desk;
pub(crate) mod live;
pub(crate) mod names;
pub(crate) mod probe;
pub(crate) mod retention;
pub(crate) mod scheduler;
pub(crate) mod writer;
