//! What an operator does beside starting and stopping: the commands of the program.

use std::path::Path;

use crate::world::program;

/// Does what `words` say on the settings of `folder`; gives whether it succeeded, and all that it printed.
pub async fn command(folder: &Path, words: &str, failpoint: Option<&str>) -> (bool, String) {
    let mut command = program(folder, failpoint);
    let done = command.env("E2E_CHILD_COMMAND", words).output();
    let output = tokio::time::timeout(4 * crate::SOON, done).await;
    let output = output.expect("the command ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}
