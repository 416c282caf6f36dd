//! What the rules would have done over recorded history, beside what really happened.
//!
//! Alerts come from the `ALERTS` series, releases and deployments from the store, evidence from the
//! metrics store asked about the moment itself. The judging is the gateway's own ([`super::judge`])
//! under a virtual clock. What nobody recorded is not replayed, and never counts as a pass: the
//! guards that need it are named.

mod fired;
mod past;
mod remember;
mod replay;
mod score;
mod world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use score::{Label, Score, Want};

use crate::config::Config;
use crate::domain::decision::{Guard, GuardVerdict};
use crate::domain::id::{DeploymentId, Env, IncidentId, ReleaseId, Service};
use crate::explain::Span;
use crate::prometheus::{Ask, PromError, RuleList};
use crate::store::{Store, StoreError};

/// What is replayed.
#[derive(Debug, Clone)]
pub struct Range {
    /// From here …
    pub from: Timestamp,
    /// … to here.
    pub to: Timestamp,
    /// How fine: between two looks at the recorded alerts, and at what is held.
    pub step: Duration,
    /// Only this service; None: all.
    pub service: Option<Service>,
    /// An expression that has data whenever the metrics store recorded at all.
    pub alive: String,
}

/// Who is asked.
#[derive(Debug, Clone)]
pub struct Witnesses {
    /// Releases, deployments, marks, modes, incidents.
    pub store: Store,
    /// The recorded metrics.
    pub metrics: Arc<dyn Ask>,
    /// The rule lists as they are today; yesterday's are not kept.
    pub rules: Arc<[Arc<dyn RuleList>]>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The metrics store.
    #[error("the recorded alerts can't be read: {0}")]
    Metrics(#[from] PromError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// The recorded alerts are read up to here.
    Reading(Timestamp),
    /// History is replayed up to here, with so many rollbacks so far.
    Replaying(Timestamp, usize),
}

/// A guard of a rollback that would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardLine {
    /// Which.
    pub guard: String,
    /// `pass`, or `not replayed`.
    pub outcome: String,
    /// What it saw.
    pub reason: String,
}

/// A rollback these rules would have made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Would {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// Which deployment.
    pub deployment: DeploymentId,
    /// From which release …
    pub release_id: ReleaseId,
    /// … to which.
    pub target: Option<ReleaseId>,
    /// `full`, or `batch 1`.
    pub scope: String,
    /// The rule.
    pub rule: String,
    /// Whether the mode of then would only have watched.
    pub shadow: bool,
    /// Names of the alerts.
    pub alerts: Vec<String>,
    /// Every guard; what nobody recorded is `not replayed`.
    pub guards: Vec<GuardLine>,
    /// What really happened to that deployment, if it was taken back.
    pub really: Option<Really>,
}

/// A rollback that really happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Really {
    /// When, as far as known.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// Which deployment.
    pub deployment: DeploymentId,
    /// From which release.
    pub release_id: ReleaseId,
    /// The incident; None: it was done elsewhere, and the deployment says so.
    pub incident: Option<IncidentId>,
    /// Whether these rules would have done it, too.
    pub replayed: bool,
}

/// What was decided without acting: how often, and for which first reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quiet {
    /// Whose, when it could be told.
    pub service: Option<Service>,
    /// As in `explain`.
    pub code: crate::explain::Code,
    /// In words, of the first time.
    pub example: String,
    /// How many alerts ended with it.
    pub count: usize,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backtest {
    /// What was replayed.
    pub span: Span,
    /// Alerts that fired in it.
    pub alerts: usize,
    /// Time without recorded metrics: what fired then is not known.
    pub gaps: Vec<Span>,
    /// The rollbacks, in order.
    pub would: Vec<Would>,
    /// Rollbacks that really happened, in order.
    pub really: Vec<Really>,
    /// Why the other alerts led to none.
    pub quiet: Vec<Quiet>,
    /// How good that is, by the labels.
    pub score: Option<Score>,
    /// What is to be known when reading this.
    pub notes: Vec<String>,
}

/// Replays history.
///
/// # Errors
/// When the recorded alerts or the store can't be read. What is missing in between is a gap.
pub async fn run(
    config: &Config,
    witnesses: &Witnesses,
    range: &Range,
    labels: Option<&[Label]>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Backtest, BacktestError> {
    let recorded = fired::read(&*witnesses.metrics, range, progress).await?;
    let mut past = past::Past::read(&witnesses.store, config, range).await?;
    let mut notes = recorded.notes.clone();
    notes.extend(past.notes.clone());
    if !witnesses.rules.is_empty() {
        notes.push("trusted expressions are those the vmalerts list today".to_owned());
    }
    let replay = replay::Replay {
        config,
        witnesses,
        range,
        progress,
    };
    let mut replayed = replay.run(&recorded.fired, &mut past).await?;
    let mut really = past.really;
    for one in &mut really {
        one.replayed = replayed
            .would
            .iter()
            .any(|would| would.deployment == one.deployment);
    }
    for would in &mut replayed.would {
        let mut same = really.iter();
        would.really = same.find(|one| one.deployment == would.deployment).cloned();
    }
    Ok(Backtest {
        span: Span {
            from: range.from,
            to: range.to,
        },
        alerts: replayed.alerts,
        gaps: recorded.gaps,
        score: labels.map(|labels| score::score(labels, &replayed.would)),
        would: replayed.would,
        really,
        quiet: replayed.quiet,
        notes,
    })
}

/// Whether a guard's question can be asked of the past. Of the others nobody recorded the answer:
/// how old a delivery was, which executions Gate ran, who would have agreed.
fn is_replayed(guard: Guard) -> bool {
    matches!(
        guard,
        Guard::KillSwitch
            | Guard::Mode
            | Guard::Context
            | Guard::Threshold
            | Guard::Verify
            | Guard::Attribution
            | Guard::Phase
            | Guard::Lane
            | Guard::Target
            | Guard::Irreversible
            | Guard::Freeze
            | Guard::Cooldown
            | Guard::Budget
    )
}

/// A guard as the past can tell it.
fn guard_line(verdict: &GuardVerdict) -> GuardLine {
    let outcome = if is_replayed(verdict.guard) {
        verdict.outcome.as_str()
    } else {
        "not replayed"
    };
    GuardLine {
        guard: verdict.guard.as_str().to_owned(),
        outcome: outcome.to_owned(),
        reason: verdict.outcome.reason().to_owned(),
    }
}
