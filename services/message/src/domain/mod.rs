//! The rules of a chat's stream, without any I/O.

mod batch;
mod record;

pub(crate) use batch::{Batch, Binding, Known, Member, Outgoing, Stream, Target, answer, refusal};
pub(crate) use record::{Needs, Parsed, parse};
