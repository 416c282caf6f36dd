//! WeCom's group bot: `POST /cgi-bin/webhook/send?key=…` (developer.work.weixin.qq.com, documents
//! 91770 and 99110).
//!
//! Text is markdown of at most 4,096 bytes; a chart is an image message of its own. Answers are
//! 200 with an `errcode`, and only that decides (the vendor's own advice). The bot knows no
//! threads, edits or message ids, so follow-ups repeat a reference.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::{
    Body, CHAT_HOSTS, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call,
    chart_place,
};
use crate::config::channel::WeCom as Settings;
use crate::notify::render::escape::Dialect;
use crate::notify::render::markup::stripped;
use crate::notify::render::page;
use crate::notify::render::split::{Unit, split};
use crate::notify::render::value::hex;
use crate::notify::render::view::reference;

/// Longest `markdown.content`, in bytes.
const MAX_CONTENT: usize = 4096;
/// Room for `(12/34) ` and a line break.
const NUMBERING: usize = 24;
/// Biggest image, before base64.
const MAX_IMAGE: usize = 2 << 20;

/// A group bot.
#[derive(Debug)]
pub struct WeCom {
    http: reqwest::Client,
    settings: Settings,
    wording: Wording,
}

/// Everything [`WeCom::send`] posts for a message, in order.
#[derive(Debug, PartialEq)]
pub struct Bodies {
    /// Markdown messages.
    pub texts: Vec<Value>,
    /// The image message, when there is one to send.
    pub image: Option<Value>,
    /// Why there is none although there is a picture.
    pub note: Option<String>,
}

impl WeCom {
    /// A bot that speaks with `http`.
    pub fn new(http: reqwest::Client, settings: Settings, wording: Wording) -> Self {
        Self {
            http,
            settings,
            wording,
        }
    }

    /// The request bodies of a message.
    ///
    /// # Errors
    /// When it can't be worded.
    pub fn build(&self, message: &Outgoing<'_>) -> Result<Bodies, SendError> {
        let png = message.chart_png.filter(|_| !message.plain);
        let (image, note, place) = match png {
            Some(png) if png.len() > MAX_IMAGE => {
                let note = format!("the chart has {} bytes, WeCom takes {MAX_IMAGE}", png.len());
                let place = crate::notify::render::ChartPlace::Refused(note.clone());
                (None, Some(note), place)
            }
            Some(png) => (Some(image(png)), None, chart_place(message)),
            None => (None, None, chart_place(message)),
        };
        let view = self.wording.view(message.notice, &place, CHAT_HOSTS);
        let mut text = self.wording.renderer.render(Dialect::WeCom, &view)?;
        if self.wording.calls.anybody(message.notice) && !self.settings.mention.is_empty() {
            text.push_str("\n\n");
            for user in &self.settings.mention {
                // Writing to a String can't fail.
                write!(text, "<@{user}>").unwrap_or_default();
            }
        }
        let mut texts = build_texts(&text);
        if message.plain {
            texts.iter_mut().for_each(plain);
        }
        Ok(Bodies { texts, image, note })
    }

    async fn post(&self, body: &Value) -> Result<(), SendError> {
        let url = format!(
            "{}/cgi-bin/webhook/send",
            self.settings.base_url.as_str().trim_end_matches('/')
        );
        let request = self
            .http
            .post(url)
            .query(&[("key", self.settings.key.expose())])
            .json(body);
        let answer = call::json(request).await?;
        match answer.get("errcode").and_then(Value::as_i64) {
            Some(0) => Ok(()),
            Some(code) => Err(refusal(code)),
            None => Err(SendError::new(
                Class::MaybeSent,
                "bad_answer",
                "an answer without errcode",
            )),
        }
    }
}

