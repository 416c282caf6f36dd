//! The Kubernetes pipelines, run by the stand-in for Spinnaker against a real gateway: deployed as far as a
//! test wants, and taken back by a person.

use reqwest::Method;
use serde_json::{Value, json};

use super::text;
use crate::support::gate::{Group, World};
use crate::support::gateway::{NEW, PATIENCE, STABLE, Setting, TestGateway, secret};

const BATCH_BY_ORDINAL: &str = r#"      batch: {pipeline: rollback-batch, parameters: {release: "{target.release_id}", batches: "{batches}", incident: "{incident.id}", attempt: "{attempt}"}}
      full: {pipeline: rollback-full, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}"#;
const FULL: &str = r#"      full: {pipeline: rollback-full, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}"#;
const ONE_FOR_BOTH: &str = r#"      batch: {pipeline: rollback, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}
      full: {pipeline: rollback, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}"#;

const OLD_IMAGE: &str = "registry.example.com/checkout:1.0";
const NEW_IMAGE: &str = "registry.example.com/checkout:1.3";

/// A gateway with the pipelines of a folder, saved as they are but for addresses.
async fn site(
    folder: &str,
    strategy: &'static str,
    rollback: &'static str,
    groups: &[Group],
) -> TestGateway {
    let site = TestGateway::with(Setting {
        strategy,
        rollback,
        ..Setting::default()
    })
    .await;
    let at = super::folder().join(folder);
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = text(&format!("{folder}/{name}"))
            .replace("https://backstop.example.com", &site.url())
            .replace("BACKSTOP_DEPLOY_TOKEN", secret("deploy"));
        let mut pipeline: Value = serde_json::from_str(&text).unwrap();
        let saved = site.gate.world().config("checkout", name).cloned();
        if let Some(saved) = saved {
            pipeline["id"] = saved["id"].clone();
        }
        site.gate.save(pipeline);
    }
    for group in groups {
        site.gate.add_group(group.clone());
    }
    site
}

/// Starts the deployment, and waits until the batch soaks.
async fn deploy_until(site: &TestGateway, batch: u32) -> String {
    let soak = if batch == 1 { "3600" } else { "2" };
    let trigger = json!({"parameters": {"release_id": NEW, "soak_seconds": soak}});
    let id = site.gate.run("checkout", "deploy-prod", trigger);
    let name = format!("Soak batch {batch}");
    let soaks = |world: &World| {
        let document = world.run(&id)?.document(true);
        let stages = document["stages"].as_array()?;
        assert_ne!(document["status"], "TERMINAL", "{document:#}");
        let stage = stages.iter().find(|stage| stage["name"] == name)?;
        (stage["status"] != "NOT_STARTED").then_some(())
    };
    site.gate.when(PATIENCE, soaks).await;
    id
}

/// Takes it back, and gives the closed incident.
async fn take_back(site: &TestGateway, scope: Value) -> Value {
    let body = json!({"service": "checkout", "env": "prod", "scope": scope,
        "reason": "customers complain", "expect": {"current": NEW, "target": STABLE}});
    let headers = [("idempotency-key", "K1")];
    let (base, path) = (site.url(), "/api/v1/rollbacks");
    let (status, answer) = site
        .send(Method::POST, &base, path, "rollback", Some(&body), &headers)
        .await;
    assert_eq!(status, 202, "{answer:#}");
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    let execution = incident["execution"].as_str().unwrap();
    let ended = site.gate.ended(execution, PATIENCE).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    incident
}

/// Names of what is there with the image, and whether it takes traffic.
fn shown(site: &TestGateway) -> Vec<(String, String, bool)> {
    let world = site.gate.world();
    let groups = world.groups.iter();
    let mut shown: Vec<(String, String, bool)> = groups
        .map(|group| {
            let name = if group.managed {
                &group.cluster
            } else {
                &group.name
            };
            (name.clone(), group.image.clone(), !group.disabled)
        })
        .collect();
    shown.sort();
    shown
}

