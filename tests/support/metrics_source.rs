//! A real `VictoriaMetrics`, tuned so that a sample is seen about a second after it arrives.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::process::{self, Process, Ready};
use super::tools::Tool;

/// Text exposition posted in one request; larger imports are cut at line ends.
const IMPORT_CHUNK_BYTES: usize = 8 << 20;

/// The running store.
#[derive(Debug)]
pub struct VictoriaMetrics {
    /// To pause, kill and restart it.
    pub process: Process,
    /// To fill it; tasks of their own take a clone.
    pub importer: Importer,
}

/// Where samples go in.
#[derive(Debug, Clone)]
pub struct Importer {
    url: String,
    client: reqwest::Client,
}

/// A series of an instant query: its labels and its value.
pub type Sample = (std::collections::BTreeMap<String, String>, f64);

impl VictoriaMetrics {
    /// Starts it with its data and log in `directory`.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let program = Tool::VictoriaMetrics.path()?;
        std::fs::create_dir_all(directory).context("create the data directory")?;
        let data = directory.join("data");
        let recipe = move |port: u16| {
            let mut command = Command::new(&program);
            command
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg("-search.latencyOffset=1s")
                .arg("-memory.allowedBytes=256MB")
                .arg("-storage.minFreeDiskSpaceBytes=10MB");
            command
        };
        let log = directory.join("victoria-metrics.log");
        let process =
            Process::start("victoria-metrics", &log, Ready::Http("/health"), recipe).await?;
        let importer = Importer {
            url: process.url(),
            client: process::client()?,
        };
        Ok(Self { process, importer })
    }

    /// The base URL of the Prometheus API.
    pub fn url(&self) -> String {
        self.process.url()
    }

    /// An instant query, past every cache, at `time` (Unix seconds) or now.
    pub async fn query(&self, query: &str, time: Option<f64>) -> anyhow::Result<Vec<Sample>> {
        let mut parameters = vec![("query", query.to_owned()), ("nocache", "1".to_owned())];
        parameters.extend(time.map(|time| ("time", time.to_string())));
        let body: Value = self
            .importer
            .client
            .get(format!("{}/api/v1/query", self.url()))
            .query(&parameters)
            .send()
            .await
            .context("query")?
            .json()
            .await
            .context("read the answer")?;
        let result = body.pointer("/data/result").and_then(Value::as_array);
        let result = result.with_context(|| format!("no result in {body}"))?;
        result.iter().map(sample).collect()
    }
}

impl Importer {
    /// Takes samples in the text format, with or without timestamps (milliseconds).
    pub async fn push(&self, text: &str) -> anyhow::Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (chunk, remainder) = cut(rest);
            let answer = self
                .client
                .post(format!("{}/api/v1/import/prometheus", self.url))
                .body(chunk.to_owned())
                .send()
                .await
                .context("push samples")?;
            ensure!(answer.status().is_success(), "import: {}", answer.status());
            rest = remainder;
        }
        Ok(())
    }

    /// Makes everything pushed so far visible to queries; new series take seconds otherwise.
    pub async fn flush(&self) -> anyhow::Result<()> {
        let url = format!("{}/internal/force_flush", self.url);
        let answer = self.client.get(url).send().await.context("flush")?;
        ensure!(answer.status().is_success(), "flush: {}", answer.status());
        Ok(())
    }

    /// [`push`](Self::push) and [`flush`](Self::flush).
    pub async fn import(&self, text: &str) -> anyhow::Result<()> {
        self.push(text).await?;
        self.flush().await
    }
}

fn sample(series: &Value) -> anyhow::Result<Sample> {
    let labels = serde_json::from_value(series.pointer("/metric").cloned().unwrap_or_default())?;
    let value = series.pointer("/value/1").and_then(Value::as_str);
    Ok((labels, value.context("a series without a value")?.parse()?))
}

/// Cuts at the last line end within the chunk size.
fn cut(text: &str) -> (&str, &str) {
    let mut end = text.len().min(IMPORT_CHUNK_BYTES);
    if end < text.len() {
        end = text
            .as_bytes()
            .get(..end)
            .and_then(|head| head.iter().rposition(|&byte| byte == b'\n'))
            .map_or(text.len(), |position| position + 1);
    }
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Lets the store itself judge a scrape configuration, as vmagent would.
///
/// # Errors
/// What it said.
pub fn check_scrape_config(file: &Path) -> anyhow::Result<()> {
    let output = Command::new(Tool::VictoriaMetrics.path()?)
        .args(["-dryRun", "-promscrape.config.strictParse=true"])
        .arg(format!("-promscrape.config={}", file.display()))
        .output()
        .context("run VictoriaMetrics")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "victoria-metrics -dryRun: {said}");
    Ok(())
}
