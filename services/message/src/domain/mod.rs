//! The rules of a chat's stream, without any I/O.

mod batch;
mod record;

pub(crate) use batch::{Batch, Binding, Known, Member, Outgoing, Stream, Target, answer, refusal};
pub(crate) use record::{Needs, Parsed, parse};

/// An epoch, of an unused id: a position of another one means nothing.
pub(crate) fn epoch(fresh: uuid::Uuid) -> String {
    fresh.as_simple().to_string().split_off(24)
}
