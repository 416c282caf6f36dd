//! WeCom's group bot: `POST /cgi-bin/webhook/send?key=…` (developer.work.weixin.qq.com, documents
//! 91770 and 99110).
//!
//! Text is markdown of at most 4,096 bytes; a chart is an image message of its own. Answers are
//! 200 with an `errcode`, and only that decides (the vendor's own advice). The bot knows no
//! threads, edits or message ids, so follow-ups repeat a reference.

use std::fmt::Write as _;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::{
    CHAT_HOSTS, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call,
    chart_place,
};
use crate::config::channel::WeCom as Settings;
use crate::notify::render::escape::Dialect;
use crate::notify::render::split::{Unit, split};
use crate::notify::render::view::{calls_people, reference};

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
        let (image, note, place) = match message.chart_png {
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
        if calls_people(message.notice) && !self.settings.mention.is_empty() {
            text.push_str("\n\n");
            for user in &self.settings.mention {
                // Writing to a String can't fail.
                write!(text, "<@{user}>").unwrap_or_default();
            }
        }
        let texts = build_texts(&text);
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

fn image(png: &[u8]) -> Value {
    let mut md5 = String::with_capacity(32);
    for byte in Md5::digest(png) {
        // Writing to a String can't fail.
        write!(md5, "{byte:02x}").unwrap_or_default();
    }
    json!({"msgtype": "image", "image": {"base64": STANDARD.encode(png), "md5": md5}})
}

/// What an `errcode` means. The `errmsg` is not kept: it may echo our address.
fn refusal(code: i64) -> SendError {
    let (class, why) = match code {
        -1 => (Class::Retry, "system busy"),
        45009 => (
            Class::Wait(std::time::Duration::from_secs(60)),
            "over 20 messages a minute",
        ),
        45033 => (Class::Retry, "too many calls at once"),
        93000 => (
            Class::Permanent,
            "the key is not valid, or the bot was removed",
        ),
        40058 => (
            Class::Permanent,
            "a parameter is not accepted, perhaps its length",
        ),
        44004 => (Class::Permanent, "the text is empty"),
        40008 | 40063 | 40033 => (Class::Permanent, "the request is not understood"),
        40009 | 40006 | 45001 | 45002 => (Class::Permanent, "the text or picture is too big"),
        _ => (Class::Permanent, "refused"),
    };
    SendError::new(class, code.to_string(), why)
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
        u32::try_from(all)
            .unwrap_or(u32::MAX)
            .saturating_sub(message.done())
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<String>, SendError> {
        let bodies = self.build(message)?;
        Ok(bodies
            .texts
            .iter()
            .chain(&bodies.image)
            .map(|body| format!("{body:#}"))
            .collect())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let bodies = self.build(message)?;
        let mut receipt = Receipt {
            parts: message.done(),
            chart_bytes: None,
            notes: bodies.note.into_iter().collect(),
            proof: Proof::Bot {
                reference: reference(message.notice),
            },
        };
        let done = usize::try_from(message.done()).unwrap_or(usize::MAX);
        for body in bodies.texts.iter().skip(done) {
            if let Err(error) = self.post(body).await {
                return Err(error.after(receipt));
            }
            receipt.parts += 1;
        }
        if let Some(image) = bodies.image.filter(|_| done <= bodies.texts.len()) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::channel::base_url;
    use crate::domain::notice::Notice;
    use crate::domain::secret::Secret;
    use crate::notify::render::Renderer;
    use crate::notify::render::sample::{
        PAYLOADS, alert, english, everywhere, finished, firing, many,
    };

    fn bot(mention: &[&str]) -> WeCom {
        WeCom::new(
            reqwest::Client::default(),
            Settings {
                key: Secret::new("k"),
                base_url: base_url("http://127.0.0.1:1").unwrap(),
                mention: mention.iter().map(|user| (*user).to_owned()).collect(),
            },
            Wording {
                renderer: Arc::new(Renderer::shipped().unwrap()),
                voice: english(),
            },
        )
    }

    fn outgoing<'a>(notice: &'a Notice, png: Option<&'a [u8]>) -> Outgoing<'a> {
        Outgoing {
            notice,
            message_id: "m-1",
            chart_png: png,
            thread: None,
            resume: None,
        }
    }

    fn content(body: &Value) -> &str {
        body["markdown"]["content"].as_str().unwrap()
    }

    #[test]
    fn a_follow_up_is_exactly_this_body() {
        let notice = finished();
        let bodies = bot(&["zhang.san"]).build(&outgoing(&notice, None)).unwrap();
        assert_eq!(
            bodies.texts,
            [json!({"msgtype": "markdown", "markdown": {"content":
                "**<font color=\"info\">ROLLBACK FINISHED</font>** Rollback of checkout (checkout prod)\n\
                 > Release: `checkout@1.8.1`\n\
                 > Execution: rollback-batch 01K\n\
                 > Status: SUCCEEDED\n\
                 > Decision: roll back the accused batch (batch 1)\n\
                 > Back to: `checkout@1.8.0`\n\
                 > Incident: `checkout@prod-17`\n\n\
                 [incident](https://backstop.example.com/incidents/checkout@prod-17)\n\n\
                 <font color=\"comment\">Ref checkout@prod-17 · 2026-03-01 12:00:00 +00:00</font>"
            }})]
        );
        assert_eq!(bodies.image, None);
    }

    #[test]
    fn an_image_carries_the_md5_of_its_bytes() {
        let notice = firing();
        let bodies = bot(&[]).build(&outgoing(&notice, Some(b"png"))).unwrap();
        assert_eq!(
            bodies.image,
            Some(json!({"msgtype": "image", "image": {
                "base64": "cG5n", "md5": "bff139fa05ac583f685a523ab3d110a0"
            }}))
        );
        assert_eq!(bot(&[]).parts(&outgoing(&notice, Some(b"png"))), 2);
    }

    #[test]
    fn a_picture_too_big_is_left_out_and_said() {
        let notice = firing();
        let png = vec![0; MAX_IMAGE + 1];
        let bodies = bot(&[]).build(&outgoing(&notice, Some(&png))).unwrap();
        assert_eq!(bodies.image, None);
        assert!(
            content(&bodies.texts[0]).contains("Chart: not shown: the chart has 2097153 bytes")
        );
    }

    #[test]
    fn only_the_configuration_mentions_and_only_when_something_burns() {
        let nasty = everywhere("<@all>");
        let bodies = bot(&["zhang.san"]).build(&outgoing(&nasty, None)).unwrap();
        let mentions: usize = bodies
            .texts
            .iter()
            .map(|body| content(body).matches("<@").count())
            .sum();
        assert_eq!(mentions, 1);
        let follow_up = bot(&["zhang.san"])
            .build(&outgoing(&finished(), None))
            .unwrap();
        assert!(!content(&follow_up.texts[0]).contains("<@"));
    }

    #[test]
    fn a_hundred_alerts_and_a_giant_one_all_fit_and_are_numbered() {
        let mut giant = firing();
        giant.alerts = vec![alert("Giant", &"很长的说明 <font> ".repeat(2000))];
        for notice in [many(100), giant] {
            let bodies = bot(&[]).build(&outgoing(&notice, None)).unwrap();
            let of = bodies.texts.len();
            assert!(of > 1);
            for (n, body) in bodies.texts.iter().enumerate() {
                assert!(content(body).len() <= MAX_CONTENT);
                assert!(content(body).starts_with(&format!("({}/{of})\n", n + 1)));
            }
            let all: String = bodies.texts.iter().map(content).collect();
            for alert in &notice.alerts {
                assert!(all.contains(&alert.name));
            }
        }
    }

    #[test]
    fn payloads_stay_text_in_every_part() {
        for payload in PAYLOADS {
            let notice = everywhere(&payload.repeat(40));
            for body in bot(&[]).build(&outgoing(&notice, None)).unwrap().texts {
                let text = content(&body);
                assert!(text.len() <= MAX_CONTENT);
                assert_eq!(
                    text.matches("<font ").count(),
                    text.matches("</font>").count(),
                    "{text}"
                );
                assert!(
                    !text.contains("<@") && !text.contains("](https://evil"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn codes_have_the_class_the_vendor_documents() {
        for (code, class) in [
            (-1, Class::Retry),
            (45009, Class::Wait(std::time::Duration::from_secs(60))),
            (45033, Class::Retry),
            (93000, Class::Permanent),
            (40058, Class::Permanent),
            (44004, Class::Permanent),
            (40009, Class::Permanent),
            (12345, Class::Permanent),
        ] {
            assert_eq!(refusal(code).class, class, "{code}");
        }
    }
}
