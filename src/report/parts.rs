//! The sections that are gathered, in the shape in which the record keeps them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Number, Sample, Text};
use crate::domain::deployment::{Health, Status};
use crate::domain::id::{ChannelName, Host, ReleaseId};
use crate::domain::notice::NoticeKind;

/// A section that may be late. A late one says why and holds nothing up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Section<T> {
    /// All of it.
    Whole(T),
    /// Not all of it.
    Partial {
        /// Why.
        why: Text,
        /// What there is.
        value: Option<T>,
    },
}

/// A record of before a section was known lacks it.
impl<T> Default for Section<T> {
    fn default() -> Self {
        Self::missing("not gathered by the version that made this report")
    }
}

impl<T> Section<T> {
    /// A section of which nothing could be had.
    pub fn missing(why: impl Into<Text>) -> Self {
        Self::Partial {
            why: why.into(),
            value: None,
        }
    }

    /// A section of which a part could be had.
    pub fn partial(why: impl Into<Text>, value: T) -> Self {
        Self::Partial {
            why: why.into(),
            value: Some(value),
        }
    }

    /// What there is.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Partial { value, .. } => value.as_ref(),
        }
    }

    /// Why it is not whole.
    pub fn why(&self) -> Option<&Text> {
        match self {
            Self::Whole(_) => None,
            Self::Partial { why, .. } => Some(why),
        }
    }

    pub(super) fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Partial { value, .. } => value.as_mut(),
        }
    }
}

/// A run of a pipeline, stage by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionLog {
    /// Spinnaker's id.
    pub execution: Text,
    /// The pipeline's name.
    pub pipeline: Text,
    /// Spinnaker's word, such as `SUCCEEDED`.
    pub status: Text,
    /// When it started.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// Its stages, in run order.
    pub stages: Vec<StageLine>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageLine {
    /// The name people gave it.
    pub name: Text,
    /// Spinnaker's type, such as `webhook`.
    pub kind: Text,
    /// Spinnaker's word.
    pub status: Text,
    /// When it started.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// What it said, when it said something.
    pub message: Option<Text>,
    /// The hosts it touched, when it tells.
    pub hosts: Vec<Host>,
}

/// A metric around the incident, readable after the metrics store has forgotten it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSnapshot {
    /// What it shows, in words.
    pub title: Text,
    /// The exact query.
    pub query: Text,
    /// Who answered it, without credentials.
    pub source: Text,
    /// `ratio`, `percent`, `seconds`, `bytes`, a name such as `req/s`, or empty.
    pub unit: Text,
    /// The line that must not be crossed, when the rule tells one.
    pub threshold: Option<Threshold>,
    /// The start of the window.
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// The end of the window.
    #[schemars(with = "String")]
    pub to: Timestamp,
    /// The distance of two points.
    #[serde(with = "crate::domain::duration")]
    #[schemars(with = "String")]
    pub step: Duration,
    /// The raw points.
    pub series: Vec<Series>,
    /// The chart's file beside the record; filled in by [`super::record()`].
    pub chart: Option<String>,
    /// The chart itself; a file of its own, not part of the JSON.
    #[serde(skip)]
    #[schemars(skip)]
    pub chart_png: Option<Png>,
}

/// A line and its bad side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// Where it lies.
    pub value: Number,
    /// Which side is bad.
    pub bad: Side,
}

impl Threshold {
    /// Whether `value` is on the bad side.
    pub fn is_bad(self, value: f64) -> bool {
        match self.bad {
            Side::Above => value > self.value.0,
            Side::Below => value < self.value.0,
        }
    }
}

/// A side of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// More is bad.
    #[default]
    Above,
    /// Less is bad.
    Below,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Its labels; build them with [`Series::new`].
    pub labels: BTreeMap<Text, Text>,
    /// Whether it is the accused release's or its hosts'.
    pub role: Role,
    /// Its points, oldest first.
    pub points: Vec<Sample>,
}

impl Series {
    /// Takes a series as the metrics store answered it.
    pub fn new<'a>(
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        role: Role,
        points: impl IntoIterator<Item = (Timestamp, f64)>,
    ) -> Self {
        Self {
            labels: labels
                .into_iter()
                .map(|(name, value)| (Text::from(name.as_str()), Text::of_label(name, value)))
                .collect(),
            role,
            points: points.into_iter().map(Sample::from).collect(),
        }
    }
}

/// Whose a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The accused release's, or its hosts'.
    Accused,
    /// What it is compared with.
    Rest,
}

/// A picture's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Png(pub Bytes);

impl fmt::Debug for Png {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Png({} bytes)", self.0.len())
    }
}

/// A message that people got, or should have got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageLine {
    /// Through which channel.
    pub channel: ChannelName,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What became of it: `sent`, `pending`, or the vendor's refusal.
    pub status: Text,
    /// What it was about.
    pub kind: NoticeKind,
}

/// Something that was decided beside the lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedLine {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What.
    pub what: Judging,
    /// In words: why.
    pub why: Text,
}

/// What was decided beside the lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judging {
    /// An accusation of the deployment was judged, or judged again.
    Decided {
        /// `notify`, `hold`, `rollback_batch`, `rollback_full`.
        verdict: String,
        /// Whether mode `shadow` kept it from being done.
        shadow: bool,
    },
    /// A hold stood for long, and people were paged.
    Paged,
    /// A hold ended.
    HoldEnded,
}

/// A host before and after the rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostLine {
    /// Which.
    pub host: Host,
    /// Its batch, when known.
    pub batch: Option<u32>,
    /// As it was when the incident opened.
    pub before: Option<HostState>,
    /// As it is now.
    pub after: Option<HostState>,
}

/// What runs on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostState {
    /// The release, when known.
    pub release_id: Option<ReleaseId>,
    /// Where its deployment stands.
    pub status: Option<Status>,
    /// What its health check says.
    pub health: Health,
    /// What went wrong, in the deployer's words.
    pub error: Option<Text>,
}

/// A change between the two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Its hash; empty when it is not known.
    pub id: Text,
    /// Who wrote it, when known.
    pub author: Option<Text>,
    /// The first line of its message.
    pub title: Text,
    /// When it was written.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Its page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Commit {
    /// Enough of its hash to find it.
    pub(super) fn short(&self) -> String {
        self.id.as_str().chars().take(12).collect()
    }
}
