//! The one binary.

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    messenger::commands::run(messenger::cli::Cli::parse())
}
