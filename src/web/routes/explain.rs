//! Why: of a moment and service, of an incident, of a body that was not delivered.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json as Answer, Router};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Site, id, read};
use crate::domain::alert::Source;
use crate::domain::clock;
use crate::domain::id::{Env, IncidentId, Service};
use crate::domain::moment;
use crate::explain::{Explanation, Moment};
use crate::web::api::Explain;
use crate::web::body::JsonBytes;
use crate::web::pages;

/// Looked at on each side of a moment when nothing is said.
const WINDOW: Duration = Duration::from_mins(5);
/// Most of it.
const MAX_WINDOW: Duration = Duration::from_hours(6);

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/explain", get(answer).post(body))
        .route("/explain", get(page))
}

/// The query; a browser's form sends what was left empty, too.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::web) struct Raw {
    pub(in crate::web) service: String,
    pub(in crate::web) env: String,
    pub(in crate::web) at: String,
    pub(in crate::web) window: String,
    pub(in crate::web) time_zone: String,
    pub(in crate::web) incident: String,
}

impl Raw {
    fn read(&self, site: &Site) -> Result<Explain, ApiError> {
        let invalid = |text: String| ApiError::invalid("invalid_query", "", text);
        if !self.incident.is_empty() {
            return Ok(Explain::Incident(id(
                IncidentId::new(self.incident.as_str()),
                "incident",
            )?));
        }
        if self.service.is_empty() {
            return Err(invalid("name a `service` or an `incident`".to_owned()));
        }
        let service = id(Service::new(self.service.as_str()), "service")?;
        let env = match self.env.as_str() {
            "" => None,
            env => Some(id(Env::new(env), "env")?),
        };
        let (name, zone) = match self.time_zone.as_str() {
            "" => ("UTC", TimeZone::UTC),
            name => {
                let zone = TimeZone::get(name).map_err(|_| {
                    invalid(format!("time_zone: `{}` is none", name.escape_default()))
                })?;
                (name, zone)
            }
        };
        let now = site.clock.now();
        let at = match self.at.as_str() {
            "" => now,
            at => moment::parse(at, now, &zone).map_err(|error| invalid(format!("at: {error}")))?,
        };
        if at > now {
            return Err(invalid(format!("at: {at} is yet to come")));
        }
        let window = match self.window.as_str() {
            "" => WINDOW,
            window => humantime::parse_duration(window)
                .ok()
                .filter(|window| *window <= MAX_WINDOW)
                .ok_or_else(|| invalid("window: a duration such as 5m, at most 6h".to_owned()))?,
        };
        let moment = Moment {
            service,
            env,
            at,
            from: clock::before(at, window),
            to: clock::after(at, window).min(now),
            time_zone: name.to_owned(),
        };
        Ok(Explain::Moment(moment, zone))
    }
}

async fn explain(site: &Site, asked: Explain) -> Result<Explanation, ApiError> {
    site.call(|gateway| async move { gateway.explain(asked).await })
        .await
}

fn query(
    query: Result<Query<Raw>, axum::extract::rejection::QueryRejection>,
) -> Result<Raw, ApiError> {
    match query {
        Ok(Query(raw)) => Ok(raw),
        Err(error) => Err(ApiError::invalid("invalid_query", "", error.body_text())),
    }
}

async fn answer(
    State(site): State<Arc<Site>>,
    raw: Result<Query<Raw>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<Explanation>, ApiError> {
    let asked = query(raw)?.read(&site)?;
    explain(&site, asked).await.map(Answer)
}

/// A body as Alertmanager sends it, or a list as vmalert does: judged, and nothing else.
async fn body(
    State(site): State<Arc<Site>>,
    body: JsonBytes,
) -> Result<Answer<Explanation>, ApiError> {
    let first = body.bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let source = match first {
        Some(b'[') => Source::Vmalert,
        _ => Source::Alertmanager,
    };
    let asked = Explain::Body(source, body.bytes.clone());
    explain(&site, asked).await.map(Answer)
}

async fn page(
    State(site): State<Arc<Site>>,
    raw: Result<Query<Raw>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let raw = query(raw)?;
    let explanation = if raw.service.is_empty() && raw.incident.is_empty() {
        None
    } else {
        let asked = raw.read(&site)?;
        Some(explain(&site, asked).await?)
    };
    Ok(read::page(
        pages::explain(&raw, explanation.as_ref()).into_string(),
    ))
}
