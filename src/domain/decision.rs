//! What was decided, and every reason for it.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Fingerprint;
use super::deployment::Phase;
use super::evidence::Evidence;
use super::id::{DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service};
use super::policy::Mode;

/// How much is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// These batches of the deployment.
    Batch(BTreeSet<u32>),
    /// Everything.
    Full,
}

impl Scope {
    /// Whether all that `other` covers is covered by `self`.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full, _) => true,
            (Self::Batch(mine), Self::Batch(theirs)) => mine.is_superset(theirs),
            (Self::Batch(_), Self::Full) => false,
        }
    }

    /// `batch` or `full`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Batch(_) => "batch",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Batch(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(f, "batch {}", numbers.join("+"))
            }
        }
    }
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// People are told; nothing is taken back.
    Notify,
    /// Not now; asked again at `recheck_at`.
    Hold,
    /// Take this much back.
    Rollback(Scope),
}

impl Verdict {
    /// `notify`, `hold`, `rollback_batch` or `rollback_full`: the label in metrics and messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Hold => "hold",
            Self::Rollback(Scope::Batch(_)) => "rollback_batch",
            Self::Rollback(Scope::Full) => "rollback_full",
        }
    }
}

/// The guards, in the order they are asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Off, shadow, approve or enforce.
    Mode,
    /// The payload is recent, whole and still firing.
    Freshness,
    /// Exactly one deployment is accused, from a fresh catalog.
    Context,
    /// `for` and `min_hosts` of the rule are met.
    Threshold,
    /// The metrics store says so itself.
    Verify,
    /// It is this release's fault.
    Attribution,
    /// Phase and scope could be told.
    Phase,
    /// No other incident or deployment is in the way.
    Lane,
    /// The target exists, is stable and differs.
    Target,
    /// Few enough automatic rollbacks lately.
    Budget,
}

impl Guard {
    /// Its name in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Freshness => "freshness",
            Self::Context => "context",
            Self::Threshold => "threshold",
            Self::Verify => "verify",
            Self::Attribution => "attribution",
            Self::Phase => "phase",
            Self::Lane => "lane",
            Self::Target => "target",
            Self::Budget => "budget",
        }
    }
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Go on; the words say what it saw.
    Pass(String),
    /// Not now.
    Hold(String),
    /// No.
    Deny(String),
}

impl Outcome {
    /// `pass`, `hold` or `deny`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Hold(_) => "hold",
            Self::Deny(_) => "deny",
        }
    }

    /// The words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass(reason) | Self::Hold(reason) | Self::Deny(reason) => reason,
        }
    }

    /// Whether it lets the action through.
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass(_))
    }
}

/// One guard's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardVerdict {
    /// Which.
    pub guard: Guard,
    /// What it said.
    pub outcome: Outcome,
}

/// One rule's verdict on the alerts of an accusation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleVerdict {
    /// `<file>: <name>`.
    pub rule: String,
    /// Whether it was the one.
    pub matched: bool,
    /// Why, or why not.
    pub why: String,
}

/// A decision about one accusation: the open alerts of one deployment under one rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// When it was made.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What comes out.
    pub verdict: Verdict,
    /// True when mode `shadow` kept a rollback from being done.
    pub shadow: bool,
    /// The mode that applied.
    pub mode: Mode,
    /// The rule that matched, `<file>: <name>`; None when none did.
    pub rule: Option<String>,
    /// Every rule that was asked.
    pub rules: Vec<RuleVerdict>,
    /// Every guard, in order; those after the first that did not pass are asked all the same.
    pub guards: Vec<GuardVerdict>,
    /// Whose.
    pub service: Option<Service>,
    /// Where.
    pub env: Option<Env>,
    /// The lane, when the context is known.
    pub lane: Option<LaneName>,
    /// The accused deployment.
    pub deployment: Option<DeploymentId>,
    /// The accused release.
    pub release_id: Option<ReleaseId>,
    /// Its phase.
    pub phase: Option<Phase>,
    /// What would be, or is, taken back.
    pub scope: Option<Scope>,
    /// The hosts that concerns.
    pub hosts: Vec<Host>,
    /// The release they go back to.
    pub target: Option<ReleaseId>,
    /// The alerts behind it.
    pub alerts: BTreeSet<Fingerprint>,
    /// What the sources said.
    pub evidence: Option<Evidence>,
    /// When a hold is asked again; a hold without it is released by a person only.
    #[schemars(with = "Option<String>")]
    pub recheck_at: Option<Timestamp>,
    /// The incident it opened or joined, filled in afterwards.
    pub incident: Option<IncidentId>,
}

impl Decision {
    /// The first guard that did not pass.
    pub fn first_obstacle(&self) -> Option<&GuardVerdict> {
        self.guards
            .iter()
            .find(|verdict| !verdict.outcome.is_pass())
    }

    /// The guard that made the verdict what it is: the first that says no, else the first that
    /// did not pass.
    pub fn deciding_guard(&self) -> Option<&GuardVerdict> {
        self.guards
            .iter()
            .find(|verdict| matches!(verdict.outcome, Outcome::Deny(_)))
            .or_else(|| self.first_obstacle())
    }

    /// One sentence: why.
    pub fn why(&self) -> String {
        match (self.deciding_guard(), &self.rule) {
            (Some(obstacle), _) => {
                format!("{}: {}", obstacle.guard.as_str(), obstacle.outcome.reason())
            }
            (None, Some(rule)) => format!("rule {rule}"),
            (None, None) => "no rule matches".to_owned(),
        }
    }
}
