//! The Gate stand-in against recorded calls of a real Gate: every recorded call that our client
//! makes is made again, and has to be answered the same, but for ids, times and addresses.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, http::Uri, response::IntoResponse};
use backstop::http;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::support::gate::GateStandIn;

const TRANSCRIPT: &str = include_str!("../fixtures/spinnaker/gate_transcript.jsonl");
/// Rows taken while Orca was down, by the fixtures' README.
const OUTAGE: std::ops::RangeInclusive<usize> = 73..=79;
/// Where the recorded webhook stages called.
const RECORDED_HOOK: &str = "http://127.0.0.1:18099";
/// Real waits of 8 s become 2 s: short, yet long enough to be seen running.
const SPEED: f64 = 4.0;
const DEADLINE: Duration = Duration::from_secs(20);

/// What differs from run to run.
const VOLATILE: [&str; 10] = [
    "id",
    "ref",
    "buildTime",
    "startTime",
    "endTime",
    "timestamp",
    "pipelineConfigId",
    "headers",
    "lastModified",
    "url",
];

#[derive(Deserialize)]
struct Call {
    method: String,
    path: String,
    request: Value,
    status: u16,
    content_type: String,
    response: Value,
}

impl Call {
    /// Whether our client, or the saving of a pipeline that a test needs, makes such calls.
    fn is_ours(&self) -> bool {
        let path = self.path.split('?').next().unwrap();
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        match (self.method.as_str(), steps.as_slice()) {
            (
                "GET",
                ["health" | "executions"]
                | ["auth", "user"]
                | ["pipelines" | "tasks", _]
                | ["applications", _, "pipelines" | "pipelineConfigs"],
            )
            | ("POST", ["pipelines"] | ["applications", _, "tasks"])
            | ("PUT", ["pipelines", _, "cancel" | "pause" | "resume"] | ["tasks", _, "cancel"])
            | ("PATCH", ["pipelines", _, "stages", _]) => true,
            ("POST", ["pipelines", application, _]) => *application != "v2",
            _ => false,
        }
    }

    fn execution_in_path(&self) -> Option<&str> {
        let path = self.path.split('?').next()?;
        let rest = path.strip_prefix("/pipelines/");
        let mut steps = rest.or_else(|| path.strip_prefix("/tasks/"))?.split('/');
        let id = steps.next().filter(|id| id.len() == 26)?;
        Some(id)
    }

    fn is_trigger(&self) -> bool {
        let starts = self.path.starts_with("/pipelines/") || self.path.ends_with("/tasks");
        self.method == "POST" && starts
    }

    fn reference(answer: &Value) -> Option<&str> {
        let reference = answer["ref"].as_str()?;
        let pipeline = reference.strip_prefix("/pipelines/");
        pipeline.or_else(|| reference.strip_prefix("/tasks/"))
    }
}

/// The replay: the stand-in, and what recorded ids are called there.
struct Replay {
    gate: GateStandIn,
    client: Client,
    hook: String,
    /// Recorded id to ours, for executions and saved pipelines.
    ids: BTreeMap<String, String>,
}

impl Replay {
    async fn start() -> Self {
        let gate = GateStandIn::fast(SPEED).await;
        gate.on_stage("deployManifest", |_| async { Ok(Map::new()) });
        let client = http::client(&http::Settings::default()).unwrap();
        Self {
            gate,
            client,
            hook: serve_hook().await,
            ids: BTreeMap::new(),
        }
    }

    /// Puts our ids and addresses in the place of recorded ones.
    fn ours(&self, recorded: &str) -> String {
        let mut text = recorded.replace(RECORDED_HOOK, &self.hook);
        for (theirs, ours) in &self.ids {
            text = text.replace(theirs, ours);
        }
        text
    }

