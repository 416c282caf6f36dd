//! `POST /pipelines/{application}/{name or id}`, with the faults a test asked for.

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
    let (fault, down) = {
        let mut world = shared.world.lock().unwrap();
        let known = world.config(&application, &pipeline).is_some();
        (world.faults.pop_front(), world.orca_down && known)
    };
    let start = |trigger| started(&shared, &application, &pipeline, trigger);
    if down {
        let cause = format!("java.net.ConnectException: Failed to connect to /{ORCA}");
        return untriggered(
            &shared,
            500,
            NETWORK_EXCEPTION,
            (&application, &pipeline),
            &cause,
        );
    }
    match fault {
        None => start(trigger),
        Some(TriggerFault::DropBefore) => dropped(),
        Some(TriggerFault::DropAfter) => {
            start(trigger);
            dropped()
        }
        Some(TriggerFault::ErrorAfter) => {
            start(trigger);
            let cause = "java.net.SocketTimeoutException: Read timed out";
            untriggered(
                &shared,
                500,
                NETWORK_EXCEPTION,
                (&application, &pipeline),
                cause,
            )
        }
        Some(TriggerFault::AnswerLate(delay)) => {
            let response = start(trigger);
            tokio::time::sleep(delay).await;
            response
        }
        Some(TriggerFault::ActLate(delay)) => {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let owned = (shared.clone(), application.clone(), pipeline.clone());
            shared.spawn(async move {
                tokio::time::sleep(delay).await;
                let (shared, application, pipeline) = owned;
                // Nobody listens any more when the caller has gone.
                drop(sender.send(started(&shared, &application, &pipeline, trigger)));
            });
            receiver.await.unwrap_or_else(|_| dropped())
        }
        Some(TriggerFault::Duplicate) => {
            let first = start(trigger.clone());
            shared.update(World::forget_correlations);
            start(trigger);
            first
        }
    }
}

fn started(shared: &Shared, application: &str, pipeline: &str, trigger: Value) -> Response {
    let wanted = (application, pipeline);
    match engine::submit(shared, application, pipeline, trigger) {
        Ok(id) => answer(
            StatusCode::ACCEPTED,
            &json!({"ref": format!("/pipelines/{id}")}),
        ),
        Err(Refusal::Unknown) => {
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

fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(DropConnection);
    response
}

fn untriggered(
    shared: &Shared,
    status: u16,
    exception: &str,
    (application, pipeline): (&str, &str),
    cause: &str,
) -> Response {
    let message = format!(
        "Unable to trigger pipeline (application: {application}, pipelineNameOrId: {pipeline}). \
         Error: {cause}"
    );
    error(
        shared,
        StatusCode::from_u16(status).unwrap(),
        Some(exception),
        &message,
    )
}
