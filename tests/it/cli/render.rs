//! `render`: what a channel would be sent, judged and drawn as the gateway does.

use std::path::Path;

use serde_json::{Value, json};

use super::Folder;
use crate::support::browser;

/// When the body comes.
const AT: &str = "2026-03-01T12:05:00Z";

const BODY: &str = r#"{"version": "4", "groupKey": "{}:{alertname=\"CheckoutErrors\"}", "status": "firing",
 "alerts": [{"status": "firing", "startsAt": "2026-03-01T12:02:00Z",
   "labels": {"alertname": "CanaryErrors", "service": "checkout", "env": "prod", "severity": "critical",
     "release_id": "checkout@1.8.1", "batch": "1", "instance": "web-1:9100"},
   "annotations": {"summary": "支付 requests fail"}}]}"#;

const RULES: &str = r#"services: [checkout]
rules:
  - name: a bad canary takes its batch back
    matchers: ['severity="critical"']
    phase: [canary]
    action: rollback
    channels: [ops]
guards: {mode: enforce}
"#;

fn given(folder: &Folder) {
    folder.write("rules/policy/checkout.yaml", RULES);
    folder.write("body.json", BODY);
}

fn channel(folder: &Folder, kind: &str, more: &str) {
    let font = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/root/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"
    );
    let mut main = "default_channels: [ops]\nmetrics: {url: 'http://127.0.0.1:1'}\n".to_owned();
    // Without it the chart's own words are English.
    if Path::new(font).exists() {
        main = format!("{main}charts: {{font: {font}}}\n");
    }
    folder.write("backstop.yaml", &main);
    folder.write("channels/ops.yaml", &format!("name: ops\n{kind}\n{more}\n"));
}

const SLACK: &str = "slack: {token: {env: T}, channel: C1}";

#[tokio::test]
async fn a_preview_offline_says_what_was_not_asked() {
    let folder = Folder::new();
    given(&folder);
    channel(&folder, SLACK, "");
    let args = [
        "render",
        "--channel",
        "ops",
        "body.json",
        "--at",
        "2026-03-01T12:05:00Z",
        "--output",
        "json",
    ];
    let json = folder.run(&args).await.ended(0).json();
    let text = json["messages"][0]["bodies"][0].as_str().unwrap();
    assert!(text.contains("unknown: the store was not asked"), "{text}");
    assert_eq!(json["messages"][0]["chart_bytes"], Value::Null);
}

#[tokio::test]
async fn a_file_of_rule_tests_gives_the_world_and_the_files_are_whole() {
    let folder = Folder::new();
    given(&folder);
    let root = env!("CARGO_MANIFEST_DIR");
    let world = format!("{root}/tests/fixtures/render/world.yaml");
    let mail = "email: {smarthost: 'smtp://127.0.0.1:1', from: a@example.com, to: [b@example.com]}";
    for (kind, settings, ending, theme) in [
        ("slack", SLACK, "json", "light"),
        ("wecom", "wecom: {key: {env: T}}", "json", "dark"),
        ("dingtalk", "dingtalk: {token: {env: T}}", "json", "light"),
        ("email", mail, "eml", "light"),
        (
            "webhook",
            "webhook: {url: 'http://127.0.0.1:1/', secret: {env: T}}",
            "json",
            "dark",
        ),
    ] {
        for locale in ["en", "zh-CN"] {
            let voice = format!("locale: {locale}\ntime_zone: Asia/Shanghai\nchart_theme: {theme}");
            channel(&folder, settings, &voice);
            let to = format!("{root}/target/previews/{kind}.{locale}");
            let args = [
                "render",
                "--channel",
                "ops",
                "body.json",
                "--at",
                AT,
                "--given",
                &world,
                "--to",
                &to,
                "--output",
                "json",
            ];
            let json = folder.run(&args).await.ended(0).json();
            assert_eq!(json["unanswered"], json!([]), "{json:#}");
            let message = &json["messages"][0];
            assert_eq!(message["goes_to_this_channel"], true);
            let read = |name: &str| std::fs::read(format!("{to}/message-1/{name}")).unwrap();
            let body = String::from_utf8(read(&format!("part-1.{ending}"))).unwrap();
            assert_eq!(body, message["bodies"][0].as_str().unwrap());
            let png = read("chart.png");
            assert_eq!(message["chart_bytes"], png.len());
            assert!(png.starts_with(b"\x89PNG"));
            let page = String::from_utf8(read("preview.html")).unwrap();
            let decided = if locale == "en" {
                "roll back the accused batch (batch 1)"
            } else {
                "回滚问题批次 (批次 1)"
            };
            for said in [
                "checkout@1.8.1",
                "checkout@1.8.0",
                "web-1",
                decided,
                "checkout@prod-",
                "20 %",
                "20:02:00 +08:00",
            ] {
                assert!(page.contains(said), "{kind}: {said} in\n{page}");
            }
            // DingTalk shows a chart by its address only, and there is none here.
            let shows = kind != "webhook" && kind != "dingtalk";
            assert_eq!(page.contains("src=\"chart.png\""), shows, "{page}");
            let preview = Path::new(&to).join("message-1/preview.html");
            browser::picture(&preview, (720, 1000), &preview.with_extension("png"));
        }
    }
}
