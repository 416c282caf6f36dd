//! Questions to people: the page behind a signed link, and answers by API.
//!
//! Chat programs fetch every link they see, so looking changes nothing. The answer is a POST that
//! only our own page can send: no other site knows the link, and no browser sends one from there.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post as on_post;
use axum::{Extension, Json as Body, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ApiError, Caller, Peer, Site, id, read};
use crate::config::channel::Locale;
use crate::domain::id::{ApprovalId, ChannelName, IncidentId};
use crate::domain::lane::{Answer, Approval, Incident, Via};
use crate::web::api::{Abandon, AnswerApproval, ApprovalAnswered, ApprovalVerdict};
use crate::web::body::{Form, Json};
use crate::web::pages::approve as pages;
use crate::web::signed::Purpose;

/// Most characters of a reason.
const REASON: usize = 1_000;
/// Ends the links of Chinese channels.
const CHINESE: &str = "?lang=zh-CN";
/// Most characters of a name.
const NAME: usize = 100;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/approvals/{id}", on_post(answer))
        .route("/api/v1/incidents/{id}/abandon", on_post(abandon))
}

/// What a link opens.
struct Opened {
    approval: ApprovalId,
    channel: ChannelName,
}

fn open(site: &Site, signed: &str) -> Option<Opened> {
    let access = site.access.load_full();
    let signer = access.signer()?;
    let name = signer.verify(Purpose::Approve, signed, site.clock.now())?;
    let (approval, channel) = name.split_once('~')?;
    Some(Opened {
        approval: ApprovalId::new(approval).ok()?,
        channel: ChannelName::new(channel).ok()?,
    })
}

/// The question, and a form while it is open. Changes nothing, however often it is fetched.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Path(signed): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let locale = locale(&uri, &headers);
    let Some(opened) = open(&site, &signed) else {
        return Ok(bad_link(locale));
    };
    let approval = find(&site, opened.approval).await?;
    let page = pages::question(&approval, site.clock.now(), None, locale);
    Ok(shown(StatusCode::OK, page.into_string()))
}

/// Takes the answer of the page's form.
pub(super) async fn post(
    State(site): State<Arc<Site>>,
    Path(signed): Path<String>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    Form(fields): Form,
) -> Result<Response, ApiError> {
    if !from_our_page(&site, &headers) {
        site.metrics.auth_failure("cross_site");
        let text = "only the page behind the link may send this";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", text));
    }
    let locale = locale(&uri, &headers);
    let Some(opened) = open(&site, &signed) else {
        return Ok(bad_link(locale));
    };
    let field = |name: &str, most| {
        let text = fields.get(name).map(|text| text.trim())?;
        (!text.is_empty()).then(|| text.chars().take(most).collect::<String>())
    };
    let verdict = match field("answer", REASON).as_deref() {
        Some("approve") => Some(ApprovalVerdict::Approve),
        Some("deny") => Some(ApprovalVerdict::Deny),
        _ => None,
    };
    let said = (verdict, field("name", NAME), field("reason", REASON));
    let (Some(verdict), Some(by), Some(reason)) = said else {
        let approval = find(&site, opened.approval).await?;
        let missing = Some(pages::Trouble::Incomplete);
        let page = pages::question(&approval, site.clock.now(), missing, locale);
        return Ok(shown(StatusCode::BAD_REQUEST, page.into_string()));
    };
    let request = AnswerApproval {
        id: opened.approval.clone(),
        verdict,
        answer: Answer {
            by,
            via: Via::Link {
                channel: opened.channel,
                from: peer.map(|Extension(Peer(address))| address.ip().to_string()),
            },
            reason,
        },
    };
    let answered = site
        .call(|gateway| async move { gateway.answer_approval(request).await })
        .await;
    match answered {
        // Back to looking: sending the page again sends no second answer.
        Ok(ApprovalAnswered { recorded: true, .. }) => {
            let lang = uri.query().map(|query| format!("?{query}"));
            let lang = lang.filter(|lang| lang == CHINESE).unwrap_or_default();
            Ok(Redirect::to(&format!("/approve/{signed}{lang}")).into_response())
        }
        Ok(ApprovalAnswered { approval, .. }) => Ok(second(&site, &approval, locale)),
        Err(refused) if refused.status() == StatusCode::CONFLICT => {
            let approval = find(&site, opened.approval).await?;
            Ok(second(&site, &approval, locale))
        }
        Err(refused) => Err(refused),
    }
}

/// Somebody, or the clock, was quicker.
fn second(site: &Site, approval: &Approval, locale: Locale) -> Response {
    let late = Some(pages::Trouble::Late);
    let page = pages::question(approval, site.clock.now(), late, locale);
    shown(StatusCode::CONFLICT, page.into_string())
}

fn bad_link(locale: Locale) -> Response {
    shown(StatusCode::FORBIDDEN, pages::bad_link(locale).into_string())
}

/// The link's own language, the channel's it was sent to; else what the browser asks for first.
fn locale(uri: &Uri, headers: &HeaderMap) -> Locale {
    if uri.query() == CHINESE.strip_prefix('?') {
        return Locale::ZhCn;
    }
    let wanted = headers.get(header::ACCEPT_LANGUAGE);
    let wanted = wanted.and_then(|value| value.to_str().ok());
    let first = wanted.and_then(|value| value.split([',', ';']).next());
    match first.map(str::trim) {
        Some(tag)
            if tag
                .get(..2)
                .is_some_and(|tag| tag.eq_ignore_ascii_case("zh")) =>
        {
            Locale::ZhCn
        }
        _ => Locale::En,
    }
}

/// A page whose own form says where it comes from; others learn nothing of the link.
fn shown(status: StatusCode, html: String) -> Response {
    let policy = (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    (status, [policy], read::page(html)).into_response()
}

/// Whether a browser says that one of our pages sends this. One that sends neither header is
/// older than any that is safe to approve with.
fn from_our_page(site: &Site, headers: &HeaderMap) -> bool {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    if let Some(from) = headers.get(FETCH_SITE) {
        return from == "same-origin";
    }
    let origin = headers.get(header::ORIGIN);
    let origin = origin.and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| site.access.load().is_own_origin(origin, headers))
}

async fn find(site: &Site, approval: ApprovalId) -> Result<Approval, ApiError> {
    site.call(|gateway| async move { gateway.approval(approval).await })
        .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    answer: ApprovalVerdict,
    reason: String,
}

/// 200 with how it stands now; 409 when it was settled otherwise.
async fn answer(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(approval): Path<String>,
    Json(said): Json<Said>,
) -> Result<Body<ApprovalAnswered>, ApiError> {
    let request = AnswerApproval {
        id: id(ApprovalId::new(approval), "approval")?,
        verdict: said.answer,
        answer: Answer {
            by: caller.name,
            via: Via::Token,
            reason: reason(&said.reason)?,
        },
    };
    site.call(|gateway| async move { gateway.answer_approval(request).await })
        .await
        .map(Body)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenUp {
    reason: String,
}

/// 200 with the incident as it stands now.
async fn abandon(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Path(incident): Path<String>,
    Json(given_up): Json<GivenUp>,
) -> Result<Body<Incident>, ApiError> {
    let request = Abandon {
        incident: id(IncidentId::new(incident), "incident")?,
        reason: reason(&given_up.reason)?,
        caller,
    };
    site.call(|gateway| async move { gateway.abandon(request).await })
        .await
        .map(Body)
}

fn reason(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() {
        let why = "say why; it is recorded";
        return Err(ApiError::invalid("reason_needed", "/reason", why));
    }
    Ok(text.chars().take(REASON).collect())
}
