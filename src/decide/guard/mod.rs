//! The guards: each a function from the case to a finding, asked in the order of [`Guard::ALL`].
//!
//! All of them are asked every time, whatever the others say, so that a person sees the whole
//! picture at once. A guard that can't know holds; it never guesses in favour of acting.

pub(super) mod consent;
pub(super) mod limits;
mod payload;
mod proof;
pub(super) mod traffic;
pub(super) mod way;

use jiff::Timestamp;

pub(super) use consent::consent;

use super::facts::{Facts, LaneView, Settings};
use super::scope::scope_of;
use super::stable::stable_target;
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::decision::{Code, Guard, GuardVerdict, Outcome, Scope};
use crate::domain::deployment::Phase;
use crate::domain::id::{IncidentId, ReleaseId};
use crate::domain::policy::{Mode, Policy, Rule};

/// Asks one guard.
fn ask(guard: Guard, case: &Case<'_>) -> Finding {
    let facts = case.facts;
    match guard {
        Guard::KillSwitch => consent::kill_switch(facts.switches),
        Guard::Mode => consent::mode(case),
        Guard::Freshness => payload::freshness(case),
        Guard::Context => payload::context(case),
        Guard::Threshold => payload::threshold(case),
        Guard::Verify => proof::verify(case),
        Guard::Attribution => proof::attribution(case),
        Guard::Phase => way::phase(case),
        Guard::Lane => traffic::lane(case),
        Guard::Target => way::target(case),
        Guard::RollbackOfRollback => way::rollback_of_rollback(case),
        Guard::Irreversible => case.context.map_or_else(Finding::nobody, |context| {
            way::irreversible(context.release.as_ref())
        }),
        Guard::Freeze => limits::freeze(&case.policy.guards.freeze, facts.now),
        Guard::OtherExecutions => case.context.map_or_else(Finding::nobody, |context| {
            traffic::other_executions(facts.active, &context.deployment.id)
        }),
        Guard::Cooldown => limits::cooldown(case),
        Guard::Budget => limits::budget(case),
        Guard::Capacity => limits::capacity(case),
        Guard::Approval => consent::approval(case),
    }
}

/// What follows from the facts before any guard is asked.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub facts: &'a Facts<'a>,
    pub policy: &'a Policy,
    pub rule: &'a Rule,
    pub mode: Mode,
    pub context: Option<&'a Context>,
    pub phase: Result<Phase, String>,
    pub scope: Result<Scope, String>,
    pub target: Result<ReleaseId, String>,
}

/// What is not known without a context.
const NOBODY: &str = "no single deployment is accused";

impl<'a> Case<'a> {
    /// The case of a rule that asks for more than telling people.
    pub(super) fn of(facts: &'a Facts<'a>, policy: &'a Policy, rule: &'a Rule) -> Self {
        let accusation = facts.accusation;
        let context = accusation.resolution.context();
        let phase = match (context, &accusation.phase) {
            (Some(_), Some(phase)) => phase.clone(),
            _ => Err(NOBODY.to_owned()),
        };
        let scope = match context {
            Some(context) => scope_of(rule.action, &phase, context, accusation.batch_untold),
            None => Err(NOBODY.to_owned()),
        };
        let target = match (context, facts.candidates) {
            (None, _) => Err(NOBODY.to_owned()),
            (_, Err(reason)) => Err(format!("the releases can't be read: {reason}")),
            (Some(context), Ok(candidates)) => {
                stable_target(candidates, &context.release_id, facts.now)
                    .map_err(|reason| format!("no stable release to go back to: {reason}"))
            }
        };
        Self {
            facts,
            policy,
            rule,
            mode: facts.switches.strictest(policy.guards.mode),
            context,
            phase,
            scope,
            target,
        }
    }

    fn now(&self) -> Timestamp {
        self.facts.now
    }

    fn settings(&self) -> &Settings {
        self.facts.settings
    }

    /// The accused deployment and its lane, or what a guard says without them.
    fn accused_lane(&self) -> Result<(&'a Context, LaneView<'a>), Finding> {
        let context = self.context.ok_or_else(Finding::nobody)?;
        let unreadable = |reason| {
            Finding::hold(
                Code::Unreadable,
                format!("the lane can't be read: {reason}"),
            )
        };
        Ok((context, self.facts.lane.map_err(unreadable)?))
    }

