//! The rules of a chat's stream, without any I/O.

mod batch;
mod outgoing;
mod record;

pub(crate) use batch::{Batch, Binding, Known, Member, Stream};
pub(crate) use outgoing::{Fate, Outgoing, Target, answer, refusal};
pub(crate) use record::{Needs, Parsed, parse};

/// An epoch, of an unused id: a position of another one means nothing.
pub(crate) fn epoch(fresh: uuid::Uuid) -> String {
    fresh.as_simple().to_string().split_off(24)
}
