//! What each channel says about each event, in each language, to the byte.
//!
//! `BACKSTOP_REWRITE_GOLDEN=1 cargo test --test it golden` writes `tests/golden/messages` anew; read
//! the difference before it is committed, as somebody would who was just woken by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstop::config::channel::{Locale, Target, time_zone};
use backstop::domain::clock::{SharedClock, SystemClock};
use backstop::domain::notice::{Link, Notice};
use backstop::notify::channel::{Notifier, Outgoing, open};
use backstop::notify::render::Renderer;
use serde_json::{Value, json};

use super::{channel, http, png, targets};

/// `BACKSTOP_REWRITE_GOLDEN`: anything but empty writes the files instead of comparing them.
const REWRITE: &str = "BACKSTOP_REWRITE_GOLDEN";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages")
}

/// The checkout canary that this is all about, as the gateway knows it.
fn story(fields: &Value) -> Notice {
    let incident = "checkout-prod-17";
    let mut notice = json!({
        "kind": "alert", "thread": "{}:{alertname=\"CheckoutErrors\"}", "at": "2026-03-01T19:04:12Z",
        "subject": "CheckoutErrors", "status": "firing", "severity": "critical",
        "service": "checkout", "env": "prod", "release_id": "checkout@1.8.1", "version": "1.8.1",
        "deployment": "01JQ8Z0V5T", "batches": [1], "phase": "canary", "context_missing": null,
        "stale_as_of": null, "hosts": ["web-1", "web-2"], "alerts": [alert("firing")],
        "truncated": 0, "metric": metric(0.1234), "chart": {"id": "c1",
            "alt": "CheckoutErrors · checkout@1.8.1 · prod: now 12.3 %, threshold 5 %; 2 accused series of 8",
            "url": "https://backstop.example.com/charts/c1.png"},
        "chart_missing": null,
        "decision": {"verdict": "rollback_batch", "shadow": false, "scope": "batch 1",
            "rule": "checkout.yaml: a bad canary takes its batch back",
            "why": "rule checkout.yaml: a bad canary takes its batch back",
            "target": "checkout@1.8.0"},
        "incident": incident, "execution": null,
        "links": [{"text": Link::INCIDENT, "url": format!("https://backstop.example.com/incidents/{incident}")}],
    });
    for (name, value) in fields.as_object().unwrap() {
        notice[name] = value.clone();
    }
    serde_json::from_value(notice).unwrap()
}

fn alert(status: &str) -> Value {
    json!({
        "fingerprint": "00000000000000a1", "name": "CheckoutErrors", "severity": "critical",
        "status": status, "starts_at": "2026-03-01T19:02:30Z",
        "message": "12 % of requests to checkout fail (线上支付报错)",
        "labels": {"alertname": "CheckoutErrors", "severity": "critical", "service": "checkout",
            "env": "prod", "instance": "web-1:9100", "release_id": "checkout@1.8.1"},
    })
}

fn metric(value: f64) -> Value {
    json!({"expr": "sum by (instance) (rate(http_requests_total{service=\"checkout\",code=~\"5..\"}[1m])) / sum by (instance) (rate(http_requests_total{service=\"checkout\"}[1m])) > 0.05",
        "value": value, "threshold": 0.05, "unit": "ratio"})
}

fn execution(status: &Value, detail: &Value) -> Value {
    json!({"id": "01JQ90C2M4", "pipeline": "rollback-batch", "status": status, "detail": detail})
}

/// A follow-up of the incident: no alerts, chart or metric of its own.
fn followup(kind: &str, fields: &Value) -> Notice {
    let mut all = json!({"kind": kind, "subject": "checkout@1.8.1", "severity": "none", "alerts": [],
        "metric": null, "chart": null});
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    story(&all)
}

/// What no incident is behind.
fn unplaced(fields: &Value) -> Notice {
    let mut all = json!({"service": null, "env": null, "release_id": null, "version": null,
        "deployment": null, "batches": [], "phase": null, "hosts": [], "alerts": [], "metric": null,
        "chart": null, "decision": null, "incident": null,
        "links": [{"text": "Backstop", "url": "https://backstop.example.com/"}]});
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    story(&all)
}

