//! Gate's paths, and its error bodies to the letter.

use std::collections::HashMap;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use serde_json::{Value, json};

use super::{
    Recorded, Shared, clouddriver,
    door::{auth_user, front_door, login_page},
    engine, task,
    trigger::trigger,
};

/// Addresses of the recorded Front50 and Orca, which Gate's messages name.
pub(super) const FRONT50: &str = "http://127.0.0.1:18080";
pub(super) const ORCA: &str = "127.0.0.1:18083";

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
pub(super) const HTTP_EXCEPTION: &str =
    "com.netflix.spinnaker.kork.retrofit.exceptions.SpinnakerHttpException";
pub(super) const NETWORK_EXCEPTION: &str =
    "com.netflix.spinnaker.kork.retrofit.exceptions.SpinnakerNetworkException";

type Queries = Query<HashMap<String, String>>;

/// All paths.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/login", get(login_page))
        .route("/auth/user", get(auth_user))
        .route("/pipelines", post(save))
        .route("/pipelines/{application}/{pipeline}", post(trigger))
        .route("/pipelines/{id}", get(execution))
        .route("/pipelines/{id}/cancel", put(cancel))
        .route("/pipelines/{id}/stages/{stage}", patch(judge))
        .route("/pipelines/{id}/pause", put(pause))
        .route("/pipelines/{id}/resume", put(resume))
        .route(
            "/applications/{application}/tasks",
            post(task::start).get(task::list),
        )
        .route("/tasks/{id}", get(task::read))
        .route("/tasks/{id}/cancel", put(task::cancel))
        .route(
            "/applications/{application}/serverGroups",
            get(clouddriver::server_groups),
        )
        .route("/executions", get(executions))
        .route(
            "/applications/{application}/pipelines",
            get(application_executions),
        )
        .route("/applications/{application}/pipelineConfigs", get(configs))
        .route("/applications/{application}/executions/search", get(search))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(shared.clone(), front_door))
        .with_state(shared)
}

async fn health() -> Response {
    let kind = "application/vnd.spring-boot.actuator.v3+json";
    (
        [(header::CONTENT_TYPE, kind)],
        json!({"status": "UP"}).to_string(),
    )
        .into_response()
}

async fn save(State(shared): State<Shared>, body: Bytes) -> Response {
    let Ok(config @ Value::Object(_)) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match shared.update(|world| world.save(config)) {
        Ok(_) => StatusCode::OK.into_response(),
        Err(message) => error(
            &shared,
            StatusCode::BAD_REQUEST,
            Some(HTTP_EXCEPTION),
            &message,
        ),
    }
}

async fn configs(State(shared): State<Shared>, Path(application): Path<String>) -> Response {
    let configs = shared.world.lock().unwrap().configs_of(&application);
    answer(StatusCode::OK, &json!(configs))
}

async fn execution(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let document = shared
        .world
        .lock()
        .unwrap()
        .run(&id)
        .filter(|run| !run.is_task())
        .map(|run| run.document(true));
    if let Some(document) = document {
        return answer(StatusCode::OK, &document);
    }
    let exception = "com.netflix.spinnaker.kork.web.exceptions.NotFoundException";
    let message = format!("Pipeline not found (id: {id})");
    error(&shared, StatusCode::NOT_FOUND, Some(exception), &message)
}

async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Queries,
) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let reason = query.get("reason").cloned();
    if engine::cancel(&shared, &id, reason.clone()) {
        return StatusCode::OK.into_response();
    }
    let reason = reason
        .map(|reason| format!("reason={reason}&"))
        .unwrap_or_default();
    let message = format!(
        "Status: 404, Method: PUT, URL: http://{ORCA}/pipelines/{id}/cancel?{reason}force=false, \
         Message: No pipeline found for {id}"
    );
    error(
        &shared,
        StatusCode::NOT_FOUND,
        Some(HTTP_EXCEPTION),
        &message,
    )
}

async fn pause(shared: State<Shared>, id: Path<String>) -> Response {
    paused(&shared, &id, true)
}

async fn resume(shared: State<Shared>, id: Path<String>) -> Response {
    paused(&shared, &id, false)
}

