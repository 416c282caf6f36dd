//! The command lines of `deploy/vmalert/README.md`, tried by a vmalert of the newest release.

use super::root;
use super::scene::{Scene, TOKEN};
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert::check_flags;

/// Flags of every `vmalert` that the page starts.
fn command_lines() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("deploy/vmalert/README.md")).unwrap();
    let page = page.replace("\\\n", " ");
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("vmalert -"));
    lines
        .map(|line| {
            let line = format!("-{line}");
            line.split_whitespace().map(str::to_owned).collect()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_lines_are_known_to_the_newest_and_canary_rules_come_by_http() {
    if !required_in_ci(Tool::NewVmalert) {
        return;
    }
    let scene = Scene::start().await;
    let gateway = scene.gateway.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let rules = root().join("deploy/vmalert");
    std::fs::copy(rules.join("rules.yml"), folder.path().join("rules.yaml")).unwrap();
    let lines = command_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    tokio::task::spawn_blocking(move || {
        let mut by_http = 0;
        for flags in lines {
            let flags: Vec<String> = flags
                .iter()
                .map(|flag| {
                    flag.replace("/etc/vmalert/*.yml", &format!("{}/*.yml", rules.display()))
                        .replace(
                            "/var/lib/backstop-canary",
                            &folder.path().display().to_string(),
                        )
                        .replace("TOKEN@backstop:9095", &format!("{TOKEN}@{gateway}"))
                })
                .collect();
            check_flags(Tool::NewVmalert, &flags).unwrap();
            if flags[0].starts_with("-rule=http://") {
                by_http += 1;
                let wrong = flags[0].replace(TOKEN, "wrong");
                check_flags(Tool::NewVmalert, &[wrong]).unwrap_err();
            }
        }
        assert_eq!(by_http, 1);
    })
    .await
    .unwrap();
}
