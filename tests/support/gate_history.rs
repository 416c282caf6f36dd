//! A stand-in for a Gate that only remembers: saved pipelines and executions that are over or under
//! way, listed as the real one lists them. `limit` counts per pipeline, newest first; without
//! `expand` the stages' contexts and outputs are left out; ids that are not there are left out
//! without a word. An unknown path is 404 and remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

/// What it remembers, and how it was asked.
#[derive(Debug, Default)]
pub struct Memory {
    /// Names of the saved pipelines by application; a pipeline's id is `<application>-<name>`.
    pub pipelines: BTreeMap<String, Vec<String>>,
    /// Whole, in any order.
    pub executions: Vec<Value>,
    /// Calls that were answered.
    pub calls: u64,
    /// Paths that nobody has.
    pub unexpected: Vec<String>,
}

/// A running stand-in.
#[derive(Debug, Clone)]
pub struct GateHistory {
    pub url: String,
    memory: Arc<Mutex<Memory>>,
}

impl GateHistory {
    pub async fn start() -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new()
            .route("/applications/{application}/pipelineConfigs", get(configs))
            .route("/executions", get(executions))
            .fallback(unknown)
            .with_state(Arc::clone(&memory));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, memory }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }
}

type Shared = State<Arc<Mutex<Memory>>>;

async fn configs(State(memory): Shared, Path(application): Path<String>) -> Response {
    let mut memory = memory.lock().unwrap();
    memory.calls += 1;
    let names = memory.pipelines.get(&application).into_iter().flatten();
    let config = |name: &String| json!({"id": format!("{application}-{name}"), "name": name, "application": application, "stages": []});
    axum::Json(names.map(config).collect::<Vec<_>>()).into_response()
}

async fn executions(
    State(memory): Shared,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut memory = memory.lock().unwrap();
    memory.calls += 1;
    let expand = query.get("expand").is_none_or(|expand| expand == "true");
    let words = |name: &str| -> Vec<String> {
        let text = query.get(name).map(String::as_str).unwrap_or_default();
        let words = text.split(',').filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (ids, pipelines) = (words("executionIds"), words("pipelineConfigIds"));
    let mut found: Vec<&Value> = Vec::new();
    for id in &ids {
        found.extend(memory.executions.iter().filter(|one| one["id"] == **id));
    }
    let limit: usize = query.get("limit").map_or(1, |limit| limit.parse().unwrap());
    for pipeline in &pipelines {
        let of = memory.executions.iter();
        let mut of: Vec<&Value> = of
            .filter(|one| one["pipelineConfigId"] == **pipeline)
            .collect();
        of.sort_by_key(|one| std::cmp::Reverse(one["buildTime"].as_i64()));
        found.extend(of.into_iter().take(limit));
    }
    let found: Vec<Value> = found
        .into_iter()
        .cloned()
        .map(|one| shown(one, expand))
        .collect();
    axum::Json(found).into_response()
}

fn shown(mut execution: Value, expand: bool) -> Value {
    let stages = execution["stages"].as_array_mut();
    for stage in stages.into_iter().flatten().filter(|_| !expand) {
        stage["context"] = json!({});
        stage["outputs"] = json!({});
        stage["tasks"] = json!([]);
    }
    execution
}

async fn unknown(State(memory): Shared, uri: axum::http::Uri) -> StatusCode {
    memory.lock().unwrap().unexpected.push(uri.to_string());
    StatusCode::NOT_FOUND
}
