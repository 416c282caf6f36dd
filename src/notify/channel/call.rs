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
    if answer.status() != StatusCode::OK {
        return Err(refused(&answer));
    }
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

/// Sends `request` to a receiver that says yes by any 2xx; what it says beside is not read.
///
/// # Errors
/// For transport failures and every other status.
pub async fn accepted(request: RequestBuilder) -> Result<(), SendError> {
    let answer = request.send().await.map_err(|error| transport(&error))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(refused(&answer))
    }
}

fn refused(answer: &Response) -> SendError {
    let status = answer.status();
    let class = match status {
        StatusCode::TOO_MANY_REQUESTS => Class::Wait(retry_after(answer).unwrap_or(DEFAULT_WAIT)),
        StatusCode::REQUEST_TIMEOUT => Class::Retry,
        _ if status.is_server_error() => match retry_after(answer) {
            Some(wait) => Class::Wait(wait),
            None => Class::Retry,
        },
        // Somebody else answers there, or we may not ask.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::GONE => Class::Broken,
        _ if status.is_redirection() => Class::Broken,
        _ => Class::Permanent,
    };
    let code = format!("http_{}", status.as_u16());
    let fix = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Some("the credentials are refused: copy them again")
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
            Some("nobody takes messages at this address: correct its URL")
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some("a proxy stands between: let it pass"),
        _ if status.is_redirection() => {
            Some("redirects are not followed: write the address it leads to")
        }
        _ => None,
    };
    SendError::new(class, code, format!("status {}", status.as_u16())).fixed_by(fix)
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
        SendError::new(Class::Retry, "connect", "no connection").fixed_by(Some(
            "look whether this machine may reach the vendor: name, firewall, proxy, certificate",
        ))
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
