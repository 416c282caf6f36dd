//! Others at work on the same service: what they touch holds a rollback, what they do elsewhere
//! does not.

use std::collections::BTreeMap;

use backstop::spinnaker::{ExecutionId, NewTask};
use serde_json::{Map, Value, json};

use crate::support::gate::Group;
use crate::support::gateway::{HOSTS, STABLE, Setting, TestGateway, alert, group, labels};

/// The service's place in the cloud.
const WAYS: &str = r#"      full:
        server_group: {cloud_provider: aws, credentials: "{env}", region: eu-west-1, cluster: "{service}-{env}", image: "checkout-{version}"}"#;

/// Pipelines of the application that are configured for nobody, of one stage each.
fn save_others(site: &TestGateway) {
    let resize = |name: &str| {
        json!({"refId": "1", "requisiteStageRefIds": [], "type": "resizeServerGroup",
            "name": "Resize", "credentials": "prod", "region": "eu-west-1", "serverGroupName": name})
    };
    let script =
        json!({"refId": "1", "requisiteStageRefIds": [], "type": "script", "name": "Run Ansible"});
    for (name, stage) in [
        ("hotfix", resize("checkout-prod-v042")),
        ("elsewhere", resize("checkout-stage-v007")),
        ("nightly", script),
    ] {
        site.gate
            .save(json!({"application": "checkout", "name": name, "stages": [stage]}));
    }
    // They go on until somebody cancels them.
    for kind in ["resizeServerGroup", "script"] {
        site.gate.on_stage(kind, |call| async move {
            call.canceled.cancelled().await;
            Ok(Map::new())
        });
    }
}

/// Somebody resizes the server group by hand.
async fn resized_by_hand(site: &TestGateway) -> ExecutionId {
    let job = json!({"type": "resizeServerGroup", "credentials": "prod", "region": "eu-west-1",
        "serverGroupName": "checkout-prod-v042"});
    let task = NewTask {
        description: "Resize checkout-prod-v042".to_owned(),
        job: job.as_object().unwrap().clone(),
        correlation_id: "by-hand".to_owned(),
        event_id: "by-hand".to_owned(),
        user: "oncall".to_owned(),
    };
    let gate = site.gate.client();
    gate.start_task("checkout", &task).await.unwrap()
}

/// Waits for a hold that says all of this.
async fn held_for(site: &TestGateway, words: &[&str]) {
    site.until(&format!("a hold with {words:?}"), || async {
        let held = site.held().await;
        let says = |one: &String| words.iter().all(|word| one.contains(word));
        held.iter().any(says).then_some(())
    })
    .await;
    assert_eq!(site.incidents().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_other_pipelines_on_the_cluster_hold_a_rollback_until_they_end() {
    let site = TestGateway::with(Setting {
        soak: "100ms",
        rollback: WAYS,
        ..Setting::default()
    })
    .await;
    site.gate
        .add_group(Group::vm("checkout-prod-v041", "checkout-1.0", true));
    site.gate
        .add_group(Group::vm("checkout-prod-v042", "checkout-1.3", false));
    save_others(&site);
    site.deploy_everywhere().await;
    let gate = site.gate.client();
    let run = |name: &str| ExecutionId::new(site.gate.run("checkout", name, json!({})));
    let running: BTreeMap<&str, ExecutionId> = ["hotfix", "elsewhere", "nightly"]
        .map(|name| (name, run(name)))
        .into();
    let task = resized_by_hand(&site).await;
    site.metrics.set(&HOSTS, 0.3);
    let everywhere = HOSTS.map(|host| alert(&labels(host, &[("batch", "")]), true));
    assert_eq!(site.webhook(&group(&everywhere)).await.0, 200);

    let of_hotfix = format!("execution {} of pipeline hotfix", running["hotfix"]);
    let by_hand = format!("task {task} (Resize checkout-prod-v042)");
    // Both touch the cluster; the older one is named.
    let place = "is running and touches `checkout-prod` in prod/eu-west-1";
    held_for(&site, &["other_execution", &of_hotfix, place]).await;
    gate.cancel(&running["hotfix"], "done").await.unwrap();
    held_for(&site, &["other_execution", &by_hand, place]).await;
    gate.cancel_task(&task).await.unwrap();
    held_for(
        &site,
        &[
            "may_touch",
            "of pipeline nightly",
            "`Run Ansible` does not say",
        ],
    )
    .await;
    gate.cancel(&running["nightly"], "done").await.unwrap();

    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["plan"]["target"], STABLE);
    let elsewhere = site.gate.execution(running["elsewhere"].as_str()).unwrap();
    assert_eq!(elsewhere["status"], "RUNNING", "another cluster's business");
    site.finish().await;
}