#[expect(clippy::too_many_lines, reason = "a list of events")]
fn events() -> Vec<(&'static str, Notice)> {
    let held = json!({"verdict": "hold", "shadow": false, "scope": null,
        "rule": "checkout.yaml: a bad canary takes its batch back",
        "why": "verify: the metrics store can't be asked: connection refused",
        "code": "source_down", "target": null});
    let recovered = json!({"status": "resolved", "happened": "recovered", "metric": null,
        "execution": execution(&json!("SUCCEEDED"), &json!("`error ratio of checkout` is 0.0012"))});
    let failed = "stage `Roll back the batch` failed: 2 of 2 hosts unreachable over ssh";
    vec![
        ("firing", story(&json!({}))),
        (
            "resolved",
            story(&json!({"status": "resolved", "alerts": [alert("resolved")],
            "metric": metric(0.0), "chart": null, "decision": null, "incident": null,
            "links": [{"text": "Backstop", "url": "https://backstop.example.com/"}]})),
        ),
        (
            "unknown-release",
            unplaced(
                &json!({"context_missing": "no deployment of checkout in prod is active",
            "alerts": [alert("firing")], "service": "checkout", "env": "prod",
            "chart_missing": "the alert's expression is not known",
            "decision": {"verdict": "notify", "shadow": false, "scope": null, "rule": null,
                "why": "no rule matches", "target": null}}),
            ),
        ),
        ("hold", story(&json!({"decision": held, "incident": null}))),
        (
            "hold-page",
            followup(
                "hold_page",
                &json!({"subject": "a rollback has been waiting for long",
            "decision": held, "incident": null}),
            ),
        ),
        (
            "approval-wanted",
            followup(
                "approval_wanted",
                &json!({"subject": "roll back?", "incident": null,
            "happened": {"asked": {"question": "checkout-prod-18", "until": "2026-03-01T19:19:12Z", "then_done": false}},
            "decision": {"verdict": "hold", "shadow": false, "scope": "batch 1", "code": "rule_asks",
                "rule": "checkout.yaml: a bad canary takes its batch back", "why": "the rule asks a person",
                "target": "checkout@1.8.0"},
            "links": [{"text": Link::APPROVE, "url": "https://backstop.example.com/approve/x.y"}]}),
            ),
        ),
        (
            "rollback-started",
            followup(
                "rollback_started",
                &json!({"happened": {"attempt": 1},
            "execution": execution(&Value::Null, &Value::Null)}),
            ),
        ),
        (
            "rolled-back",
            followup(
                "rollback_finished",
                &json!({
            "execution": execution(&json!("SUCCEEDED"), &json!(""))}),
            ),
        ),
        (
            "rollback-failed",
            followup(
                "rollback_finished",
                &json!({
            "execution": execution(&json!("TERMINAL"), &json!(failed))}),
            ),
        ),
        (
            "failed-page",
            followup(
                "hold_page",
                &json!({"severity": "critical", "happened": "failed",
            "execution": execution(&json!("TERMINAL"), &json!(failed))}),
            ),
        ),
        ("recovered", followup("recovery", &recovered)),
        (
            "report",
            followup(
                "report",
                &json!({"happened": {"revision": 2},
            "execution": execution(&json!("SUCCEEDED"), &Value::Null)}),
            ),
        ),
        (
            "own-trouble",
            unplaced(
                &json!({"kind": "own_trouble", "subject": "a channel refuses messages",
            "context_missing": "channel `ops-wecom` answers 93000: the key is not valid, or the bot was removed"}),
            ),
        ),
    ]
}

fn notifier(target: Target, locale: Locale) -> Arc<dyn Notifier> {
    let renderer = Arc::new(Renderer::shipped().unwrap());
    let clock: SharedClock = Arc::new(SystemClock);
    let zone = match locale {
        Locale::En => "UTC",
        Locale::ZhCn => "Asia/Shanghai",
    };
    let mut channel = channel(target);
    channel.locale = locale;
    channel.time_zone = time_zone(zone).unwrap();
    open(
        &channel,
        &http(),
        &renderer,
        &clock,
        &Arc::default(),
        &Arc::default(),
    )
    .unwrap()
}

/// The bodies as a reviewer reads them: one after the other, JSON over several lines.
fn bodies(notifier: &dyn Notifier, notice: &Notice) -> String {
    let png = png();
    let outgoing = Outgoing {
        chart_png: notice.chart.is_some().then_some(png.as_slice()),
        ..Outgoing::of(notice, "entry-1")
    };
    let bodies = notifier.preview(&outgoing).unwrap();
    let shown = bodies
        .iter()
        .map(|body| match serde_json::from_str::<Value>(&body.text) {
            Ok(json) => format!("{json:#}\n"),
            Err(_) => body.text.replace("\r\n", "\n"),
        });
    shown.collect()
}

#[test]
fn golden_messages_are_what_every_channel_says() {
    let rewrite = std::env::var_os(REWRITE).is_some_and(|value| !value.is_empty());
    let mut differing = Vec::new();
    let mut expected = std::collections::BTreeSet::new();
    for (event, notice) in events() {
        for (kind, target) in targets() {
            for (locale, name) in [(Locale::En, "en"), (Locale::ZhCn, "zh-CN")] {
                let said = bodies(&*notifier(target.clone(), locale), &notice);
                let ending = if kind == "email" { "eml" } else { "json" };
                let file = folder().join(kind).join(format!("{event}.{name}.{ending}"));
                expected.insert(file.clone());
                if rewrite {
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(&file, said).unwrap();
                } else if std::fs::read_to_string(&file).ok().as_deref() != Some(&*said) {
                    differing.push(format!("{}:\n{said}", file.display()));
                }
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} messages changed; {REWRITE}=1 accepts them. The first:\n{}",
        differing.len(),
        differing.first().unwrap()
    );
    for kind in std::fs::read_dir(folder()).unwrap() {
        for file in std::fs::read_dir(kind.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            assert!(expected.contains(&file), "nothing makes {}", file.display());
        }
    }
}

/// What no message may hold, whatever the channel.
#[test]
fn golden_messages_have_no_empty_facts_and_no_time_before_time() {
    for (event, notice) in events() {
        for (kind, target) in targets() {
            for locale in [Locale::En, Locale::ZhCn] {
                let bodies = notifier(target.clone(), locale);
                let bodies = bodies.preview(&Outgoing::of(&notice, "entry-1")).unwrap();
                for body in bodies {
                    // The readable half of a webhook; its facts are data.
                    let said = match serde_json::from_str::<Value>(&body.text) {
                        Ok(json) if kind == "webhook" => {
                            json["data"]["text"].as_str().unwrap().to_owned()
                        }
                        _ => body.page.clone(),
                    };
                    for bad in [
                        "Severity:</b> none",
                        "级别:</b> none",
                        "Severity: none",
                        "级别: none",
                        "0001-",
                        "1970-",
                        ": </",
                        "<code></code>",
                        "null",
                        "()",
                    ] {
                        assert!(!said.contains(bad), "{kind} {event}: {bad} in\n{said}");
                    }
                }
            }
        }
    }
}
