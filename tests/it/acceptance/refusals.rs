//! Deliveries that must not cause anything, and how each is answered.

use serde_json::{Value, json};

use crate::support::gateway::{
    HOSTS, Setting, TestGateway, alert, canary_alert, group, labels, secret,
};
use crate::support::prometheus::ALERT;

async fn nothing_was_done(site: &TestGateway) {
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    assert_eq!(site.touched(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expression_that_comes_with_the_alert_is_never_believed() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    let mut forged = alert(&labels(HOSTS[0], &[]), true);
    forged["generatorURL"] =
        json!("http://vmalert.example.com/graph?g0.expr=vector%281%29&g0.tab=1");
    forged["annotations"]["expr"] = json!("vector(1) > 0");
    forged["annotations"]["verify"] = json!("vector(1) > 0");
    let (status, answer) = site.webhook(&group(&[forged])).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    site.until("the condition to be asked of the store itself", || async {
        let asked = site.metrics.asked();
        asked
            .iter()
            .any(|one| one.contains("error_ratio") && one.contains('>'))
            .then_some(())
    })
    .await;
    // A hold stands: the alert fires, the store says no. Once it resolves the hold is over.
    site.until("the hold", || async {
        let holds = site.store.list("holds").await.ok()?;
        (!holds.is_empty()).then_some(())
    })
    .await;
    nothing_was_done(&site).await;
    let resolved = group(&[alert(&labels(HOSTS[0], &[]), false)]);
    assert_eq!(site.webhook(&resolved).await.0, 200);
    site.until("the hold's end", || async {
        let holds = site.store.list("holds").await.ok()?;
        let last: Value = site.store.get(holds.last()?).await.ok()??;
        last.get("ended").map(|_| ())
    })
    .await;
    nothing_was_done(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_releases_bad_series_take_nothing_back() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    // The hosts of the stable release are bad, the accused one is well.
    site.metrics.set(&HOSTS[1..], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    let decisions = site.decisions().await;
    let said = |word: &str| decisions.iter().any(|one| one.contains(word));
    assert!(said("holds_for_others"), "{decisions:#?}");
    site.held_again(2).await;
    nothing_was_done(&site).await;
    let resolved = group(&[alert(&labels(HOSTS[0], &[]), false)]);
    assert_eq!(site.webhook(&resolved).await.0, 200);
    site.until("the hold's end", || async {
        site.held().await.is_empty().then_some(())
    })
    .await;
    nothing_was_done(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_accuses_no_single_release_is_told_and_never_acted_on() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS, 0.3);
    for (name, changed) in [
        ("unknown release", vec![("release_id", "checkout@9.9")]),
        (
            "path in a release",
            vec![("release_id", "../../lanes/x"), ("batch", "")],
        ),
        (
            "path in a service",
            vec![("service", "../checkout"), ("release_id", "")],
        ),
        (
            "another service's release",
            vec![("release_id", "cart@1.0")],
        ),
        (
            "unknown host",
            vec![("instance", "h99"), ("release_id", ""), ("batch", "")],
        ),
    ] {
        let body = group(&[alert(&labels(HOSTS[0], &changed), true)]);
        let (status, answer) = site.webhook(&body).await;
        assert_eq!(status, 200, "{name}: {answer:#}");
    }
    site.told(ALERT, 1).await;
    nothing_was_done(&site).await;
    for key in site.store.list("lanes").await.unwrap() {
        assert!(key.starts_with("lanes/checkout"), "{key}");
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_group_is_told_and_never_acted_on() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let mut body = canary_alert();
    body["truncatedAlerts"] = json!(7);
    let (status, answer) = site.webhook(&body).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    for (channel, texts) in site.messages() {
        assert!(texts[0].contains('7'), "{channel}: {}", texts[0]);
    }
    nothing_was_done(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_alerts_than_are_kept_are_counted_and_never_acted_on() {
    let site = TestGateway::with(Setting {
        // An unoptimised build on a busy machine.
        timing: &[("webhook_deadline", "25s")],
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let many: Vec<Value> = (0..1_200)
        .map(|n| alert(&labels(HOSTS[0], &[("path", &format!("/{n}"))]), true))
        .collect();
    let (status, answer) = site.webhook(&group(&many)).await;
    assert_eq!(status, 200, "{answer:#}");
    // The whole of it takes a bot longer than a minute.
    site.until("it in mail, Slack and DingTalk", || async {
        let told = site.messages_with(ALERT);
        let others = told.iter().filter(|(name, _)| **name != "ops-wecom");
        others
            .into_iter()
            .all(|(_, count)| *count > 0)
            .then_some(())
    })
    .await;
    nothing_was_done(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_can_never_be_accepted_is_refused_with_its_place() {
    let site = TestGateway::start().await;
    let client = crate::support::process::client().unwrap();
    let send = |body: String, kind: &'static str, token: &'static str| {
        let request = client
            .post(format!("{}/api/v1/webhook", site.url()))
            .header("content-type", kind)
            .bearer_auth(token)
            .body(body);
        async move {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.json::<Value>().await.unwrap_or_default())
        }
    };
    let (json_type, token) = ("application/json", secret("ingest"));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"version\": 4}",
        "{\"version\":\"3\",\"alerts\":[]}",
        "{\"version\":\"4\",\"alerts\":{}}",
        "{\"version\":\"4\",\"alerts\":[],\"truncatedAlerts\":\"x\"}",
    ] {
        let (status, problem) = send(body.to_owned(), json_type, token).await;
        assert_eq!(status, 400, "{body}: {problem:#}");
        assert!(
            problem["status"] == 400 || problem["title"].is_string(),
            "{body}: {problem:#}"
        );
    }
    let body = canary_alert().to_string();
    assert_eq!(send(body.clone(), "text/plain", token).await.0, 415);
    assert_eq!(send(body.clone(), json_type, "wrong").await.0, 401);
    assert_eq!(send(body.clone(), json_type, secret("read")).await.0, 403);
    let large = format!(
        "{{\"version\":\"4\",\"receiver\":\"{}\"}}",
        "x".repeat(17 << 20)
    );
    let client_gone_or_413 = client
        .post(format!("{}/api/v1/webhook", site.url()))
        .header("content-type", json_type)
        .bearer_auth(token)
        .body(large)
        .send()
        .await;
    if let Ok(answer) = client_gone_or_413 {
        assert_eq!(answer.status(), 413);
    }
    // A bad alert does not reject its neighbours.
    let mut mixed = canary_alert();
    mixed["alerts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"status": 5}));
    let (status, answer) = site.webhook(&mixed).await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["ignored"], 1, "{answer:#}");
    site.told(ALERT, 1).await;
    nothing_was_done(&site).await;
    site.finish().await;
}
