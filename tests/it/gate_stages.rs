//! Stages of the Gate stand-in: webhooks that really call, hooks that really act, judgments,
//! and the expressions inside them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop::{
    http,
    spinnaker::{Execution, ExecutionId, ExecutionStatus},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::support::gate::GateStandIn;

const DEADLINE: Duration = Duration::from_secs(10);

/// A far end that gives prepared answers in order, the last one for ever, and keeps what it got.
#[derive(Clone, Default)]
struct FarEnd {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    got: Arc<Mutex<Vec<String>>>,
}

impl FarEnd {
    async fn start(answers: &[(u16, Value)]) -> (Self, String) {
        let far = Self {
            answers: Arc::new(Mutex::new(answers.to_vec().into())),
            ..Self::default()
        };
        let state = far.clone();
        let router = Router::new().fallback(move |request| state.clone().answer(request));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (far, base)
    }

    async fn answer(self, request: Request) -> Response {
        let token = request
            .headers()
            .get("x-token")
            .map(|t| t.to_str().unwrap().to_owned());
        let line = format!(
            "{} {} {}",
            request.method(),
            request.uri(),
            token.unwrap_or_default()
        );
        let body = axum::body::to_bytes(request.into_body(), 1 << 20)
            .await
            .unwrap();
        let line = format!("{line} {}", String::from_utf8_lossy(&body));
        self.got.lock().unwrap().push(line.trim().to_owned());
        let mut answers = self.answers.lock().unwrap();
        let (status, body) = if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers[0].clone()
        };
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

/// Runs one pipeline of these stages, to its end, and reads it with our client.
async fn run(gate: &GateStandIn, stages: Value, trigger: Value) -> Execution {
    gate.save(json!({"application": "checkout", "name": "p", "stages": stages}));
    let id = gate.run("checkout", "p", trigger);
    gate.ended(&id, DEADLINE).await;
    gate.client()
        .execution(&ExecutionId::new(id))
        .await
        .unwrap()
        .unwrap()
}

/// A webhook stage that polls the URL it called, as the shipped pipelines do.
fn polling(url: &str) -> Value {
    json!({
        "refId": "1", "type": "webhook", "name": "Batch", "url": url, "method": "POST",
        "payload": {"execution": "${execution.id}", "release": "${parameters.release}"},
        "customHeaders": {"x-token": "secret-${trigger.correlationId}"},
        "waitForCompletion": true, "statusUrlResolution": "getMethod", "statusJsonPath": "$.status",
        "progressJsonPath": "$.progress", "successStatuses": "succeeded",
        "terminalStatuses": "failed,aborted", "canceledStatuses": "canceled",
        "retryStatusCodes": [404, 409], "cancelEndpoint": format!("{url}/cancel"),
    })
}

fn state(word: &str) -> (u16, Value) {
    (200, json!({"status": word, "progress": "1 of 2"}))
}

#[tokio::test]
async fn a_webhook_stage_calls_with_its_expressions_evaluated_and_polls_until_success() {
    let answers = [
        (503, json!({})),
        (202, json!({"status": "accepted"})),
        (404, json!({})),
        (502, json!({})),
        state("a word nobody listed"),
        state("Succeeded"),
    ];
    let (far, base) = FarEnd::start(&answers).await;
    let gate = GateStandIn::fast(100.0).await;
    let trigger = json!({"correlationId": "bs-1", "parameters": {"release": "checkout@1"}});
    let execution = run(
        &gate,
        json!([polling(&format!("{base}/batches/1"))]),
        trigger,
    )
    .await;
    assert!(execution.status.succeeded(), "{:?}", execution.failure());
    let post = format!(
        r#"POST /batches/1 secret-bs-1 {{"execution":"{}","release":"checkout@1"}}"#,
        execution.id
    );
    let poll = "GET /batches/1 secret-bs-1".to_owned();
    assert_eq!(
        far.got(),
        [&post, &post, &poll, &poll, &poll, &poll].map(String::clone)
    );
    let webhook = &execution.stages[0].context["webhook"];
    assert_eq!(webhook["statusCodeValue"], 202);
    assert_eq!(webhook["monitor"]["body"]["status"], "Succeeded");
    assert_eq!(webhook["monitor"]["progressMessage"], "1 of 2");
}

#[tokio::test]
async fn a_webhook_stage_that_fails_calls_its_cancel_endpoint_once() {
    let answers = [(202, json!({})), state("aborted")];
    let (far, base) = FarEnd::start(&answers).await;
    let gate = GateStandIn::fast(100.0).await;
    let stages =
        json!([polling(&base), {"refId": "2", "requisiteStageRefIds": ["1"], "type": "wait"}]);
    let execution = run(&gate, stages, json!({})).await;
    assert_eq!(execution.status, ExecutionStatus::Terminal);
    assert_eq!(execution.stages[1].status, ExecutionStatus::NotStarted);
    let cancels = far
        .got()
        .iter()
        .filter(|line| line.starts_with("POST /cancel"))
        .count();
    assert_eq!(cancels, 1);
}

#[tokio::test]
async fn polls_that_orca_does_not_forgive_end_the_stage() {
    let unforgiven = [
        (410, json!({})),
        (200, json!({"progress": "x"})),
        (200, json!({"status": "succeeded", "progress": 50})),
    ];
    for answer in unforgiven {
        let (_, base) = FarEnd::start(&[(202, json!({})), answer.clone()]).await;
        let gate = GateStandIn::fast(100.0).await;
        let execution = run(&gate, json!([polling(&base)]), json!({})).await;
        assert_eq!(execution.status, ExecutionStatus::Terminal, "{answer:?}");
        assert!(
            execution.failure().unwrap().starts_with("stage `Batch`: "),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_fail_fast_code_end_the_stage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gate = GateStandIn::fast(100.0).await;
    let execution = run(&gate, json!([polling(&closed)]), json!({})).await;
    assert_eq!(execution.status, ExecutionStatus::Terminal);

    let (far, base) = FarEnd::start(&[(503, json!({}))]).await;
    let gate = GateStandIn::fast(100.0).await;
    let stage = json!({"refId": "1", "type": "webhook", "name": "Admit", "url": base,
        "method": "POST", "failFastStatusCodes": ["503"]});
    let execution = run(&gate, json!([stage]), json!({})).await;
    assert!(
        execution
            .failure()
            .unwrap()
            .contains("configured to fail fast")
    );
    assert_eq!(far.got().len(), 1, "not sent again");
}

#[tokio::test]
async fn a_canceled_execution_tells_the_far_end() {
    let (far, base) = FarEnd::start(&[(202, json!({})), state("running")]).await;
    let gate = GateStandIn::fast(50.0).await;
    gate.save(json!({"application": "checkout", "name": "p", "stages": [polling(&base)]}));
    let id = gate.run("checkout", "p", json!({}));
    gate.when(DEADLINE, |world| {
        world.run(&id)?.stages[0]
            .context
            .get("webhook")?
            .get("monitor")
            .map(drop)
    })
    .await;
    gate.client()
        .cancel(&ExecutionId::new(&id), "stop")
        .await
        .unwrap();
    assert_eq!(gate.ended(&id, DEADLINE).await["status"], "CANCELED");
    assert!(
        far.got()
            .iter()
            .any(|line| line.starts_with("POST /cancel"))
    );
}

#[tokio::test]
async fn a_hook_gives_a_stage_its_effect_and_its_failure() {
    let gate = GateStandIn::fast(100.0).await;
    let fleet = Arc::new(Mutex::new(Vec::new()));
    let hosts = Arc::clone(&fleet);
    gate.on_stage("deployHosts", move |stage| {
        let hosts = Arc::clone(&hosts);
        async move {
            if stage.text("release").is_empty() {
                return Err("no release".to_owned());
            }
            hosts.lock().unwrap().extend(stage.list("hosts"));
            Ok(Map::from_iter([("deployed".to_owned(), json!(2))]))
        }
    });
    let stages = json!([
        {"refId": "1", "type": "deployHosts", "name": "First", "release": "${parameters.release}",
            "hosts": "${parameters.hosts}", "batch": 1},
        {"refId": "2", "requisiteStageRefIds": ["1"], "type": "deployHosts", "name": "Second"},
    ]);
    let trigger = json!({"parameters": {"release": "r1", "hosts": "vm1, vm2"}});
    let execution = run(&gate, stages, trigger).await;
    assert_eq!(*fleet.lock().unwrap(), ["vm1", "vm2"]);
    assert_eq!(execution.stages[0].outputs["deployed"], 2);
    assert_eq!(execution.stages[0].context["batch"], 1);
    assert_eq!(execution.failure().unwrap(), "stage `Second`: no release");
}

#[tokio::test]
async fn an_unknown_stage_type_ends_the_execution() {
    let gate = GateStandIn::fast(100.0).await;
    let execution = run(&gate, json!([{"refId": "1", "type": "nosuch"}]), json!({})).await;
    assert_eq!(execution.status, ExecutionStatus::Terminal);
    assert!(execution.failure().unwrap().contains("nosuch"));
}

#[tokio::test]
async fn a_judgment_holds_the_pipeline_until_a_person_decides() {
    for (word, ends) in [("continue", "SUCCEEDED"), ("stop", "TERMINAL")] {
        let gate = GateStandIn::fast(100.0).await;
        let stage = json!({"refId": "1", "type": "manualJudgment", "name": "Promote?"});
        gate.save(json!({"application": "checkout", "name": "p", "stages": [stage]}));
        let id = gate.run("checkout", "p", json!({}));
        let stage = gate
            .when(DEADLINE, |world| {
                let stage = &world.run(&id)?.stages[0];
                (stage.status == "RUNNING").then(|| stage.id.clone())
            })
            .await;
        let plain = http::client(&http::Settings::default()).unwrap();
        let url = format!("{}/pipelines/{id}/stages/{stage}", gate.url());
        let request = plain
            .patch(url)
            .basic_auth("gateway", Some("gate-password"));
        let judged = request
            .json(&json!({"judgmentStatus": word}))
            .send()
            .await
            .unwrap();
        assert_eq!(judged.status(), 200);
        assert_eq!(gate.ended(&id, DEADLINE).await["status"], ends);
    }
}

#[tokio::test]
async fn stages_can_be_skipped_and_failures_passed_over() {
    let gate = GateStandIn::fast(100.0).await;
    let only_if = |wish: &str| json!({"type": "expression", "expression": wish});
    let stages = json!([
        {"refId": "1", "type": "nosuch", "failPipeline": false, "continuePipeline": true},
        {"refId": "2", "requisiteStageRefIds": ["1"], "type": "nosuch",
            "stageEnabled": only_if("parameters.scope == 'full' && #stage('nosuch').status != 'X'")},
        {"refId": "3", "requisiteStageRefIds": ["2"], "type": "wait", "waitTime": "1",
            "stageEnabled": only_if("parameters['scope'] == 'batch'")},
    ]);
    let execution = run(&gate, stages, json!({"parameters": {"scope": "batch"}})).await;
    let statuses: Vec<&str> = execution.stages.iter().map(|s| s.status.as_str()).collect();
    assert_eq!(statuses, ["FAILED_CONTINUE", "SKIPPED", "SUCCEEDED"]);
    assert!(execution.status.succeeded());
}

#[tokio::test]
async fn expressions_are_evaluated_and_what_cannot_be_stays_as_written() {
    let gate = GateStandIn::fast(100.0).await;
    let cases = [
        ("${parameters.release}", json!("r1")),
        ("${ parameters[\"release\"] }/x", json!("r1/x")),
        ("${trigger.parameters.hosts[1]}", json!("vm2")),
        ("${parameters.hosts}", json!(["vm1", "vm2"])),
        ("n=${trigger['count']}", json!("n=3")),
        (
            "${execution.name} in ${execution.application}",
            json!("p in checkout"),
        ),
        ("${#stage('Before').status}", json!("SUCCEEDED")),
        (
            "${#stage('Before')['outputs']['color']}${color}",
            json!("redred"),
        ),
        ("${parameters.missing ?: 'none'}", json!("none")),
        ("${parameters.release == 'r1' || false}", json!(true)),
        ("${!(trigger.count == 4)}", json!(true)),
        ("${parameters.missing}", json!("${parameters.missing}")),
        (
            "a ${T(java.lang.Runtime)} b",
            json!("a ${T(java.lang.Runtime)} b"),
        ),
        ("plain } $ {", json!("plain } $ {")),
    ];
    let variables: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(n, (text, _))| json!({"key": format!("v{n}"), "value": text}))
        .collect();
    let stages = json!([
        {"refId": "1", "type": "evaluateVariables", "name": "Before",
            "variables": [{"key": "color", "value": "red"}]},
        {"refId": "2", "requisiteStageRefIds": ["1"], "type": "evaluateVariables", "name": "Vars",
            "variables": variables},
    ]);
    let parameters = json!({"release": "r1", "hosts": ["vm1", "vm2"]});
    let execution = run(&gate, stages, json!({"parameters": parameters, "count": 3})).await;
    for (n, (text, value)) in cases.iter().enumerate() {
        assert_eq!(
            &execution.stages[1].outputs[&format!("v{n}")],
            value,
            "{text}"
        );
    }
}
