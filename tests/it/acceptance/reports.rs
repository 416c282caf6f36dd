//! What a report knows, and that no source that hangs holds it up.

use std::time::Duration;

use backstop::domain::lane::LaneEvent;
use backstop::domain::source::{ChangeSet, Relation, SourceCommit, TagRecord};
use backstop::store::keys;
use serde_json::Value;

use crate::support::gate::Weather;
use crate::support::gateway::{HOSTS, TestGateway, canary_alert, secret};

/// Waits until a revision of the only incident's report is kept, and answers its record.
async fn revision(site: &TestGateway, wanted: u32) -> Value {
    site.until("the revision in the lane", || async {
        let kept = site.lane().await.into_iter().any(|entry| {
            matches!(entry.event, LaneEvent::Reported { revision, .. } if revision == wanted)
        });
        kept.then_some(())
    })
    .await;
    let id = site.incidents().await[0]["id"].as_str().unwrap().to_owned();
    let key = format!("reports/{id}/{wanted}/record.json");
    site.store.get(&key).await.unwrap().unwrap()
}

/// Why a section is not whole.
fn why<'a>(record: &'a Value, section: &str) -> &'a str {
    let why = record.pointer(&format!("/{section}/partial/why"));
    why.and_then(Value::as_str).unwrap_or_default()
}

fn timeline(record: &Value) -> String {
    let rows = record["timeline"].as_array().unwrap().iter();
    let rows = rows.map(|row| format!("{} {}", row["source"], row["text"]));
    rows.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_hang_make_their_sections_partial_and_hold_nothing_up() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    // Not well before everything but recovery is over.
    site.metrics.set_recovery(0.5);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");

    let record = revision(&site, 2).await;
    assert_eq!(why(&record, "deploy_log"), "", "{record:#}");
    assert_eq!(why(&record, "metrics"), "", "{record:#}");
    let metrics = &record["metrics"]["whole"];
    assert_eq!(metrics[1]["title"], "Recovery question", "{metrics:#}");
    assert!(metrics[0]["series"][0]["points"].as_array().unwrap().len() > 1);
    let told = timeline(&record);
    for part in ["told through ops-slack", "was admitted", "batch 1"] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }

    site.metrics.set_ranges_hang(true);
    site.gate.set_weather(Weather {
        slow: Duration::from_mins(2),
        ..Weather::default()
    });
    site.metrics.set_recovery(0.001);
    let record = revision(&site, 3).await;
    for section in ["deploy_log", "rollback_log", "metrics"] {
        // Whose patience ended first, the report's or the client's, is no matter.
        let why = why(&record, section);
        assert!(why.ends_with("in time"), "{section}: {why}");
    }
    assert!(timeline(&record).contains("execution"), "{record:#}");
    site.closed_incident().await;
    site.gate.set_weather(Weather::default());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_names_the_commits_that_sync_has_read() {
    let site = TestGateway::start().await;
    let (base, head) = ("a".repeat(40), "b".repeat(40));
    for (version, commit) in [("1.0", &base), ("1.3", &head)] {
        let tag = TagRecord {
            release_id: format!("checkout@{version}").parse().unwrap(),
            tag: format!("v{version}"),
            commit: Some(commit.clone()),
            release: None,
        };
        let key = format!("tags/checkout/{version}/0000000001.json");
        site.store.create(&key, &tag).await.unwrap();
    }
    let commit = |id: &str, title: &str| SourceCommit {
        id: id.repeat(40),
        title: title.into(),
        author: Some("mira".into()),
        at: None,
        url: format!("https://github.com/shop/checkout/commit/{}", id.repeat(40)),
    };
    let change = ChangeSet {
        base: base.clone(),
        head: head.clone(),
        relation: Relation::Ahead,
        total: 2,
        behind: 0,
        commits: vec![commit("c", "sell socks"), commit("b", "sell shoes")],
    };
    let key = keys::change(&"checkout".parse().unwrap(), &base, &head);
    site.store.create(&key, &change).await.unwrap();
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");

    let record = revision(&site, 1).await;
    let commits = &record["change"]["commits"]["whole"];
    assert_eq!(commits[0]["title"], "sell shoes", "{record:#}");
    assert_eq!(commits[1]["author"], "mira");
    let id = site.incidents().await[0]["id"].as_str().unwrap().to_owned();
    let page = format!("reports/{id}/1/report.md");
    let page = site.store.get_bytes(&page).await.unwrap().unwrap();
    let page = String::from_utf8_lossy(&page);
    let link = format!(
        "](https://github.com/shop/checkout/commit/{})",
        "c".repeat(40)
    );
    assert!(page.contains(&link) && page.contains("mira"), "{page}");
    site.closed_incident().await;
    site.finish().await;
}

/// Runs a verb that asks the gateway, and reads what it printed.
async fn asked(site: &TestGateway, args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, secret("read")).unwrap();
    let ran = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(args)
        .args(["--gateway", &site.url(), "--token-file"])
        .arg(&token)
        .output()
        .await
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_tell_how_far_a_deployment_is_and_who_ran_what() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    let page = site.get("/api/v1/releases?release_id=checkout@1.3").await;
    assert_eq!(page["items"][0]["version"], "1.3", "{page:#}");

    let minutes = |n: u64| Duration::from_secs(n * 60);
    site.deployed("D-old", "1.0", minutes(600), minutes(1))
        .await;
    site.until("the deployment in the catalog", || async {
        let page = site.get("/api/v1/deployments?deployment_id=D-old").await;
        (page["items"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let page = site.get("/api/v1/deployments?deployment_id=D-old").await;
    let one = &page["items"][0];
    assert_eq!(one["release_id"], "checkout@1.0");
    assert_eq!(one["phase"], "full");
    let progress = &one["progress"];
    assert_eq!(progress["batches_done"], progress["batches"], "{one:#}");
    assert_eq!(progress["hosts_reached"], 6, "{one:#}");

    let list = ["deployment", "list", "checkout", "--deployment", "D-old"];
    let told = asked(&site, &list).await;
    assert!(
        told.starts_with("D-old  checkout@1.0  prod  success  full  "),
        "{told}"
    );
    assert!(told.contains("6/6 hosts"), "{told}");
    let list = [
        "instance", "list", "checkout", "--host", "h1", "--output", "json",
    ];
    let page: Value = serde_json::from_str(&asked(&site, &list).await).unwrap();
    let hosts = page["items"].as_array().unwrap().iter();
    assert!(hosts.clone().count() > 0 && hosts.clone().all(|one| one["host"] == "h1"));
    site.finish().await;
}
