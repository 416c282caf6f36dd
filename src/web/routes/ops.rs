//! For operators: health, readiness, metrics, reload, modes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json as Answer};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Caller, Site};
use crate::domain::id::{Env, Service};
use crate::domain::policy::Mode;
use crate::web::api::{ModeSwitch, Refusal, SetMode};
use crate::web::body::Json;

pub(super) async fn healthy() -> &'static str {
    "backstop is alive\n"
}

/// About taking alerts in, not about others being up.
pub(super) async fn ready(State(site): State<Arc<Site>>) -> Result<&'static str, ApiError> {
    let not = |code, why: String| ApiError::unavailable(code, why, Duration::from_secs(1));
    if site.shutdown.is_cancelled() {
        return Err(not("draining", "draining".to_owned()));
    }
    match site.gateway.ready() {
        Ok(()) => Ok("backstop is ready\n"),
        Err(why) => Err(not("not_ready", why)),
    }
}

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> Result<impl IntoResponse, ApiError> {
    let text = site
        .call(|gateway| async move { Ok::<_, Refusal>(gateway.metrics().await) })
        .await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text))
}

/// 500 for a broken configuration, as Alertmanager answers; the old one stays in force.
pub(super) async fn reload(State(site): State<Arc<Site>>) -> Result<&'static str, ApiError> {
    let outcome = site
        .call(|gateway| async move { Ok::<_, Refusal>(gateway.reload().await) })
        .await?;
    match outcome {
        Ok(()) => Ok("reloaded\n"),
        Err(why) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broken_config",
            why,
        )),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default)]
    service: Option<Service>,
    #[serde(default)]
    env: Option<Env>,
    /// None takes the switch away.
    mode: Option<Mode>,
    reason: String,
}

pub(super) async fn set_mode(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Json(change): Json<Change>,
) -> Result<Answer<Vec<ModeSwitch>>, ApiError> {
    if change.reason.trim().is_empty() {
        return Err(ApiError::invalid(
            "reason_needed",
            "/reason",
            "say why; it is recorded",
        ));
    }
    let change = SetMode {
        service: change.service,
        env: change.env,
        mode: change.mode,
        reason: change.reason.trim().chars().take(1_000).collect(),
        caller,
    };
    let modes = site
        .call(|gateway| async move { gateway.set_mode(change).await })
        .await?;
    Ok(Answer(modes))
}
