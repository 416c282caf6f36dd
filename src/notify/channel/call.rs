//! One call to a chat vendor, and what its failure means.
//!
//! The URLs of WeCom and DingTalk carry their secret, so no error keeps one.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::{Class, SendError};

/// Longest answer that is read; vendors' are a few hundred bytes.
const MAX_ANSWER: usize = 256 << 10;
/// How long a 429 without Retry-After parks a target.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);
/// The longest Retry-After that is believed.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// Sends `request` and reads the JSON object it is answered with.
///
/// # Errors
/// For transport failures and every status but 200; a 200 may still carry a failure.
pub async fn json(request: RequestBuilder) -> Result<Value, SendError> {
    let bytes = bytes(request).await?;
    match serde_json::from_slice(&bytes) {
        Ok(answer @ Value::Object(_)) => Ok(answer),
        // The vendor may well have sent the message.
        _ => Err(SendError::new(
            Class::MaybeSent,
            "bad_answer",
            "status 200 without a JSON object",
        )),
    }
}

/// Sends `request` and reads the body it is answered with.
///
/// # Errors
/// For transport failures and every status but 200.
pub async fn bytes(request: RequestBuilder) -> Result<Vec<u8>, SendError> {
    let mut answer = request.send().await.map_err(|error| transport(&error))?;
    refused(&answer)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|_| SendError::new(Class::MaybeSent, "cut_answer", "the answer broke off"))?
    {
        if body.len() + chunk.len() > MAX_ANSWER {
            let why = "the answer is too long";
            return Err(SendError::new(Class::MaybeSent, "bad_answer", why));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refused(answer: &Response) -> Result<(), SendError> {
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let class = match status {
        StatusCode::TOO_MANY_REQUESTS => Class::Wait(retry_after(answer).unwrap_or(DEFAULT_WAIT)),
        StatusCode::REQUEST_TIMEOUT => Class::Retry,
        _ if status.is_server_error() => match retry_after(answer) {
            Some(wait) => Class::Wait(wait),
            None => Class::Retry,
        },
        _ => Class::Permanent,
    };
    let code = format!("http_{}", status.as_u16());
    Err(SendError::new(
        class,
        code,
        format!("status {}", status.as_u16()),
    ))
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

fn transport(error: &reqwest::Error) -> SendError {
    if error.is_connect() {
        SendError::new(Class::Retry, "connect", "no connection")
    } else if error.is_timeout() {
        SendError::new(Class::MaybeSent, "timeout", "no answer in time")
    } else if error.is_builder() {
        SendError::new(Class::Permanent, "request", "the request can't be built")
    } else if error.is_request() || error.is_body() {
        SendError::new(Class::MaybeSent, "network", "the connection broke")
    } else {
        SendError::new(Class::MaybeSent, "network", "the call failed")
    }
}
