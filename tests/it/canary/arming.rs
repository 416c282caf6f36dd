//! From a batch's announcement to rules that are proven loaded, alerts of the bad canary alone, and
//! rules that are gone again.

use std::time::Instant;

use backstop::domain::deployment::Status;
use serde_json::{Value, json};
use tokio::process::Command;

use super::scene::{PATIENCE, Scene, has_tools};
use crate::support::eventually::eventually;
use crate::support::fleet::Health;
use crate::support::process::free_port;
use crate::support::tools::{Tool, required_in_ci};

fn names(groups: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = groups
        .iter()
        .filter_map(|group| group["name"].as_str())
        .collect();
    names.sort_unstable();
    names
}

const HEARTBEAT: &str = "backstop-canary";
const CHECKOUT: &str = "canary/checkout/prod/checkout@2/D-checkout/batch-1";
const CART: &str = "canary/cart/prod/cart@2/D-cart/batch-1";

/// The info series and the scrape targets name release and batch.
async fn tells_what_runs_where(scene: &Scene) {
    let series = scene.text("/metrics/deployments").await;
    let batch = "deploy_batch_info{service=\"checkout\",env=\"prod\",release_id=\"checkout@2\",";
    assert!(series.contains(batch), "{series}");
    assert!(series.contains("host=\"cart-01\"} 1"), "{series}");
    let targets = scene.get("/api/v1/http_sd?service=cart&port=9100").await;
    let want = json!([{"targets": ["cart-01:9100", "cart-02:9100"],
        "labels": {"service": "cart", "env": "prod", "release_id": "cart@2", "batch": "1"}}]);
    assert_eq!(targets, want);
}

