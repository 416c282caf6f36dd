//! Rollbacks that people ask for: first the plan, then the deed, under a key of the asker's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json as Answer, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Caller, Site};
use crate::domain::decision::Scope;
use crate::domain::id::{self, DeploymentId, Env, ReleaseId, Service};
use crate::web::api::{ApplyRollback, Expect, RollbackRequest};
use crate::web::body::Json;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new().route("/api/v1/rollbacks", post(rollback))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    service: Service,
    env: Env,
    scope: Scope,
    #[serde(default)]
    deployment_id: Option<DeploymentId>,
    #[serde(default)]
    target: Option<ReleaseId>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    expect: Option<Expect>,
    #[serde(default)]
    override_hold: bool,
}

/// 200 with a plan for `dry_run`; else 202, or 200 when this key did it before.
async fn rollback(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(asked): Json<Asked>,
) -> Result<Response, ApiError> {
    if let Scope::Batch(batches) = &asked.scope
        && (batches.is_empty() || batches.contains(&0))
    {
        let text = "name at least one batch, counted from 1";
        return Err(ApiError::invalid("invalid", "/scope/batch", text));
    }
    let request = RollbackRequest {
        service: asked.service,
        env: asked.env,
        scope: asked.scope,
        deployment_id: asked.deployment_id,
        target: asked.target,
    };
    if asked.dry_run {
        let plan = site
            .call(|gateway| async move { gateway.plan_rollback(request).await })
            .await?;
        return Ok(Answer(plan).into_response());
    }
    let reason = asked.reason.trim();
    if reason.is_empty() {
        return Err(ApiError::invalid(
            "reason_needed",
            "/reason",
            "say why; it is recorded",
        ));
    }
    let Some(expect) = asked.expect else {
        let text = "say what you saw in the plan: {\"current\": …, \"target\": …}";
        return Err(ApiError::invalid("expect_needed", "/expect", text));
    };
    let apply = ApplyRollback {
        request,
        reason: reason.chars().take(1_000).collect(),
        expect,
        key: key(&headers)?,
        override_hold: asked.override_hold,
        caller,
    };
    let opened = site
        .call(|gateway| async move { gateway.apply_rollback(apply).await })
        .await?;
    let status = if opened.created {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Answer(opened)).into_response())
}

fn key(headers: &HeaderMap) -> Result<String, ApiError> {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    match key {
        Some(key) if id::is_id(key) => Ok(key.to_owned()),
        Some(_) => {
            let text = "the Idempotency-Key must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,127}";
            Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_key", text))
        }
        None => {
            let text = "an Idempotency-Key header is needed: the same key never rolls back twice";
            Err(ApiError::new(StatusCode::BAD_REQUEST, "key_needed", text))
        }
    }
}
