//! What no forwarder in Rust goes below: axum, `serde_json`, a text of every alert, reqwest.
//!
//! It answers after the vendor did. The durable one appends the text to a log first and waits
//! until that is on disk; all who wait share one flush. Neither limits, splits, deduplicates,
//! decides or comes back after a crash.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

#[derive(Deserialize)]
struct Webhook<'a> {
    #[serde(borrow)]
    alerts: Vec<Alert<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    labels: Vec2<'a>,
    #[serde(borrow)]
    annotations: Vec2<'a>,
    #[serde(borrow)]
    starts_at: Cow<'a, str>,
}

type Vec2<'a> = std::collections::BTreeMap<Cow<'a, str>, Cow<'a, str>>;

#[derive(Deserialize)]
struct Answer {
    errcode: i64,
}

type Record = (String, oneshot::Sender<()>);

struct Floor {
    http: reqwest::Client,
    sink: String,
    log: Option<mpsc::UnboundedSender<Record>>,
}

/// Serves one: `floor PORT SINK-URL [LOG-FILE]`.
///
/// # Errors
/// When it can't listen.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [port, sink, log @ ..] = arguments else {
        anyhow::bail!("floor PORT SINK-URL [LOG-FILE]");
    };
    let log = match log.first() {
        None => None,
        Some(file) => Some(log_to(File::create(file).context("create the log")?)),
    };
    let floor = Arc::new(Floor {
        http: reqwest::Client::builder().no_proxy().build()?,
        sink: format!("{sink}/robot/send?access_token=bench"),
        log,
    });
    let router = Router::new()
        .route("/api/v1/webhook", post(webhook))
        .route("/-/healthy", get(async || "ok"))
        .layer(DefaultBodyLimit::max(16 << 20))
        .with_state(floor);
    let port: u16 = port.parse().context("a port")?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        // Without it the answer may wait for an acknowledgement; it works all the same.
        drop(stream.set_nodelay(true));
    });
    axum::serve(listener, router).await.context("serve")
}

/// A thread that writes what has come together and flushes it once.
fn log_to(mut file: File) -> mpsc::UnboundedSender<Record> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Record>();
    std::thread::spawn(move || {
        let mut waiting = Vec::new();
        while let Some(first) = receiver.blocking_recv() {
            let mut bytes = first.0.into_bytes();
            waiting.push(first.1);
            while let Ok((text, done)) = receiver.try_recv() {
                bytes.extend_from_slice(text.as_bytes());
                waiting.push(done);
            }
            // Whoever waits for a record that can't be kept gets an error.
            if file
                .write_all(&bytes)
                .and_then(|()| file.sync_data())
                .is_err()
            {
                return;
            }
            for done in waiting.drain(..) {
                // Gone: its sender has hung up.
                let _gone = done.send(());
            }
        }
    });
    sender
}

async fn webhook(State(floor): State<Arc<Floor>>, body: Bytes) -> StatusCode {
    match forward(&floor, &body).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn forward(floor: &Floor, body: &[u8]) -> anyhow::Result<()> {
    let webhook: Webhook<'_> = serde_json::from_slice(body)?;
    let text = render(&webhook)?;
    let message = json!({
        "msgtype": "markdown",
        "markdown": {"title": "alerts", "text": text},
    })
    .to_string();
    if let Some(log) = &floor.log {
        let (done, written) = oneshot::channel();
        ensure!(log.send((message.clone(), done)).is_ok(), "the log ended");
        written.await?;
    }
    let request = floor.http.post(&floor.sink);
    let request = request.header("content-type", "application/json");
    let answer = request.body(message).send().await?.bytes().await?;
    let answer: Answer = serde_json::from_slice(&answer)?;
    ensure!(answer.errcode == 0, "refused");
    Ok(())
}

fn render(webhook: &Webhook<'_>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for alert in &webhook.alerts {
        let name = alert.labels.get("alertname").map_or("", AsRef::as_ref);
        writeln!(text, "### [{}] {name}", alert.status)?;
        for (name, value) in &alert.labels {
            writeln!(text, "- {name}: {value}")?;
        }
        for (name, value) in &alert.annotations {
            writeln!(text, "> {name}: {value}")?;
        }
        writeln!(text, "since {}\n", alert.starts_at)?;
    }
    Ok(text)
}
