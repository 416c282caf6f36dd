//! Rules, guards, and why: a pure function from what is known to a decision.
//!
//! [`accuse`] puts open alerts together, [`decide`] judges one accusation. Neither does I/O nor
//! knows a clock: the same facts give the same decision, today, in a pull request and in a replay
//! of last month. Gathering facts, keeping holds and acting belong to others.
//!
//! The invariant: a rollback comes out only when every guard passed, and none passes on a guess.

mod by_hand;
mod facts;
mod guard;
mod rule;
mod scope;
mod stable;
mod words;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use by_hand::{ByHand, guards_by_hand};
pub use facts::{
    ActiveExecution, BudgetView, Facts, Fleet, LaneView, Limit, Reach, Settings, StableCandidate,
    Switch, Switches, Touches,
};
pub use rule::{
    Accusation, Accused, OpenAlert, accuse, explain_rules, policy_for, rule_name, select_rule,
};
pub use scope::{hosts_in, scope_of};
pub use stable::stable_target;

use crate::domain::decision::{Decision, Guard, Verdict};
use crate::domain::deployment::Phase;
use crate::domain::id::{DeploymentId, Host, ReleaseId};
use crate::domain::policy::{Action, Mode};
use guard::{Case, Findings};

/// What comes out of [`decide`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A rollback is wanted and nothing speaks against it yet: gather this and ask again.
    NeedsEvidence(EvidenceRequest),
    /// It is decided.
    Decided(Box<Decision>),
}

/// Which evidence is needed. Where the trusted expression comes from is for the asker to find
/// out: the policy's own, else the rule lists by alert name and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRequest {
    /// The expression of the policy rule, when it has one.
    pub verify: Option<String>,
    /// The alert rules that fired.
    pub sources: BTreeSet<AlertRule>,
    /// The accused release.
    pub release_id: ReleaseId,
    /// The accused deployment.
    pub deployment: DeploymentId,
    /// Its phase, when it could be read.
    pub phase: Option<Phase>,
    /// The accused hosts.
    pub hosts: Vec<Host>,
    /// The accused batches.
    pub batches: BTreeSet<u32>,
    /// When the anomaly began, as the senders saw it.
    pub since: Timestamp,
}

/// An alert rule by its name, and its group where the sender labels it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertRule {
    /// Label `alertname`.
    pub name: String,
    /// Label `alertgroup`, as vmalert sets it.
    pub group: Option<String>,
}

/// Judges one accusation, or says which evidence that takes.
///
/// A rollback needs every guard's pass; any no makes it a notice with the reason, anything else a
/// hold. In mode `shadow` the rollback that would be done comes out with `shadow: true`. A hold
/// whose `recheck_at` is None is released by a person only.
pub fn decide(facts: &Facts<'_>) -> Answer {
    match wanted_evidence(facts) {
        Some(request) => Answer::NeedsEvidence(request),
        None => Answer::Decided(Box::new(decide_as_is(facts))),
    }
}

/// Judges one accusation by what is known: evidence that is missing holds.
pub fn decide_as_is(facts: &Facts<'_>) -> Decision {
    decide_by(facts, |_| true)
}

/// Judges a rollback that another one calls for which did not help. The recovery question was
/// answered by the metrics store itself, so no guard holds alerts against it, and the cooldown
/// does not count for the same deployment.
pub fn escalate(facts: &Facts<'_>) -> Decision {
    decide_by(facts, |guard| match guard {
        Guard::Freshness
        | Guard::Context
        | Guard::Threshold
        | Guard::Verify
        | Guard::Attribution
        | Guard::Cooldown => false,
        Guard::KillSwitch
        | Guard::Mode
        | Guard::Phase
        | Guard::Lane
        | Guard::Target
        | Guard::RollbackOfRollback
        | Guard::Irreversible
        | Guard::Freeze
        | Guard::OtherExecutions
        | Guard::Budget
        | Guard::Capacity
        | Guard::Approval => true,
    })
}

/// Judges by those guards alone that `asked` names: what each of them is good for shows when it
/// is left out.
fn decide_by(facts: &Facts<'_>, asked: impl Fn(Guard) -> bool) -> Decision {
    let accusation = facts.accusation;
    let (Some(policy), Some(rule)) = (accusation.policy, accusation.rule) else {
        return notice(facts);
    };
    let case = Case::of(facts, policy, rule);
    match rule.action {
        Action::Notify => notice(facts),
        Action::Hold => {
            let findings = Findings::ask(&case, |guard| is_cheap(guard) && asked(guard));
            conclude(&case, findings, Verdict::Hold)
        }
        Action::Rollback | Action::RollbackBatch | Action::RollbackFull => {
            let findings = Findings::ask(&case, asked);
            let wanted = case.scope.clone().map_or(Verdict::Hold, Verdict::Rollback);
            conclude(&case, findings, wanted)
        }
    }
}

