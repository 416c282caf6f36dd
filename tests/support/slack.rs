//! A stand-in for Slack's Web API that keeps the documented limits (docs.slack.dev): bot token,
//! block limits, threads, edits, and files that are not ready at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::chat::{Fault, Faults, Message, Server, Time, Window, field};
use super::slack_blocks::{self, Refusal};

/// Messages a channel takes in a minute.
const PER_MINUTE: usize = 60;

/// A message as the channel keeps it.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Its channel's id.
    pub channel: String,
    /// Its name in the channel.
    pub ts: String,
    /// The thread it stands in.
    pub thread: Option<String>,
    /// The last body that made it.
    pub body: Value,
    /// How often it was rewritten.
    pub edits: u32,
}

/// The workspace.
#[derive(Debug)]
pub struct Slack {
    server: Server,
    world: Arc<World>,
}

#[derive(Debug)]
struct World {
    token: String,
    time: Time,
    faults: Faults,
    base: Mutex<String>,
    state: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    channels: BTreeMap<String, Option<Window>>,
    files: BTreeMap<String, File>,
    /// How many messages that name a new file are refused before it is ready.
    slow_files: u32,
    posted: Vec<Posted>,
    calls: Vec<(String, Value, Value)>,
}

#[derive(Debug)]
struct File {
    length: usize,
    bytes: Vec<u8>,
    complete: bool,
    refusals_left: u32,
}

