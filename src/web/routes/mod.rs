//! The routes, and what every request passes on its way to one.

mod agent;
mod alerts;
mod approve;
mod deploy;
mod discovery;
pub(super) mod explain;
mod openapi;
mod ops;
mod read;
mod rollback;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use futures::FutureExt as _;
use tracing::Instrument as _;

use super::access::Caller;
use super::error::ApiError;
use super::site::Site;
use crate::config::AccessScope;

pub use openapi::openapi;

/// Where a request comes from; put in by the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Marks an answer that may take longer than a connection may idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streamed;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// No script, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// All routes over a site.
pub fn router(site: Arc<Site>) -> Router {
    let open = Router::new()
        .route("/-/healthy", get(ops::healthy))
        .route("/-/ready", get(ops::ready))
        .route("/metrics", get(ops::metrics));
    let named = Router::new()
        .route("/charts/{signed}", get(read::chart))
        .route("/style.css", get(read::style))
        .route("/approve/{signed}", get(approve::page).post(approve::post))
        .merge(scoped(&site, AccessScope::Ingest, alerts::routes()))
        .merge(scoped(&site, AccessScope::Deploy, deploy::routes()))
        .merge(scoped(&site, AccessScope::Agent, agent::routes()))
        .merge(scoped(
            &site,
            AccessScope::Rollback,
            rollback::routes().merge(approve::routes()),
        ))
        .merge(scoped(&site, AccessScope::Read, read::routes()))
        .merge(scoped(&site, AccessScope::Read, explain::routes()))
        .merge(scoped(&site, AccessScope::Read, discovery::routes()))
        .merge(scoped(
            &site,
            AccessScope::Admin,
            Router::new()
                .route("/-/reload", post(ops::reload))
                .route("/api/v1/mode", axum::routing::put(ops::set_mode)),
        ))
        .fallback(alerts::elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), names));
    named
        .merge(open)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&site),
            every_request,
        ))
        .with_state(site)
}

fn scoped(site: &Arc<Site>, scope: AccessScope, routes: Router<Arc<Site>>) -> Router<Arc<Site>> {
    let site = Arc::clone(site);
    let layer = middleware::from_fn(move |request: Request, next: Next| {
        let site = Arc::clone(&site);
        async move {
            match authorize(&site, request.headers(), peer(&request), scope).await {
                Ok(caller) => {
                    let mut request = request;
                    request.extensions_mut().insert(caller);
                    next.run(request).await
                }
                Err(refused) => refused.closing().into_response(),
            }
        }
    });
    routes.route_layer(layer)
}

fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// Who asks, if they may.
async fn authorize(
    site: &Site,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    scope: AccessScope,
) -> Result<Caller, ApiError> {
    let identified = site.access.load_full().identify(headers, peer).await;
    let caller = match identified {
        Ok(caller) => caller,
        Err(stranger) => {
            site.metrics.auth_failure(stranger.reason());
            if stranger == super::access::Stranger::WrongToken {
                site.guessed(peer.map(|peer| peer.ip())).await;
            }
            return Err(stranger.error());
        }
    };
    caller
        .must(scope)
        .inspect_err(|_| site.metrics.auth_failure("scope"))?;
    Ok(caller)
}

/// Answers only to our own names, and no page of another site may post here.
async fn names(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response<Body> {
    if let Err(refused) = site
        .access
        .load()
        .check_host(request.uri(), request.headers())
    {
        site.metrics.auth_failure("host");
        return refused.closing().into_response();
    }
    let from = request
        .headers()
        .get("sec-fetch-site")
        .map(HeaderValue::as_bytes);
    let foreign = from.is_some_and(|from| from != b"same-origin" && from != b"none");
    if foreign && request.method() != Method::GET && request.method() != Method::HEAD {
        site.metrics.auth_failure("cross_site");
        let text = "pages of other sites may not do this";
        return ApiError::new(StatusCode::FORBIDDEN, "cross_site", text).into_response();
    }
    next.run(request).await
}

/// An id, a span, a number, headers; and the body of refusals.
async fn every_request(
    State(site): State<Arc<Site>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let span = tracing::info_span!("request", request.id = id);
    let run = next.run(request).instrument(span.clone());
    let answer = std::panic::AssertUnwindSafe(run).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| {
        site.metrics.panic();
        ApiError::internal("a handler panicked").into_response()
    });
    if let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() {
        response = span.in_scope(|| error.render(&id));
    }
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    site.metrics.request(route, response.status().as_u16());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn wrong_method() -> ApiError {
    let text = "this address does not take this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", text)
}

/// A path part as an id, else 400.
fn id<T>(made: Result<T, crate::domain::id::InvalidId>, what: &str) -> Result<T, ApiError> {
    made.map_err(|error| ApiError::invalid("invalid_id", "", format!("{what}: {error}")))
}

/// A path part as a number from 1.
fn ordinal(text: &str, what: &str) -> Result<u32, ApiError> {
    let number = text.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| {
        ApiError::invalid(
            "invalid_number",
            "",
            format!("{what} must be a number from 1"),
        )
    })
}
