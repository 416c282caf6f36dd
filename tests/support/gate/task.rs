//! Tasks: `POST /applications/{application}/tasks` and what is read of them.

use std::collections::HashMap;

use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Shared, engine,
    routes::{HTTP_EXCEPTION, ORCA, answer, error, orca_down, words},
    trigger::{Wanted, under_fault},
};

const CONVERSION_EXCEPTION: &str =
    "com.netflix.spinnaker.kork.retrofit.exceptions.SpinnakerConversionException";

/// Takes a task. Orca checks nothing of its jobs.
pub(super) async fn start(
    State(shared): State<Shared>,
    Path(application): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // Gate writes the application of the path into the body.
    body.insert("application".to_owned(), json!(application));
    let trigger = body.remove("trigger").unwrap_or_else(|| json!({}));
    let wanted = Wanted::Task(Value::Object(body));
    under_fault(shared, wanted, trigger).await
}

pub(super) async fn read(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let world = shared.world.lock().unwrap();
    let task = world.run(&id).filter(|run| run.is_task());
    let document = task.map(super::world::Run::task_document);
    drop(world);
    if let Some(document) = document {
        return answer(StatusCode::OK, &document);
    }
    let message = format!(
        "Status: 404, Method: GET, URL: http://{ORCA}/tasks/{id}, Message: No orchestration found \
         for {id}"
    );
    error(
        &shared,
        StatusCode::NOT_FOUND,
        Some(HTTP_EXCEPTION),
        &message,
    )
}

/// Newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    Path(application): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    let statuses = words(query.get("statuses"));
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    let world = shared.world.lock().unwrap();
    let tasks = world.runs().rev().filter(|run| {
        run.is_task()
            && run.application == application
            && (statuses.is_empty() || statuses.iter().any(|status| status == run.status))
    });
    let tasks: Vec<Value> = tasks
        .take(limit.unwrap_or(3_500))
        .map(super::world::Run::task_document)
        .collect();
    drop(world);
    answer(StatusCode::OK, &json!(tasks))
}

/// Gate can't read the empty answer of Orca, and says 500 to a cancel that worked.
pub(super) async fn cancel(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if let Some(down) = orca_down(&shared) {
        return down;
    }
    engine::cancel(&shared, &id, None);
    let message = "Failed to process response body: No content to map due to end-of-input\n at \
        [Source: (okhttp3.ResponseBody$BomAwareReader); line: 1, column: 0]";
    let code = StatusCode::INTERNAL_SERVER_ERROR;
    error(&shared, code, Some(CONVERSION_EXCEPTION), message)
}
