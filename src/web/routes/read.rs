//! Reading: lists, single incidents with their reports, charts, pages.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json as Answer, Router};
use serde::Deserialize;

use super::{ApiError, Site, id};
use crate::domain::id::{DeploymentId, Env, Host, IncidentId, ReleaseId, Service};
use crate::domain::lane::Incident;
use crate::web::api::{Filter, ModeSwitch, Page, ReportFormat};
use crate::web::pages;
use crate::web::signed::Purpose;

/// Items of a list that are given when nothing is said.
const LIMIT: usize = 100;
/// Most items of a list.
const MAX_LIMIT: usize = 1_000;
/// Items of each list on the front page.
const FRONT: usize = 20;

macro_rules! list {
    ($method:ident) => {
        get(
            async |State(site): State<Arc<Site>>, Asked(filter): Asked| {
                site.call(|gateway| async move { gateway.$method(filter).await })
                    .await
                    .map(Answer)
            },
        )
    };
}

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/releases", list!(releases))
        .route("/api/v1/deployments", list!(deployments))
        .route("/api/v1/instances", list!(instances))
        .route("/api/v1/alerts", list!(alert_records))
        .route("/api/v1/incidents", list!(incidents))
        .route("/api/v1/decisions", list!(decisions))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/mode", get(modes))
        .route("/", get(front))
        .route("/incidents/{id}", get(incident_page))
        .route("/incidents/{id}/{report}", get(report))
}

/// The query of a list.
struct Asked(Filter);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFilter {
    release_id: Option<String>,
    service: Option<String>,
    env: Option<String>,
    deployment_id: Option<String>,
    host: Option<String>,
    limit: Option<usize>,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, ApiError> {
        let Query(raw) = Query::<RawFilter>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::invalid("invalid_query", "", error.body_text()))?;
        let filter = Filter {
            release_id: raw
                .release_id
                .map(|text| id(ReleaseId::new(text), "release_id"))
                .transpose()?,
            service: raw
                .service
                .map(|text| id(Service::new(text), "service"))
                .transpose()?,
            env: raw.env.map(|text| id(Env::new(text), "env")).transpose()?,
            deployment_id: raw
                .deployment_id
                .map(|text| id(DeploymentId::new(text), "deployment_id"))
                .transpose()?,
            host: raw
                .host
                .map(|text| id(Host::new(text), "host"))
                .transpose()?,
            limit: raw.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT),
        };
        Ok(Self(filter))
    }
}

async fn incident(
    State(site): State<Arc<Site>>,
    Path(incident): Path<String>,
) -> Result<Answer<Incident>, ApiError> {
    Ok(Answer(find(&site, incident).await?))
}

async fn find(site: &Site, incident: String) -> Result<Incident, ApiError> {
    let incident = id(IncidentId::new(incident), "incident")?;
    site.call(|gateway| async move { gateway.incident(incident).await })
        .await
}

async fn modes(State(site): State<Arc<Site>>) -> Result<Answer<Vec<ModeSwitch>>, ApiError> {
    let modes = site
        .call(|gateway| async move { gateway.modes().await })
        .await?;
    Ok(Answer(modes))
}

async fn front(
    State(site): State<Arc<Site>>,
    Asked(mut filter): Asked,
) -> Result<Response, ApiError> {
    filter.limit = filter.limit.min(FRONT);
    let lists = site
        .call(|gateway| async move {
            futures::try_join!(
                gateway.incidents(filter.clone()),
                gateway.deployments(filter.clone()),
                gateway.releases(filter),
            )
        })
        .await?;
    let (incidents, deployments, releases): (_, _, Page<_>) = lists;
    Ok(page(
        pages::front(&incidents, &deployments, &releases).into_string(),
    ))
}

async fn incident_page(
    State(site): State<Arc<Site>>,
    Path(incident): Path<String>,
) -> Result<Response, ApiError> {
    let incident = find(&site, incident).await?;
    Ok(page(pages::incident(&incident).into_string()))
}

async fn report(
    State(site): State<Arc<Site>>,
    Path((incident, file)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let incident = id(IncidentId::new(incident), "incident")?;
    let (format, kind) = match file.as_str() {
        "report.json" => (ReportFormat::Json, "application/json"),
        "report.md" => (ReportFormat::Markdown, "text/markdown; charset=utf-8"),
        "report.html" => (ReportFormat::Html, "text/html; charset=utf-8"),
        _ => return Err(ApiError::missing("such report")),
    };
    let bytes = site
        .call(|gateway| async move { gateway.report(incident, format).await })
        .await?;
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// Open to whoever has the link: chat programs fetch it without a token.
pub(super) async fn chart(
    State(site): State<Arc<Site>>,
    Path(signed): Path<String>,
) -> Result<Response, ApiError> {
    let refuse = || {
        let text = "this link was not made here, or is too old";
        ApiError::new(StatusCode::FORBIDDEN, "bad_link", text)
    };
    let access = site.access.load_full();
    let signer = access.signer().ok_or_else(refuse)?;
    let signed = signed.strip_suffix(".png").ok_or_else(refuse)?;
    let now = site.clock.now();
    let chart = signer
        .verify(Purpose::Chart, signed, now)
        .ok_or_else(refuse)?;
    let png = site
        .call(|gateway| async move { gateway.chart(chart).await })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
    ];
    Ok((headers, png).into_response())
}

pub(super) async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, pages::STYLE)
}

fn page(html: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}
