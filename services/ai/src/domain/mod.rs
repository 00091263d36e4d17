//! The rules of the AI: what may be said in a person's name, and what a model is shown. No I/O.
//!
//! [`kernel`] decides, one state for each binding; [`prompt`] builds what a provider gets.

pub(crate) mod kernel;
pub(crate) mod prompt;