    /// The unfinished incident that already does all that is asked for.
    pub(super) fn handled_by(&self) -> Option<&'a IncidentId> {
        let open = self.facts.lane.ok()?.open?;
        let scope = self.scope.as_ref().ok()?;
        let same = self.context?.deployment.id == open.opened.deployment;
        (same && traffic::taken(open).covers(scope)).then_some(&open.id)
    }
}

/// When it is worth asking a held case again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recheck {
    /// Soon: nobody knows when it changes.
    Soon,
    /// Not before this.
    At(Timestamp),
    /// Never: a person releases it.
    Person,
}

/// A guard's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    outcome: Outcome,
    code: Code,
    recheck: Recheck,
}

impl Finding {
    pub(super) fn pass(words: impl Into<String>) -> Self {
        Self::new(Code::Ok, Outcome::Pass(words.into()), Recheck::Soon)
    }

    /// A pass that is worth telling apart.
    fn pass_as(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Outcome::Pass(words.into()), Recheck::Soon)
    }

    pub(super) fn hold(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Outcome::Hold(words.into()), Recheck::Soon)
    }

    fn hold_until(until: Timestamp, code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Outcome::Hold(words.into()), Recheck::At(until))
    }

    fn hold_for_person(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Outcome::Hold(words.into()), Recheck::Person)
    }

    pub(super) fn deny(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Outcome::Deny(words.into()), Recheck::Soon)
    }

    /// There is nobody to ask about: the context guard says why.
    fn nobody() -> Self {
        Self::hold(Code::NobodyAccused, NOBODY)
    }

    /// As it is recorded.
    pub(super) fn of(self, guard: Guard) -> GuardVerdict {
        GuardVerdict {
            guard,
            outcome: self.outcome,
            code: self.code,
        }
    }

    fn new(code: Code, outcome: Outcome, recheck: Recheck) -> Self {
        Self {
            outcome,
            code,
            recheck,
        }
    }
}

/// What the asked guards say together.
#[derive(Debug, Default)]
pub(super) struct Findings {
    asked: Vec<(Guard, Finding)>,
}

impl Findings {
    /// Asks the guards that `wanted` names, in their order.
    pub(super) fn ask(case: &Case<'_>, wanted: impl Fn(Guard) -> bool) -> Self {
        let asked = Guard::ALL.into_iter().filter(|guard| wanted(*guard));
        Self {
            asked: asked.map(|guard| (guard, ask(guard, case))).collect(),
        }
    }

    /// Whether `guard` alone does not let the action through.
    pub(super) fn only(&self, guard: Guard) -> bool {
        !self.passed(|asked| asked == guard) && self.passed(|asked| asked != guard)
    }

    /// Whether any guard says no.
    pub(super) fn denied(&self) -> bool {
        self.asked
            .iter()
            .any(|(_, finding)| matches!(finding.outcome, Outcome::Deny(_)))
    }

    /// Whether every guard that `wanted` names lets the action through.
    pub(super) fn passed(&self, wanted: impl Fn(Guard) -> bool) -> bool {
        let mut asked = self.asked.iter().filter(|(guard, _)| wanted(*guard));
        asked.all(|(_, finding)| finding.outcome.is_pass())
    }

    /// When to ask again: once everything that waits may have changed, but within
    /// `longest_recheck`. None when nothing but a person can release it.
    pub(super) fn recheck_at(&self, now: Timestamp, settings: &Settings) -> Option<Timestamp> {
        let holds = self
            .asked
            .iter()
            .filter(|(_, finding)| matches!(finding.outcome, Outcome::Hold(_)));
        let latest = holds
            .filter_map(|(_, finding)| match finding.recheck {
                Recheck::Soon => Some(clock::after(now, settings.recheck)),
                Recheck::At(until) => Some(until.max(now)),
                Recheck::Person => None,
            })
            .max()?;
        Some(latest.min(clock::after(now, settings.longest_recheck)))
    }

    /// The record.
    pub(super) fn into_verdicts(self) -> Vec<GuardVerdict> {
        self.asked
            .into_iter()
            .map(|(guard, finding)| finding.of(guard))
            .collect()
    }
}
