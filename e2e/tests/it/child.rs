//! The other side of [`e2e::Cluster`]: this very program, run as a server.

/// Serves when a scenario started this process for that; as a test of its own it has nothing to do.
#[test]
fn serves_when_asked_to() {
    use clap::Parser as _;

    let Ok(arguments) = std::env::var("E2E_CHILD") else {
        return;
    };
    let arguments = ["messenger"].into_iter().chain(arguments.lines());
    let code = messenger::commands::run(messenger::cli::Cli::parse_from(arguments));
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
