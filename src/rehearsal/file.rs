//! The shape of `rules/tests/*.yaml`, as written.
//!
//! Unknown keys are errors. What the keys mean together is checked in [`super::script`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::given::RawGiven;
use super::offset::{Offset, Span};
use super::words::RawScope;
use crate::config::place::At;
use crate::domain::alert::Source;
use crate::domain::deployment::Phase;
use crate::domain::id::ChannelName;
use crate::domain::policy::Mode;

/// A file of `rules/tests/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    /// Policy files under test, relative to this file; they replace the configuration's. Left out:
    /// the policies of the configuration.
    #[serde(default)]
    pub rule_files: Vec<At<String>>,
    /// The mode to test in, in place of the one each policy file sets.
    #[serde(default)]
    pub policy_mode: Option<Mode>,
    /// When every test starts, for what hangs on the time of day. Default 2026-01-05T10:00:00Z, a
    /// Monday.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub start: Option<Timestamp>,
    /// Time between two values of a series. Default 1m.
    #[serde(default)]
    pub interval: Option<Span>,
    /// The world every test of this file begins with.
    #[serde(default)]
    pub given: RawGiven,
    /// The tests.
    pub tests: At<Vec<RawTest>>,
}

/// One test: a world, alerts, and what is decided when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTest {
    /// What it shows, unique in the file.
    pub name: At<String>,
    /// The mode to test in, in place of the file's.
    #[serde(default)]
    pub policy_mode: Option<Mode>,
    /// When it starts, in place of the file's.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub start: Option<Timestamp>,
    /// Added to the file's world; a release or deployment of the same id replaces the file's.
    #[serde(default)]
    pub given: RawGiven,
    /// The alerts.
    pub alerts: Vec<RawAlert>,
    /// What must stand when.
    pub decision_test: At<Vec<RawMoment>>,
}

/// An alert over its life.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlert {
    /// Its labels, `alertname` among them.
    pub labels: At<BTreeMap<String, String>>,
    /// When it fires. Default 0s.
    #[serde(default)]
    pub from: Option<Offset>,
    /// When it is over. Left out: it fires on.
    #[serde(default)]
    pub until: Option<Offset>,
    /// How often its sender repeats it. Left out: only when something changes.
    #[serde(default)]
    pub repeat: Option<Span>,
    /// Alerts of one group come in one delivery. Default: all do.
    #[serde(default)]
    pub group: String,
    /// Who sends it. Default alertmanager.
    #[serde(default)]
    pub source: Option<Source>,
    /// Alerts that were cut from its deliveries. Default 0.
    #[serde(default)]
    pub truncated: u64,
}

/// What must stand at one moment.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMoment {
    /// The moment.
    pub eval_time: At<Offset>,
    /// Every decision that stands about an open alert then, in any order.
    pub exp_decisions: Vec<At<RawExpected>>,
}

/// A decision as expected; what is left out is not compared.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExpected {
    /// notify, hold, `rollback_batch` or `rollback_full`.
    pub verdict: Option<ExpectedVerdict>,
    /// Whether mode `shadow` kept it from being done.
    pub shadow: Option<bool>,
    /// The mode that applied.
    pub mode: Option<Mode>,
    /// The rule's name, with or without its file; `none` when none matches.
    pub rule: Option<String>,
    /// The guard that decided: the first that says no, else the first that did not pass; `none`
    /// when all did, or none was asked.
    pub obstacle: Option<At<String>>,
    /// Its code, such as `too_young`.
    pub code: Option<At<String>>,
    /// Text that stands in what that guard says.
    pub reason: Option<String>,
    /// `full`, `batch 1` or `batch 1+2`.
    pub scope: Option<RawScope>,
    /// The hosts that concerns, in any order.
    pub hosts: Option<Vec<String>>,
    /// The release it goes back to.
    pub target: Option<String>,
    /// Who is told, in any order.
    pub channels: Option<Vec<ChannelName>>,
    /// The accused deployment; `none` when none could be told.
    pub deployment: Option<String>,
    /// Its phase.
    pub phase: Option<Phase>,
    /// The service.
    pub service: Option<String>,
    /// The environment.
    pub env: Option<String>,
    /// When it was decided.
    pub decided: Option<Offset>,
}

/// A verdict as its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpectedVerdict {
    Notify,
    Hold,
    RollbackBatch,
    RollbackFull,
}

impl ExpectedVerdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Hold => "hold",
            Self::RollbackBatch => "rollback_batch",
            Self::RollbackFull => "rollback_full",
        }
    }
}

/// The JSON schema of a file of `rules/tests/`.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(RawFile);
    schema.insert("title".to_owned(), "RuleTest".into());
    schema
}