/// The evidence that would make the difference: a rollback is wanted, and nothing that is known
/// speaks against it.
fn wanted_evidence(facts: &Facts<'_>) -> Option<EvidenceRequest> {
    if facts.evidence.is_some() {
        return None;
    }
    let (policy, rule) = (facts.accusation.policy?, facts.accusation.rule?);
    if !rule.action.is_rollback() {
        return None;
    }
    let case = Case::of(facts, policy, rule);
    let findings = Findings::ask(&case, |_| true);
    let nothing_speaks_against = !findings.denied()
        && findings.passed(|guard| is_cheap(guard) && guard != Guard::KillSwitch);
    nothing_speaks_against.then(|| request(&case)).flatten()
}

/// Guards that need nothing but the delivery, the catalog and what people set.
fn is_cheap(guard: Guard) -> bool {
    match guard {
        Guard::KillSwitch | Guard::Mode | Guard::Freshness | Guard::Context | Guard::Threshold => {
            true
        }
        Guard::Verify
        | Guard::Attribution
        | Guard::Phase
        | Guard::Lane
        | Guard::Target
        | Guard::RollbackOfRollback
        | Guard::Irreversible
        | Guard::Freeze
        | Guard::OtherExecutions
        | Guard::Cooldown
        | Guard::Budget
        | Guard::Capacity
        | Guard::Approval => false,
    }
}

fn request(case: &Case<'_>) -> Option<EvidenceRequest> {
    let context = case.context?;
    let alerts = &case.facts.accusation.alerts;
    let sources: BTreeSet<(&str, Option<&str>)> = alerts
        .iter()
        .map(|open| (open.alert.name(), open.alert.label("alertgroup")))
        .collect();
    let sources = sources.into_iter().map(|(name, group)| AlertRule {
        name: name.to_owned(),
        group: group.map(str::to_owned),
    });
    Some(EvidenceRequest {
        verify: case.rule.verify.clone(),
        sources: sources.collect(),
        release_id: context.release_id.clone(),
        deployment: context.deployment.id.clone(),
        phase: case.phase.as_ref().ok().copied(),
        hosts: context.hosts.clone(),
        batches: context.batches.clone(),
        since: alerts.iter().map(|open| open.alert.starts_at).min()?,
    })
}

/// Joins what the guards said into the decision; `wanted` comes out only when all passed.
fn conclude(case: &Case<'_>, findings: Findings, wanted: Verdict) -> Decision {
    let facts = case.facts;
    let verdict = if findings.denied() {
        Verdict::Notify
    } else if findings.passed(|_| true) {
        wanted
    } else {
        Verdict::Hold
    };
    let recheck_at = match verdict {
        Verdict::Hold => findings.recheck_at(facts.now, facts.settings),
        Verdict::Notify | Verdict::Rollback(_) => None,
    };
    let consent = guard::consent(case, findings.only(Guard::Approval));
    let scope = case.scope.as_ref().ok().cloned();
    let hosts = match (case.context, &scope) {
        (Some(context), Some(scope)) => hosts_in(scope, &context.deployment),
        _ => accused_hosts(facts),
    };
    Decision {
        verdict: verdict.clone(),
        shadow: case.mode == Mode::Shadow && matches!(verdict, Verdict::Rollback(_)),
        mode: case.mode,
        guards: findings.into_verdicts(),
        scope,
        hosts,
        target: case.target.as_ref().ok().cloned(),
        evidence: facts.evidence.cloned(),
        recheck_at,
        incident: case.handled_by().cloned(),
        consent,
        ..notice(facts)
    }
}

/// The decision to tell people and do nothing else; what all decisions have in common.
fn notice(facts: &Facts<'_>) -> Decision {
    let accusation = facts.accusation;
    let context = accusation.resolution.context();
    let policy_mode = accusation
        .policy
        .map(|policy| facts.switches.strictest(policy.guards.mode));
    Decision {
        at: facts.now,
        verdict: Verdict::Notify,
        shadow: false,
        mode: policy_mode.unwrap_or(Mode::Shadow),
        rule: accusation.rule_name(),
        rules: accusation.rules.clone(),
        guards: Vec::new(),
        service: accusation.resolution.service().cloned(),
        env: accusation.resolution.env().cloned(),
        lane: context.and_then(|context| context.lane().ok()),
        deployment: context.map(|context| context.deployment.id.clone()),
        release_id: context.map(|context| context.release_id.clone()),
        phase: accusation
            .phase
            .as_ref()
            .and_then(|phase| phase.as_ref().ok().copied()),
        scope: None,
        hosts: accused_hosts(facts),
        target: None,
        alerts: accusation
            .alerts
            .iter()
            .map(|open| open.alert.fingerprint)
            .collect(),
        evidence: None,
        recheck_at: None,
        incident: None,
        consent: None,
        suspects: facts.suspects.to_vec(),
        escalates: None,
    }
}

fn accused_hosts(facts: &Facts<'_>) -> Vec<Host> {
    let context = facts.accusation.resolution.context();
    context.map_or_else(Vec::new, |context| context.hosts.clone())
}

#[cfg(test)]
mod tests;
