//! What `deploy/` ships for hosts and clusters, judged by the programs it is for.

use std::path::{Path, PathBuf};
use std::process::Command;

mod ansible;
mod kubernetes;
mod packaging;
mod records;
mod scene;
mod vmalert;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end; whether it succeeded, and all it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Whether the program knows this verb with these flags. Nothing is done: help is asked for last.
fn is_understood(arguments: &[String]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    let (understood, said) = run(command.args(arguments).arg("--help").env_clear());
    assert!(understood, "{arguments:?}: {said}");
}

/// Lets the program check the configuration in a folder, without its secrets.
fn passes_the_check(folder: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    let file = folder.join("backstop.yaml");
    let (passed, said) = run(command
        .args(["check", "--config.file"])
        .arg(file)
        .env_clear());
    assert!(passed, "{said}");
}
