//! Notices for these tests.

use backstop::domain::notice::Notice;
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "kind": "alert", "thread": "{}:{alertname=\"CanaryErrors\"}", "at": "2026-03-01T12:00:00Z",
        "subject": "CanaryErrors", "status": "firing", "severity": "critical",
        "service": "checkout", "env": "prod", "release_id": "checkout@1.8.1", "version": "1.8.1",
        "deployment": "01J", "batches": [1], "phase": "canary", "context_missing": null,
        "stale_as_of": null, "hosts": ["web-1"], "alerts": [alert(0, "12 % fail")], "truncated": 0,
        "metric": {"expr": "errors > 0.05", "value": 0.12, "threshold": 0.05, "unit": "ratio"},
        "chart": null, "chart_missing": null,
        "decision": {"verdict": "rollback_batch", "shadow": false, "scope": "batch 1",
            "rule": "bad canary", "why": "rule bad canary", "target": "checkout@1.8.0"},
        "incident": "checkout@prod-17", "execution": null,
        "links": [{"text": "incident", "url": "https://backstop.example.com/i/17"}],
    })
}

fn alert(n: usize, message: &str) -> Value {
    json!({
        "fingerprint": format!("{n:016x}"), "name": format!("Alert{n:03}"), "severity": "critical",
        "status": "firing", "starts_at": "2026-03-01T11:59:00Z", "message": message,
        "labels": {"alertname": format!("Alert{n:03}"), "instance": format!("web-{n}:9100")},
    })
}

fn with(fields: &Value) -> Notice {
    let mut notice = base();
    for (name, value) in fields.as_object().unwrap() {
        notice[name] = value.clone();
    }
    serde_json::from_value(notice).unwrap()
}

pub(super) fn firing() -> Notice {
    with(&json!({}))
}

pub(super) fn resolved() -> Notice {
    with(&json!({"status": "resolved"}))
}

pub(super) fn many(count: usize) -> Notice {
    let alerts: Vec<Value> = (0..count)
        .map(|n| alert(n, "比预期慢 <font> \"quoted\" & more words"))
        .collect();
    with(&json!({"alerts": alerts}))
}

pub(super) fn giant(bytes: usize) -> Notice {
    with(&json!({"alerts": [alert(0, &"很长 \"long\" ".repeat(bytes / 14))]}))
}

pub(super) fn with_chart(url: Option<&str>) -> Notice {
    with(&json!({"chart": {"id": "c1", "alt": "error ratio rises", "url": url}}))
}

pub(super) fn recovery() -> Notice {
    with(&json!({
        "kind": "recovery", "status": "resolved", "subject": "checkout is well again", "alerts": [],
        "execution": {"id": "01K", "pipeline": "rollback-batch", "status": "SUCCEEDED", "detail": null},
    }))
}

pub(super) fn finished() -> Notice {
    with(&json!({
        "kind": "rollback_finished", "subject": "Rollback of checkout", "alerts": [],
        "execution": {"id": "01K", "pipeline": "rollback-batch", "status": "SUCCEEDED", "detail": null},
    }))
}
