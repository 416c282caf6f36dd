//! Instant and range queries.
//!
//! A client of our own stands beside the crate `prometheus-http-query` because that one loses what
//! evidence depends on: every error message of `VictoriaMetrics` (whose `errorType` is a number it
//! does not expect) and `isPartial`; it bounds no answer, and `nocache=1` goes without saying here.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::StatusCode;
use url::Url;

use super::wire::{Answer, QueryData};
use super::{Ask, Login, PromError, join};
use crate::config::Metrics;
use crate::domain::alert::Labels;
use crate::http::{self, CallError, CallErrorKind};

/// Most series of an answer, unless a caller says otherwise.
const SERIES_LIMIT: usize = 50;
/// Most points of one series.
const POINTS_LIMIT: usize = 2_000;

/// A series' value at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, `__name__` among them where the expression keeps it.
    pub labels: Labels,
    /// When.
    pub at: Timestamp,
    /// NaN and infinities included.
    pub value: f64,
}

/// A series over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` among them where the expression keeps it.
    pub labels: Labels,
    /// Points in order; gaps are simply absent.
    pub points: Vec<(Timestamp, f64)>,
}

/// What one question may cost.
#[derive(Debug, Clone)]
pub struct Options {
    /// More series than this is an error.
    pub max_series: usize,
    /// Longest wait; None: the configured one.
    pub timeout: Option<Duration>,
    /// Parameters that belong to the expression, such as a rule group's `extra_label`.
    pub params: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_series: SERIES_LIMIT,
            timeout: None,
            params: Vec::new(),
        }
    }
}

/// A client of one metrics store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    login: Login,
    timeout: Duration,
    latency_offset: bool,
}

impl Client {
    /// Asks the configured store through `http`.
    pub fn new(http: reqwest::Client, metrics: &Metrics) -> Self {
        Self {
            http,
            base: metrics.url.clone(),
            login: Login {
                basic: metrics.basic.clone(),
                bearer: metrics.bearer.clone(),
            },
            timeout: metrics.timeout,
            latency_offset: metrics.latency_offset,
        }
    }

    async fn ask(
        &self,
        what: &str,
        mut form: Vec<(&'static str, String)>,
        options: &Options,
    ) -> Result<QueryData, PromError> {
        let timeout = options.timeout.unwrap_or(self.timeout).min(self.timeout);
        form.push(("nocache", "1".to_owned()));
        form.push(("timeout", format!("{}s", timeout.as_secs().max(1))));
        if self.latency_offset {
            form.push(("latency_offset", "1ms".to_owned()));
        }
        let url = join(&self.base, &["api", "v1", what])?;
        let extra = options.params.iter();
        let pairs: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain(extra.map(|(name, value)| (name.as_str(), value.as_str())))
            .collect();
        // A form, because an expression may be longer than a URL.
        let request = self.http.post(url).timeout(timeout).form(&pairs);
        let answer: Answer<QueryData> = read(self.login.apply(request)).await?;
        if answer.is_partial == Some(true) {
            return Err(PromError::Incomplete);
        }
        answer
            .data
            .ok_or_else(|| PromError::BadAnswer("no data".into()))
    }
}

/// Past every cache, which also keeps the grid of times as asked.
#[async_trait]
impl Ask for Client {
    async fn instant(
        &self,
        query: &str,
        at: Option<Timestamp>,
        options: &Options,
    ) -> Result<Vec<Sample>, PromError> {
        let mut form = vec![("query", query.to_owned())];
        form.extend(at.map(|at| ("time", seconds(at))));
        let samples = self.ask("query", form, options).await?.into_samples()?;
        limit(samples.len(), options.max_series, "series")?;
        Ok(samples)
    }

    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &Options,
    ) -> Result<Vec<Series>, PromError> {
        let step = step.max(Duration::from_secs(1));
        let span = crate::domain::clock::since(end, start).as_secs();
        let points = span / step.as_secs().max(1) + 1;
        limit(
            usize::try_from(points).unwrap_or(usize::MAX),
            POINTS_LIMIT,
            "points",
        )?;
        let form = vec![
            ("query", query.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", format!("{}s", step.as_secs())),
        ];
        let series = self
            .ask("query_range", form, options)
            .await?
            .into_series()?;
        limit(series.len(), options.max_series, "series")?;
        let longest = series.iter().map(|one| one.points.len()).max();
        limit(longest.unwrap_or(0), POINTS_LIMIT, "points")?;
        Ok(series)
    }
}

/// Sends and reads one answer of the Prometheus API.
pub(super) async fn read<T: serde::de::DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<Answer<T>, PromError> {
    let response = request.send().await.map_err(CallError::from)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = http::read_body(response, http::BODY_LIMIT).await?;
    if let Some(refused) = refusal(status, &body) {
        return Err(refused);
    }
    if !status.is_success() {
        let detail = format!("the source answers {}", status.as_u16());
        return Err(CallError::from_status(status, &headers, detail).into());
    }
    let answer: Answer<T> = http::decode(&body).map_err(|error| error.with_status(status))?;
    match answer.status.as_str() {
        "success" => Ok(answer),
        _ => Err(PromError::BadAnswer("neither success nor an error".into())),
    }
}

/// An error in the API's own words. 401, 429 and 5xx are about the source, not about the question.
fn refusal(status: StatusCode, body: &[u8]) -> Option<PromError> {
    let answer: Answer<serde::de::IgnoredAny> = serde_json::from_slice(body).ok()?;
    if answer.status != "error" {
        return None;
    }
    let kind = CallErrorKind::of_status(status);
    let text = answer.error.unwrap_or_default();
    let word = answer
        .error_type
        .unwrap_or_else(|| status.as_u16().to_string());
    // A timed out or overloaded evaluation comes as 422, 500 or 503, by version.
    Some(match kind {
        CallErrorKind::Client | CallErrorKind::Decode => {
            PromError::refused(status.as_u16(), word, &text)
        }
        _ => {
            let words: String = text.chars().take(200).collect();
            let detail = format!("the source answers {}: {words}", status.as_u16());
            CallError::new(kind, detail).with_status(status).into()
        }
    })
}

fn limit(found: usize, limit: usize, what: &'static str) -> Result<(), PromError> {
    if found > limit {
        return Err(PromError::TooMuch { what, limit });
    }
    Ok(())
}

/// Unix seconds with milliseconds.
fn seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!(
        "{}.{:03}",
        milliseconds.div_euclid(1000),
        milliseconds.rem_euclid(1000)
    )
}
