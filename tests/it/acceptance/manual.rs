//! A rollback that a person asks for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::gateway::{NEW, STABLE, TestGateway};

fn request(more: &Value) -> Value {
    let mut body = json!({"service": "checkout", "env": "prod", "scope": {"batch": [1]}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn post(site: &TestGateway, token: &str, body: &Value, key: Option<&str>) -> (u16, Value) {
    let headers: Vec<(&str, &str)> = key
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let (base, path) = (site.url(), "/api/v1/rollbacks");
    site.send(Method::POST, &base, path, token, Some(body), &headers)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_plans_and_applies_a_rollback_once() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    let (status, plan) = post(&site, "rollback", &request(&json!({"dry_run": true})), None).await;
    assert_eq!(status, 200, "{plan:#}");
    assert_eq!(plan["current"], NEW, "{plan:#}");
    assert_eq!(plan["target"], STABLE, "{plan:#}");
    assert_eq!(plan["hosts"], json!(["h1"]), "{plan:#}");
    assert_eq!(plan["allowed"], true, "{plan:#}");

    let expect = json!({"current": NEW, "target": STABLE});
    let wrong = json!({"current": NEW, "target": "checkout@0.9"});
    let apply = request(&json!({"reason": "customers complain", "expect": expect}));
    for (body, key, want) in [
        (request(&json!({"expect": expect})), Some("K1"), 400),
        (request(&json!({"reason": "because"})), Some("K1"), 400),
        (apply.clone(), None, 400),
        (
            request(&json!({"reason": "because", "expect": wrong})),
            Some("K1"),
            409,
        ),
    ] {
        let (status, answer) = post(&site, "rollback", &body, key).await;
        assert_eq!(status, want, "{body:#} {answer:#}");
    }
    for token in ["read", "ingest", "deploy", "admin"] {
        let (status, answer) = post(&site, token, &apply, Some("K1")).await;
        assert_eq!(status, 403, "{token}: {answer:#}");
    }
    assert_eq!(site.incidents().await, Vec::<Value>::new());

    let (status, opened) = post(&site, "rollback", &apply, Some("K1")).await;
    assert_eq!(status, 202, "{opened:#}");
    assert_eq!(opened["created"], true);
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["id"], opened["incident_id"]);
    let (status, again) = post(&site, "rollback", &apply, Some("K1")).await;
    assert_eq!(status, 200, "{again:#}");
    assert_eq!(again["incident_id"], opened["incident_id"]);
    assert_eq!(site.touched().len(), 1);
    site.finish().await;
}
