//! What agents ask: the order of their host, its files, and to take their records.
//!
//! A token of a host opens that host's affairs and nothing else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json as Answer, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Caller, Site, Streamed, id};
use crate::domain::agent::{Polled, Record};
use crate::domain::id::{Env, Host, ReleaseId, Service};
use crate::web::api::{AgentAsk, Recorded};
use crate::web::body::Json;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/agent/desired", get(desired))
        .route("/api/v1/agent/records", post(records))
        .route("/api/v1/agent/artifacts/{release}/{what}", get(artifact))
}

/// Which service of its host an agent looks after.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The service.
    service: Service,
    /// Where it runs.
    env: Env,
}

/// The host that the caller's token names.
fn host_of(caller: &Caller) -> Result<Host, ApiError> {
    caller.host.clone().ok_or_else(|| {
        let text = "this needs a token that names its host";
        ApiError::new(StatusCode::FORBIDDEN, "no_host", text)
    })
}

/// Answered 304 while the order is the one that `If-None-Match` names.
async fn desired(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(Wanted { service, env }) =
        wanted.map_err(|error| ApiError::invalid("invalid_query", "", error.body_text()))?;
    let host = host_of(&caller)?;
    let ask = AgentAsk { host, service, env };
    let polled = site
        .call(|gateway| async move { gateway.agent_desired(ask).await })
        .await?;
    let tag = tag(&polled);
    let known = headers.get(header::IF_NONE_MATCH);
    let tag = HeaderValue::from_str(&tag).map_err(ApiError::internal)?;
    if known == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Answer(polled)).into_response())
}

/// Signed addresses differ each time: the order is known by its epoch, and the pause by itself.
fn tag(polled: &Polled) -> String {
    let epoch = polled
        .desired
        .as_ref()
        .map_or(0, |order| order.desired.epoch);
    format!("\"{epoch}-{}\"", polled.poll.as_millis())
}

/// What an agent tells, in order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// The service.
    service: Service,
    /// Where it runs.
    env: Env,
    /// At most 100.
    records: Vec<Record>,
}

async fn records(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Json(told): Json<Told>,
) -> Result<Answer<Recorded>, ApiError> {
    let ask = AgentAsk {
        host: host_of(&caller)?,
        service: told.service,
        env: told.env,
    };
    let records = told.records;
    let recorded = site
        .call(|gateway| async move { gateway.agent_records(ask, records).await })
        .await?;
    Ok(Answer(recorded))
}

async fn artifact(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path((release, what)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let host = host_of(&caller)?;
    let release = id(ReleaseId::new(release), "release")?;
    let file = site
        .call(|gateway| async move { gateway.agent_artifact(host, release, what).await })
        .await?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(file.size)),
    ];
    let body = Body::from_stream(file.pieces);
    Ok((headers, Extension(Streamed), body).into_response())
}
