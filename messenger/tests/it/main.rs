//! The program from outside: exit codes, one-line errors, commands, start and stop.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod advice;
mod commands;
mod ground;
mod installation;
mod moving;
mod page;
mod refusals;
mod running;
mod storage;
