//! What the routes take and answer.

use serde_json::json;

use backstop::web::signed::{Purpose, Signer};

use super::*;

async fn plain() -> Served {
    serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await
}

async fn with_tokens() -> Served {
    serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await
}

async fn as_token(served: &Served, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer secret-{token}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    ];
    served.send(method, path, &headers, body).await
}

#[tokio::test]
async fn a_real_alertmanagers_and_a_real_vmalerts_body_are_taken() {
    let served = plain().await;
    let webhook = include_str!(
        "../../fixtures/alertmanager/alertmanager-0.34_webhook_firing_max_alerts_2_of_3.json"
    );
    let answer = served.post("/api/v1/webhook", webhook).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"delivered": 1, "pending": 0, "deduplicated": 0, "ignored": 0})
    );
    assert!(answer.header("x-request-id").is_some());
    let direct = include_str!("../../fixtures/vmalert/vmalert-1.79_notifier_firing_3alerts.json");
    for path in ["/api/v2/alerts", "/any/prefix/api/v2/alerts"] {
        assert_eq!(served.post(path, direct).await.status, 200, "{path}");
    }
    served.finish().await;
}

#[tokio::test]
async fn a_rejection_points_into_the_body() {
    let served = plain().await;
    let answer = served
        .post(
            "/api/v1/webhook",
            r#"{"version":"4","alerts":[{"labels":{"a":1}}]}"#,
        )
        .await;
    let problem = answer.json();
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(problem["pointer"], "/alerts/0/labels/a");
    assert_eq!(problem["status"], 400);
    assert_eq!(
        problem["request_id"].as_str(),
        answer.header("x-request-id")
    );
    let text = served.metrics.encode();
    assert!(
        text.contains(r#"backstop_rejected_total{source="alertmanager",reason="wrong_type"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"backstop_http_requests_total{route="/api/v1/webhook",code="400"} 1"#),
        "{text}"
    );
    served.finish().await;
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems_too() {
    let served = plain().await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/webhook", 405),
        ("GET", "/x/api/v2/alerts", 405),
        ("DELETE", "/api/v1/releases", 405),
    ] {
        let answer = served.send(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    served.finish().await;
}

#[tokio::test]
async fn a_batch_is_accepted_at_once_and_polled_in_words() {
    let served = with_tokens().await;
    let path = "/api/v1/deployments/01ARZ3/batches/2";
    let facts = r#"{"release_id":"checkout@1.8.0","env":"prod","strategy":"canary","of":3,"hosts":"web-1,web-2"}"#;
    let started = as_token(&served, "deploy", "POST", path, facts).await;
    assert_eq!(started.status, 202, "{}", started.body);
    let request = served.gateway.batches.lock().unwrap()[0].clone();
    assert_eq!(
        (request.n, request.facts.hosts.len(), request.facts.of),
        (2, 2, Some(3))
    );
    for answer in [started, as_token(&served, "deploy", "GET", path, "").await] {
        assert!(answer.json()["status"].is_string());
        assert!(answer.json()["progress"].is_string());
    }
    let stopped = as_token(
        &served,
        "deploy",
        "POST",
        "/api/v1/deployments/STOPPED/batches/2",
        facts,
    )
    .await;
    assert_eq!((stopped.status, stopped.code().as_str()), (409, "stopped"));
    let unknown = as_token(
        &served,
        "deploy",
        "GET",
        "/api/v1/deployments/UNKNOWN/batches/2",
        "",
    )
    .await;
    assert_eq!(unknown.status, 404);
    let canceled = as_token(&served, "deploy", "POST", &format!("{path}/cancel"), "").await;
    assert_eq!(canceled.json()["status"], "canceled");
    served.finish().await;
}

#[tokio::test]
async fn admission_is_200_for_one_and_409_for_any_other() {
    let served = with_tokens().await;
    let path = "/api/v1/incidents/checkout@prod-7/attempts/1/admit";
    for _ in 0..2 {
        let admitted = as_token(&served, "deploy", "POST", path, r#"{"execution":"E1"}"#).await;
        assert_eq!(
            (admitted.status, &admitted.json()["status"]),
            (200, &json!("admitted"))
        );
    }
    let other = as_token(&served, "deploy", "POST", path, r#"{"execution":"OTHER"}"#).await;
    assert_eq!(other.status, 409);
    for (body, pointer) in [
        (r#"{"execution":"../x"}"#, "/execution"),
        ("{}", ""),
        ("[\"E1\"]", ""),
    ] {
        let answer = as_token(&served, "deploy", "POST", path, body).await;
        assert_eq!(
            (answer.status, answer.json()["pointer"].as_str()),
            (400, Some(pointer)),
            "{body}"
        );
    }
    served.finish().await;
}

#[tokio::test]
async fn names_that_could_leave_their_place_are_refused() {
    let served = with_tokens().await;
    for name in [
        "%2e%2e%2fx",
        "..%2f..",
        "a%2fb",
        "%00",
        "-x",
        ".x",
        "a%20b",
        "%E2%80%AEx",
        &"a".repeat(129),
    ] {
        let batch = format!("/api/v1/deployments/{name}/batches/1");
        assert_eq!(
            as_token(&served, "deploy", "GET", &batch, "").await.status,
            400,
            "{batch}"
        );
        let incident = format!("/api/v1/incidents/{name}");
        assert_eq!(
            as_token(&served, "read", "GET", &incident, "").await.status,
            400,
            "{incident}"
        );
        let page = format!("/incidents/{name}/report.md");
        assert_eq!(
            as_token(&served, "read", "GET", &page, "").await.status,
            400,
            "{page}"
        );
        let list = format!("/api/v1/alerts?release_id={name}");
        assert_eq!(
            as_token(&served, "read", "GET", &list, "").await.status,
            400,
            "{list}"
        );
    }
    for n in ["0", "-1", "x", "99999999999", "1.5"] {
        let batch = format!("/api/v1/deployments/D1/batches/{n}");
        assert_eq!(
            as_token(&served, "deploy", "GET", &batch, "").await.status,
            400,
            "{batch}"
        );
    }
    assert_eq!(served.gateway.filters.lock().unwrap().len(), 0);
    served.finish().await;
}

#[expect(clippy::too_many_lines, reason = "one table of cases")]
#[tokio::test]
async fn a_rollback_is_planned_first_and_done_once_per_key() {
    let served = with_tokens().await;
    let ask = async |key: Option<&str>, body: serde_json::Value| {
        let mut headers = vec![
            ("content-type", "application/json"),
            ("authorization", "Bearer secret-rollback"),
        ];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        served
            .send("POST", "/api/v1/rollbacks", &headers, &body.to_string())
            .await
    };
    let with = |extra: serde_json::Value| {
        let mut body = json!({"service": "checkout", "env": "prod", "scope": {"batch": [1]}});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    let plan = ask(None, with(json!({"dry_run": true}))).await;
    assert_eq!(
        (plan.status, &plan.json()["target"]),
        (200, &json!("checkout@1.7.0"))
    );
    assert!(served.gateway.applied.lock().unwrap().is_empty());

    let expect = json!({"current": "checkout@1.8.0", "target": "checkout@1.7.0"});
    let whole = with(json!({"reason": "bad", "expect": expect}));
    assert_eq!(ask(Some("k1"), whole.clone()).await.status, 202);
    let again = ask(Some("k1"), whole.clone()).await;
    assert_eq!(
        (again.status, &again.json()["created"]),
        (200, &json!(false))
    );
    assert_eq!(
        served.gateway.applied.lock().unwrap()[0].caller.name,
        "rollback"
    );

    for (key, body, status, code) in [
        (None, whole.clone(), 400, "key_needed"),
        (Some("../k"), whole.clone(), 400, "invalid_key"),
        (
            Some("k2"),
            with(json!({"expect": expect})),
            400,
            "reason_needed",
        ),
        (
            Some("k2"),
            with(json!({"reason": "x"})),
            400,
            "expect_needed",
        ),
        (
            Some("k2"),
            with(json!({"reason": "x", "expect": expect, "scope": {"batch": [0]}})),
            400,
            "invalid",
        ),
        (
            Some("k2"),
            with(json!({"reason": "x", "expect": expect, "scop": "full"})),
            400,
            "invalid",
        ),
        (
            Some("k2"),
            with(
                json!({"reason": "x", "expect": {"current": "checkout@1.9.0", "target": "checkout@1.7.0"}}),
            ),
            409,
            "expectation",
        ),
        (
            Some("k2"),
            with(json!({"reason": "x", "expect": expect, "env": "frozen"})),
            422,
            "kill_switch",
        ),
    ] {
        let answer = ask(key, body.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    served.finish().await;
}

#[tokio::test]
async fn lists_take_filters_and_refuse_what_they_do_not_know() {
    let served = plain().await;
    let answer = served
        .get("/api/v1/alerts?release_id=checkout@1.8.0&env=prod&limit=5")
        .await;
    assert_eq!(answer.json()["items"], json!([]));
    assert!(answer.json()["as_of"].is_string());
    let filter = served.gateway.filters.lock().unwrap()[0].clone();
    assert_eq!(filter.release_id.unwrap().as_str(), "checkout@1.8.0");
    assert_eq!((filter.env.unwrap().as_str(), filter.limit), ("prod", 5));
    let path = "/api/v1/decisions?from=2026-11-22T14:00:00%2B08:00&to=2026-11-22%2014:02&verdict=hold\
                &incident=checkout@prod-7&cursor=1795356120125-ab";
    assert_eq!(served.get(path).await.status, 200);
    let filter = served.gateway.filters.lock().unwrap()[1].clone();
    assert_eq!(filter.from, "2026-11-22T06:00:00Z".parse().ok());
    assert_eq!(filter.to, "2026-11-22T14:02:00Z".parse().ok());
    assert_eq!(filter.verdict.as_deref(), Some("hold"));
    assert_eq!(filter.incident.unwrap().as_str(), "checkout@prod-7");
    assert_eq!(filter.cursor.as_deref(), Some("1795356120125-ab"));
    for (name, value) in [
        ("from", "soon"),
        ("verdict", "rolback"),
        ("incident", "../x"),
    ] {
        let path = format!("/api/v1/decisions?{name}={value}");
        let answer = served.get(&path).await;
        assert_eq!(answer.status, 400, "{path}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(name), "{detail}");
    }
    assert_eq!(served.get("/api/v1/alerts?relese_id=x").await.status, 400);
    assert_eq!(served.get("/api/v1/alerts?limit=many").await.status, 400);
    served.finish().await;
}

#[tokio::test]
async fn a_chart_opens_by_its_signed_link_alone() {
    let served = with_tokens().await;
    let signer = Signer::new(Secret::new("signing"));
    let later: jiff::Timestamp = "2999-01-01T00:00:00Z".parse().unwrap();
    let signed = signer.sign(Purpose::Chart, "c1", later);
    let answer = served.get(&format!("/charts/{signed}.png")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "PNG of c1"));
    assert_eq!(answer.header("content-type"), Some("image/png"));
    let old = signer.sign(
        Purpose::Chart,
        "c1",
        "2020-01-01T00:00:00Z".parse().unwrap(),
    );
    for wrong in [
        "c1.png",
        "c1.99999999999.AAAA.png",
        &signed,
        &format!("{old}.png"),
        &format!("x{signed}.png"),
    ] {
        assert_eq!(
            served.get(&format!("/charts/{wrong}")).await.status,
            403,
            "{wrong}"
        );
    }
    served.finish().await;
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_its_place() {
    let served = with_tokens().await;
    let answer = as_token(&served, "admin", "POST", "/-/reload", "").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("backstop.yaml:3:7")
    );
    served.finish().await;
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_cause_stays_inside() {
    let served = plain().await;
    served
        .gateway
        .panics
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = served.post("/api/v2/alerts", "[]").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert!(!answer.body.contains("as the test wants"));
    assert!(served.metrics.encode().contains("backstop_panics_total 1"));
    served.finish().await;
}

#[tokio::test]
async fn work_that_is_late_is_answered_503_and_goes_on() {
    let served = serve(Wishes {
        site: |settings| settings.vmalert_deadline = Duration::from_millis(50),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    *served.gateway.slow.lock().unwrap() = Duration::from_millis(700);
    let answer = served.post("/api/v2/alerts", "[]").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "deadline"));
    assert!(answer.header("retry-after").is_some());
    let gateway = Arc::clone(&served.gateway);
    served.finish().await;
    assert_eq!(gateway.done.load(std::sync::atomic::Ordering::SeqCst), 1);
}
