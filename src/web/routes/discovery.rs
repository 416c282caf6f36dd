//! For vmalert and vmagent: the rules to evaluate, the hosts to scrape, and what runs on them.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json as Answer, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Site};
use crate::domain::id::{Env, Service};
use crate::web::api::{Refusal, TargetGroup};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/canary/rules.yaml", get(canary_rules))
        .route("/api/v1/http_sd", get(targets))
        .route("/metrics/deployments", get(info_series))
}

/// For `-rule=http://…` of vmalert, which takes exactly 200 for an answer.
async fn canary_rules(State(site): State<Arc<Site>>) -> Result<impl IntoResponse, ApiError> {
    let text = site
        .call(|gateway| async move { gateway.canary_rules().await })
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Of this service.
    service: Option<Service>,
    /// Of this environment.
    env: Option<Env>,
    /// Where the hosts tell their metrics.
    port: u16,
}

async fn targets(
    State(site): State<Arc<Site>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<Vec<TargetGroup>>, ApiError> {
    let Query(Wanted { service, env, port }) =
        wanted.map_err(|error| ApiError::invalid("invalid_query", "", error.body_text()))?;
    let found = site
        .call(|gateway| async move { Ok::<_, Refusal>(gateway.targets(service, env, port).await) })
        .await?;
    Ok(Answer(found))
}

async fn info_series(State(site): State<Arc<Site>>) -> Result<impl IntoResponse, ApiError> {
    let text = site
        .call(|gateway| async move { Ok::<_, Refusal>(gateway.info_series().await) })
        .await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text))
}
