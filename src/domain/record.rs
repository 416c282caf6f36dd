//! A decision as it is kept for people who ask why: with what it was made from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Fingerprint};
use super::decision::Decision;
use super::id::ReplicaId;

/// Alerts of a decision that are named; the decision itself has the fingerprints of all.
pub const MAX_NAMED: usize = 20;

/// What made the gateway decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A delivery of alerts.
    Delivery,
    /// A hold was asked again.
    Recheck,
}

/// An alert by the names people know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedAlert {
    /// Identity.
    pub fingerprint: Fingerprint,
    /// `alertname`.
    pub name: String,
    /// Label `severity`.
    pub severity: String,
    /// Label `instance`.
    #[serde(default)]
    pub instance: Option<String>,
    /// Since when, as its sender says.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
}

impl From<&Alert> for NamedAlert {
    fn from(alert: &Alert) -> Self {
        Self {
            fingerprint: alert.fingerprint,
            name: alert.name().to_owned(),
            severity: alert.severity().to_owned(),
            instance: alert.label("instance").map(str::to_owned),
            starts_at: alert.starts_at,
        }
    }
}

/// A decision with what it was made from. Documents of older versions lack all but the decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRecord {
    /// What was decided, and every reason.
    #[serde(flatten)]
    pub decision: Decision,
    /// What it is kept as: later ones sort behind earlier ones.
    #[serde(default)]
    pub id: String,
    /// The replica that decided.
    #[serde(default)]
    pub by: Option<ReplicaId>,
    /// What made it decide.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// Which deployment was found to be accused and how, or why none was.
    #[serde(default)]
    pub accused: String,
    /// The first [`MAX_NAMED`] of its alerts.
    #[serde(default)]
    pub named: Vec<NamedAlert>,
}
