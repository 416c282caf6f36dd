//! A generic webhook: the facts as JSON, posted to an address of the operator's and signed as
//! Standard Webhooks 1.0.0 says (headers `webhook-id`, `webhook-timestamp`, `webhook-signature`).
//!
//! Success is any 2xx. `webhook-id` stays the same over every attempt, so a receiver that
//! remembers ids takes a message once. A body above the configured size is split by alerts.

mod payload;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use sha2::Sha256;

pub use self::payload::Payload;
use self::payload::split;
use super::{Body, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call};
use crate::config::channel::{Webhook as Settings, webhook_key};
use crate::domain::clock::SharedClock;
use crate::notify::render::page;

/// An operator's endpoint.
#[derive(Debug)]
pub struct Webhook {
    http: reqwest::Client,
    settings: Settings,
    wording: Wording,
    clock: SharedClock,
}

/// One request: its `webhook-id` and its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Unique to this part of the message, the same at every attempt.
    pub id: String,
    /// A [`Payload`] as JSON.
    pub body: String,
}

impl Webhook {
    /// An endpoint that is spoken to with `http`; `clock` dates the signatures.
    pub fn new(
        http: reqwest::Client,
        settings: Settings,
        wording: Wording,
        clock: SharedClock,
    ) -> Self {
        Self {
            http,
            settings,
            wording,
            clock,
        }
    }

    /// The requests of a message, in order.
    ///
    /// # Errors
    /// When it can't be worded.
    pub fn build(&self, message: &Outgoing<'_>) -> Result<Vec<Part>, SendError> {
        let bodies = split(message.notice, &self.wording, self.settings.max_body)?;
        let of = bodies.len();
        // The id stands before a full stop in what is signed.
        let id = message.message_id.replace('.', "-");
        let part = |(n, body)| Part {
            id: if of > 1 {
                format!("{id}-{}", n + 1)
            } else {
                id.clone()
            },
            body,
        };
        Ok(bodies.into_iter().enumerate().map(part).collect())
    }

    async fn post(&self, part: &Part) -> Result<(), SendError> {
        let timestamp = self.clock.now().as_second();
        let request = self
            .http
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &part.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.signatures(part, timestamp)?)
            .body(part.body.clone());
        let request = match &self.settings.bearer {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        call::accepted(request).await
    }

    /// One signature per secret, so that a receiver may hold either while one replaces the other.
    fn signatures(&self, part: &Part, timestamp: i64) -> Result<String, SendError> {
        let secrets = std::iter::once(&self.settings.secret).chain(&self.settings.next_secret);
        let signatures = secrets.map(|secret| {
            let bad = |why: &dyn std::fmt::Display| {
                SendError::new(Class::Permanent, "secret", why.to_string())
            };
            let key = webhook_key(secret).map_err(|error| bad(&error))?;
            signature(&key, &part.id, timestamp, &part.body).map_err(|error| bad(&error))
        });
        Ok(signatures.collect::<Result<Vec<_>, _>>()?.join(" "))
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`; `timestamp` is in Unix
/// seconds.
fn signature(
    key: &[u8],
    id: &str,
    timestamp: i64,
    body: &str,
) -> Result<String, hmac::digest::InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    Ok(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[async_trait]
impl Notifier for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let all = self.build(message).map_or(1, |parts| parts.len());
        message.left(all)
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError> {
        let parts = self.build(message)?.into_iter();
        let shown = parts.map(|part| {
            let body: Value = serde_json::from_str(&part.body).unwrap_or_default();
            let text = body.pointer("/data/text").and_then(Value::as_str);
            let page = page::plain(text.unwrap_or_default());
            let text = part.body;
            Body { text, page }
        });
        Ok(shown.collect())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let parts = self.build(message)?;
        let mut receipt = Receipt {
            parts: message.done(),
            chart_bytes: None,
            notes: Vec::new(),
            merged: 0,
            proof: Proof::Webhook {
                ids: parts.iter().map(|part| part.id.clone()).collect(),
            },
        };
        for part in message.rest(&parts) {
            message.may_go_on(&receipt)?;
            if let Err(error) = self.post(part).await {
                return Err(error.after(receipt));
            }
            receipt.parts += 1;
        }
        Ok(receipt)
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        Ok(Probe::CannotTell)
    }
}
