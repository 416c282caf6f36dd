//! Senders: a closed loop that keeps some connections busy, and an open one at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bodies::{self, Body};
use crate::sink::Sink;

/// A message that is not there this long after its webhook never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a closed loop came to.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) webhooks: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Vec<Duration>,
}

/// Sends from `connections` at once, each the next when the last was answered, for `time` or
/// `most` webhooks.
///
/// # Errors
/// When an answer is not 200.
pub(crate) async fn closed(
    http: &reqwest::Client,
    url: &str,
    alerts: u64,
    connections: usize,
    (time, most): (Duration, u64),
) -> anyhow::Result<Closed> {
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let until = began + time;
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (http, url, sent) = (http.clone(), url.to_owned(), Arc::clone(&sent));
        senders.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until && sent.fetch_add(1, Ordering::Relaxed) < most {
                let body = bodies::webhook(alerts);
                let began = Instant::now();
                post(&http, &url, body).await?;
                latencies.push(began.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(sender) = senders.join_next().await {
        latencies.extend(sender??);
    }
    Ok(Closed {
        webhooks: u64::try_from(latencies.len())?,
        elapsed: began.elapsed(),
        latencies,
    })
}

/// How long each message took from the webhook's first byte to the vendor's door.
///
/// # Errors
/// When an answer is not 200, or a message does not come.
pub(crate) async fn open(
    http: &reqwest::Client,
    url: &str,
    sink: &Sink,
    per_second: u32,
    count: u32,
) -> anyhow::Result<Vec<Duration>> {
    sink.note(true);
    let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut senders = JoinSet::new();
    for _ in 0..count {
        due.tick().await;
        let (http, url, sink) = (http.clone(), url.to_owned(), sink.clone());
        senders.spawn(async move {
            let body = bodies::webhook(1);
            let (id, began) = (body.id, std::time::Instant::now());
            post(&http, &url, body).await?;
            let arrived = arrival(&sink, id).await?;
            anyhow::Ok(arrived.saturating_duration_since(began))
        });
    }
    let mut took = Vec::new();
    while let Some(sender) = senders.join_next().await {
        took.push(sender??);
    }
    sink.note(false);
    Ok(took)
}

async fn arrival(sink: &Sink, id: u64) -> anyhow::Result<std::time::Instant> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(at) = sink.arrival(id) {
            return Ok(at);
        }
        ensure!(Instant::now() < until, "message {id} did not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Posts one webhook and reads its answer.
///
/// # Errors
/// When the answer is not 200.
pub(crate) async fn post(http: &reqwest::Client, url: &str, body: Body) -> anyhow::Result<String> {
    let request = http.post(format!("{url}/api/v1/webhook"));
    let request = request.header("content-type", "application/json");
    let answer = request
        .body(body.text)
        .send()
        .await
        .context("send a webhook")?;
    let status = answer.status();
    let text = answer.text().await.context("read the answer")?;
    ensure!(status == 200, "answered {status}: {text}");
    Ok(text)
}
