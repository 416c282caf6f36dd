//! Reading: lists, single incidents with their reports, charts, pages.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json as Answer, Router};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Site, id, openapi};
use crate::domain::id::{ApprovalId, DeploymentId, Env, Host, IncidentId, ReleaseId, Service};
use crate::domain::lane::{Approval, Incident};
use crate::domain::moment;
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
        .route("/api/v1/approvals", list!(approvals))
        .route("/api/v1/approvals/{id}", get(approval))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/mode", get(modes))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/", get(front))
        .route("/incidents/{id}", get(incident_page))
        .route("/incidents/{id}/{report}", get(report))
}

/// The query of a list.
struct Asked(Filter);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFilter {
    /// Of this release.
    release_id: Option<String>,
    /// Of this service.
    service: Option<String>,
    /// Of this environment.
    env: Option<String>,
    /// Of this deployment.
    deployment_id: Option<String>,
    /// On this host; instances only.
    host: Option<String>,
    /// Not before; decisions only, as all that follows but `limit`.
    from: Option<String>,
    /// Not after.
    to: Option<String>,
    /// With this verdict.
    verdict: Option<String>,
    /// That opened or joined this incident.
    incident: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 1000, 100 when left out.
    limit: Option<usize>,
}

/// What a decision's verdict may be asked for as.
const VERDICTS: [&str; 5] = [
    "notify",
    "hold",
    "rollback",
    "rollback_batch",
    "rollback_full",
];

/// A moment in a query; without an offset it is UTC.
fn moment(site: &Site, text: &str, name: &str) -> Result<Timestamp, ApiError> {
    moment::parse(text, site.clock.now(), &TimeZone::UTC)
        .map_err(|error| ApiError::invalid("invalid_query", "", format!("{name}: {error}")))
}

impl axum::extract::FromRequestParts<Arc<Site>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        site: &Arc<Site>,
    ) -> Result<Self, ApiError> {
        let Query(raw) = Query::<RawFilter>::from_request_parts(parts, site)
            .await
            .map_err(|error| ApiError::invalid("invalid_query", "", error.body_text()))?;
        let verdict = raw.verdict.as_deref();
        if let Some(unknown) = verdict.filter(|verdict| !VERDICTS.contains(verdict)) {
            let text = format!(
                "verdict: `{}` is none of {}",
                unknown.escape_default(),
                VERDICTS.join(", ")
            );
            return Err(ApiError::invalid("invalid_query", "", text));
        }
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
            from: raw
                .from
                .map(|text| moment(site, &text, "from"))
                .transpose()?,
            to: raw.to.map(|text| moment(site, &text, "to")).transpose()?,
            incident: raw
                .incident
                .map(|text| id(IncidentId::new(text), "incident"))
                .transpose()?,
            verdict: raw.verdict,
            cursor: raw.cursor,
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

async fn approval(
    State(site): State<Arc<Site>>,
    Path(approval): Path<String>,
) -> Result<Answer<Approval>, ApiError> {
    let approval = id(ApprovalId::new(approval), "approval")?;
    let found = site
        .call(|gateway| async move { gateway.approval(approval).await })
        .await?;
    Ok(Answer(found))
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

pub(super) fn page(html: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}
