//! Who may do what.

use std::time::Instant;

use super::*;

/// Every route, with the token that opens it.
const ROUTES: [(&str, &str, &str, &str); 32] = [
    (
        "POST",
        "/api/v1/webhook",
        "ingest",
        r#"{"version":"4","alerts":[]}"#,
    ),
    ("POST", "/api/v2/alerts", "ingest", "[]"),
    ("POST", "/vmalert/api/v2/alerts", "ingest", "[]"),
    (
        "POST",
        "/api/v1/deployments/D1/batches/1",
        "deploy",
        r#"{"release_id":"checkout@1.8.0","env":"prod"}"#,
    ),
    ("GET", "/api/v1/deployments/D1/batches/1", "deploy", ""),
    (
        "POST",
        "/api/v1/deployments/D1/batches/1/cancel",
        "deploy",
        "",
    ),
    (
        "POST",
        "/api/v1/deployments/D1/instances",
        "deploy",
        r#"{"release_id":"checkout@1.8.0","env":"prod","instances":[]}"#,
    ),
    (
        "POST",
        "/api/v1/incidents/checkout@prod-7/attempts/1/admit",
        "deploy",
        r#"{"execution":"E1"}"#,
    ),
    (
        "POST",
        "/api/v1/incidents/checkout@prod-7/attempts/1/hosts",
        "deploy",
        r#"{"execution":"E1"}"#,
    ),
    (
        "GET",
        "/api/v1/agent/desired?service=checkout&env=prod",
        "agent",
        "",
    ),
    (
        "POST",
        "/api/v1/agent/records",
        "agent",
        r#"{"service":"checkout","env":"prod","records":[]}"#,
    ),
    (
        "POST",
        "/api/v1/rollbacks",
        "rollback",
        r#"{"service":"checkout","env":"prod","scope":"full","dry_run":true}"#,
    ),
    (
        "POST",
        "/api/v1/approvals/checkout@prod-3",
        "rollback",
        r#"{"answer":"approve","reason":"drill"}"#,
    ),
    (
        "POST",
        "/api/v1/incidents/checkout@prod-7/abandon",
        "rollback",
        r#"{"reason":"drill"}"#,
    ),
    ("GET", "/api/v1/approvals", "read", ""),
    ("GET", "/api/v1/approvals/checkout@prod-3", "read", ""),
    ("GET", "/api/v1/releases", "read", ""),
    ("GET", "/api/v1/deployments", "read", ""),
    ("GET", "/api/v1/openapi.json", "read", ""),
    ("GET", "/api/v1/instances", "read", ""),
    ("GET", "/api/v1/alerts", "read", ""),
    ("GET", "/api/v1/incidents", "read", ""),
    ("GET", "/api/v1/decisions", "read", ""),
    ("GET", "/api/v1/incidents/checkout@prod-7", "read", ""),
    ("GET", "/", "read", ""),
    ("GET", "/incidents/checkout@prod-7", "read", ""),
    ("GET", "/incidents/checkout@prod-7/report.md", "read", ""),
    ("GET", "/api/v1/mode", "read", ""),
    ("GET", "/api/v1/canary/rules.yaml", "read", ""),
    ("GET", "/api/v1/http_sd?port=9100", "read", ""),
    ("GET", "/metrics/deployments", "read", ""),
    (
        "PUT",
        "/api/v1/mode",
        "admin",
        r#"{"mode":"off","reason":"drill"}"#,
    ),
];
const TOKENS: [&str; 6] = ["ingest", "read", "deploy", "agent", "rollback", "admin"];

async fn ask(
    served: &Served,
    route: (&str, &str, &str, &str),
    authorization: Option<&str>,
) -> Answer {
    let (method, path, _, body) = route;
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(authorization.map(|value| ("authorization", value)));
    served.send(method, path, &headers, body).await
}