    async fn send(&self, call: &Call) -> (u16, String, Value) {
        let method: Method = call.method.parse().unwrap();
        let url = self.gate.url() + &self.ours(&call.path);
        let mut request = self
            .client
            .request(method, url)
            .basic_auth("gateway", Some("gate-password"));
        if !call.request.is_null() {
            // What is not an object was sent as that very text.
            let body = match &call.request {
                Value::String(text) => text.clone(),
                other => self.ours(&other.to_string()),
            };
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.unwrap();
        let kind = response.headers().get("content-type");
        let kind = kind
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        (status, kind, body)
    }

    /// Sends until executions stand where they stood in the recording.
    async fn answer_like_recorded(&self, call: &Call) -> (u16, String, Value) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.send(call).await;
            let settled = stands(&answer.2) == stands(&call.response);
            if call.method != "GET" || settled || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A new execution was recorded, so the one that held its correlation id had ended.
    async fn free_correlation(&self, call: &Call) {
        let known = Call::reference(&call.response).is_some_and(|id| self.ids.contains_key(id));
        let request = &call.request;
        let wanted = request["correlationId"].as_str();
        let wanted = wanted.or_else(|| request["trigger"]["correlationId"].as_str());
        if let (false, Some(wanted)) = (known, wanted) {
            let free = |world: &crate::support::gate::World| {
                let holds = |run: &crate::support::gate::Run| {
                    run.correlation() == Some(wanted) && !run.has_ended()
                };
                (!world.runs().any(holds)).then_some(())
            };
            self.gate.when(DEADLINE, free).await;
        }
    }

    /// Learns what a recorded execution is called here. Calls that met in one execution there
    /// must meet here, and the others must not.
    fn learn_execution(&mut self, call: &Call, answer: &Value) {
        if let (Some(theirs), Some(ours)) =
            (Call::reference(&call.response), Call::reference(answer))
        {
            if let Some(known) = self.ids.get(theirs) {
                assert_eq!(known, ours, "{} {}", call.path, call.request);
                return;
            }
            let taken = self.ids.values().any(|known| known == ours);
            assert!(
                !taken,
                "a new execution was recorded: {} {}",
                call.path, call.request
            );
            self.ids.insert(theirs.to_owned(), ours.to_owned());
        }
    }

    /// Learns the ids of saved pipelines.
    fn learn_configs(&mut self, call: &Call) {
        if !call.path.ends_with("/pipelineConfigs") {
            return;
        }
        for config in call.response.as_array().into_iter().flatten() {
            let (application, name) = (&config["application"], &config["name"]);
            let ours = self
                .gate
                .world()
                .config(application.as_str().unwrap(), name.as_str().unwrap())
                .map(|ours| ours["id"].as_str().unwrap().to_owned());
            if let (Some(ours), Some(theirs)) = (ours, config["id"].as_str()) {
                self.ids.insert(theirs.to_owned(), ours);
            }
        }
    }

    /// Learns the ids of the stages of a recorded execution.
    fn learn_stages(&mut self, call: &Call) {
        let ours = call
            .execution_in_path()
            .and_then(|id| self.gate.execution(self.ids.get(id)?));
        let (Some(ours), Some(theirs)) = (ours, call.response["stages"].as_array()) else {
            return;
        };
        for (theirs, ours) in theirs.iter().zip(ours["stages"].as_array().unwrap()) {
            let id = |stage: &Value| stage["id"].as_str().unwrap().to_owned();
            self.ids.insert(id(theirs), id(ours));
        }
    }
}

/// Answers the recorded webhook stages as their far end did.
async fn serve_hook() -> String {
    let answer = |uri: Uri, body: String| async move {
        let known = uri.path() == "/rollback";
        let status = if known { 200 } else { 404 };
        let body = json!({"echo": body, "ok": known, "path": uri.path(), "status": "SUCCEEDED"});
        (
            axum::http::StatusCode::from_u16(status).unwrap(),
            axum::Json(body),
        )
            .into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    base
}

/// Statuses of executions and their stages, in the order of the answer.
fn stands(answer: &Value) -> Vec<String> {
    let one = |run: &Value| {
        let stages = run["stages"].as_array().into_iter().flatten();
        let stages: Vec<&str> = stages
            .filter_map(|stage| stage["status"].as_str())
            .collect();
        format!("{} {stages:?}", run["status"])
    };
    match answer {
        Value::Array(runs) => runs.iter().map(one).collect(),
        run => vec![one(run)],
    }
}

/// Collects differences: other keys, other types, other values.
fn differences(theirs: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            let (mut theirs, mut ours) = (keys(a), keys(b));
            theirs.sort();
            ours.sort();
            if theirs != ours {
                found.push(format!("{at}: keys {theirs:?}, here {ours:?}"));
            }
            for (key, value) in a
                .iter()
                .filter(|(key, _)| !VOLATILE.contains(&key.as_str()))
            {
                if let Some(other) = b.get(key) {
                    differences(value, other, &format!("{at}.{key}"), found);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{at}[{n}]"), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{at}: {a}, here {b}")),
    }
}

#[tokio::test]
async fn recorded_calls_are_answered_as_the_real_gate_did() {
    let mut replay = Replay::start().await;
    let (mut replayed, mut found) = (0, Vec::new());
    for (row, line) in TRANSCRIPT.lines().enumerate() {
        let call: Call = serde_json::from_str(line).unwrap();
        if !call.is_ours() {
            continue;
        }
        // Executions of calls that our client does not make are not there, and those it made may
        // have been deleted by one.
        if let Some(id) = call.execution_in_path()
            && replay.ids.contains_key(id) == (call.status == 404)
        {
            continue;
        }
        replay.gate.set_orca_down(OUTAGE.contains(&row));
        if call.is_trigger() && matches!(call.status, 200 | 202) {
            replay.free_correlation(&call).await;
        }
        replay.learn_configs(&call);
        replay.learn_stages(&call);
        let (status, kind, body) = replay.answer_like_recorded(&call).await;
        let name = format!("row {row} {} {}", call.method, call.path);
        if (status, &kind) != (call.status, &call.content_type) {
            found.push(format!(
                "{name}: {} {}, here {status} {kind}",
                call.status, call.content_type
            ));
        }
        if call.is_trigger() {
            replay.learn_execution(&call, &body);
        }
        if call.method != "PATCH" {
            let theirs = serde_json::from_str(&replay.ours(&call.response.to_string())).unwrap();
            differences(&theirs, &body, &name, &mut found);
        }
        replayed += 1;
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(replayed, 68, "rows of the transcript that our client makes");
    assert_eq!(replay.gate.unexpected(), []);
}
