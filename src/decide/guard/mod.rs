//! The guards: each a function from the case to a finding, asked in the order of [`GUARDS`].
//!
//! All of them are asked every time, whatever the others say, so that a person sees the whole
//! picture at once. A guard that can't know holds; it never guesses in favour of acting.

mod payload;
mod proof;
mod traffic;
mod way;

use jiff::Timestamp;

use super::facts::{Facts, Settings};
use super::scope::scope_of;
use super::stable::stable_target;
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::decision::{Guard, GuardVerdict, Outcome, Scope};
use crate::domain::deployment::Phase;
use crate::domain::id::{IncidentId, ReleaseId};
use crate::domain::policy::{Mode, Policy, Rule};

/// One guard, as a function.
type Ask = fn(&Case<'_>) -> Finding;

/// The guards in order. Those up to the threshold cost nothing to know; verify and attribution
/// need the metrics store.
const GUARDS: [(Guard, Ask); 10] = [
    (Guard::Mode, payload::mode),
    (Guard::Freshness, payload::freshness),
    (Guard::Context, payload::context),
    (Guard::Threshold, payload::threshold),
    (Guard::Verify, proof::verify),
    (Guard::Attribution, proof::attribution),
    (Guard::Phase, way::phase),
    (Guard::Lane, traffic::lane),
    (Guard::Target, way::target),
    (Guard::Budget, traffic::budget),
];

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
        let scope = match (context, &phase) {
            (Some(context), Ok(phase)) => {
                scope_of(rule.action, *phase, context, accusation.batch_untold)
            }
            (_, Err(reason)) => Err(reason.clone()),
            (None, Ok(_)) => Err(NOBODY.to_owned()),
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
            mode: strictest_mode(facts, policy),
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

    /// The unfinished incident that already does all that is asked for.
    pub(super) fn handled_by(&self) -> Option<&'a IncidentId> {
        let open = self.facts.lane.ok()?.open?;
        let scope = self.scope.as_ref().ok()?;
        let same = self.context?.deployment.id == open.opened.deployment;
        (same && traffic::taken(open).covers(scope)).then_some(&open.id)
    }
}

/// Of the policy's mode and those set by people the strictest. While the latter can't be read
/// nothing counts as `enforce`; the mode guard holds then.
pub(super) fn strictest_mode(facts: &Facts<'_>, policy: &Policy) -> Mode {
    match facts.modes {
        Ok(modes) => [modes.global, modes.service, modes.env]
            .into_iter()
            .flatten()
            .chain([policy.guards.mode])
            .min()
            .unwrap_or(Mode::Shadow),
        Err(_) => policy.guards.mode.min(Mode::Approve),
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
    pub outcome: Outcome,
    pub recheck: Recheck,
}

impl Finding {
    fn pass(words: impl Into<String>) -> Self {
        Self::new(Outcome::Pass(words.into()), Recheck::Soon)
    }

    fn hold(words: impl Into<String>) -> Self {
        Self::new(Outcome::Hold(words.into()), Recheck::Soon)
    }

    fn hold_until(until: Timestamp, words: impl Into<String>) -> Self {
        Self::new(Outcome::Hold(words.into()), Recheck::At(until))
    }

    fn hold_for_person(words: impl Into<String>) -> Self {
        Self::new(Outcome::Hold(words.into()), Recheck::Person)
    }

    fn deny(words: impl Into<String>) -> Self {
        Self::new(Outcome::Deny(words.into()), Recheck::Soon)
    }

    fn new(outcome: Outcome, recheck: Recheck) -> Self {
        Self { outcome, recheck }
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
        let asked = GUARDS.iter().filter(|(guard, _)| wanted(*guard));
        Self {
            asked: asked.map(|(guard, ask)| (*guard, ask(case))).collect(),
        }
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
            .map(|(guard, finding)| GuardVerdict {
                guard,
                outcome: finding.outcome,
            })
            .collect()
    }
}
