//! Slack with a bot token: `chat.postMessage`, files and threads (docs.slack.dev).
//!
//! A chart is uploaded first and shown inside the message. Slack takes its time with a new file
//! and refuses blocks that name it until then; that is waited for, within bounds, and then the
//! words go without it. Follow-ups go into the thread; a new state of the group also rewrites its
//! first message.

pub mod body;
mod upload;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::body::Post;
use super::{
    CHAT_HOSTS, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call,
    chart_place,
};
use crate::config::channel::Slack as Settings;
use crate::domain::notice::NoticeKind;
use crate::notify::render::ChartPlace;
use crate::notify::render::escape::Dialect;

/// The first pause while Slack is not ready with a file; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(150);

/// A bot in one channel.
#[derive(Debug)]
pub struct Slack {
    http: reqwest::Client,
    settings: Settings,
    wording: Wording,
    /// Chart id and Slack's file id.
    uploaded: Mutex<VecDeque<(String, String)>>,
}

/// Where a message goes.
#[derive(Debug, Clone)]
struct Place {
    channel: String,
    thread: Option<String>,
    broadcast: bool,
}

impl Slack {
    /// A bot that speaks with `http`.
    pub fn new(http: reqwest::Client, settings: Settings, wording: Wording) -> Self {
        Self {
            http,
            settings,
            wording,
            uploaded: Mutex::default(),
        }
    }

    /// The posts of a message, without the chart's block.
    ///
    /// # Errors
    /// When it can't be worded.
    pub fn build(
        &self,
        message: &Outgoing<'_>,
        place: &ChartPlace,
    ) -> Result<Vec<Post>, SendError> {
        let view = self.wording.view(message.notice, place, CHAT_HOSTS);
        let text = self.wording.renderer.render(Dialect::Slack, &view)?;
        Ok(body::build(
            message.notice,
            &view,
            &text,
            &self.settings.mention,
        ))
    }

    /// Calls a method and reads its answer.
    async fn method(&self, name: &str, body: &Value) -> Result<Value, SendError> {
        let request = self.request(name).json(body);
        checked(call::json(request).await?)
    }

    fn request(&self, name: &str) -> reqwest::RequestBuilder {
        let url = format!(
            "{}/{name}",
            self.settings.api_url.as_str().trim_end_matches('/')
        );
        self.http
            .post(url)
            .bearer_auth(self.settings.token.expose())
    }

    async fn post(
        &self,
        message: &Outgoing<'_>,
        post: &Post,
        part: usize,
        place: &Place,
    ) -> Result<(String, String), SendError> {
        let mut body = json!({
            "channel": place.channel,
            "text": post.text,
            "blocks": post.blocks,
            "parse": "none",
            "unfurl_links": false,
            "unfurl_media": false,
            "metadata": metadata(message, part),
        });
        if let (Some(thread), Some(fields)) = (&place.thread, body.as_object_mut()) {
            fields.insert("thread_ts".to_owned(), json!(thread));
            if place.broadcast {
                fields.insert("reply_broadcast".to_owned(), json!(true));
            }
        }
        let answer = self.method("chat.postMessage", &body).await?;
        Ok((text(&answer, "channel")?, text(&answer, "ts")?))
    }

