use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Response, header},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    http::{CallErrorKind, Retry},
    spinnaker::{
        ExecutionId, Gate, GateError, GateSettings, Login, PipelineConfig, Trigger, TriggerError,
    },
};

/// A server that gives one answer to everything and remembers what it was asked.
struct OneAnswer {
    base: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl OneAnswer {
    async fn start(status: u16, kind: &'static str, body: impl Into<String>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, body) = (Arc::clone(&asked), body.into());
        let answer = move |request: Request| {
            let call = format!("{} {}", request.method(), request.uri());
            let cookie = request.headers().get(header::COOKIE);
            let cookie = cookie.map(|c| c.to_str().unwrap().to_owned());
            seen.lock()
                .unwrap()
                .push((call, cookie.unwrap_or_default()));
            let body = Body::from(body.clone());
            async move {
                Response::builder()
                    .status(status)
                    .header(header::CONTENT_TYPE, kind)
                    .header(header::LOCATION, "/login")
                    .header(header::SET_COOKIE, "SESSION=abc; Path=/; HttpOnly")
                    .body(body)
                    .unwrap()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, asked }
    }

    fn gate(&self) -> Gate {
        gate(&self.base, Duration::from_secs(5))
    }

    fn calls(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(call, _)| call.clone()).collect()
    }
}

fn gate(base: &str, timeout: Duration) -> Gate {
    let login = Login::Basic {
        username: "backstop".to_owned(),
        password: "hidden".into(),
    };
    let base_url = base.parse().unwrap();
    Gate::new(GateSettings {
        timeout,
        ..GateSettings::new(base_url, login)
    })
    .unwrap()
}

fn trigger() -> Trigger {
    Trigger {
        correlation_id: "bs-1-1".to_owned(),
        event_id: "bs-1-1".to_owned(),
        user: "backstop".to_owned(),
        parameters: BTreeMap::new(),
    }
}

async fn start(gate: &Gate) -> Result<ExecutionId, TriggerError> {
    gate.trigger("checkout", "rollback", &trigger()).await
}

fn orca_down(exception: &str, cause: &str) -> String {
    let message = format!(
        "Unable to trigger pipeline (application: checkout, pipelineNameOrId: x). Error: {cause}"
    );
    json!({"error": "Internal Server Error", "status": 500, "message": message,
        "exception": format!("com.netflix.spinnaker.kork.retrofit.exceptions.{exception}")})
    .to_string()
}

#[tokio::test]
async fn a_trigger_that_finds_no_gate_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = start(&gate(&base, Duration::from_secs(5)))
        .await
        .unwrap_err();
    let TriggerError::NotSent(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (error.kind, error.retry),
        (CallErrorKind::Network, Retry::Backoff)
    );
}

#[tokio::test]
async fn a_trigger_without_an_answer_in_time_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let error = start(&gate(&base, Duration::from_millis(100)))
        .await
        .unwrap_err();
    let TriggerError::Unclear(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind, CallErrorKind::Timeout);
}

#[tokio::test]
async fn a_trigger_whose_connection_is_closed_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
        }
    });
    let error = start(&gate(&base, Duration::from_secs(5)))
        .await
        .unwrap_err();
    let TriggerError::Unclear(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind, CallErrorKind::Network);
}

