//! DingTalk's custom robot: `POST /robot/send?access_token=…[&timestamp=…&sign=…]`
//! (open.dingtalk.com, "custom robot").
//!
//! Markdown in bodies of at most 20,000 bytes. A chart is shown by an address the client fetches,
//! or not at all. Over 20 messages a minute the robot is mute for ten minutes, so that code parks
//! the target. Answers are 200 with an `errcode`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Body, CHAT_HOSTS, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call,
};
use crate::config::channel::DingTalk as Settings;
use crate::domain::clock::SharedClock;
use crate::notify::render::escape::Dialect;
use crate::notify::render::markup::stripped;
use crate::notify::render::split::{Unit, split};
use crate::notify::render::value::shorten;
use crate::notify::render::view::reference;
use crate::notify::render::{ChartPlace, bare, link, page};

/// Longest request body, in bytes.
const MAX_BODY: usize = 20_000;
/// Room for `(12/34)` and line breaks.
const NUMBERING: usize = 32;
/// Longest title, in characters; it is shown in lists only.
const MAX_TITLE: usize = 64;
/// How long the vendor mutes a robot that was over its limit.
const MUTED: Duration = Duration::from_mins(10);
/// How long a robot over its monthly quota is left alone.
const QUOTA: Duration = Duration::from_hours(1);

/// A custom robot.
#[derive(Debug)]
pub struct DingTalk {
    http: reqwest::Client,
    settings: Settings,
    wording: Wording,
    clock: SharedClock,
}

impl DingTalk {
    /// A robot that speaks with `http` and signs with `clock`'s time.
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

    /// The request bodies of a message, in order.
    ///
    /// # Errors
    /// When it can't be worded.
    pub fn build(&self, message: &Outgoing<'_>) -> Result<Vec<Value>, SendError> {
        let notice = message.notice;
        let url = notice.chart.as_ref().and_then(|chart| chart.url.as_deref());
        let image = url.and_then(link::image);
        let place = match (&notice.chart, &image) {
            (Some(_), Some(_)) => ChartPlace::Beside,
            (Some(_), None) => ChartPlace::NoUrl,
            (None, _) => ChartPlace::Nowhere,
        };
        let view = self.wording.view(notice, &place, CHAT_HOSTS);
        let mut text = self.wording.renderer.render(Dialect::DingTalk, &view)?;
        if let Some(image) = image {
            text = format!("{text}\n\n{image}");
        }
        let calls = self.wording.calls.anybody(notice);
        if calls {
            let named = self
                .settings
                .mention_mobiles
                .iter()
                .chain(&self.settings.mention_users);
            let named: Vec<String> = named.map(|who| format!("@{who}")).collect();
            if !named.is_empty() {
                text = format!("{text}\n\n{}", named.join(" "));
            }
        }
        let headline = bare(&shorten(&view.headline, MAX_TITLE));
        let mut bodies = self.bodies(&headline, &text, calls);
        if message.plain {
            bodies.iter_mut().for_each(plain);
        }
        Ok(bodies)
    }

    fn bodies(&self, headline: &str, text: &str, calls: bool) -> Vec<Value> {
        let keyword = self.settings.keyword.as_deref();
        let title = match keyword {
            Some(word) if !headline.contains(word) => format!("{headline} {word}"),
            _ => headline.to_owned(),
        };
        let tail = keyword
            .map(|word| format!("\n\n{word}"))
            .unwrap_or_default();
        let empty = self.body(&title, &tail, calls);
        let frame = serde_json::to_string(&empty).map_or(MAX_BODY, |body| body.len());
        let room = MAX_BODY.saturating_sub(frame + NUMBERING);
        let parts = split(Dialect::DingTalk, Unit::Json, room, text);
        let of = parts.len();
        parts
            .into_iter()
            .enumerate()
            .map(|(n, part)| {
                let part = if of > 1 {
                    format!("({}/{of})\n\n{part}", n + 1)
                } else {
                    part
                };
                self.body(&title, &format!("{part}{tail}"), calls)
            })
            .collect()
    }

    fn body(&self, title: &str, text: &str, calls: bool) -> Value {
        let mut body = json!({
            "msgtype": "markdown",
            "markdown": {"title": title, "text": text},
        });
        if calls && let Some(body) = body.as_object_mut() {
            body.insert(
                "at".to_owned(),
                json!({
                    "atMobiles": self.settings.mention_mobiles,
                    "atUserIds": self.settings.mention_users,
                    "isAtAll": false,
                }),
            );
        }
        body
    }

    async fn post(&self, body: &Value) -> Result<(), SendError> {
        match self.call(body).await? {
            (0, _) => Ok(()),
            (code, words) => Err(refusal(code, &words)),
        }
    }

    async fn call(&self, body: &Value) -> Result<(i64, String), SendError> {
        let url = format!(
            "{}/robot/send",
            self.settings.base_url.as_str().trim_end_matches('/')
        );
        let mut query = vec![("access_token", self.settings.token.expose().to_owned())];
        if let Some(secret) = &self.settings.secret {
            let at = self.clock.now();
            query.push(("timestamp", at.as_millisecond().to_string()));
            query.push(("sign", sign(secret.expose(), at)?));
        }
        let answer = call::json(self.http.post(url).query(&query).json(body)).await?;
        let code = answer
            .get("errcode")
            .and_then(Value::as_i64)
            .ok_or_else(|| {
                SendError::new(Class::MaybeSent, "bad_answer", "an answer without errcode")
            })?;
        let message = answer
            .get("errmsg")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok((code, message.to_owned()))
    }
}

