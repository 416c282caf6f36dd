//! What an answer of Gate says: a status alone never tells (a bad login is a redirect, a dead
//! backend a 500, a cancel an empty 200).

use bytes::Bytes;
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::de::DeserializeOwned;

use super::{
    ExecutionId, TriggerError,
    failure::shortened,
    wire::{ErrorBody, Started, TriggerAnswer},
};
use crate::http::{self, CallError, CallErrorKind};

/// An answer read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response) -> Result<Self, CallError> {
        let status = response.status();
        let headers = response.headers().clone();
        let body = http::read_body(response, http::BODY_LIMIT).await?;
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        self.accepted()?;
        let kind = self.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        if !kind.to_ascii_lowercase().contains("json") {
            let detail = format!("Gate answered {} without JSON", self.status.as_u16());
            return Err(CallError::new(CallErrorKind::Decode, detail).with_status(self.status));
        }
        http::decode(&self.body).map_err(|error| error.with_status(self.status))
    }

    pub(super) fn accepted(&self) -> Result<(), CallError> {
        if self.status.is_success() {
            return Ok(());
        }
        Err(self.call_error())
    }

    fn call_error(&self) -> CallError {
        let code = self.status.as_u16();
        let detail = match self.error_body().map(|body| body.message) {
            _ if self.status.is_redirection() => {
                format!("Gate does not accept the login (status {code})")
            }
            Some(message) if !message.is_empty() => {
                format!("Gate answered {code}: {}", shortened(&message))
            }
            _ => format!("Gate answered {code}"),
        };
        CallError::from_status(self.status, &self.headers, detail)
    }

    fn error_body(&self) -> Option<ErrorBody> {
        http::decode(&self.body).ok()
    }

    /// A 404 that Orca meant. One of a proxy, or of a Gate without that path, names no exception
    /// and says nothing about the execution.
    pub(super) fn is_orcas_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
            && self
                .error_body()
                .is_some_and(|body| !body.exception.is_empty())
    }

    /// Gate's 500 to a call that worked and that Orca answered with nothing.
    pub(super) fn is_unreadable_emptiness(&self) -> bool {
        self.status == StatusCode::INTERNAL_SERVER_ERROR
            && self.error_body().is_some_and(|body| {
                body.exception.ends_with(".SpinnakerConversionException")
                    && body.message.contains("No content to map")
            })
    }

    /// Reads the answer to a call that starts something.
    pub(super) fn started(&self, what: Started) -> Result<ExecutionId, TriggerError> {
        if self.status.is_success() {
            let answer: TriggerAnswer = self.json().map_err(TriggerError::Unclear)?;
            return answer.execution_id(what).ok_or_else(|| {
                let detail = "Gate's answer names no execution";
                let error = CallError::new(CallErrorKind::Decode, detail);
                TriggerError::Unclear(error.with_status(self.status))
            });
        }
        let error = self.call_error();
        match self.status.as_u16() {
            300..=399 | 401 | 407 | 429 => Err(TriggerError::NotSent(error)),
            // A proxy's 408 may come after it has handed the request on.
            408 => Err(TriggerError::Unclear(error)),
            status @ 400..=499 => {
                let message = self.error_body().unwrap_or_default().message;
                Err(TriggerError::Refused {
                    status,
                    message: if message.is_empty() {
                        error.detail
                    } else {
                        shortened(&message)
                    },
                })
            }
            _ if self
                .error_body()
                .is_some_and(|body| body.is_failed_connect()) =>
            {
                Err(TriggerError::NotSent(error))
            }
            _ => Err(TriggerError::Unclear(error)),
        }
    }
}
