//! What Spinnaker's webhook stages ask: batches and admission.
//!
//! Orca re-posts on any 5xx, fails the stage on a 404 or a number where it wants text, and takes
//! an unknown word for "running": so statuses are words, and starts are idempotent.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Site, id, ordinal};
use crate::domain::id::{DeploymentId, ExecutionId, IncidentId};
use crate::web::api::{
    Admit, Admitted, BatchFacts, BatchState, InstanceFacts, InstancesRecorded, RecordInstances,
    StartBatch,
};
use crate::web::body::Json;

pub(super) fn routes() -> Router<Arc<Site>> {
    let batch = "/api/v1/deployments/{id}/batches/{n}";
    Router::new()
        .route(batch, get(state).post(start))
        .route(&format!("{batch}/cancel"), post(cancel))
        .route("/api/v1/incidents/{id}/attempts/{k}/admit", post(admit))
        .route("/api/v1/deployments/{id}/instances", post(record))
        .route(
            "/api/v1/incidents/{id}/attempts/{k}/hosts",
            get(hosts_state).post(hosts_back),
        )
}

async fn start(
    State(site): State<Arc<Site>>,
    Path((deployment, n)): Path<(String, String)>,
    Json(facts): Json<BatchFacts>,
) -> Result<impl IntoResponse, ApiError> {
    let request = StartBatch {
        deployment: id(DeploymentId::new(deployment), "deployment")?,
        n: ordinal(&n, "batch")?,
        facts,
    };
    if let (None, None) = (&request.facts.service, request.facts.release_id.service()) {
        let text = "`service` is needed: the release's id does not begin with one";
        return Err(ApiError::invalid("invalid", "/service", text));
    }
    let state = site
        .call(|gateway| async move { gateway.start_batch(request).await })
        .await?;
    Ok((StatusCode::ACCEPTED, Answer(state)))
}

async fn state(
    State(site): State<Arc<Site>>,
    Path((deployment, n)): Path<(String, String)>,
) -> Result<Answer<BatchState>, ApiError> {
    let deployment = id(DeploymentId::new(deployment), "deployment")?;
    let n = ordinal(&n, "batch")?;
    let state = site
        .call(|gateway| async move { gateway.batch(deployment, n).await })
        .await?;
    Ok(Answer(state))
}

async fn cancel(
    State(site): State<Arc<Site>>,
    Path((deployment, n)): Path<(String, String)>,
) -> Result<Answer<BatchState>, ApiError> {
    let deployment = id(DeploymentId::new(deployment), "deployment")?;
    let n = ordinal(&n, "batch")?;
    let state = site
        .call(|gateway| async move { gateway.cancel_batch(deployment, n).await })
        .await?;
    Ok(Answer(state))
}

async fn record(
    State(site): State<Arc<Site>>,
    Path(deployment): Path<String>,
    Json(facts): Json<InstanceFacts>,
) -> Result<Answer<InstancesRecorded>, ApiError> {
    let request = RecordInstances {
        deployment: id(DeploymentId::new(deployment), "deployment")?,
        facts,
    };
    let recorded = site
        .call(|gateway| async move { gateway.record_instances(request).await })
        .await?;
    Ok(Answer(recorded))
}

/// The stage's payload: `{"execution": "${execution.id}"}`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Asking {
    execution: String,
}

fn asked(incident: String, attempt: &str, asking: Asking) -> Result<Admit, ApiError> {
    let execution = ExecutionId::new(asking.execution)
        .map_err(|error| ApiError::invalid("invalid_id", "/execution", error.to_string()))?;
    Ok(Admit {
        incident: id(IncidentId::new(incident), "incident")?,
        attempt: ordinal(attempt, "attempt")?,
        execution,
    })
}

async fn admit(
    State(site): State<Arc<Site>>,
    Path((incident, attempt)): Path<(String, String)>,
    Json(asking): Json<Asking>,
) -> Result<Answer<Admitted>, ApiError> {
    let request = asked(incident, &attempt, asking)?;
    let admitted = site
        .call(|gateway| async move { gateway.admit(request).await })
        .await?;
    Ok(Answer(admitted))
}

/// The hosts of the rollback's plan, and only those, go back: agents are told.
async fn hosts_back(
    State(site): State<Arc<Site>>,
    Path((incident, attempt)): Path<(String, String)>,
    Json(asking): Json<Asking>,
) -> Result<impl IntoResponse, ApiError> {
    let request = asked(incident, &attempt, asking)?;
    let state = site
        .call(|gateway| async move { gateway.hosts_back(request).await })
        .await?;
    Ok((StatusCode::ACCEPTED, Answer(state)))
}

async fn hosts_state(
    State(site): State<Arc<Site>>,
    Path((incident, attempt)): Path<(String, String)>,
) -> Result<Answer<BatchState>, ApiError> {
    let incident = id(IncidentId::new(incident), "incident")?;
    let attempt = ordinal(&attempt, "attempt")?;
    let state = site
        .call(|gateway| async move { gateway.hosts_back_state(incident, attempt).await })
        .await?;
    Ok(Answer(state))
}