#[tokio::test]
async fn each_token_opens_its_own_routes_and_no_other() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    for route in ROUTES {
        for token in TOKENS {
            let answer = ask(&served, route, Some(&format!("Bearer secret-{token}"))).await;
            if token == route.2 {
                assert!(answer.status < 300, "{token} at {route:?}: {}", answer.body);
            } else {
                assert_eq!(answer.status, 403, "{token} at {route:?}");
                assert_eq!(answer.code(), "scope");
            }
        }
        let answer = ask(&served, route, None).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "no_token"),
            "{route:?}"
        );
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
    }
    let wrong = ask(&served, ROUTES[0], Some("Bearer secret-nobody")).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "wrong_token"));
    assert!(!wrong.body.contains("nobody"));
    assert!(
        served
            .metrics
            .encode()
            .contains(r#"backstop_auth_failures_total{reason="wrong_token"} 1"#)
    );
    served.finish().await;
}

#[tokio::test]
async fn a_basic_login_carries_the_token_as_its_password() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    // base64("vmalert:secret-ingest")
    let answer = ask(
        &served,
        ROUTES[1],
        Some("Basic dm1hbGVydDpzZWNyZXQtaW5nZXN0"),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(*served.gateway.callers.lock().unwrap(), ["ingest"]);
    served.finish().await;
}

#[tokio::test]
async fn without_tokens_this_machine_may_send_and_read_and_nothing_else() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    for route in ROUTES {
        let answer = ask(&served, route, None).await;
        if matches!(route.2, "ingest" | "read") {
            assert!(answer.status < 300, "{route:?}: {}", answer.body);
        } else {
            assert_eq!(answer.status, 403, "{route:?}");
        }
    }
    let reload = served.send("POST", "/-/reload", &[], "").await;
    assert_eq!(reload.status, 403);
    served.finish().await;
}

#[tokio::test]
async fn probes_and_metrics_need_neither_token_nor_name() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        let answer = served
            .send("GET", path, &[("host", "10.0.0.7.example")], "")
            .await;
        assert_eq!(answer.status, 200, "{path}");
    }
    served.finish().await;
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_answered_to() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:9095", 200),
        ("gateway.test:9095", 200),
        ("rebound.example", 421),
    ] {
        let answer = served
            .send("GET", "/api/v1/releases", &[("host", host)], "")
            .await;
        assert_eq!(answer.status, status, "{host}");
        if status == 421 {
            assert!(
                answer.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("web.allowed_hosts")
            );
        }
    }
    served.finish().await;
}

#[tokio::test]
async fn a_page_of_another_site_can_not_post_here() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let from = |site| {
        [
            ("authorization", "Bearer secret-admin"),
            ("sec-fetch-site", site),
        ]
    };
    for site in ["cross-site", "same-site"] {
        let answer = served.send("POST", "/-/reload", &from(site), "").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "cross_site"));
    }
    let answer = served
        .send("POST", "/-/reload", &from("same-origin"), "")
        .await;
    assert_eq!(answer.code(), "broken_config");
    served.finish().await;
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_token_is_not() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        site: |settings| settings.guess_delay = Duration::from_millis(400),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let guess = async || {
        let began = Instant::now();
        assert_eq!(
            ask(&served, ROUTES[0], Some("Bearer guess")).await.status,
            401
        );
        began.elapsed()
    };
    for _ in 0..10 {
        guess().await;
    }
    assert!(guess().await >= Duration::from_millis(400));
    let began = Instant::now();
    assert_eq!(
        ask(&served, ROUTES[0], Some("Bearer secret-ingest"))
            .await
            .status,
        200
    );
    assert!(began.elapsed() < Duration::from_millis(400));
    served.finish().await;
}

#[tokio::test]
async fn new_tokens_hold_from_the_next_request_on() {
    let served = serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let mut auth = tokens();
    auth.tokens[0].secrets = vec![Secret::new("secret-ingest"), Secret::new("newer")];
    let web = Web {
        external_url: None,
        allowed_hosts: Vec::new(),
        body_limit: 1,
    };
    assert_eq!(
        ask(&served, ROUTES[0], Some("Bearer newer")).await.status,
        401
    );
    served.site.set_access(Access::new(&web, Some(&auth)));
    for secret in ["newer", "secret-ingest"] {
        let answer = ask(&served, ROUTES[0], Some(&format!("Bearer {secret}"))).await;
        assert_eq!(answer.status, 200);
    }
    served.finish().await;
}
