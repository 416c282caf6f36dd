//! "Why did nothing happen?": asked of a replica that was not there, of the store, of a body.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::{HOSTS, TestGateway, alert, canary_alert, group, labels};

/// What the command line says to these arguments, asked of the front with the reader's token.
async fn said(site: &TestGateway, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    let token = site.config.with_file_name("secrets").join("read");
    command
        .arg("explain")
        .args(args)
        .args([
            "--time-zone",
            "UTC",
            "--gateway",
            &site.url(),
            "--token-file",
        ])
        .arg(token)
        .arg("--config.file")
        .arg(&site.config);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn codes(explanation: &Value) -> Vec<&str> {
    let because = explanation["because"].as_array().unwrap();
    because
        .iter()
        .map(|reason| reason["code"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_tells_why_nothing_happened_after_the_first_one_died() {
    let mut site = TestGateway::start().await;
    site.deploy_canary().await;
    // The metrics store sees nothing wrong: the rollback is held.
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.until("a hold that was asked again", || async {
        let holds = site.store.list("holds").await.ok()?;
        let page = site
            .get("/api/v1/decisions?verdict=hold&service=checkout")
            .await;
        (!holds.is_empty() && !page["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
    // An alert that no rule is for, one of nobody, and a late copy.
    for changed in [
        vec![("severity", "info")],
        vec![
            ("service", ""),
            ("release_id", ""),
            ("instance", "h99"),
            ("batch", ""),
        ],
    ] {
        let body = group(&[alert(&labels(HOSTS[1], &changed), true)]);
        assert_eq!(site.webhook(&body).await.0, 200);
    }
    let path = "/api/v1/explain?service=checkout&env=prod&window=10m";
    site.until("the alerts to be written down", || async {
        let explanation = site.get(path).await;
        (explanation["alerts"].as_array()?.len() == 2).then_some(())
    })
    .await;
    site.replicas.remove(0).kill();
    site.add_replica().await;
    let explanation = site.get(path).await;
    let told = codes(&explanation);
    assert!(told.starts_with(&["held", "no_rule"]), "{explanation:#}");
    assert!(!told.contains(&"no_alert"), "{explanation:#}");
    let held = &explanation["decisions"].as_array().unwrap().last().unwrap();
    assert_eq!(held["rules"][0]["matched"], true, "{held:#}");
    assert!(held["guards"].as_array().unwrap().len() >= 10, "{held:#}");
    assert!(
        held["accused"].as_str().unwrap().contains("checkout@1.3"),
        "{held:#}"
    );
    assert!(
        !explanation["holds"].as_array().unwrap().is_empty(),
        "{explanation:#}"
    );
    let shown = said(
        &site,
        &["--service", "checkout", "--env", "prod", "--at", "now"],
    )
    .await;
    println!("{shown}");
    assert!(
        shown.contains("Nothing was taken back: CanaryErrors on h1: guard verify holds"),
        "{shown}"
    );
    assert!(shown.contains("-> guard hold  verify"), "{shown}");
    let from_store = said(
        &site,
        &["--service", "checkout", "--at", "now", "--from-store"],
    )
    .await;
    assert!(from_store.contains("guard verify holds"), "{from_store}");
    // The alert's end lets the hold end.
    let resolved = group(&[alert(&labels(HOSTS[0], &[]), false)]);
    assert_eq!(site.webhook(&resolved).await.0, 200);
    site.until("the hold's end in the explanation", || async {
        let explanation = site.get(path).await;
        explanation["holds"][0]["ended"].is_object().then_some(())
    })
    .await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_judged_and_nothing_is_told_written_or_done() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let before = everything(&site).await;
    let mut body = canary_alert();
    body["alerts"]
        .as_array_mut()
        .unwrap()
        .push(alert(&labels("h2", &[]), false));
    let (status, explanation) = site
        .until("evidence that a rollback would rest on", || async {
            let answer = site
                .post_to(&site.url(), "/api/v1/explain", "read", &body)
                .await;
            (codes(&answer.1).first() == Some(&"acted")).then_some(answer)
        })
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        codes(&explanation),
        ["acted", "resolved"],
        "{explanation:#}"
    );
    let decision = &explanation["decisions"][0];
    assert_eq!(
        decision["verdict"],
        json!({"rollback": {"batch": [1]}}),
        "{decision:#}"
    );
    let file = site.config.with_file_name("body.json");
    std::fs::write(&file, body.to_string()).unwrap();
    let shown = said(&site, &["--body", file.to_str().unwrap()]).await;
    assert!(
        shown.contains("nothing was told, written or done"),
        "{shown}"
    );
    assert_eq!(everything(&site).await, before);
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    assert!(site.messages().values().all(Vec::is_empty));
    let (status, problem) = site
        .post_to(
            &site.url(),
            "/api/v1/explain",
            "read",
            &json!({"alerts": 5}),
        )
        .await;
    assert_eq!(status, 400, "{problem:#}");
    site.finish().await;
}

/// Every key that a delivery could have written.
async fn everything(site: &TestGateway) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["decisions", "episodes", "holds", "ledger", "open", "budget"] {
        found.extend(site.store.list(folder).await.unwrap());
    }
    for entry in site.lane().await {
        found.push(format!("{entry:?}"));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_is_explained_by_its_decision_and_its_events() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.until("a rollback", || async {
        (!site.touched().is_empty()).then_some(())
    })
    .await;
    site.metrics.set(&HOSTS[..1], 0.0);
    let incident = site.closed_incident().await;
    let id = incident["id"].as_str().unwrap();
    let explanation = site.get(&format!("/api/v1/explain?incident={id}")).await;
    assert_eq!(codes(&explanation), ["acted"], "{explanation:#}");
    let events = explanation["events"].as_array().unwrap();
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["what"].as_str())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("admitted")),
        "{names:?}"
    );
    let shown = said(&site, &["--incident", id]).await;
    assert!(shown.contains("guard pass  verify"), "{shown}");
    let listed = site.get(&format!("/api/v1/decisions?incident={id}")).await;
    // Newest first: it was asked once more before it was sent.
    let decisions = listed["items"].as_array().unwrap();
    assert_eq!(decisions.last().unwrap()["cause"], "delivery", "{listed:#}");
    for decision in decisions {
        // Its own grant is not in its way when it is asked about once more.
        assert_eq!(
            decision["verdict"],
            json!({"rollback": {"batch": [1]}}),
            "{listed:#}"
        );
    }
    site.finish().await;
}
