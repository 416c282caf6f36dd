//! Reads a body, JSON or a page's form: the right type, not encoded, not too large, not too slow, not too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::site::Site;

/// A JSON body, unread. It counts against the bytes in flight until it is dropped.
pub(super) struct JsonBytes {
    pub(super) bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// A form of one of our pages: its fields by name, a later one of the same name counts.
pub(super) struct Form(pub(super) BTreeMap<String, String>);

/// Longest form: a name, a reason and what else a page asks for.
const FORM_LIMIT: usize = 16 * 1024;

/// A JSON body as `T`.
pub(super) struct Json<T>(pub(super) T);

impl FromRequest<Arc<Site>> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        check_type(&parts.headers, "application/json", "not_json")?;
        read(site, &parts.headers, body, site.settings.body_limit).await
    }
}

impl FromRequest<Arc<Site>> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        check_type(
            &parts.headers,
            "application/x-www-form-urlencoded",
            "not_a_form",
        )?;
        let limit = FORM_LIMIT.min(site.settings.body_limit);
        let body = read(site, &parts.headers, body, limit).await?;
        let fields = url::form_urlencoded::parse(&body.bytes).into_owned();
        Ok(Self(fields.collect()))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Site>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        let body = JsonBytes::from_request(request, site).await?;
        let value = serde_json::from_slice::<serde_json::Value>(&body.bytes)
            .map_err(|error| ApiError::invalid("malformed", "", error.to_string()))?;
        // A list would be taken for an object, by position.
        if !value.is_object() {
            return Err(ApiError::invalid(
                "wrong_type",
                "",
                "the body must be an object",
            ));
        }
        serde_json::from_value(value)
            .map(Json)
            .map_err(|error| ApiError::invalid("invalid", "", error.to_string()))
    }
}

async fn read(
    site: &Site,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<JsonBytes, ApiError> {
    let length = content_length(headers);
    if length.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let deadline = Instant::now() + site.settings.body_deadline;
    let mut permit = reserve(site, length.unwrap_or_default())?;
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(length.unwrap_or(8 * 1024));
    loop {
        let chunk = timeout_at(deadline, chunks.next()).await.map_err(|_| {
            let text = "the body did not arrive in time";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", text).closing()
        })?;
        let Some(chunk) = chunk else {
            return Ok(JsonBytes {
                bytes: bytes.freeze(),
                _permit: permit,
            });
        };
        let chunk = chunk.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "body_cut", "the body ended early").closing()
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
        let missing = kib(bytes.len()).saturating_sub(permit.num_permits());
        if missing > 0 {
            permit.merge(reserve(site, missing * 1024)?);
        }
    }
}

fn reserve(site: &Site, length: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let amount = u32::try_from(kib(length)).unwrap_or(u32::MAX);
    let free = Arc::clone(&site.in_flight);
    free.try_acquire_many_owned(amount).map_err(|_| {
        let text = "too many bodies at once";
        ApiError::unavailable("overload", text, std::time::Duration::from_secs(1)).closing()
    })
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

fn too_large(limit: usize) -> ApiError {
    let text = format!("the body is larger than {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text).closing()
}

fn check_type(headers: &HeaderMap, wanted: &str, other: &'static str) -> Result<(), ApiError> {
    let refuse = |code, text: String| {
        Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, text).closing())
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("encoded", "encoded bodies are not read".to_owned());
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case(wanted) {
        return refuse(other, format!("the Content-Type must be {wanted}"));
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