impl Slack {
    /// A workspace with these channel ids and one bot.
    pub async fn start(token: &str, channels: &[&str], time: Time) -> Self {
        let channels = channels.iter().map(|id| ((*id).to_owned(), None)).collect();
        let world = Arc::new(World {
            token: token.to_owned(),
            time,
            faults: Faults::default(),
            base: Mutex::default(),
            state: Mutex::new(Inside {
                channels,
                ..Inside::default()
            }),
        });
        let router = Router::new()
            .route("/api/{method}", post(method))
            .route("/upload/{file}", post(upload))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&world));
        let server = Server::start(router).await;
        *world.base.lock().unwrap_or_else(PoisonError::into_inner) = server.url();
        Self { server, world }
    }

    /// Its API's base URL.
    pub fn url(&self) -> String {
        format!("{}/api", self.server.url())
    }

    /// The next call meets `fault`.
    pub fn fault(&self, fault: Fault) {
        self.world.faults.push(fault);
    }

    /// New files are not ready for that many messages that name them.
    pub fn slow_files(&self, refusals: u32) {
        self.world.lock().slow_files = refusals;
    }

    /// What it keeps, in order of posting.
    pub fn posted(&self) -> Vec<Posted> {
        self.world.lock().posted.clone()
    }

    /// Every call: method, body, answer.
    pub fn calls(&self) -> Vec<(String, Value, Value)> {
        self.world.lock().calls.clone()
    }

    /// What its channels show, in order.
    pub fn messages(&self) -> Vec<Message> {
        let state = self.world.lock();
        let image = |posted: &Posted| {
            let id = slack_blocks::file(&posted.body)?;
            state.files.get(&id).map(|file| file.bytes.clone())
        };
        let plain = |posted: &Posted| Message {
            vendor: "slack",
            channel: posted.channel.clone(),
            thread: posted.thread.clone(),
            text: slack_blocks::text(&posted.body),
            image: image(posted),
        };
        state.posted.iter().map(plain).collect()
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, method: &str, headers: &HeaderMap, bytes: &[u8]) -> Response {
        let authorised = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            == Some(&format!("Bearer {}", self.token));
        let body = match serde_json::from_slice(bytes) {
            Ok(body) => body,
            Err(_) => Value::Object(
                url::form_urlencoded::parse(bytes)
                    .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
                    .collect(),
            ),
        };
        let outcome = if authorised {
            match method {
                "auth.test" => Ok(json!({"user": "backstop", "team": "Example"})),
                "chat.postMessage" => self.post_message(&body),
                "chat.update" => self.update(&body),
                "files.getUploadURLExternal" => self.upload_url(bytes),
                "files.completeUploadExternal" => self.complete(&body),
                _ => Err(Refusal::new("unknown_method")),
            }
        } else {
            Err(Refusal::new("invalid_auth"))
        };
        let (answer, wait) = match outcome {
            Ok(mut answer) => {
                answer["ok"] = json!(true);
                (answer, None)
            }
            Err(refusal) => (refusal.body(), refusal.wait),
        };
        self.lock()
            .calls
            .push((method.to_owned(), body, answer.clone()));
        match wait {
            Some(wait) => {
                let seconds = wait.as_secs().max(1).to_string();
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    [("retry-after", seconds)],
                    axum::Json(answer),
                )
                    .into_response()
            }
            None => axum::Json(answer).into_response(),
        }
    }

    fn post_message(&self, body: &Value) -> Result<Value, Refusal> {
        let now = self.time.now();
        let mut state = self.lock();
        let channel = body
            .get("channel")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some(window) = state.channels.get_mut(&channel) else {
            return Err(Refusal::new("channel_not_found"));
        };
        let minute = || Window::new(PER_MINUTE, Duration::from_mins(1));
        window
            .get_or_insert_with(minute)
            .take(now)
            .map_err(Refusal::rate_limited)?;
        slack_blocks::check(body, 40_000)?;
        let thread = body
            .get("thread_ts")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let known = |ts: &String| {
            state
                .posted
                .iter()
                .any(|p| p.channel == channel && &p.ts == ts)
        };
        if thread.as_ref().is_some_and(|ts| !known(ts)) {
            return Err(Refusal::new("thread_not_found"));
        }
        state.show_file(body)?;
        let ts = format!("1700000000.{:06}", state.posted.len() + 1);
        state.posted.push(Posted {
            channel: channel.clone(),
            ts: ts.clone(),
            thread,
            body: body.clone(),
            edits: 0,
        });
        Ok(json!({"channel": channel, "ts": ts}))
    }

    fn update(&self, body: &Value) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let name = |field: &str| {
            body.get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (channel, ts) = (name("channel"), name("ts"));
        if !state.channels.contains_key(&channel) {
            return Err(Refusal::new("channel_not_found"));
        }
        slack_blocks::check(body, 4_000)?;
        state.show_file(body)?;
        let posted = state
            .posted
            .iter_mut()
            .find(|p| p.channel == channel && p.ts == ts);
        let posted = posted.ok_or(Refusal::new("message_not_found"))?;
        posted.body = body.clone();
        posted.edits += 1;
        Ok(json!({"channel": channel, "ts": ts}))
    }

    fn upload_url(&self, form: &[u8]) -> Result<Value, Refusal> {
        let length = field(form, "length").and_then(|length| length.parse().ok());
        let (Some(length), Some(_)) = (length, field(form, "filename")) else {
            return Err(Refusal::new("invalid_arguments"));
        };
        let mut state = self.lock();
        let id = format!("F{:08}", state.files.len() + 1);
        let refusals_left = state.slow_files;
        state.files.insert(
            id.clone(),
            File {
                length,
                bytes: Vec::new(),
                complete: false,
                refusals_left,
            },
        );
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(json!({"upload_url": format!("{base}/upload/{id}"), "file_id": id}))
    }

    fn complete(&self, body: &Value) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let ids: Vec<String> = body
            .get("files")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|file| file.get("id").and_then(Value::as_str).map(str::to_owned))
            .collect();
        if ids.is_empty() {
            return Err(Refusal::new("invalid_arguments"));
        }
        for id in &ids {
            match state.files.get_mut(id) {
                Some(file) if file.bytes.len() == file.length && file.length > 0 => {
                    file.complete = true;
                }
                _ => return Err(Refusal::new("file_not_found")),
            }
        }
        Ok(json!({"files": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()}))
    }
}

impl Inside {
    /// A message that shows a file shows a ready one.
    fn show_file(&mut self, body: &Value) -> Result<(), Refusal> {
        let Some(id) = slack_blocks::file(body) else {
            return Ok(());
        };
        let not_ready = || Refusal::detailed("invalid_blocks", "[ERROR] invalid slack file");
        let file = self
            .files
            .get_mut(&id)
            .filter(|file| file.complete)
            .ok_or_else(not_ready)?;
        if file.refusals_left > 0 {
            file.refusals_left -= 1;
            return Err(not_ready());
        }
        Ok(())
    }
}

async fn method(
    State(world): State<Arc<World>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let accept = || world.call(&method, &headers, &body);
    match world.faults.next() {
        Some(fault) => fault.respond(accept).await,
        None => accept(),
    }
}

async fn upload(State(world): State<Arc<World>>, Path(id): Path<String>, body: Bytes) -> Response {
    match world.lock().files.get_mut(&id) {
        Some(file) if file.length == body.len() => {
            file.bytes = body.to_vec();
            format!("OK - {}", body.len()).into_response()
        }
        Some(_) => (StatusCode::BAD_REQUEST, "length differs").into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