    /// Posts the first part with its chart; None when Slack was not ready with it in time.
    async fn post_with_chart(
        &self,
        message: &Outgoing<'_>,
        post: &Post,
        file: &str,
        place: &Place,
    ) -> Result<Option<(String, String)>, SendError> {
        let alt = message
            .notice
            .chart
            .as_ref()
            .map_or("", |chart| chart.alt.as_str());
        let post = post.clone().with_chart(file, alt);
        let until = Instant::now() + self.settings.chart_wait;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.post(message, &post, 1, place).await {
                Err(error) if error.code == "invalid_blocks" => {}
                other => return other.map(Some),
            }
            if Instant::now() + pause > until {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// The first part, with the chart if Slack takes it.
    async fn first(
        &self,
        message: &Outgoing<'_>,
        place: &Place,
    ) -> Result<(Vec<Post>, First), SendError> {
        let mut refused = None;
        if let Some(png) = message.chart_png {
            let posts = self.build(message, &ChartPlace::Beside)?;
            match self.upload(message, png).await {
                Ok(file) => {
                    let post = posts.first().ok_or_else(nothing)?;
                    if let Some(at) = self.post_with_chart(message, post, &file, place).await? {
                        let chart = Some((file, png.len() as u64));
                        return Ok((
                            posts,
                            First {
                                at,
                                chart,
                                note: None,
                            },
                        ));
                    }
                    refused = Some("Slack was not ready with the picture in time".to_owned());
                }
                // Words do not wait for a picture.
                Err(error) => refused = Some(format!("upload failed: {error}")),
            }
        }
        let chart = refused
            .clone()
            .map_or_else(|| chart_place(message), ChartPlace::Refused);
        let posts = self.build(message, &chart)?;
        let post = posts.first().ok_or_else(nothing)?;
        let at = self.post(message, post, 1, place).await?;
        Ok((
            posts,
            First {
                at,
                chart: None,
                note: refused,
            },
        ))
    }

    /// All posts, and the receipt of those that are out: by an earlier attempt, or the first one now.
    async fn begin(
        &self,
        message: &Outgoing<'_>,
        place: &Place,
    ) -> Result<(Vec<Post>, Receipt), SendError> {
        if let Some(receipt) = message.resume.filter(|receipt| receipt.parts > 0) {
            let chart = match receipt.chart_bytes {
                Some(_) => ChartPlace::Beside,
                None => chart_place(message),
            };
            return Ok((self.build(message, &chart)?, receipt.clone()));
        }
        let (posts, first) = self.first(message, place).await?;
        let (channel, ts) = first.at;
        let receipt = Receipt {
            parts: 1,
            chart_bytes: first.chart.as_ref().map(|(_, size)| *size),
            notes: first.note.into_iter().collect(),
            proof: Proof::Slack {
                channel,
                ts,
                file: first.chart.map(|(file, _)| file),
            },
        };
        Ok((posts, receipt))
    }

    /// Shows the group's newest state in the thread's first message too.
    async fn rewrite_root(&self, message: &Outgoing<'_>) -> Option<String> {
        let Some(Proof::Slack { channel, ts, file }) = message.thread.map(|root| &root.proof)
        else {
            return None;
        };
        if message.notice.kind != NoticeKind::Alert {
            return None;
        }
        let chart = if file.is_some() {
            ChartPlace::Beside
        } else {
            ChartPlace::Nowhere
        };
        let rewrite = async {
            let mut post = self
                .build(message, &chart)?
                .into_iter()
                .next()
                .ok_or_else(nothing)?;
            if let Some(file) = file {
                post = post.with_chart(file, "");
            }
            let body =
                json!({"channel": channel, "ts": ts, "text": post.text, "blocks": post.blocks});
            self.method("chat.update", &body).await
        };
        rewrite
            .await
            .err()
            .map(|error| format!("the thread's first message could not be rewritten: {error}"))
    }

    fn place(&self, message: &Outgoing<'_>) -> Place {
        match message.thread.map(|root| &root.proof) {
            Some(Proof::Slack { channel, ts, .. }) => Place {
                channel: channel.clone(),
                thread: Some(ts.clone()),
                broadcast: body::is_broadcast(message.notice.kind),
            },
            _ => Place {
                channel: self.settings.channel.clone(),
                thread: None,
                broadcast: false,
            },
        }
    }
}

/// What became of a message's first part.
#[derive(Debug)]
struct First {
    at: (String, String),
    chart: Option<(String, u64)>,
    note: Option<String>,
}

fn metadata(message: &Outgoing<'_>, part: usize) -> Value {
    json!({
        "event_type": "backstop_message",
        "event_payload": {
            "message_id": message.message_id,
            "part": part,
            "incident": message.notice.incident.as_ref().map_or("", AsRef::as_ref),
        },
    })
}

fn nothing() -> SendError {
    SendError::new(Class::Permanent, "render", "there is nothing to say")
}

fn text(answer: &Value, field: &str) -> Result<String, SendError> {
    answer
        .get(field)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            SendError::new(
                Class::MaybeSent,
                "bad_answer",
                format!("an answer without `{field}`"),
            )
        })
}

