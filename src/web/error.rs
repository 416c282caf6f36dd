//! What a refused request is told: `application/problem+json` (RFC 9457) with a `code`.
//!
//! An [`ApiError`] becomes a response in two steps: the handler returns it, the outermost layer
//! adds the request's id, logs it once and writes the body. The cause of a 5xx is never shown.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use super::api::Refusal;

/// A refused or failed request.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    public: String,
    pointer: Option<String>,
    retry_after: Option<Duration>,
    close: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// One with this status, code for programs and text for people.
    pub fn new(status: StatusCode, code: &'static str, public: impl Into<String>) -> Self {
        Self {
            status,
            code,
            public: public.into(),
            pointer: None,
            retry_after: None,
            close: false,
            source: None,
        }
    }

    /// 400: this part of the body can never be accepted.
    pub fn invalid(code: &'static str, pointer: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            ..Self::new(StatusCode::BAD_REQUEST, code, why)
        }
    }

    /// 404.
    pub fn missing(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {what}"),
        )
    }

    /// 503: come again after `retry_after`.
    pub fn unavailable(code: &'static str, why: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, why)
        }
    }

    /// 500: a failure of our own.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "internal error",
            )
        }
    }

    /// The rest of the request is not read: the connection ends with the answer.
    #[must_use]
    pub fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    fn log(&self, request: &str) {
        let source = self.source.as_ref().map(|source| chain(&**source));
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(
                request.id = request,
                code = self.code,
                source,
                "a request failed"
            );
        } else if self.status.is_server_error() {
            tracing::warn!(
                request.id = request,
                code = self.code,
                source,
                "a request was put off: {}",
                self.public
            );
        } else {
            tracing::debug!(
                request.id = request,
                code = self.code,
                source,
                "a request was refused: {}",
                self.public
            );
        }
    }

    /// The response, with the request's id in it; also logs it.
    pub(super) fn render(&self, request: &str) -> Response<Body> {
        self.log(request);
        let mut problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.public,
            "request_id": request,
        });
        if let (Some(pointer), Some(fields)) = (&self.pointer, problem.as_object_mut()) {
            fields.insert("pointer".to_owned(), pointer.clone().into());
        }
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs().max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // Basic too: senders that only know that put the token in the password.
            let ways =
                HeaderValue::from_static("Bearer realm=\"backstop\", Basic realm=\"backstop\"");
            headers.insert(header::WWW_AUTHENTICATE, ways);
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Invalid { code, pointer, .. } => Self::invalid(code, pointer, text),
            Refusal::Missing(what) => Self::missing(&what),
            Refusal::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, text),
            Refusal::Denied { code, .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, text),
            Refusal::Unavailable { retry_after, .. } => {
                Self::unavailable("unavailable", text, retry_after)
            }
            Refusal::Failed(source) => Self::internal(source),
        }
    }
}
