//! A service without rollback pipelines: one task, from the webhook to the closed incident.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gate::{Group, TriggerFault};
use crate::support::gateway::{
    HOSTS, NEW, PATIENCE, Replica, STABLE, Setting, TestGateway, alert, canary_alert, group, labels,
};

/// `rollbackServerGroup` for everything.
const SERVER_GROUP: &str = r#"      full:
        server_group: {cloud_provider: aws, credentials: "{env}", region: eu-west-1, cluster: "{service}-{env}", image: "checkout-{version}"}"#;
/// `undoRolloutManifest` of the canary's own Deployment.
const UNDO: &str = r#"      batch:
        undo_rollout: {account: "k8s-{env}", location: shop, manifest_name: "deployment checkout-canary", image: "reg/checkout:{version}"}"#;

fn by_server_group(replicas: usize) -> Setting {
    Setting {
        replicas,
        soak: "100ms",
        rollback: SERVER_GROUP,
        timing: &[("settle", "1s"), ("lease", "4s"), ("skew", "200ms")],
        ..Setting::default()
    }
}

/// The canary's Deployment, at its revision 6.
fn add_canary(site: &TestGateway) {
    for (revision, image, instances) in [(4, "reg/checkout:1.0", 0), (6, "reg/checkout:1.3", 1)] {
        site.gate.add_group(Group {
            cluster: "checkout-canary".to_owned(),
            ..Group::replica_set(revision, image, instances)
        });
    }
}

/// Everything runs the new release and is bad; who gets the webhooks is answered with 200.
async fn full_rollout_goes_bad(site: &TestGateway) {
    let groups = [
        Group::vm("checkout-prod-v041", "checkout-1.0", true),
        Group::vm("checkout-prod-v042", "checkout-1.3", false),
    ];
    for group in groups {
        site.gate.add_group(group);
    }
    site.deploy_everywhere().await;
    site.metrics.set(&HOSTS, 0.3);
    site.until("an incident", || async {
        accuse(site).await;
        (!site.incidents().await.is_empty()).then_some(())
    })
    .await;
}

/// The alert of every host, to every replica at once.
async fn accuse(site: &TestGateway) {
    let body = everywhere(true);
    let bases: Vec<String> = site.replicas.iter().map(Replica::url).collect();
    let posts = bases
        .iter()
        .map(|base| site.post_to(base, "/api/v1/webhook", "ingest", &body));
    for (status, answer) in futures::future::join_all(posts).await {
        assert_eq!(status, 200, "{answer:#}");
    }
}

fn everywhere(firing: bool) -> Value {
    let alerts = HOSTS.map(|host| alert(&labels(host, &[("batch", "")]), firing));
    group(&alerts)
}

/// The alerts end, and with them whatever was held for them.
async fn resolve(site: &TestGateway, body: &Value) {
    assert_eq!(site.webhook(body).await.0, 200);
    site.until("no hold", || async {
        site.held().await.is_empty().then_some(())
    })
    .await;
}

/// The one task there is.
fn one_task(site: &TestGateway) -> Value {
    let mut tasks = site.tasks();
    assert_eq!(tasks.len(), 1, "{tasks:#?}");
    let sent = site.gate.requests();
    let sent = sent
        .iter()
        .filter(|one| one.method == "POST" && one.path.ends_with("/tasks"));
    assert_eq!(sent.count(), 1, "sent once");
    tasks.remove(0)
}

/// Words of the lane, in order.
async fn lane(site: &TestGateway) -> Vec<&'static str> {
    let entries = site.lane().await;
    entries.iter().map(|entry| entry.event.as_str()).collect()
}

async fn until_lane_says(site: &TestGateway, word: &str) {
    site.until(&format!("`{word}` in the lane"), || async {
        lane(site).await.contains(&word).then_some(())
    })
    .await;
}