#[tokio::test]
async fn a_500_is_not_sent_only_when_gate_could_not_connect() {
    let json = "application/json;charset=UTF-8";
    let refused = "java.net.ConnectException: Failed to connect to /127.0.0.1:18083";
    let body = orca_down("SpinnakerNetworkException", refused);
    let error = start(&OneAnswer::start(500, json, body).await.gate())
        .await
        .unwrap_err();
    assert!(matches!(error, TriggerError::NotSent(_)), "{error:?}");

    let unclear = [
        orca_down(
            "SpinnakerNetworkException",
            "java.net.SocketTimeoutException: Read timed out",
        ),
        orca_down(
            "SpinnakerConversionException",
            "Failed to process response body",
        ),
        orca_down(
            "SpinnakerHttpException",
            "Status: 500, Message: Failed to connect to redis",
        ),
        String::new(),
    ];
    for body in unclear {
        let error = start(&OneAnswer::start(500, json, body.as_str()).await.gate())
            .await
            .unwrap_err();
        assert!(
            matches!(error, TriggerError::Unclear(_)),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_pipelines_name_cannot_pass_for_a_failed_connection() {
    let message = "Unable to trigger pipeline (application: a, pipelineNameOrId: Failed to connect \
        ConnectException). Error: java.net.SocketTimeoutException: Read timed out";
    let body = json!({"message": message,
        "exception": "com.netflix.spinnaker.kork.retrofit.exceptions.SpinnakerNetworkException"});
    let server = OneAnswer::start(500, "application/json", body.to_string()).await;
    let error = start(&server.gate()).await.unwrap_err();
    assert!(matches!(error, TriggerError::Unclear(_)), "{error:?}");
}

#[tokio::test]
async fn an_accepted_trigger_that_names_no_execution_is_unclear() {
    let bodies = [
        ("text/html", "<html>login</html>"),
        ("application/json", "{}"),
        (
            "application/json",
            r#"{"ref": "/tasks/01M82G4ZXJA10WZ4CQQNM0ZKE4"}"#,
        ),
        ("application/json", r#"{"ref": "/pipelines/../x"}"#),
        ("application/json", ""),
    ];
    for (kind, body) in bodies {
        let error = start(&OneAnswer::start(202, kind, body).await.gate())
            .await
            .unwrap_err();
        assert!(
            matches!(error, TriggerError::Unclear(_)),
            "{body}: {error:?}"
        );
        assert_eq!(error.kind(), CallErrorKind::Decode, "{body}");
    }
}

#[tokio::test]
async fn a_refusal_carries_gates_words_and_any_4xx_is_one() {
    let body = json!({"message": "Required parameter version is missing", "status": 400});
    let server = OneAnswer::start(400, "application/json", body.to_string()).await;
    let TriggerError::Refused { status, message } = start(&server.gate()).await.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(
        (status, message.as_str()),
        (400, "Required parameter version is missing")
    );
    let server = OneAnswer::start(413, "text/html", "too large").await;
    let error = start(&server.gate()).await.unwrap_err();
    assert!(
        matches!(error, TriggerError::Refused { status: 413, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_a_refused_login_on_every_call() {
    let server = OneAnswer::start(302, "text/html", "").await;
    let (gate, id) = (server.gate(), ExecutionId::new("01X"));
    let error = start(&gate).await.unwrap_err();
    assert!(
        matches!(&error, TriggerError::NotSent(e) if e.kind == CallErrorKind::Auth),
        "{error:?}"
    );
    let kinds = [
        gate.execution(&id).await.unwrap_err().kind(),
        gate.pipeline_configs("checkout").await.unwrap_err().kind(),
        gate.executions_of(&["c"], 1, &[]).await.unwrap_err().kind(),
        gate.application_executions("checkout", 1, &[], None)
            .await
            .unwrap_err()
            .kind(),
        gate.cancel(&id, "why").await.unwrap_err().kind(),
        gate.probe().await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [CallErrorKind::Auth; 6]);
}

#[tokio::test]
async fn a_good_status_without_json_is_an_error() {
    let server = OneAnswer::start(200, "text/html", "<html>login</html>").await;
    let error = server
        .gate()
        .execution(&ExecutionId::new("01X"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::Decode);
    let error = server.gate().probe().await.unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::Decode);
}

#[tokio::test]
async fn a_404_counts_as_absent_only_when_orca_said_it() {
    let id = ExecutionId::new("01X");
    let orca = json!({"exception": "com.netflix.spinnaker.kork.web.exceptions.NotFoundException",
        "message": "Pipeline not found (id: 01X)", "status": 404});
    let server = OneAnswer::start(404, "application/json", orca.to_string()).await;
    assert_eq!(server.gate().execution(&id).await.unwrap(), None);
    let error = server.gate().cancel(&id, "why").await.unwrap_err();
    assert!(matches!(error, GateError::UnknownExecution(_)), "{error:?}");

    let other = json!({"message": "No message available", "status": 404}).to_string();
    for (kind, body) in [
        ("application/json", other.as_str()),
        ("text/html", "no route"),
    ] {
        let error = OneAnswer::start(404, kind, body)
            .await
            .gate()
            .execution(&id)
            .await;
        assert_eq!(error.unwrap_err().kind(), CallErrorKind::Client, "{body}");
    }
}

#[tokio::test]
async fn an_empty_user_is_a_refused_login() {
    let server = OneAnswer::start(200, "application/json", "").await;
    assert_eq!(
        server.gate().probe().await.unwrap_err().kind(),
        CallErrorKind::Auth
    );
    let body = json!({"username": "backstop", "email": null}).to_string();
    let server = OneAnswer::start(200, "application/json;charset=UTF-8", body).await;
    server.gate().probe().await.unwrap();
}

#[tokio::test]
async fn one_broken_member_fails_a_list_instead_of_vanishing() {
    let body = json!([{"id": "01X", "status": "RUNNING"}, {"status": "RUNNING"}]);
    let server = OneAnswer::start(200, "application/json", body.to_string()).await;
    let error = server
        .gate()
        .executions_of(&["c"], 5, &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::Decode);
}

#[tokio::test]
async fn lists_are_newest_first_and_hold_an_id_once() {
    let body = json!([
        {"id": "01A", "buildTime": 1}, {"id": "01C", "buildTime": 3},
        {"id": "01B", "buildTime": 2}, {"id": "01C", "buildTime": 3},
    ]);
    let server = OneAnswer::start(200, "application/json", body.to_string()).await;
    let list = server
        .gate()
        .executions_of(&["c", "d"], 5, &["RUNNING".to_owned().into()])
        .await;
    let ids: Vec<String> = list.unwrap().iter().map(|e| e.id.to_string()).collect();
    assert_eq!(ids, ["01C", "01B", "01A"]);
    assert_eq!(
        server.calls(),
        ["GET /executions?pipelineConfigIds=c%2Cd&limit=5&expand=false&statuses=RUNNING"]
    );
}

#[tokio::test]
async fn names_are_escaped_and_cannot_climb_the_path() {
    let server = OneAnswer::start(202, "application/json", r#"{"ref":"/pipelines/01X"}"#).await;
    let gate = gate(&format!("{}/gate/", server.base), Duration::from_secs(5));
    let id = gate.trigger("a b", "x/y?z", &trigger()).await.unwrap();
    assert_eq!(id.as_str(), "01X");
    assert_eq!(server.calls(), ["POST /gate/pipelines/a%20b/x%2Fy%3Fz"]);
    let error = gate.trigger("..", "x", &trigger()).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotSent(_)), "{error:?}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn the_session_cookie_is_kept() {
    let server = OneAnswer::start(200, "application/json", "[]").await;
    let gate = server.gate();
    let none: Vec<PipelineConfig> = gate.pipeline_configs("checkout").await.unwrap();
    assert!(none.is_empty());
    gate.pipeline_configs("checkout").await.unwrap();
    let cookies: Vec<String> = server
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(_, c)| c.clone())
        .collect();
    assert_eq!(cookies, ["", "SESSION=abc"]);
}

#[tokio::test]
async fn the_password_shows_nowhere() {
    let server = OneAnswer::start(302, "text/html", "").await;
    let gate = server.gate();
    let error = gate.probe().await.unwrap_err();
    assert!(!format!("{gate:?} {error:?} {error}").contains("hidden"));
}
