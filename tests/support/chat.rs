//! What the stand-ins of the chat vendors share: time, faults, and a plain form of what arrived.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A message as a reader of the channel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `wecom`, `dingtalk` or `slack`.
    pub vendor: &'static str,
    /// The bot's key, token or channel id.
    pub channel: String,
    /// Slack: the thread it stands in.
    pub thread: Option<String>,
    /// The words, with the vendor's markup.
    pub text: String,
    /// The picture's bytes, when it has one here.
    pub image: Option<Vec<u8>>,
}

/// Time for the vendors' minute windows: real, stretched by a factor, and movable.
#[derive(Debug, Clone)]
pub struct Time(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    scale: u32,
    moved: Mutex<Duration>,
}

impl Time {
    /// Real time.
    pub fn real() -> Self {
        Self::scaled(1)
    }

    /// `scale` seconds pass in one.
    pub fn scaled(scale: u32) -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            scale,
            moved: Mutex::default(),
        }))
    }

    /// Since it was made.
    pub fn now(&self) -> Duration {
        let moved = *self.0.moved.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.start.elapsed() * self.0.scale + moved
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        *self.0.moved.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

/// Accepted calls of the last while.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    length: Duration,
    accepted: VecDeque<Duration>,
}

impl Window {
    /// At most `limit` in any `length`.
    pub fn new(limit: usize, length: Duration) -> Self {
        Self {
            limit,
            length,
            accepted: VecDeque::new(),
        }
    }

    /// Counts a call at `now`, or says how long until one is welcome again.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        while self
            .accepted
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= self.length)
        {
            self.accepted.pop_front();
        }
        match self.accepted.front() {
            Some(oldest) if self.accepted.len() >= self.limit => {
                Err(self.length.saturating_sub(now.saturating_sub(*oldest)))
            }
            _ => {
                self.accepted.push_back(now);
                Ok(())
            }
        }
    }
}

/// What the next call meets instead of the vendor.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A proxy's status, not the vendor's answer. Nothing is kept.
    Status(u16),
    /// 429 or 503 with a Retry-After in seconds.
    RetryAfter(u16, u64),
    /// Nothing comes back, and nothing is kept.
    Hang,
    /// Nothing: this call is let through, a later one meets the next.
    Pass,
    /// The vendor takes the message, and the line breaks before its answer.
    DropAfterAccept,
    /// 200 with this body. Nothing is kept.
    Answer(Value),
    /// 200 with text that is no JSON. Nothing is kept.
    Garbage,
    /// A redirect to elsewhere.
    Redirect(String),
}

impl Fault {
    /// What goes over the wire; `accepted` is what the vendor would have said.
    pub async fn respond(self, accept: impl FnOnce() -> Response) -> Response {
        match self {
            Self::Pass => accept(),
            Self::Status(code) => status(code).into_response(),
            Self::RetryAfter(code, seconds) => {
                (status(code), [("retry-after", seconds.to_string())]).into_response()
            }
            Self::Hang => std::future::pending().await,
            Self::DropAfterAccept => {
                drop(accept());
                let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other(
                    "the line is cut",
                ))]);
                Response::new(Body::from_stream(broken))
            }
            Self::Answer(body) => axum::Json(body).into_response(),
            Self::Garbage => "<html>hello</html>".into_response(),
            Self::Redirect(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Faults in the order they will be met.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// The next call, or the one after those already scripted, meets `fault`.
    pub fn push(&self, fault: Fault) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(fault);
    }

    /// The fault this call meets.
    pub fn next(&self) -> Option<Fault> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// A server on loopback until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<Result<(), Infallible>>,
}

impl Server {
    /// Serves `router` on a port the system chose.
    pub async fn start(router: Router) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), router).await
    }

    /// Serves `router` on `address`.
    pub async fn start_on(address: SocketAddr, router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serving on loopback");
            Ok(())
        });
        Self { address, task }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The value of `name` in a query or form; decoded once.
pub fn field(encoded: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(encoded)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Whether the bytes begin like a PNG or JPEG.
pub fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(&[0xff, 0xd8, 0xff])
}
