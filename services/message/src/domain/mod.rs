//! The rules of a chat's stream, without any I/O.

mod batch;

pub(crate) use batch::{
    Batch, Binding, Known, Member, Needs, Outgoing, Parsed, Stream, Target, answer, parse, refusal,
};
