//! The vendor's end: takes a robot's message at once, and may note when which one came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use crate::bodies::MARK;

/// A running sink.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    pub(crate) url: String,
    inside: Arc<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    messages: AtomicU64,
    noting: AtomicBool,
    arrivals: Mutex<HashMap<u64, Instant>>,
}

impl Sink {
    /// Starts one on a free port; it lives as long as the program.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let inside = Arc::new(Inside::default());
        let router = Router::new()
            .route("/robot/send", post(take))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&inside));
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("a port for the sink")?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // As for the floor.
            drop(stream.set_nodelay(true));
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, inside })
    }

    /// How many messages came so far.
    pub(crate) fn messages(&self) -> u64 {
        self.inside.messages.load(Ordering::Relaxed)
    }

    /// Notes arrivals from now on, or no longer.
    pub(crate) fn note(&self, noting: bool) {
        self.inside.noting.store(noting, Ordering::Relaxed);
    }

    /// When the first message of webhook `id` came; it is forgotten then.
    pub(crate) fn arrival(&self, id: u64) -> Option<Instant> {
        let arrivals = self.inside.arrivals.lock();
        arrivals.unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

async fn take(State(inside): State<Arc<Inside>>, body: Bytes) -> Response {
    let now = Instant::now();
    inside.messages.fetch_add(1, Ordering::Relaxed);
    if inside.noting.load(Ordering::Relaxed)
        && let Some(id) = mark(&body)
    {
        let arrivals = inside.arrivals.lock();
        let mut arrivals = arrivals.unwrap_or_else(PoisonError::into_inner);
        arrivals.entry(id).or_insert(now);
    }
    (
        [(CONTENT_TYPE, "application/json")],
        r#"{"errcode":0,"errmsg":"ok"}"#,
    )
        .into_response()
}

fn mark(body: &[u8]) -> Option<u64> {
    // Markdown may be escaped, the digits never are.
    let text = std::str::from_utf8(body).ok()?;
    let name = MARK.trim_end_matches('-');
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start_matches(['\\', '-']);
    rest.get(..10)?.parse().ok()
}
