//! Starting something: `POST /pipelines/{application}/{name or id}` and tasks, with the faults a
//! test asked for.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Shared, TriggerFault,
    engine::{self, Refusal},
    routes::{FRONT50, HTTP_EXCEPTION, NETWORK_EXCEPTION, ORCA, answer, error},
    server::DropConnection,
    world::World,
};

/// What is to be started.
#[derive(Clone)]
pub(super) enum Wanted {
    /// A saved pipeline, by application and name or id.
    Pipeline(String, String),
    /// A task: application, description and jobs.
    Task(Value),
}

pub(super) async fn trigger(
    State(shared): State<Shared>,
    Path((application, pipeline)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let trigger = match serde_json::from_slice(&body) {
        Ok(trigger @ Value::Object(_)) => trigger,
        _ if body.is_empty() => json!({}),
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    under_fault(shared, Wanted::Pipeline(application, pipeline), trigger).await
}

/// Starts what is wanted, with the fault a test asked for.
pub(super) async fn under_fault(shared: Shared, wanted: Wanted, trigger: Value) -> Response {
    let (fault, down) = {
        let mut world = shared.world.lock().unwrap();
        let known = match &wanted {
            Wanted::Pipeline(application, name) => world.config(application, name).is_some(),
            Wanted::Task(_) => true,
        };
        (world.faults.pop_front(), world.orca_down && known)
    };
    let start = |trigger| started(&shared, &wanted, trigger);
    if down {
        let cause = format!("java.net.ConnectException: Failed to connect to /{ORCA}");
        return untriggered(&shared, 500, NETWORK_EXCEPTION, &wanted, &cause);
    }
    match fault {
        None => start(trigger).await,
        Some(TriggerFault::DropBefore) => dropped(),
        Some(TriggerFault::DropAfter) => {
            start(trigger).await;
            dropped()
        }
        Some(TriggerFault::DropAfterAndGone) => {
            start(trigger).await;
            shared.update(|world| world.orca_down = true);
            dropped()
        }
        Some(TriggerFault::ErrorAfter) => {
            start(trigger).await;
            let cause = "java.net.SocketTimeoutException: Read timed out";
            untriggered(&shared, 500, NETWORK_EXCEPTION, &wanted, cause)
        }
        Some(TriggerFault::AnswerLate(delay)) => {
            let response = start(trigger).await;
            tokio::time::sleep(delay).await;
            response
        }
        Some(TriggerFault::ActLate(delay)) => {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let owned = (shared.clone(), wanted.clone());
            shared.spawn(async move {
                tokio::time::sleep(delay).await;
                let (shared, wanted) = owned;
                // Nobody listens any more when the caller has gone.
                drop(sender.send(started(&shared, &wanted, trigger).await));
            });
            receiver.await.unwrap_or_else(|_| dropped())
        }
        Some(TriggerFault::Duplicate) => {
            let first = start(trigger.clone()).await;
            shared.update(World::forget_correlations);
            start(trigger).await;
            first
        }
    }
}

/// Orca looks for a running execution, then starts one; nothing holds the two together.
async fn submit(shared: &Shared, wanted: &Wanted, trigger: Value) -> Result<String, Refusal> {
    let gap = shared.world.lock().unwrap().weather.correlation_gap;
    let running = engine::look(shared, wanted, &trigger)?;
    if !gap.is_zero() {
        tokio::time::sleep(gap).await;
    }
    match running {
        Some(running) => Ok(running),
        None => engine::start(shared, wanted, trigger),
    }
}

async fn started(shared: &Shared, wanted: &Wanted, trigger: Value) -> Response {
    let (status, place) = match wanted {
        Wanted::Pipeline(..) => (StatusCode::ACCEPTED, "pipelines"),
        Wanted::Task(_) => (StatusCode::OK, "tasks"),
    };
    match submit(shared, wanted, trigger).await {
        Ok(id) => answer(status, &json!({"ref": format!("/{place}/{id}")})),
        Err(Refusal::Unknown(pipeline)) => {
            let cause = format!(
                "Pipeline configuration not found (id: {pipeline}): Status: 404, Method: GET, URL: \
                 {FRONT50}/pipelines/{pipeline}/get, Message: No pipeline found with id '{pipeline}'"
            );
            untriggered(shared, 404, HTTP_EXCEPTION, wanted, &cause)
        }
        Err(Refusal::MissingParameter(name)) => {
            let message = format!("Required parameter {name} is missing");
            let exception = Some("java.lang.IllegalArgumentException");
            error(shared, StatusCode::BAD_REQUEST, exception, &message)
        }
        Err(Refusal::Disabled) => {
            let cause = format!(
                "Status: 400, Method: POST, URL: http://{ORCA}/orchestrate?user={}, Message: \
                 Pipeline is disabled and cannot be started.",
                shared.options.username
            );
            untriggered(shared, 400, HTTP_EXCEPTION, wanted, &cause)
        }
    }
}

pub(super) fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(DropConnection);
    response
}

fn untriggered(
    shared: &Shared,
    status: u16,
    exception: &str,
    wanted: &Wanted,
    cause: &str,
) -> Response {
    let message = match wanted {
        Wanted::Pipeline(application, pipeline) => format!(
            "Unable to trigger pipeline (application: {application}, pipelineNameOrId: \
             {pipeline}). Error: {cause}"
        ),
        Wanted::Task(_) => cause.to_owned(),
    };
    error(
        shared,
        StatusCode::from_u16(status).unwrap(),
        Some(exception),
        &message,
    )
}
