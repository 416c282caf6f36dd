//! A stand-in for WeCom's group bots that keeps the documented limits
//! (developer.work.weixin.qq.com, documents 91770 and 99110).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use backstop::notify::render::value::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::chat::{Fault, Faults, Message, Server, Time, Window, field, is_picture};

/// Messages a bot may send in a minute.
const PER_MINUTE: usize = 20;

/// The service.
#[derive(Debug)]
pub struct WeCom {
    server: Server,
    world: Arc<World>,
}

#[derive(Debug)]
struct World {
    time: Time,
    faults: Faults,
    state: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    bots: BTreeMap<String, Option<Window>>,
    bodies: Vec<(Value, i64)>,
    messages: Vec<Message>,
}

/// An errcode and its errmsg.
type Refusal = (i64, &'static str);

impl WeCom {
    /// With one bot per key.
    pub async fn start(keys: &[&str], time: Time) -> Self {
        let bots = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
        let world = Arc::new(World {
            time,
            faults: Faults::default(),
            state: Mutex::new(Inside {
                bots,
                ..Inside::default()
            }),
        });
        let router = Router::new()
            .route("/cgi-bin/webhook/send", post(send))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&world));
        Self {
            server: Server::start(router).await,
            world,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The next call meets `fault`.
    pub fn fault(&self, fault: Fault) {
        self.world.faults.push(fault);
    }

    /// What its groups show, in order. A picture is a message of its own.
    pub fn messages(&self) -> Vec<Message> {
        self.world.lock().messages.clone()
    }

    /// Every body it read and the errcode it answered.
    pub fn bodies(&self) -> Vec<(Value, i64)> {
        self.world.lock().bodies.clone()
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, query: &str, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let key = field(query.as_bytes(), "key").unwrap_or_default();
        let (code, message) = self.judge(&key, &body).err().unwrap_or((0, "ok"));
        self.lock().bodies.push((body, code));
        json!({"errcode": code, "errmsg": message})
    }

    fn judge(&self, key: &str, body: &Value) -> Result<(), Refusal> {
        let now = self.time.now();
        let mut state = self.lock();
        let Some(window) = state.bots.get_mut(key) else {
            return Err((93000, "invalid webhook url, hint: [1], from ip: 127.0.0.1"));
        };
        let (text, image) = content(body)?;
        let minute = || Window::new(PER_MINUTE, Duration::from_mins(1));
        if window.get_or_insert_with(minute).take(now).is_err() {
            return Err((45009, "api freq out of limit"));
        }
        state.messages.push(Message {
            vendor: "wecom",
            channel: key.to_owned(),
            thread: None,
            text,
            image,
        });
        Ok(())
    }
}

fn content(body: &Value) -> Result<(String, Option<Vec<u8>>), Refusal> {
    match body.get("msgtype").and_then(Value::as_str) {
        Some("markdown") => text(body, "/markdown/content", 4096).map(|text| (text, None)),
        Some("text") => text(body, "/text/content", 2048).map(|text| (text, None)),
        Some("image") => {
            let field = |path| body.pointer(path).and_then(Value::as_str);
            let (Some(data), Some(md5)) = (field("/image/base64"), field("/image/md5")) else {
                return Err((40063, "some parameters are empty"));
            };
            let bytes = STANDARD
                .decode(data)
                .map_err(|_| (40058, "image.base64 is invalid"))?;
            let digest = hex(&Md5::digest(&bytes));
            if digest != md5 {
                return Err((301_019, "file md5 not match"));
            }
            if bytes.len() > 2 << 20 || !is_picture(&bytes) {
                return Err((40009, "invalid image size"));
            }
            Ok((String::new(), Some(bytes)))
        }
        _ => Err((40008, "invalid message type")),
    }
}

fn text(body: &Value, path: &str, max: usize) -> Result<String, Refusal> {
    match body.pointer(path).and_then(Value::as_str) {
        None => Err((40063, "some parameters are empty")),
        Some("") => Err((44004, "empty content")),
        Some(text) if text.len() > max => Err((40058, "markdown.content exceed max length 4096")),
        Some(text) => Ok(text.to_owned()),
    }
}

async fn send(State(world): State<Arc<World>>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let query = query.unwrap_or_default();
    let accept = || axum::Json(world.take(&query, &body)).into_response();
    match world.faults.next() {
        Some(fault) => fault.respond(accept).await,
        None => accept(),
    }
}