/// Markdown bodies of `text`, numbered when there are several.
pub fn build_texts(text: &str) -> Vec<Value> {
    let whole = split(Dialect::WeCom, Unit::Utf8, MAX_CONTENT, text);
    let parts = if whole.len() > 1 {
        split(Dialect::WeCom, Unit::Utf8, MAX_CONTENT - NUMBERING, text)
    } else {
        whole
    };
    let of = parts.len();
    parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let content = if of > 1 {
                format!("({}/{of})\n{part}", n + 1)
            } else {
                part
            };
            json!({"msgtype": "markdown", "markdown": {"content": content}})
        })
        .collect()
}

/// The same words without links, colours and emphasis.
fn plain(body: &mut Value) {
    if let Some(content) = body.pointer_mut("/markdown/content") {
        let words = content.as_str().map(|text| stripped(Dialect::WeCom, text));
        *content = Value::String(words.unwrap_or_default());
    }
}

fn image(png: &[u8]) -> Value {
    let md5 = hex(&Md5::digest(png));
    json!({"msgtype": "image", "image": {"base64": STANDARD.encode(png), "md5": md5}})
}

/// What an `errcode` means. The `errmsg` is not kept: it may echo our address.
fn refusal(code: i64) -> SendError {
    let (class, why) = match code {
        -1 => (Class::Retry, "system busy"),
        45009 => (
            Class::Wait(Duration::from_mins(1)),
            "over 20 messages a minute",
        ),
        45033 => (Class::Retry, "too many calls at once"),
        93000 => (
            Class::Broken,
            "the key is not valid, or the bot was removed",
        ),
        40058 => (
            Class::Permanent,
            "a parameter is not accepted, perhaps its length",
        ),
        44004 => (Class::Permanent, "the text is empty"),
        40008 | 40063 | 40033 => (Class::Permanent, "the request is not understood"),
        40009 | 40006 | 45001 | 45002 => (Class::Permanent, "the text or picture is too big"),
        // Not in the vendor's table: it may pass, and if it does not, people hear of it.
        _ => (Class::Retry, "an unknown code"),
    };
    let fix = match code {
        93000 => Some(
            "copy the `key` of the bot's webhook again; if the bot was removed from the group, add a new one",
        ),
        45009 => Some("it passes in a minute; give noisy services a bot of their own"),
        _ => None,
    };
    SendError::new(class, code.to_string(), why).fixed_by(fix)
}

#[async_trait]
impl Notifier for WeCom {
    fn kind(&self) -> &'static str {
        "wecom"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let all = self.build(message).map_or(1, |bodies| {
            bodies.texts.len() + usize::from(bodies.image.is_some())
        });
        message.left(all)
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError> {
        let bodies = self.build(message)?;
        let texts = bodies.texts.iter().map(|body| {
            let text = body.pointer("/markdown/content").and_then(Value::as_str);
            let page = page::fragment(Dialect::WeCom, text.unwrap_or_default());
            Body::json(body, page)
        });
        let image = bodies.image.iter();
        let image = image.map(|body| Body::json(body, page::chart("")));
        Ok(texts.chain(image).collect())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let bodies = self.build(message)?;
        let mut receipt = Receipt {
            parts: message.done(),
            chart_bytes: None,
            notes: bodies.note.into_iter().collect(),
            merged: 0,
            proof: Proof::Bot {
                reference: reference(message.notice),
            },
        };
        let done = usize::try_from(message.done()).unwrap_or(usize::MAX);
        for body in message.rest(&bodies.texts) {
            message.may_go_on(&receipt)?;
            if let Err(error) = self.post(body).await {
                return Err(error.after(receipt));
            }
            receipt.parts += 1;
        }
        if let Some(image) = bodies.image.filter(|_| done <= bodies.texts.len()) {
            message.may_go_on(&receipt)?;
            match self.post(&image).await {
                Ok(()) => {
                    receipt.parts += 1;
                    receipt.chart_bytes = message.chart_png.map(|png| png.len() as u64);
                }
                // The words are out; a picture that is refused for good must not repeat them.
                Err(error) if error.class == Class::Permanent => {
                    receipt
                        .notes
                        .push(format!("the chart was refused: {error}"));
                }
                Err(error) => return Err(error.after(receipt)),
            }
        }
        Ok(receipt)
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        Ok(Probe::CannotTell)
    }
}
