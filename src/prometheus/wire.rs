//! The bodies of the Prometheus HTTP API, as lenient as the sources differ.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{PromError, Sample, Series};
use crate::domain::alert::Labels;

/// `[seconds, "value"]`
type Point = (f64, String);

/// The frame around every answer. `VictoriaMetrics` puts the HTTP status into `errorType`, the
/// cluster version adds `isPartial`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<T> {
    pub(super) status: String,
    pub(super) data: Option<T>,
    #[serde(default)]
    pub(super) is_partial: Option<bool>,
    #[serde(default)]
    pub(super) error_type: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum QueryData {
    Vector(Vec<VectorItem>),
    Matrix(Vec<MatrixItem>),
    Scalar(Point),
    String(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
pub(super) struct VectorItem {
    #[serde(default)]
    metric: Labels,
    value: Point,
}

#[derive(Debug, Deserialize)]
pub(super) struct MatrixItem {
    #[serde(default)]
    metric: Labels,
    values: Vec<Point>,
}

fn point((seconds, value): Point) -> Result<(Timestamp, f64), PromError> {
    let bad = |what: &str| PromError::BadAnswer(what.to_owned());
    // Milliseconds are what the stores keep; a float of seconds holds them exactly enough.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of floats saturates"
    )]
    let milliseconds = (seconds * 1000.0).round() as i64;
    let at = Timestamp::from_millisecond(milliseconds)
        .map_err(|_| bad("a sample outside of all time"))?;
    // Rust reads `NaN`, `+Inf` and `-Inf` as the stores write them.
    let value = value
        .parse()
        .map_err(|_| bad("a sample that is no number"))?;
    Ok((at, value))
}

impl QueryData {
    pub(super) fn into_samples(self) -> Result<Vec<Sample>, PromError> {
        let sample = |labels, raw| {
            let (at, value) = point(raw)?;
            Ok(Sample { labels, at, value })
        };
        match self {
            Self::Vector(items) => items
                .into_iter()
                .map(|item| sample(item.metric, item.value))
                .collect(),
            Self::Scalar(raw) => Ok(vec![sample(BTreeMap::new(), raw)?]),
            Self::Matrix(_) | Self::String(_) => {
                Err(PromError::BadAnswer("not an instant vector".into()))
            }
        }
    }

    pub(super) fn into_series(self) -> Result<Vec<Series>, PromError> {
        let Self::Matrix(items) = self else {
            return Err(PromError::BadAnswer("not a range of points".into()));
        };
        items
            .into_iter()
            .map(|item| {
                let points = item.values.into_iter().map(point);
                Ok(Series {
                    labels: item.metric,
                    points: points.collect::<Result<_, PromError>>()?,
                })
            })
            .collect()
    }
}

/// `/api/v1/rules`. What 1.79 lacks against newer ones is optional, `null` where lists are empty.
#[derive(Debug, Deserialize)]
pub(super) struct RulesData {
    #[serde(default)]
    pub(super) groups: Option<Vec<GroupBody>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GroupBody {
    pub(super) name: String,
    #[serde(default)]
    pub(super) file: String,
    #[serde(default)]
    pub(super) labels: Option<Labels>,
    #[serde(default)]
    pub(super) params: Option<Vec<String>>,
    #[serde(default)]
    pub(super) headers: Option<Vec<String>>,
    #[serde(default)]
    pub(super) rules: Option<Vec<RuleBody>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleBody {
    pub(super) name: String,
    #[serde(default)]
    pub(super) query: String,
    /// Seconds.
    #[serde(default)]
    pub(super) duration: f64,
    #[serde(default)]
    pub(super) labels: Option<Labels>,
    #[serde(default)]
    pub(super) health: String,
    #[serde(default)]
    pub(super) last_error: Option<String>,
    #[serde(default)]
    pub(super) last_evaluation: Option<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) datasource_type: Option<String>,
}
