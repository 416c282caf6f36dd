//! A stand-in for DingTalk's custom robots that keeps the documented limits and checks signature
//! and keyword (open.dingtalk.com, "custom robot").

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use backstop::domain::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::chat::{Fault, Faults, Message, Server, Time, Window, field};

/// Messages a robot may send in a minute.
const PER_MINUTE: usize = 20;
/// How long it is mute when it sends more.
const MUTED: Duration = Duration::from_mins(10);
/// Longest body.
const MAX_BODY: usize = 20_000;

/// The guards of one robot.
#[derive(Debug, Clone, Default)]
pub struct Robot {
    /// Its signing secret, when it checks signatures.
    pub secret: Option<String>,
    /// Words of which a message must hold one; none when it doesn't look.
    pub keywords: Vec<String>,
}

/// The service.
#[derive(Debug)]
pub struct DingTalk {
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
    robots: BTreeMap<String, (Robot, Window, Option<Duration>)>,
    bodies: Vec<(Value, i64)>,
    messages: Vec<Message>,
}

type Refusal = (i64, &'static str);

impl DingTalk {
    /// With one robot per token.
    pub async fn start(robots: &[(&str, Robot)], time: Time) -> Self {
        let window = || Window::new(PER_MINUTE, Duration::from_mins(1));
        let robots = robots
            .iter()
            .map(|(token, robot)| ((*token).to_owned(), (robot.clone(), window(), None)))
            .collect();
        let world = Arc::new(World {
            time,
            faults: Faults::default(),
            state: Mutex::new(Inside {
                robots,
                ..Inside::default()
            }),
        });
        let router = Router::new()
            .route("/robot/send", post(send))
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

    /// What its groups show, in order.
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

    fn take(&self, query: &str, bytes: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        let outcome = self.judge(query, &body, bytes.len());
        let (code, message) = outcome.err().unwrap_or((0, "ok"));
        self.lock().bodies.push((body, code));
        json!({"errcode": code, "errmsg": message})
    }

    fn judge(&self, query: &str, body: &Value, size: usize) -> Result<(), Refusal> {
        let token = field(query.as_bytes(), "access_token").unwrap_or_default();
        let now = self.time.now();
        let mut state = self.lock();
        let Some((robot, window, mute_until)) = state.robots.get_mut(&token) else {
            return Err((300_005, "token is not exist"));
        };
        if mute_until.is_some_and(|until| now < until) {
            return Err((130_101, "send too fast, exceed 20 times per minute"));
        }
        if let Some(secret) = &robot.secret {
            signed(query, secret)?;
        }
        let (title, text) = content(body, size)?;
        let words = &robot.keywords;
        if !words.is_empty()
            && !words
                .iter()
                .any(|word| title.contains(word) || text.contains(word))
        {
            return Err((310_000, "keywords not in content"));
        }
        if window.take(now).is_err() {
            *mute_until = Some(now + MUTED);
            return Err((130_101, "send too fast, exceed 20 times per minute"));
        }
        state.messages.push(Message {
            vendor: "dingtalk",
            channel: token,
            thread: None,
            text,
            image: None,
        });
        Ok(())
    }
}

fn signed(query: &str, secret: &str) -> Result<(), Refusal> {
    let timestamp = field(query.as_bytes(), "timestamp").unwrap_or_default();
    let at: i64 = timestamp
        .parse()
        .map_err(|_| (310_000, "invalid timestamp"))?;
    if (SystemClock.now().as_millisecond() - at).abs() > 3_600_000 {
        return Err((310_000, "invalid timestamp"));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| (-1, "busy"))?;
    mac.update(format!("{timestamp}\n{secret}").as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    match field(query.as_bytes(), "sign") {
        Some(sign) if sign == expected => Ok(()),
        _ => Err((310_000, "sign not match")),
    }
}

fn content(body: &Value, size: usize) -> Result<(String, String), Refusal> {
    if size > MAX_BODY {
        return Err((460_101, "message too long, exceed 20000 bytes"));
    }
    if body.get("msgtype").and_then(Value::as_str) != Some("markdown") {
        return Err((400_105, "unsupported msgtype"));
    }
    let field = |path| {
        body.pointer(path)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let title = field("/markdown/title").ok_or((400_402, "param error: title"))?;
    let text = field("/markdown/text").ok_or((40_035, "missing parameter text"))?;
    Ok((title.to_owned(), text.to_owned()))
}

async fn send(State(world): State<Arc<World>>, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let query = query.unwrap_or_default();
    let accept = || axum::Json(world.take(&query, &body)).into_response();
    match world.faults.next() {
        Some(fault) => fault.respond(accept).await,
        None => accept(),
    }
}
