//! A release that only metrics reveal: the rollback pipeline sends the hosts of batch 1 back, and
//! nobody else.

use serde_json::{Value, json};

use super::scene::{agent, agent_file};
use crate::support::eventually::eventually;
use crate::support::gateway::{HOSTS, PATIENCE, Setting, TestGateway, canary_alert, secret};
use crate::support::process::Process;

/// A host that runs 1.0, as somebody brought it there before agents did.
async fn host(site: &TestGateway, n: usize) -> Process {
    let name = HOSTS[n - 1];
    let root = site.folder().join("hosts").join(name);
    let release = root.join("releases/checkout@1.0");
    std::fs::create_dir_all(&release).unwrap();
    std::fs::write(release.join("version"), "1.0").unwrap();
    std::fs::write(root.join("running"), "1.0").unwrap();
    std::os::unix::fs::symlink("releases/checkout@1.0", root.join("current")).unwrap();
    let file = root.with_extension("yaml");
    let secrets = site.folder().join("secrets");
    agent_file(&file, &site.url(), name, n, &root, &secrets);
    agent(&root.with_extension("log"), file).await
}

fn runs(site: &TestGateway, n: usize) -> (String, String) {
    let root = site.folder().join("hosts").join(HOSTS[n - 1]);
    let linked = std::fs::read_link(root.join("current")).unwrap();
    let serves = std::fs::read_to_string(root.join("running")).unwrap();
    (linked.display().to_string(), serves)
}

/// A webhook stage that posts and then polls the same address.
fn polled(place: &str, after: &[&str], url: &str, payload: &Value) -> Value {
    json!({"refId": place, "requisiteStageRefIds": after, "type": "webhook", "name": url,
        "method": "POST", "url": url, "payload": payload, "failFastStatusCodes": ["409"],
        "customHeaders": {"Authorization": format!("Bearer {}", secret("deploy"))},
        "waitForCompletion": true, "statusUrlResolution": "getMethod",
        "statusJsonPath": "$.status", "progressJsonPath": "$.progress",
        "successStatuses": "succeeded", "terminalStatuses": "failed,aborted,rolled_back",
        "canceledStatuses": "canceled"})
}

fn pipelines(site: &TestGateway) {
    let url = site.url();
    let batch = format!("{url}/api/v1/deployments/${{execution.id}}/batches/1");
    let facts = json!({"release_id": "${parameters.release_id}", "env": "prod", "of": 2, "hosts": HOSTS[0]});
    site.gate.save(
        json!({"application": "checkout", "name": "deploy-prod", "stages": [
            polled("1", &[], &batch, &facts),
            {"refId": "2", "requisiteStageRefIds": ["1"], "type": "deployHosts", "name": "Note"},
            {"refId": "3", "requisiteStageRefIds": ["2"], "type": "watchCanary", "name": "Watch"},
        ]}),
    );
    let attempt =
        format!("{url}/api/v1/incidents/${{parameters.incident}}/attempts/${{parameters.attempt}}");
    let who = json!({"execution": "${execution.id}"});
    let mut admit = polled("1", &[], &format!("{attempt}/admit"), &who);
    admit["waitForCompletion"] = json!(false);
    site.gate.save(
        json!({"application": "checkout", "name": "rollback-batch", "stages": [
            admit, polled("2", &["1"], &format!("{attempt}/hosts"), &who),
        ]}),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_metrics_reveal_sends_the_hosts_of_batch_1_back_and_only_those() {
    let site = TestGateway::with(Setting {
        agents: true,
        ..Setting::default()
    })
    .await;
    pipelines(&site);
    let _agents = [host(&site, 1).await, host(&site, 2).await];
    site.deploy_canary().await;
    assert_eq!(
        runs(&site, 1),
        ("releases/checkout@1.3".into(), "1.3".into())
    );
    assert_eq!(
        runs(&site, 2),
        ("releases/checkout@1.0".into(), "1.0".into())
    );

    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    let back = || async { (runs(&site, 1).1 == "1.0").then_some(()) };
    eventually(PATIENCE, "host h1 to go back", back)
        .await
        .unwrap();
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    for n in [1, 2] {
        assert_eq!(
            runs(&site, n),
            ("releases/checkout@1.0".into(), "1.0".into()),
            "h{n}"
        );
    }

    // One order to the one host, and its records say what became of it.
    let execution = incident["admitted"].as_str().unwrap();
    let desired = site.store.list("desired/prod/checkout/h1").await.unwrap();
    let newest: Value = site
        .store
        .get(desired.last().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest["reason"], "rollback", "{newest:#}");
    assert_eq!(newest["deployment_id"], execution, "{newest:#}");
    assert!(
        site.store
            .list("desired/prod/checkout/h2")
            .await
            .unwrap()
            .is_empty()
    );
    let prefix = format!("instances/checkout/prod/{execution}/h1");
    let records = site.store.list(&prefix).await.unwrap();
    let record: Value = site
        .store
        .get(records.last().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record["step"], "healthy", "{record:#}");

    // Nobody else has that authority.
    let id = incident["id"].as_str().unwrap();
    let path = format!("/api/v1/incidents/{id}/attempts/1/hosts");
    let (status, refused) = site
        .post_to(
            &site.url(),
            &path,
            "deploy",
            &json!({"execution": "01SOMEBODYELSE"}),
        )
        .await;
    assert_eq!(
        (status, refused["code"].as_str()),
        (409, Some("not_admitted")),
        "{refused:#}"
    );
    site.finish().await;
}
