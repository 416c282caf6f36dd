//! `deploy/ansible`, run against real sshd's in namespaces of their own (`ansible_lab.py`).

use std::process::Command;

use super::{root, run};
use crate::support::tools::{Tool, python, required_in_ci, skipped, tools_dir};

/// The lab's word for "this machine does not let me".
const NOT_ALLOWED: i32 = 77;

/// A knob of this test.
#[expect(clippy::disallowed_methods, reason = "the test's own knobs")]
fn knob(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// With five hosts and three cases, about a minute on two busy cores; `BACKSTOP_ANSIBLE_HOSTS=20` and `BACKSTOP_ANSIBLE_ALL=1` are the
/// long run.
#[test]
fn the_playbooks_bring_a_release_to_real_hosts_and_stop_where_they_must() {
    let tools = [
        Tool::AnsiblePlaybook,
        Tool::Sshd,
        Tool::Ssh,
        Tool::SshKeygen,
    ];
    if !tools.into_iter().all(required_in_ci) {
        return;
    }
    let hosts = knob("BACKSTOP_ANSIBLE_HOSTS").unwrap_or_else(|| "5".to_owned());
    let mut command = Command::new(python());
    command
        .arg(root().join("tests/it/deploying/ansible_lab.py"))
        .arg("--tools")
        .arg(tools_dir())
        .arg("--playbooks")
        .arg(root().join("deploy/ansible"))
        .arg("--backstop")
        .arg(env!("CARGO_BIN_EXE_backstop"))
        .args(["--hosts", &hosts]);
    if knob("BACKSTOP_ANSIBLE_ALL").is_some() {
        command.arg("--all");
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.code() == Some(NOT_ALLOWED) {
        skipped(&said);
        return;
    }
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_roles_and_playbooks_are_clean_says_ansible_lint() {
    if !required_in_ci(Tool::AnsibleLint) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(Tool::AnsibleLint.path().unwrap());
    let (clean, said) = run(command
        .args(["--offline", "--nocolor", "--strict"])
        // It keeps what it learnt beside what it reads, or below the home folder.
        .env("HOME", folder.path())
        .env("ANSIBLE_HOME", folder.path())
        .current_dir(root().join("deploy/ansible")));
    assert!(clean, "{said}");
}