fn is(name: &str, image: &str, enabled: bool) -> (String, String, bool) {
    (name.to_owned(), image.to_owned(), enabled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_deployment_is_removed_and_the_stable_one_left_alone() {
    let groups = [Group::replica_set(1, OLD_IMAGE, 3)];
    let site = site("kubernetes-canary", "canary", BATCH_BY_ORDINAL, &groups).await;
    let deployment = deploy_until(&site, 1).await;
    assert_eq!(
        shown(&site),
        [
            is("checkout", OLD_IMAGE, true),
            is("checkout-canary", NEW_IMAGE, true)
        ]
    );
    let incident = take_back(&site, json!({"batch": [1]})).await;
    assert_eq!(
        incident["plan"]["parameters"]["batches"], "1",
        "{incident:#}"
    );
    assert_eq!(shown(&site), [is("checkout", OLD_IMAGE, true)]);
    let accused = site.gate.ended(&deployment, PATIENCE).await;
    assert_eq!(accused["status"], "CANCELED", "{accused:#}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_everywhere_goes_back_to_the_stable_manifest() {
    let groups = [Group::replica_set(1, OLD_IMAGE, 3)];
    let site = site("kubernetes-canary", "canary", BATCH_BY_ORDINAL, &groups).await;
    deploy_until(&site, 2).await;
    let both = [
        is("checkout", OLD_IMAGE, true),
        is("checkout", NEW_IMAGE, true),
    ];
    assert_eq!(shown(&site), both);
    take_back(&site, json!("full")).await;
    let newest = |site: &TestGateway| {
        let world = site.gate.world();
        let newest = world.groups.iter().max_by_key(|group| group.revision);
        newest.map(|group| group.image.clone())
    };
    assert_eq!(newest(&site).as_deref(), Some(OLD_IMAGE));
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_back_to_the_set_that_ran_before() {
    let groups = [Group {
        cluster: "checkout".to_owned(),
        ..Group::workload("replicaSet", "checkout-v000", OLD_IMAGE)
    }];
    let site = site("kubernetes-blue-green", "blue_green", FULL, &groups).await;
    deploy_until(&site, 1).await;
    assert_eq!(
        shown(&site),
        [
            is("checkout-v000", OLD_IMAGE, false),
            is("checkout-v001", NEW_IMAGE, true)
        ]
    );
    take_back(&site, json!("full")).await;
    assert_eq!(
        shown(&site),
        [
            is("checkout-v000", OLD_IMAGE, true),
            is("checkout-v001", NEW_IMAGE, false)
        ]
    );
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_stateful_set_go_back_to_the_stable_manifest() {
    let groups = [Group::workload("statefulSet", "checkout", OLD_IMAGE)];
    let site = site("kubernetes-statefulset", "canary", ONE_FOR_BOTH, &groups).await;
    for ordinal in 0..3 {
        let mut world = site.gate.world();
        world
            .pods
            .insert(format!("checkout-{ordinal}"), OLD_IMAGE.to_owned());
    }
    let pods =
        |site: &TestGateway| -> Vec<String> { site.gate.world().pods.values().cloned().collect() };
    deploy_until(&site, 1).await;
    assert_eq!(pods(&site), [OLD_IMAGE, OLD_IMAGE, NEW_IMAGE]);
    let incident = take_back(&site, json!({"batch": [1]})).await;
    assert_eq!(
        incident["plan"]["hosts"],
        json!(["checkout-2"]),
        "{incident:#}"
    );
    assert_eq!(pods(&site), [OLD_IMAGE, OLD_IMAGE, OLD_IMAGE]);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_goes_back_to_the_stable_manifest() {
    let groups = [Group::workload("daemonSet", "checkout", OLD_IMAGE)];
    let site = site("kubernetes-daemonset", "all", FULL, &groups).await;
    deploy_until(&site, 1).await;
    assert_eq!(shown(&site), [is("checkout", NEW_IMAGE, true)]);
    take_back(&site, json!("full")).await;
    assert_eq!(shown(&site), [is("checkout", OLD_IMAGE, true)]);
    site.finish().await;
}
