//! A receiver of signed webhooks as Standard Webhooks 1.0.0 asks it to be: it checks the
//! signature over the raw body, refuses old timestamps, and takes a `webhook-id` once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use backstop::domain::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::chat::{Fault, Faults, Server};

/// How far a timestamp may be from now, in seconds; the specification leaves it to the receiver.
const TOLERANCE: i64 = 300;
/// Longest body it reads.
const MAX_BODY: usize = 256 << 10;

/// The receiver.
#[derive(Debug)]
pub struct Receiver {
    server: Server,
    world: Arc<World>,
}

#[derive(Debug)]
struct World {
    keys: Vec<Vec<u8>>,
    bearer: Option<String>,
    faults: Faults,
    state: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    taken: BTreeMap<String, Value>,
    order: Vec<String>,
    calls: Vec<(String, u16)>,
}

impl Receiver {
    /// One that accepts signatures of any of `secrets` (`whsec_…`), and wants `bearer` if given.
    pub async fn start(secrets: &[&str], bearer: Option<&str>) -> Self {
        let key = |secret: &&str| {
            let text = secret.strip_prefix("whsec_").expect("a prefixed secret");
            STANDARD.decode(text).expect("base64")
        };
        let world = Arc::new(World {
            keys: secrets.iter().map(key).collect(),
            bearer: bearer.map(|token| format!("Bearer {token}")),
            faults: Faults::default(),
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/hook", post(take))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&world));
        Self {
            server: Server::start(router).await,
            world,
        }
    }

    /// Where to post.
    pub fn url(&self) -> String {
        format!("{}/hook", self.server.url())
    }

    /// The next call meets `fault`.
    pub fn fault(&self, fault: Fault) {
        self.world.faults.push(fault);
    }

    /// The bodies it took, each id once, in the order of their first arrival.
    pub fn messages(&self) -> Vec<Value> {
        let state = self.world.lock();
        let body = |id| state.taken.get(id).cloned().expect("a taken body");
        state.order.iter().map(body).collect()
    }

    /// Every call's `webhook-id` and what it was answered.
    pub fn calls(&self) -> Vec<(String, u16)> {
        self.world.lock().calls.clone()
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text("webhook-id").unwrap_or_default().to_owned();
        let status = self.judge(headers, &id, body);
        let mut state = self.lock();
        state.calls.push((id.clone(), status.as_u16()));
        if status == StatusCode::NO_CONTENT && !state.taken.contains_key(&id) {
            let body = serde_json::from_slice(body).expect("judged before");
            state.taken.insert(id.clone(), body);
            state.order.push(id);
        }
        status
    }

    fn judge(&self, headers: &HeaderMap, id: &str, body: &[u8]) -> StatusCode {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if self.bearer.is_some() && text("authorization") != self.bearer.as_deref() {
            return StatusCode::UNAUTHORIZED;
        }
        let (Some(timestamp), Some(signatures)) =
            (text("webhook-timestamp"), text("webhook-signature"))
        else {
            return StatusCode::BAD_REQUEST;
        };
        let now = SystemClock.now().as_second();
        let recent = timestamp
            .parse::<i64>()
            .is_ok_and(|at| (at - now).abs() <= TOLERANCE);
        if id.is_empty() || id.contains('.') || !recent {
            return StatusCode::BAD_REQUEST;
        }
        let signed = [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
        let genuine = |signature: &str| {
            let mac = signature
                .strip_prefix("v1,")
                .and_then(|text| STANDARD.decode(text).ok());
            mac.is_some_and(|mac| self.keys.iter().any(|key| is_by(key, &signed, &mac)))
        };
        if !signatures.split(' ').any(genuine) {
            return StatusCode::UNAUTHORIZED;
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(body) if body["type"].is_string() && body["data"].is_object() => {
                StatusCode::NO_CONTENT
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

fn is_by(key: &[u8], signed: &[u8], mac: &[u8]) -> bool {
    let mut expected = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    expected.update(signed);
    expected.verify_slice(mac).is_ok()
}

async fn take(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response {
    let accept = || world.accept(&headers, &body).into_response();
    match world.faults.next() {
        Some(fault) => fault.respond(accept).await,
        None => accept(),
    }
}
