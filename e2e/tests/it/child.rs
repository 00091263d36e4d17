//! The other side of [`e2e::Child`] and [`e2e::command`]: this very program, run as a server or for a command.

/// Serves, or does what it is told, when a scenario started this process for that; as a test of its own it has nothing to do.
#[test]
fn serves_when_asked_to() {
    use clap::Parser as _;

    let Some(config) = std::env::var_os("E2E_CHILD") else {
        return;
    };
    let told = std::env::var("E2E_CHILD_COMMAND").unwrap_or_else(|_| "run".to_owned());
    let words = told.split(' ').map(Into::into);
    let arguments = std::iter::once("messenger".into()).chain(words);
    let arguments = arguments.chain(["--config".into(), config]);
    let code = messenger::commands::run(messenger::cli::Cli::parse_from(arguments));
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
