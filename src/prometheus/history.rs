//! Raw points for a report's metric snapshot.
//!
//! Reports look back and decide nothing, so the crate `prometheus-http-query` serves here. It
//! knows no `isPartial` and hides the store's error text, which is why evidence asks
//! [`super::Client`] instead.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prometheus_http_query as crate_client;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::{PromError, Series};
use crate::config::Metrics;
use crate::http::{CallError, CallErrorKind};

/// Most points of a snapshot, over all its series.
const POINTS_LIMIT: usize = 20_000;

/// Reads ranges of points that are over.
#[derive(Clone)]
pub struct History {
    client: crate_client::Client,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    /// Asks the configured store through `http`.
    ///
    /// # Errors
    /// When its address or login can't be sent.
    pub fn new(http: reqwest::Client, metrics: &Metrics) -> Result<Self, PromError> {
        // The crate appends to the text, and two slashes are another path.
        let base = metrics.url.as_str().trim_end_matches('/');
        let client = crate_client::Client::from(http, base)
            .map_err(|_| PromError::BadAnswer("the address of the metrics store".into()))?;
        let login = match (&metrics.basic, &metrics.bearer) {
            (Some(basic), _) => {
                let pair = format!("{}:{}", basic.username, basic.password.expose());
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            (None, Some(token)) => Some(format!("Bearer {}", token.expose())),
            (None, None) => None,
        };
        let authorization = login.map(|text| {
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| PromError::BadAnswer("the login of the metrics store".into()))?;
            value.set_sensitive(true);
            Ok::<_, PromError>(value)
        });
        Ok(Self {
            client,
            authorization: authorization.transpose()?,
        })
    }

    /// The points of `query` from `start` to `end`, one per `step`.
    ///
    /// # Errors
    /// When there is no answer, or one of more than 20,000 points.
    pub async fn points(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Vec<Series>, PromError> {
        let question = self
            .client
            .query_range(
                query,
                start.as_second(),
                end.as_second(),
                step.as_secs_f64().max(1.0),
            )
            .query("nocache", 1);
        let question = match &self.authorization {
            Some(login) => question.header(AUTHORIZATION, login.clone()),
            None => question,
        };
        let answer = question.post().await.map_err(|error| failed(&error))?;
        let (data, _stats) = answer.into_inner();
        let series = data
            .into_matrix()
            .map_err(|_| PromError::BadAnswer("not a range of points".into()))?;
        let total: usize = series.iter().map(|one| one.samples().len()).sum();
        if total > POINTS_LIMIT {
            return Err(PromError::TooMuch {
                what: "points",
                limit: POINTS_LIMIT,
            });
        }
        series.into_iter().map(convert).collect()
    }
}

fn convert(range: crate_client::response::RangeVector) -> Result<Series, PromError> {
    let (labels, samples) = range.into_inner();
    let points = samples
        .iter()
        .map(|sample| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a cast of floats saturates"
            )]
            let milliseconds = (sample.timestamp() * 1000.0).round() as i64;
            let at = Timestamp::from_millisecond(milliseconds)
                .map_err(|_| PromError::BadAnswer("a sample outside of all time".into()))?;
            Ok((at, sample.value()))
        })
        .collect::<Result<_, PromError>>()?;
    Ok(Series {
        labels: labels.into_iter().collect(),
        points,
    })
}

/// The crate's errors can print the whole URL; the kind is all that is kept.
fn failed(error: &crate_client::Error) -> PromError {
    match error {
        crate_client::Error::Prometheus(error) => {
            PromError::refused(400, error.error_type().to_string(), error.message())
        }
        crate_client::Error::Client(_) => {
            CallError::new(CallErrorKind::Network, "the metrics store can't be read").into()
        }
        _ => PromError::BadAnswer("not the Prometheus API's".into()),
    }
}
