//! The providers: one module for each dialect, all of them behind [`crate::ports::Provider`].

pub(crate) mod chat_completions;
pub(crate) mod demo;
