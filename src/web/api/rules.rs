//! Canary rules and what runs where, as readers and scrapers are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Progress;
use crate::domain::deployment::{Deployment, Phase};

/// A deployment, with how far it is and the canary rules of its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentState {
    /// As the catalog knows it.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// As the rules see it.
    pub phase: Phase,
    /// Counted over its batches.
    pub progress: Progress,
    /// Its execution with the logs of its stages, in Spinnaker's pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// By batch; batches that were never armed, or long ago, are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub canary_rules: BTreeMap<u32, RulesState>,
}

/// The canary rules of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RulesState {
    /// Whether they are evaluated.
    pub status: RulesStatus,
    /// The rule group.
    pub group: String,
    /// Since when they are to be.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When every canary vmalert was seen to evaluate them.
    #[schemars(with = "Option<String>")]
    pub proven_at: Option<Timestamp>,
    /// When they were taken away.
    #[schemars(with = "Option<String>")]
    pub disarmed_at: Option<Timestamp>,
    /// Why they were; or why rules that were proven are not evaluated now.
    pub why: Option<String>,
}

/// Whether rules are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulesStatus {
    /// To be, and not proven yet.
    Arming,
    /// Proven.
    Armed,
    /// Not any more.
    Disarmed,
}

/// Scrape targets that share their labels, as Prometheus' `http_sd` reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroup {
    /// `host:port`.
    pub targets: Vec<String>,
    /// Put on everything that is scraped there.
    pub labels: BTreeMap<String, String>,
}
