//! Slack with a bot token: `chat.postMessage`, files and threads (docs.slack.dev).
//!
//! A chart is uploaded first and shown inside the message. Slack takes its time with a new file
//! and refuses blocks that name it until then; that is waited for, within bounds, and then the
//! words go without it. Follow-ups go into the thread; a new state of the group also rewrites its
//! first message.

pub mod body;
mod refusal;
mod upload;
mod waits;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::body::Post;
use self::refusal::{checked, text};
pub use self::waits::Waits;
use super::{
    Body, CHAT_HOSTS, Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError, Wording, call,
    chart_place,
};
use crate::config::channel::Slack as Settings;
use crate::domain::notice::NoticeKind;
use crate::notify::render::ChartPlace;
use crate::notify::render::escape::Dialect;
use crate::store::keys;

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
    waits: Arc<Waits>,
    workspace: String,
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
        let workspace = format!("{} {}", settings.api_url, settings.token.expose());
        Self {
            http,
            wording,
            uploaded: Mutex::default(),
            waits: Arc::default(),
            workspace: keys::hashed(&workspace),
            settings,
        }
    }

    /// Heeds what Slack told other channels of the same workspace.
    #[must_use]
    pub fn heeding(mut self, waits: &Arc<Waits>) -> Self {
        self.waits = Arc::clone(waits);
        self
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
        let mention = if self.wording.calls.anybody(message.notice) {
            self.settings.mention.as_slice()
        } else {
            &[]
        };
        let posts = body::build(&view, &text, mention);
        Ok(if message.plain {
            posts.into_iter().map(Post::plain).collect()
        } else {
            posts
        })
    }

    /// Calls a method and reads its answer.
    async fn method(&self, name: &'static str, body: &Value) -> Result<Value, SendError> {
        self.ask(name, self.request(name).json(body)).await
    }

    /// Calls a method unless Slack told this workspace to wait with it.
    async fn ask(
        &self,
        name: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<Value, SendError> {
        if let Some(left) = self.waits.left(&self.workspace, name) {
            let why = format!("`{name}` has to wait");
            return Err(SendError::new(Class::Wait(left), "ratelimited", why));
        }
        let answer = call::json(request).await;
        if let Err(SendError {
            class: Class::Wait(by),
            ..
        }) = &answer
        {
            self.waits.set(&self.workspace, name, *by);
        }
        checked(answer?)
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
        let body = request(message, post, part, place);
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
        if let Some(png) = message.chart_png.filter(|_| !message.plain) {
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
            merged: 0,
            proof: Proof::Slack {
                channel,
                ts,
                file: first.chart.map(|(file, _)| file),
                shows_state: message.notice.kind == NoticeKind::Alert,
            },
        };
        Ok((posts, receipt))
    }

    /// Shows the group's newest state in the thread's first message too.
    async fn rewrite_root(&self, message: &Outgoing<'_>) -> Option<String> {
        let Some(Proof::Slack {
            channel,
            ts,
            file,
            shows_state: true,
        }) = message.thread.map(|root| &root.proof)
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
        let kind = message.notice.kind;
        match message.thread.map(|root| &root.proof) {
            Some(Proof::Slack {
                channel,
                ts,
                shows_state,
                ..
            }) => Place {
                channel: channel.clone(),
                thread: Some(ts.clone()),
                // An alert that a rollback overtook is not hidden in that one's thread.
                broadcast: body::is_broadcast(kind) || (kind == NoticeKind::Alert && !shows_state),
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

/// Stands in a preview for the id that Slack gives an uploaded chart ..
const UPLOADED: &str = "F0000000000";
/// .. and for the timestamp it gives the first part.
const FIRST_TS: &str = "0000000000.000000";

/// The body of one `chat.postMessage`.
fn request(message: &Outgoing<'_>, post: &Post, part: usize, place: &Place) -> Value {
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
    body
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

#[async_trait]
impl Notifier for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let posts = self.build(message, &chart_place(message));
        let all = posts.map_or(1, |posts| posts.len());
        message.left(all)
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError> {
        let mut posts = self.build(message, &chart_place(message))?;
        if let (Some(first), Some(_)) = (posts.first_mut(), message.chart_png) {
            let chart = message.notice.chart.as_ref();
            let alt = chart.map_or("", |chart| chart.alt.as_str());
            *first = first.clone().with_chart(UPLOADED, alt);
        }
        let mut place = self.place(message);
        let mut bodies = Vec::with_capacity(posts.len());
        for (n, post) in posts.iter().enumerate() {
            let request = request(message, post, n + 1, &place);
            bodies.push(Body::json(&request, post.page()));
            // The rest is said in the thread of the first.
            place.thread.get_or_insert_with(|| FIRST_TS.to_owned());
            place.broadcast = false;
        }
        Ok(bodies)
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
            message.may_go_on(&receipt)?;
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