#[tokio::test]
async fn rules_are_proven_loaded_fire_for_the_bad_canary_alone_and_vanish() {
    if !has_tools() {
        return;
    }
    let port = free_port().unwrap();
    let scene = Scene::start(&[format!("http://127.0.0.1:{port}")]).await;
    let vmalert = scene.vmalert(port).await;
    eventually(PATIENCE, "the heartbeat", || async {
        (names(&vmalert.groups().await.ok()?) == [HEARTBEAT]).then_some(())
    })
    .await
    .unwrap();

    let asked = Instant::now();
    for service in ["checkout", "cart"] {
        let state = scene.announce(service, 1).await;
        assert_eq!(state["status"], "arming", "{state}");
    }
    scene.armed("checkout", 1).await;
    println!("proven armed after {:?}", asked.elapsed());
    scene.armed("cart", 1).await;
    assert_eq!(
        names(&vmalert.groups().await.unwrap()),
        [HEARTBEAT, CART, CHECKOUT]
    );
    let text = scene.file();
    assert_eq!(scene.announce("checkout", 1).await["status"], "armed");

    let bad = Instant::now();
    scene.deploy("checkout", Health::BAD).await;
    scene.deploy("cart", Health::GOOD).await;
    let alert = eventually(PATIENCE, "the bad canary's alert", || async {
        let page = scene.get("/api/v1/alerts").await;
        let items = page["items"].as_array()?;
        let found = items.iter().find(|one| one["metric"] == "CanaryErrorRatio");
        found.cloned()
    })
    .await
    .unwrap();
    println!("alert taken in after {:?}", bad.elapsed());
    assert_eq!(alert["release_id"], "checkout@2", "{alert}");
    assert_eq!(alert["batches"], json!([1]), "{alert}");
    assert_eq!(alert["labels"]["alertgroup"], CHECKOUT);
    let decision = eventually(PATIENCE, "a decision with evidence", || async {
        let page = scene.get("/api/v1/decisions?service=checkout").await;
        let items = page["items"].as_array()?.clone();
        items
            .into_iter()
            .find(|one| one.to_string().contains("\"holds\""))
    })
    .await
    .unwrap();
    println!("decided after {:?}", bad.elapsed());
    assert!(
        decision.to_string().contains("CanaryErrorRatio"),
        "{decision:#}"
    );
    for alert in vmalert.alerts().await.unwrap() {
        assert_eq!(alert["labels"]["release_id"], "checkout@2", "{alert}");
    }
    let page = scene
        .get("/api/v1/deployments?deployment_id=D-checkout")
        .await;
    let rules = &page["items"][0]["canary_rules"]["1"];
    assert_eq!(rules["status"], "armed", "{page:#}");
    assert!(rules["proven_at"].is_string(), "{rules}");
    // The same rules, byte for byte.
    assert_eq!(scene.file(), text);

    tells_what_runs_where(&scene).await;

    scene.sync("cart", 2, Status::Success).await;
    eventually(PATIENCE, "cart's rules to vanish", || async {
        (names(&vmalert.groups().await.ok()?) == [HEARTBEAT, CHECKOUT]).then_some(())
    })
    .await
    .unwrap();
    scene.sync("checkout", 2, Status::Success).await;
    eventually(PATIENCE, "all rules to vanish", || async {
        (names(&vmalert.groups().await.ok()?) == [HEARTBEAT]).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_newer_vmalert_fetches_the_rules_and_fires_for_the_bad_canary_alone() {
    if !has_tools() || !required_in_ci(Tool::NewVmalert) {
        return;
    }
    let port = free_port().unwrap();
    let scene = Scene::fetched(&[format!("http://127.0.0.1:{port}")]).await;
    let vmalert = scene.fetching_vmalert(port).await;
    let asked = Instant::now();
    for service in ["checkout", "cart"] {
        scene.announce(service, 1).await;
    }
    scene.armed("checkout", 1).await;
    println!("proven armed by HTTP after {:?}", asked.elapsed());
    scene.armed("cart", 1).await;
    let loaded = vmalert.groups().await.unwrap();
    assert_eq!(names(&loaded), [HEARTBEAT, CART, CHECKOUT]);

    let bad = Instant::now();
    scene.deploy("checkout", Health::BAD).await;
    scene.deploy("cart", Health::GOOD).await;
    eventually(PATIENCE, "the bad canary's alert", || async {
        let page = scene.get("/api/v1/alerts").await;
        let items = page["items"].as_array()?;
        let found = items.iter().find(|one| one["metric"] == "CanaryErrorRatio");
        found.map(|one| assert_eq!(one["release_id"], "checkout@2", "{one}"))
    })
    .await
    .unwrap();
    println!("alert taken in by HTTP after {:?}", bad.elapsed());
    for alert in vmalert.alerts().await.unwrap() {
        assert_eq!(alert["labels"]["release_id"], "checkout@2", "{alert}");
    }
    for service in ["cart", "checkout"] {
        scene.sync(service, 2, Status::Success).await;
    }
    eventually(PATIENCE, "all rules to vanish", || async {
        (names(&vmalert.groups().await.ok()?) == [HEARTBEAT]).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_batch_waits_for_every_vmalert_and_says_for_which_and_the_last_rules_stay() {
    if !has_tools() {
        return;
    }
    let ports = [free_port().unwrap(), free_port().unwrap()];
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let mut scene = Scene::start(&urls).await;
    let _first = scene.vmalert(ports[0]).await;
    scene.announce("checkout", 1).await;
    let down = format!("vmalert 127.0.0.1:{}: it can't be asked", ports[1]);
    scene.waits("checkout", 1, &down).await;
    let _second = scene.vmalert(ports[1]).await;
    scene.armed("checkout", 1).await;

    // The gateway goes: what was pulled last stays where it is, and loaded.
    let text = scene.file().unwrap();
    assert!(text.contains(CHECKOUT), "{text}");
    scene.gateway.kill();
    scene.front.set(Vec::new());
    let pulled = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args([
            "canary",
            "pull",
            "--once",
            "--gateway",
            &scene.front.url(),
            "--to",
        ])
        .arg(scene.folder.path().join("rules"))
        .env_clear()
        .output()
        .await
        .unwrap();
    assert_eq!(pulled.status.code(), Some(3), "{pulled:?}");
    assert_eq!(scene.file().unwrap(), text);
}

#[tokio::test]
async fn a_batch_that_was_armed_says_so_when_nobody_evaluates_its_rules_and_clears_by_itself() {
    if !has_tools() {
        return;
    }
    let port = free_port().unwrap();
    let scene = Scene::start(&[format!("http://127.0.0.1:{port}")]).await;
    let vmalert = scene.vmalert(port).await;
    scene.announce("checkout", 1).await;
    scene.armed("checkout", 1).await;
    scene.deploy("checkout", Health::GOOD).await;

    drop(vmalert);
    eventually(PATIENCE, "words that nobody evaluates them", || async {
        let state = scene.batch("checkout", 1).await;
        let words = state["progress"].as_str()?.contains("not evaluated since");
        (state["status"] == "arming" && words).then_some(())
    })
    .await
    .unwrap();
    // The catalog reads the deployment's document with its next refresh.
    let listed = eventually(PATIENCE, "the deployment in the list, arming", || async {
        let path = "/api/v1/deployments?deployment_id=D-checkout";
        let page = scene.get(path).await;
        let rules = page["items"][0]["canary_rules"]["1"].clone();
        (rules["status"] == "arming").then_some(rules)
    });
    let rules = listed.await.unwrap();
    let why = rules["why"].as_str().unwrap();
    assert!(why.contains("it can't be asked"), "{why}");

    let _again = scene.vmalert(port).await;
    scene.armed("checkout", 1).await;
}

#[tokio::test]
async fn a_batch_that_spinnaker_gives_up_before_it_was_armed_is_disarmed() {
    if !has_tools() {
        return;
    }
    // No vmalert answers there.
    let port = free_port().unwrap();
    let scene = Scene::start(&[format!("http://127.0.0.1:{port}")]).await;
    scene.announce("checkout", 1).await;
    eventually(PATIENCE, "the rules to be served", || async {
        scene.file()?.contains(CHECKOUT).then_some(())
    })
    .await
    .unwrap();
    let path = "/api/v1/deployments/D-checkout/batches/1/cancel";
    let (status, state) = scene.ask(reqwest::Method::POST, path, None).await;
    assert_eq!(status, 200, "{state}");
    eventually(PATIENCE, "the rules to be gone", || async {
        (!scene.file()?.contains(CHECKOUT)).then_some(())
    })
    .await
    .unwrap();
    scene
        .waits("checkout", 1, "Spinnaker gave the batch up")
        .await;
}
