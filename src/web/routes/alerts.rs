//! Where alerts come in.

use std::sync::Arc;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json as Answer, Router};
use tokio::time::Instant;

use super::{ApiError, Caller, Site, authorize, peer};
use crate::config::AccessScope;
use crate::domain::alert::Source;
use crate::web::api::{Accepted, AlertDelivery};
use crate::web::body::JsonBytes;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/webhook", post(webhook))
        .route("/api/v2/alerts", post(alerts))
}

async fn webhook(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    body: JsonBytes,
) -> Result<Answer<Accepted>, ApiError> {
    take(&site, Source::Alertmanager, caller, body).await
}

/// vmalert ≤ 1.79 takes anything but 200 for a failure.
async fn alerts(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    body: JsonBytes,
) -> Result<Answer<Accepted>, ApiError> {
    take(&site, Source::Vmalert, caller, body).await
}

/// `-notifier.url` may carry a path: `/anything/api/v2/alerts` is the same door.
pub(super) async fn elsewhere(State(site): State<Arc<Site>>, request: Request) -> Response {
    if !request.uri().path().ends_with("/api/v2/alerts") {
        return ApiError::missing("such address").into_response();
    }
    if request.method() != Method::POST {
        return super::wrong_method().await.into_response();
    }
    let taken = async {
        let caller = authorize(
            &site,
            request.headers(),
            peer(&request),
            AccessScope::Ingest,
        )
        .await
        .map_err(ApiError::closing)?;
        let body = JsonBytes::from_request(request, &site).await?;
        take(&site, Source::Vmalert, caller, body).await
    };
    taken.await.into_response()
}

async fn take(
    site: &Site,
    source: Source,
    caller: Caller,
    body: JsonBytes,
) -> Result<Answer<Accepted>, ApiError> {
    let (name, patience) = match source {
        Source::Alertmanager => ("alertmanager", site.settings.webhook_deadline),
        Source::Vmalert => ("vmalert", site.settings.vmalert_deadline),
    };
    let began = Instant::now();
    let delivery = AlertDelivery {
        source,
        body: body.bytes.clone(),
        received_at: site.clock.now(),
        deadline: began + patience,
        caller,
    };
    let deadline = delivery.deadline;
    let outcome = site
        .call_until(deadline, |gateway| async move {
            // The bytes count as in flight until the work on them is done.
            let _body = body;
            gateway.alerts(delivery).await
        })
        .await;
    let word = match &outcome {
        Ok(_) => "ok",
        Err(error) if error.status().is_client_error() => "rejected",
        Err(_) => "unavailable",
    };
    site.metrics.webhook(name, word, began.elapsed());
    if let Err(error) = &outcome
        && error.status().is_client_error()
    {
        site.metrics.rejected(name, error.code());
    }
    outcome.map(Answer)
}
