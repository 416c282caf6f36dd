//! Help, completion, the reference, and readers that leave.

use std::process::Stdio;

use backstop::cli::reference;

use super::Folder;

#[tokio::test]
async fn wrong_words_end_with_2_and_help_with_0() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]).await.ended(0);
    assert!(
        help.stdout.contains("Exit codes: 0 done or already done"),
        "{}",
        help.stdout
    );
    folder.run(&["--version"]).await.ended(0);
    folder.run(&[]).await.ended(2);
    let ran = folder.run(&["chekc"]).await.ended(2);
    assert!(ran.stderr.contains("'check'"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[tokio::test]
async fn every_shell_gets_a_script_that_knows_the_verbs() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = folder.run(&["completion", shell]).await.ended(0);
        assert!(ran.stdout.contains("send-test"), "{shell}");
    }
    folder.run(&["completion", "tcsh"]).await.ended(2);
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_failure() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
        .arg("schema")
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Compares a written page with what the program makes, or writes it where that is asked for.
fn is_fresh(page: &str, fresh: &str) {
    let file = format!("{}/docs/reference/{page}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BACKSTOP_UPDATE_DOCS").is_some() {
        std::fs::write(&file, fresh).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == fresh,
        "docs/reference/{page} is stale: run with BACKSTOP_UPDATE_DOCS=1"
    );
}

#[test]
fn the_reference_is_as_the_definitions_are() {
    is_fresh("cli.md", &reference::markdown());
}

#[test]
fn the_written_openapi_document_is_as_the_served_one() {
    let served = serde_json::to_string_pretty(&backstop::web::openapi()).unwrap();
    is_fresh("openapi.json", &format!("{served}\n"));
}
