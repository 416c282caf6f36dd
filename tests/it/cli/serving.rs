//! `serve` without any file, asked by the other verbs.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Folder;
use crate::support::eventually::eventually;

/// Starts it on a free port; the address is read from its log.
async fn serve(folder: &Folder) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["serve", "--web.listen-address", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once("listens on ") {
                let address = rest.split(['"', ' ']).next().unwrap();
                return format!("http://{address}");
            }
        }
        panic!("it ended before it listened");
    };
    let address = tokio::time::timeout(Duration::from_secs(30), address)
        .await
        .unwrap();
    // Read on, so that its log never fills.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// A switch written without the gateway is seen by it, and so is its end.
async fn in_the_store_itself(folder: &Folder, address: &str) {
    for (word, shown) in [("off", 1), ("clear", 0)] {
        let set = [
            "mode",
            "set",
            word,
            "--in-store",
            "--reason",
            "a drill",
            "--by",
            "oncall",
            "--output",
            "json",
        ];
        let set = folder.run(&set).await.ended(0).json();
        assert_eq!(set.as_array().unwrap().len(), shown, "{set:#}");
        let get = ["mode", "get", "--gateway", address, "--output", "json"];
        let seen = eventually(Duration::from_secs(20), "the switch", || async {
            let seen = folder.run(&get).await.ended(0).json();
            (seen.as_array()?.len() == shown).then_some(seen)
        });
        let seen = seen.await.unwrap();
        if shown == 1 {
            assert_eq!(seen[0]["mode"], "off", "{seen:#}");
            assert_eq!(seen[0]["by"], "oncall", "{seen:#}");
        }
    }
}

#[tokio::test]
async fn without_a_file_it_takes_alerts_refuses_rollbacks_and_stops_when_told() {
    let folder = Folder::new();
    let (mut child, address) = serve(&folder).await;
    let fixture = "tests/fixtures/alertmanager/alertmanager-0.25_webhook_firing_3alerts.json";
    let body = format!("{}/{fixture}", env!("CARGO_MANIFEST_DIR"));
    let ran = folder
        .run(&["replay", &body, "--to", &address])
        .await
        .ended(0);
    assert!(ran.stdout.contains(": 200 "), "{}", ran.stdout);

    let mode = folder
        .run(&["mode", "get", "--gateway", &address])
        .await
        .ended(0);
    assert_eq!(mode.stdout, "no switch is set: the policies' modes apply\n");
    let set = ["mode", "set", "off", "--reason", "x", "--gateway", &address];
    folder.run(&set).await.ended(4);
    in_the_store_itself(&folder, &address).await;
    let plan = [
        "rollback",
        "plan",
        "checkout",
        "prod",
        "--scope",
        "full",
        "--gateway",
        &address,
    ];
    folder.run(&plan).await.ended(4);
    let status = [
        "rollback",
        "status",
        "checkout@prod-1",
        "--gateway",
        &address,
    ];
    folder.run(&status).await.ended(1);

    let taken = address.strip_prefix("http://").unwrap();
    let second = folder
        .run(&["serve", "--web.listen-address", taken])
        .await
        .ended(3);
    assert!(
        second.stderr.contains("can't listen on"),
        "{}",
        second.stderr
    );

    let id = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .unwrap()
            .success()
    );
    let ended = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
}