fn paused(shared: &Shared, id: &str, paused: bool) -> Response {
    if let Some(down) = orca_down(shared) {
        return down;
    }
    if engine::pause(shared, id, paused) {
        return StatusCode::OK.into_response();
    }
    let message = format!("No pipeline found for {id}");
    let code = StatusCode::NOT_FOUND;
    error(shared, code, Some(HTTP_EXCEPTION), &message)
}

async fn judge(
    State(shared): State<Shared>,
    Path((id, stage)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let Ok(Value::Object(change)) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let changed = shared.update(|world| {
        let run = world.run_mut(&id)?;
        run.stages
            .iter_mut()
            .find(|s| s.id == stage)?
            .context
            .extend(change);
        Some(run.document(true))
    });
    if let Some(document) = changed {
        return answer(StatusCode::OK, &document);
    }
    let message = format!("No stage found (id: {stage})");
    error(
        &shared,
        StatusCode::NOT_FOUND,
        Some(HTTP_EXCEPTION),
        &message,
    )
}

async fn executions(State(shared): State<Shared>, Query(query): Queries) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let expand = query.get("expand").is_none_or(|expand| expand == "true");
    let world = shared.world.lock().unwrap();
    let ids = words(query.get("executionIds"));
    let runs: Vec<_> = if ids.is_empty() {
        let limit = query
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(1);
        world.list(
            &words(query.get("pipelineConfigIds")),
            limit,
            &words(query.get("statuses")),
        )
    } else {
        ids.iter().filter_map(|id| world.run(id)).collect()
    };
    answer(
        StatusCode::OK,
        &runs.iter().map(|run| run.document(expand)).collect(),
    )
}

async fn application_executions(
    State(shared): State<Shared>,
    Path(application): Path<String>,
    Query(query): Queries,
) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let expand = query.get("expand").is_none_or(|expand| expand == "true");
    let filter = query
        .get("pipelineNameFilter")
        .map(|name| name.to_lowercase())
        .unwrap_or_default();
    let world = shared.world.lock().unwrap();
    let named = |c: &Value| {
        c["name"]
            .as_str()
            .is_some_and(|n| n.to_lowercase().contains(&filter))
    };
    let configs = world.configs_of(&application).into_iter().filter(named);
    let ids: Vec<String> = configs
        .filter_map(|c| Some(c["id"].as_str()?.to_owned()))
        .collect();
    let limit = query
        .get("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(10);
    let runs = world.list(&ids, limit, &words(query.get("statuses")));
    answer(
        StatusCode::OK,
        &runs.iter().map(|run| run.document(expand)).collect(),
    )
}

/// With Redis storage the real one can search for ever; here it always does.
async fn search(
    State(shared): State<Shared>,
    Extension(recorded): Extension<Recorded>,
) -> Response {
    shared.update(|world| world.unexpected.push(recorded));
    std::future::pending().await
}

async fn unknown(
    State(shared): State<Shared>,
    Extension(recorded): Extension<Recorded>,
) -> Response {
    shared.update(|world| world.unexpected.push(recorded));
    error(&shared, StatusCode::NOT_FOUND, None, "No message available")
}

pub(super) fn words(joined: Option<&String>) -> Vec<String> {
    let joined = joined.map(String::as_str).unwrap_or_default();
    joined
        .split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(super) fn orca_down(shared: &Shared) -> Option<Response> {
    if !shared.world.lock().unwrap().orca_down {
        return None;
    }
    let message = format!("java.net.ConnectException: Failed to connect to /{ORCA}");
    Some(error(
        shared,
        StatusCode::INTERNAL_SERVER_ERROR,
        Some(NETWORK_EXCEPTION),
        &message,
    ))
}

pub(super) fn error(
    shared: &Shared,
    status: StatusCode,
    exception: Option<&str>,
    message: &str,
) -> Response {
    let now = jiff::Timestamp::from_millisecond(shared.now()).unwrap();
    let mut body = json!({
        "error": status.canonical_reason(), "message": message, "status": status.as_u16(),
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00").to_string(),
    });
    if let Some(exception) = exception {
        body["exception"] = json!(exception);
    }
    answer(status, &body)
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