/// `base64(HMAC-SHA256(secret, "<ms>\n<secret>"))`. The query encodes it, once.
///
/// # Errors
/// Never: HMAC takes keys of any length.
pub fn sign(secret: &str, at: Timestamp) -> Result<String, SendError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| SendError::new(Class::Permanent, "sign", "the secret can't sign"))?;
    mac.update(format!("{}\n{secret}", at.as_millisecond()).as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

/// The same words without links, images and emphasis.
fn plain(body: &mut Value) {
    if let Some(text) = body.pointer_mut("/markdown/text") {
        let words = text.as_str().map(|text| stripped(Dialect::DingTalk, text));
        *text = Value::String(words.unwrap_or_default());
    }
}

/// What an `errcode` means; its words only decide where the vendor uses one code for several
/// faults. They are not kept: they may echo what we sent.
fn refusal(code: i64, message: &str) -> SendError {
    let lower = message.to_lowercase();
    let fast = ["too fast", "exceed", "frequency", "限流", "太快"];
    let is_fast = fast.iter().any(|word| lower.contains(word));
    let (class, why) = match code {
        -1 if !is_fast => (Class::Retry, "system busy"),
        460_101 | 101_002 => (Class::Permanent, "the body is too long"),
        90_030 => (Class::Wait(QUOTA), "over the robot's quota"),
        310_000 if lower.contains("keyword") => (
            Class::Broken,
            "the robot wants a keyword that is not in the message",
        ),
        // Signed anew with each call; if it stays wrong, people hear of it.
        310_000 if lower.contains("timestamp") => (
            Class::Retry,
            "the signature's time is refused: check this machine's clock",
        ),
        310_000 if lower.contains("sign") => (Class::Broken, "the signature does not match"),
        310_000 if lower.contains("ip") => {
            (Class::Broken, "our address is not on the robot's list")
        }
        310_000 => (Class::Broken, "keyword, signature, time or address refused"),
        300_001 | 300_005 | 400_101 | 400_102 | 400_106 | 400_013 => (
            Class::Broken,
            "the robot or its group is gone, or the token is wrong",
        ),
        400_105 | 40_035 | 43_002 | 43_004 | 400_402 => {
            (Class::Permanent, "the request is not understood")
        }
        430_101..=430_104 => (Class::Permanent, "a link, picture or text is called unsafe"),
        130_101 | 410_100 => (Class::Wait(MUTED), "over 20 messages a minute"),
        _ if is_fast => (Class::Wait(MUTED), "over 20 messages a minute"),
        // Not in the vendor's table: it may pass, and if it does not, people hear of it.
        _ => (Class::Retry, "an unknown code"),
    };
    SendError::new(class, code.to_string(), why).fixed_by(fix(code, &lower))
}

/// What a person does about an `errcode`; `lower` is its `errmsg` in small letters.
fn fix(code: i64, lower: &str) -> Option<&'static str> {
    Some(match code {
        310_000 if lower.contains("keyword") => {
            "set `keyword:` in the channel's file to one of the robot's custom keywords"
        }
        310_000 if lower.contains("timestamp") => {
            "set this machine's clock: DingTalk allows an hour"
        }
        310_000 if lower.contains("sign") => {
            "copy the robot's signing secret (it begins with SEC) into the secret that `secret:` names"
        }
        310_000 if lower.contains("ip") => {
            "add the address this machine reaches the internet by to the robot's IP list"
        }
        310_000 => "compare the robot's security settings with `keyword:` and `secret:`",
        300_001 | 300_005 | 400_101 | 400_102 | 400_106 | 400_013 => {
            "copy the `access_token` of the robot's webhook again; if the robot or the group is gone, add a new one"
        }
        90_030 => {
            "raise the robot's quota in DingTalk's administration, or wait for the next month"
        }
        130_101 | 410_100 => {
            "DingTalk lets the robot speak again after ten minutes; give noisy services a robot of their own"
        }
        _ => return None,
    })
}

#[async_trait]
impl Notifier for DingTalk {
    fn kind(&self) -> &'static str {
        "dingtalk"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let all = self.build(message).map_or(1, |bodies| bodies.len());
        message.left(all)
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError> {
        let bodies = self.build(message)?.into_iter();
        let shown = bodies.map(|body| {
            let text = body.pointer("/markdown/text").and_then(Value::as_str);
            let page = page::fragment(Dialect::DingTalk, text.unwrap_or_default());
            Body::json(&body, page)
        });
        Ok(shown.collect())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let bodies = self.build(message)?;
        let mut receipt = Receipt {
            parts: message.done(),
            chart_bytes: None,
            notes: Vec::new(),
            merged: 0,
            proof: Proof::Bot {
                reference: reference(message.notice),
            },
        };
        for body in message.rest(&bodies) {
            message.may_go_on(&receipt)?;
            if let Err(error) = self.post(body).await {
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