async fn recovered(site: &TestGateway) -> Value {
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["plan"]["target"], STABLE, "{incident:#}");
    incident
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_restore_the_stable_server_group_by_one_explicit_task() {
    let site = TestGateway::with(by_server_group(2)).await;
    full_rollout_goes_bad(&site).await;
    let incident = recovered(&site).await;
    assert_eq!(incident["plan"]["scope"], "full", "{incident:#}");
    let task = one_task(&site);
    assert_eq!(incident["execution"], task["id"], "{incident:#}");
    let job = &task["execution"]["stages"][0];
    assert_eq!(job["type"], "rollbackServerGroup", "{task:#}");
    assert_eq!(job["context"]["rollbackType"], "EXPLICIT", "{task:#}");
    assert_eq!(
        job["context"]["rollbackContext"],
        json!({"rollbackServerGroupName": "checkout-prod-v042",
            "restoreServerGroupName": "checkout-prod-v041"})
    );
    let disabled = |name: &str| {
        let world = site.gate.world();
        let group = world.groups.iter().find(|group| group.name == name);
        group.unwrap().disabled
    };
    assert!(!disabled("checkout-prod-v041") && disabled("checkout-prod-v042"));
    // What the cluster showed is what people read, once.
    let words = "is enabled with 3 of 3 instances up";
    site.told("RECOVERY", 1).await;
    site.told(words, 1).await;
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    let id = incident["id"].as_str().unwrap();
    let report = site.get(&format!("/incidents/{id}/report.md")).await;
    assert!(report.to_string().contains(words), "{report}");
    let marks = site.store.list(&format!("marks/{NEW}")).await.unwrap();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!(site.rollbacks(), Vec::<Value>::new(), "no pipeline");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_goes_back_to_the_revision_that_is_the_stable_one_when_it_is_sent() {
    let site = TestGateway::with(Setting {
        rollback: UNDO,
        ..Setting::default()
    })
    .await;
    add_canary(&site);
    let deployment = site.deploy_canary().await;
    site.gate.set_clouddriver_down(true);
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    // Decided, the canary stopped; what is to be undone can't be looked up.
    let accused = site.gate.ended(&deployment, PATIENCE).await;
    assert_eq!(accused["status"], "CANCELED", "{accused:#}");
    until_lane_says(&site, "opened").await;
    assert_eq!(site.tasks(), Vec::<Value>::new());
    // Meanwhile somebody went back and forth: the same images are other revisions now.
    {
        let mut world = site.gate.world();
        world.groups[0].revision = Some(7);
        world.groups[1].revision = Some(8);
    }
    site.gate.set_clouddriver_down(false);
    let incident = recovered(&site).await;
    assert_eq!(
        incident["plan"]["scope"]["batch"],
        json!([1]),
        "{incident:#}"
    );
    let task = one_task(&site);
    let job = &task["execution"]["stages"][0];
    assert_eq!(job["type"], "undoRolloutManifest", "{task:#}");
    assert_eq!(job["context"]["revision"], 7, "{task:#}");
    assert_eq!(job["context"]["numRevisionsBack"], Value::Null, "{task:#}");
    site.told("with 3 of 3 instances up", 1).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_succeeded_and_changed_nothing_is_not_believed() {
    let site = TestGateway::with(by_server_group(2)).await;
    site.gate.on_stage("rollbackServerGroup", |_| async {
        Ok(serde_json::Map::new())
    });
    full_rollout_goes_bad(&site).await;
    not_believed(&site, "is disabled").await;
    // The alert goes on; a person must act, nothing is sent again.
    accuse(&site).await;
    site.until("a hold for a person", || async {
        let held = site.held().await;
        held.iter()
            .any(|one| one.contains("rollback_failed"))
            .then_some(())
    })
    .await;
    one_task(&site);
    resolve(&site, &everywhere(false)).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_succeeded_and_left_the_bad_image_is_not_believed() {
    let site = TestGateway::with(Setting {
        rollback: UNDO,
        timing: &[("settle", "1s")],
        ..Setting::default()
    })
    .await;
    site.gate.on_stage("undoRolloutManifest", |_| async {
        Ok(serde_json::Map::new())
    });
    add_canary(&site);
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    not_believed(&site, "SUCCEEDED, not believed").await;
    let over = group(&[alert(&labels(HOSTS[0], &[]), false)]);
    resolve(&site, &over).await;
    one_task(&site);
    site.finish().await;
}

/// Spinnaker says SUCCEEDED, the cluster does not: the rollback has failed, and people hear why.
async fn not_believed(site: &TestGateway, why: &str) {
    let incident = site.closed_incident().await;
    let task = one_task(site);
    assert_eq!(task["status"], "SUCCEEDED", "{task:#}");
    assert_eq!(incident["ending"], "rollback_failed", "{incident:#}");
    assert_eq!(incident["finished"]["succeeded"], false, "{incident:#}");
    site.told(why, 1).await;
    assert_eq!(site.messages_with("RECOVERY").values().sum::<usize>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_answer_was_lost_is_unknown_and_paged_and_found_and_never_sent_again() {
    let site = TestGateway::with(by_server_group(2)).await;
    site.gate.fail_trigger(TriggerFault::DropAfterAndGone);
    full_rollout_goes_bad(&site).await;
    until_lane_says(&site, "unknown").await;
    site.told("can't be asked", 1).await;
    assert_eq!(site.incidents().await[0]["stage"]["stage"], "unknown");
    site.gate.set_orca_down(false);
    let incident = recovered(&site).await;
    assert_eq!(incident["execution"], one_task(&site)["id"]);
    assert_eq!(incident["attempt"], 1, "{incident:#}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_left_no_trace_is_left_to_a_person() {
    let site = TestGateway::with(by_server_group(2)).await;
    site.gate.fail_trigger(TriggerFault::DropBefore);
    full_rollout_goes_bad(&site).await;
    until_lane_says(&site, "unknown").await;
    site.told("roll back by hand", 1).await;
    let incident = site.incidents().await.remove(0);
    assert_eq!(incident["stage"]["stage"], "unknown", "{incident:#}");
    assert_eq!(site.tasks(), Vec::<Value>::new());
    let path = format!(
        "/api/v1/incidents/{}/abandon",
        incident["id"].as_str().unwrap()
    );
    let body = json!({"reason": "rolled back by hand"});
    let (status, answer) = site.post_to(&site.url(), &path, "rollback", &body).await;
    assert_eq!(status, 200, "{answer:#}");
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "abandoned", "{incident:#}");
    accuse(&site).await;
    assert_eq!(
        site.tasks(),
        Vec::<Value>::new(),
        "it binds this deployment"
    );
    resolve(&site, &everywhere(false)).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_while_it_sends_a_task_leaves_it_to_the_other() {
    let mut site = TestGateway::with(by_server_group(1)).await;
    let late = TriggerFault::AnswerLate(Duration::from_mins(1));
    site.gate.fail_trigger(late);
    full_rollout_goes_bad(&site).await;
    let accepted =
        |world: &crate::support::gate::World| world.runs().find(|one| one.is_task()).map(drop);
    site.gate.when(PATIENCE, accepted).await;
    site.replicas[0].kill();
    site.replicas.remove(0);
    site.add_replica().await;
    recovered(&site).await;
    one_task(&site);
    site.finish().await;
}
