//! `render` and `channels send-test`.

use backstop::domain::deployment::Deployment;
use backstop::store::{StoreSettings, chain, keys};
use serde_json::json;

use super::{CANARY, Folder, StandIn, nowhere, whole};

fn body() -> String {
    let name = "alertmanager/alertmanager-0.25_webhook_firing_3alerts.json";
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn every_kind_of_channel_previews_without_its_secrets() {
    let folder = Folder::new();
    for (name, kind) in [
        ("slack", "slack: {token: {env: T}, channel: C1}"),
        ("wecom", "wecom: {key: {env: T}}"),
        ("dingtalk", "dingtalk: {token: {env: T}}"),
        (
            "email",
            "email: {smarthost: 'smtp://127.0.0.1:1', from: a@example.com, to: [b@example.com]}",
        ),
    ] {
        folder.write("backstop.yaml", &format!("default_channels: [{name}]\n"));
        let file = folder.write("channels/one.yaml", &format!("name: {name}\n{kind}\n"));
        let ran = folder
            .run(&["render", "--channel", name, &body()])
            .await
            .ended(0);
        assert!(
            ran.stdout.contains("unknown: the"),
            "{name}: {}",
            ran.stdout
        );
        let args = ["render", "--channel", name, &body(), "--output", "json"];
        let json = folder.run(&args).await.ended(0).json();
        assert_eq!(json["kind"], name);
        assert!(!json["messages"][0]["bodies"].as_array().unwrap().is_empty());
        std::fs::remove_file(file).unwrap();
    }
    assert!(
        !folder.path().join("data").exists(),
        "a preview made a store"
    );
}

/// A canary of `checkout` that runs, as `sync` writes it.
fn deployment() -> Deployment {
    serde_json::from_value(json!({
        "id": "01J", "release_id": "checkout@1.8.1", "service": "checkout", "env": "prod",
        "strategy": "canary", "target_hosts": ["web-1", "web-2"], "batches": [],
        "status": "running", "started_at": "2026-03-01T12:00:00Z", "finished_at": null,
        "soak": "15m", "application": "checkout", "pipeline": "deploy",
    }))
    .unwrap()
}

#[tokio::test]
async fn a_preview_names_the_release_that_the_store_knows() {
    let folder = Folder::new();
    whole(&folder, "http://localhost:1");
    let url = format!("file:{}", folder.path().join("data").display());
    let settings = StoreSettings {
        url,
        endpoint: None,
        region: None,
        keys: None,
    };
    let store = backstop::store::open(&settings).unwrap();
    let one = deployment();
    let chain = keys::deployment(&one.service, &one.env, &one.id);
    chain::append(&store, &chain, 1, &one).await.unwrap();
    let alert = json!({
        "version": "4", "groupKey": "g", "status": "firing",
        "alerts": [{"status": "firing", "startsAt": "2026-03-01T12:05:00Z",
            "labels": {"alertname": "Errors", "service": "checkout", "env": "prod", "severity": "critical"}}],
    });
    folder.write("body.json", &alert.to_string());
    let ran = folder
        .run(&["render", "--channel", "ops", "body.json"])
        .await
        .ended(0);
    assert!(ran.stdout.contains("checkout@1.8.1"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("release unknown"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_channel_or_body_that_is_not_there_is_a_usage_error() {
    let folder = Folder::new();
    whole(&folder, "http://localhost:1");
    let ran = folder
        .run(&["render", "--channel", "opps", &body()])
        .await
        .ended(2);
    assert!(ran.stderr.contains("there are: ops"), "{}", ran.stderr);
    folder
        .run(&["render", "--channel", "ops", "none.json"])
        .await
        .ended(2);
    folder.write("bad.json", "{");
    folder
        .run(&["render", "--channel", "ops", "bad.json"])
        .await
        .ended(2);
    folder
        .run(&["channels", "send-test", "opps"])
        .await
        .ended(2);
}

#[tokio::test]
async fn a_test_message_is_marked_calls_nobody_and_tells_the_answer() {
    let slack = StandIn::start(|_| (200, json!({"ok": true, "channel": "C1", "ts": "1.2"}))).await;
    let folder = Folder::new();
    whole(&folder, &slack.url);
    let ran = folder.run(&["channels", "send-test", "ops"]).await.ended(0);
    assert_eq!(ran.stdout, "ops: accepted; Slack channel C1, message 1.2\n");
    let sent = slack.seen().pop().unwrap();
    assert_eq!(sent.line, "POST /slack/chat.postMessage");
    assert_eq!(sent.header("authorization"), format!("Bearer {CANARY}"));
    let text = sent.body.to_string();
    assert!(text.contains("TEST MESSAGE, nothing is wrong"), "{text}");
    assert!(!text.contains("<!here>"), "{text}");
    folder
        .run(&["channels", "send-test", "ops", "--mention"])
        .await
        .ended(0);
    assert!(
        slack
            .seen()
            .pop()
            .unwrap()
            .body
            .to_string()
            .contains("<!here>")
    );
}

#[tokio::test]
async fn a_vendors_refusal_and_its_absence_differ() {
    let slack = StandIn::start(|_| (200, json!({"ok": false, "error": "invalid_auth"}))).await;
    let folder = Folder::new();
    whole(&folder, &slack.url);
    let ran = folder.run(&["channels", "send-test", "ops"]).await.ended(1);
    assert!(
        ran.stderr.contains("ops: not accepted: invalid_auth"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("install the app again"),
        "{}",
        ran.stderr
    );
    whole(&folder, &nowhere().await);
    let ran = folder.run(&["channels", "send-test", "ops"]).await.ended(3);
    assert!(ran.stderr.contains("firewall"), "{}", ran.stderr);
}

#[tokio::test]
async fn each_fault_behind_dingtalks_one_code_is_told_with_its_fix() {
    for (said, fix) in [
        ("keywords not in content", "set `keyword:`"),
        ("sign not match", "signing secret"),
        ("ip 203.0.113.9 not in whitelist", "IP list"),
    ] {
        let answer = json!({"errcode": 310_000, "errmsg": said});
        let robot = StandIn::start(move |_| (200, answer.clone())).await;
        let folder = Folder::new();
        folder.write("backstop.yaml", "default_channels: [ops]\n");
        let kind = format!("dingtalk: {{token: {{env: T}}, api_url: '{}'}}", robot.url);
        folder.write("channels/ops.yaml", &format!("name: ops\n{kind}\n"));
        let ran = folder
            .run_with(&["channels", "send-test", "ops"], &[("T", CANARY)])
            .await
            .ended(1);
        assert!(ran.stderr.contains(fix), "{said}: {}", ran.stderr);
        assert!(!ran.stderr.contains("203.0.113.9"), "{}", ran.stderr);
    }
}
