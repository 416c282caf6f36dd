//! What was decided, and every reason for it.

mod code;
mod guard;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Fingerprint;
use super::deployment::Phase;
use super::evidence::Evidence;
use super::id::{ApprovalId, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service};
use super::policy::{Expiry, Mode};

pub use code::Code;
pub use guard::{Guard, GuardVerdict, Outcome};

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

    /// The batches joined by commas; empty for everything.
    pub fn batches_joined(&self) -> String {
        match self {
            Self::Full => String::new(),
            Self::Batch(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                numbers.join(",")
            }
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

/// Another deployment that may be what went wrong: of the same service and environment, or of
/// another service shortly before it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// Whose.
    pub service: Service,
    /// What it brought.
    pub release_id: ReleaseId,
    /// Its id.
    pub deployment: DeploymentId,
    /// When it started.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
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
    #[serde(deserialize_with = "guard::known")]
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
    /// How it stands with people's consent, where it takes one.
    #[serde(default)]
    pub consent: Option<Consent>,
    /// Other deployments that may be what went wrong: named, never acted on.
    #[serde(default)]
    pub suspects: Vec<Suspect>,
    /// The incident whose rollback did not help, when that is what calls for this one.
    #[serde(default)]
    pub escalates: Option<IncidentId>,
}

/// How a decision stands with people's consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nothing else speaks against it: people are to be asked.
    Ask {
        /// Until when the question is to stand.
        #[schemars(with = "String")]
        until: Timestamp,
        /// What happens when nobody answers.
        then: Expiry,
    },
    /// They are being asked.
    Asked(ApprovalId),
    /// They were, and this is the consent.
    Given(ApprovalId),
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

    /// The consent it rests on, where it rests on one.
    pub fn consent_given(&self) -> Option<&ApprovalId> {
        match &self.consent {
            Some(Consent::Given(id)) => Some(id),
            _ => None,
        }
    }

    /// Whether a person said no to it.
    pub fn is_denied(&self) -> bool {
        self.deciding_guard().is_some_and(|verdict| {
            verdict.guard == Guard::Approval && matches!(verdict.outcome, Outcome::Deny(_))
        })
    }

    /// Verdict, scope, target and what made them so, in words that stay the same while nothing
    /// else does: two decisions of one gist differ only in how long, how much or how far.
    pub fn gist(&self) -> String {
        let why = match self.deciding_guard() {
            // Versions before codes told guards apart by words alone.
            Some(verdict) if verdict.code == Code::Unstated => self.why(),
            Some(verdict) => format!("{}: {}", verdict.guard.as_str(), verdict.code.as_str()),
            None => self.why(),
        };
        let scope = self.scope.as_ref().map(ToString::to_string);
        format!(
            "{}/{}/{why}/{scope:?}/{:?}/{:?}",
            self.verdict.as_str(),
            self.shadow,
            self.target,
            self.incident
        )
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