fn checked(answer: Value) -> Result<Value, SendError> {
    if answer.get("ok").and_then(Value::as_bool) == Some(true) {
        return Ok(answer);
    }
    let code = answer
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("bad_answer");
    let details = answer
        .pointer("/response_metadata/messages")
        .and_then(Value::as_array);
    let detail = details
        .and_then(|details| details.first())
        .and_then(Value::as_str);
    Err(refusal(code, detail.unwrap_or("refused")))
}

/// What Slack's `error` means.
fn refusal(code: &str, detail: &str) -> SendError {
    let class = match code {
        "ratelimited"
        | "rate_limited"
        | "internal_error"
        | "service_unavailable"
        | "request_timeout"
        | "message_limit_exceeded" => Class::Retry,
        // Perhaps partly done.
        "fatal_error" | "bad_answer" => Class::MaybeSent,
        _ => Class::Permanent,
    };
    let known: String = code
        .chars()
        .filter(|c| c.is_ascii_lowercase() || *c == '_')
        .take(64)
        .collect();
    SendError::new(class, known, detail)
}

#[async_trait]
impl Notifier for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let posts = self.build(message, &chart_place(message));
        let all = posts.map_or(1, |posts| posts.len());
        u32::try_from(all)
            .unwrap_or(u32::MAX)
            .saturating_sub(message.done())
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<String>, SendError> {
        let posts = self.build(message, &chart_place(message))?;
        let channel = &self.settings.channel;
        Ok(posts
            .iter()
            .map(|post| {
                format!(
                    "{:#}",
                    json!({"channel": channel, "text": post.text, "blocks": post.blocks})
                )
            })
            .collect())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let mut place = self.place(message);
        let (posts, mut receipt) = self.begin(message, &place).await?;
        if let Proof::Slack { channel, ts, .. } = &receipt.proof {
            place.channel.clone_from(channel);
            place.thread.get_or_insert_with(|| ts.clone());
            place.broadcast = false;
        }
        let done = usize::try_from(receipt.parts).unwrap_or(usize::MAX);
        for (n, post) in posts.iter().enumerate().skip(done) {
            if let Err(error) = self.post(message, post, n + 1, &place).await {
                return Err(error.after(receipt));
            }
            receipt.parts += 1;
        }
        receipt.notes.extend(self.rewrite_root(message).await);
        Ok(receipt)
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        let answer = self.method("auth.test", &json!({})).await?;
        let who = |field: &str| {
            answer
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or("?")
                .to_owned()
        };
        Ok(Probe::Works(format!("{} in {}", who("user"), who("team"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_class_the_vendor_documents() {
        for (code, class) in [
            ("ratelimited", Class::Retry),
            ("internal_error", Class::Retry),
            ("message_limit_exceeded", Class::Retry),
            ("fatal_error", Class::MaybeSent),
            ("invalid_auth", Class::Permanent),
            ("channel_not_found", Class::Permanent),
            ("invalid_blocks", Class::Permanent),
            ("something_new", Class::Permanent),
        ] {
            assert_eq!(refusal(code, "").class, class, "{code}");
        }
        assert_eq!(refusal("x\n<b> y", "").code, "xby");
    }

    #[test]
    fn an_answer_counts_only_with_ok_true() {
        assert!(checked(json!({"ok": true})).is_ok());
        let error = checked(json!({"ok": false, "error": "not_in_channel"})).unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (Class::Permanent, "not_in_channel")
        );
        assert_eq!(
            checked(json!({"ok": "yes"})).unwrap_err().class,
            Class::MaybeSent
        );
    }
}
