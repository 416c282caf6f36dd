//! Each guard is needed: for every one there is a world in which it alone keeps a rollback from
//! happening. Taken out of the chain, the rollback would be done.

use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::domain::decision::Scope;
use crate::domain::evidence::{Check, Verify};
use crate::domain::freeze::Rollbacks;
use crate::domain::lane::Ending;
use crate::domain::policy::{Approval, Expiry};

/// A guard, and what happened in the world in which only that guard minds.
type Need = (Guard, &'static str, fn(&mut World));

const NEEDS: &[Need] = &[
    (Guard::KillSwitch, "switched off for everything", |w| {
        w.switches.set = vec![switch(Reach::Everything, Mode::Off)];
    }),
    (Guard::KillSwitch, "switched off for the service", |w| {
        w.switches.set = vec![switch(Reach::Service, Mode::Off)];
    }),
    (Guard::KillSwitch, "switched off for the environment", |w| {
        w.switches.set = vec![switch(Reach::Env, Mode::Off)];
    }),
    (Guard::Mode, "the policy is off", |w| {
        w.policy.guards.mode = Mode::Off;
    }),
    (Guard::Freshness, "a truncated delivery", |w| {
        w.truncated = 1;
    }),
    (Guard::Freshness, "an old delivery", |w| {
        w.received_at = at(NOW - 301);
    }),
    (Guard::Context, "an old catalog", |w| {
        *w = w.clone().with_context(|c| c.freshness.stale = true);
    }),
    (Guard::Context, "another release's alert", |w| {
        *w = w.clone().with_context(|c| c.release_id = release_id("9"));
    }),
    (Guard::Threshold, "seconds old", |w| {
        w.alerts[0].1 = at(NOW - 1);
    }),
    (Guard::Threshold, "too few hosts", |w| {
        w.rule().min_hosts = 2;
    }),
    (Guard::Verify, "a forged alert", |w| {
        w.evidence = Some(evidence(Verify::DoesNotHold { expr: expr() }));
    }),
    (Guard::Verify, "another release's series", |w| {
        let series = vec!["shop@1".to_owned()];
        w.evidence = Some(evidence(Verify::HoldsForOthers {
            expr: expr(),
            series,
        }));
    }),
    (Guard::Verify, "no traffic", |w| {
        w.evidence = Some(evidence(Verify::NoData { expr: expr() }));
    }),
    (Guard::Verify, "a dead metrics store", |w| {
        let reason = "503".to_owned();
        w.evidence = Some(evidence(Verify::SourceDown { reason }));
    }),
    (Guard::Attribution, "everybody is ill", |w| {
        w.evidence.as_mut().unwrap().attribution.others_are_well = Check::Deny("so is h2".into());
    }),
    (Guard::Attribution, "ill before the batch", |w| {
        w.evidence.as_mut().unwrap().attribution.began_after = Check::Deny("an hour".into());
    }),
    (Guard::Phase, "the phase can't be read", |w| {
        w.rule().action = Action::RollbackFull;
        w.phase = Err("Gate answers 502".into());
    }),
    (Guard::Lane, "an incident about another deployment", |w| {
        w.open = Some(incident("D0", Scope::Full, None));
    }),
    (Guard::Lane, "it is being handled", |w| {
        w.open = Some(incident("D2", Scope::Full, None));
    }),
    (Guard::Lane, "the rollback failed before", |w| {
        w.closed = vec![incident("D2", Scope::Full, Some(Ending::RollbackFailed))];
    }),
    (Guard::Target, "no stable release", |w| {
        w.candidates = Ok(Vec::new());
    }),
    (
        Guard::RollbackOfRollback,
        "the deployment was a rollback",
        |w| {
            *w = w.clone().with_context(|c| c.deployment.is_rollback = true);
        },
    ),
    (
        Guard::RollbackOfRollback,
        "a rollback went to the release",
        |w| {
            let mut earlier = incident("D0", Scope::Full, Some(Ending::Recovered));
            earlier.opened.target = release_id("2");
            earlier.closed_at = Some(at(NOW - 7200));
            w.closed = vec![earlier];
        },
    ),
    (Guard::Irreversible, "a migration went with it", |w| {
        *w = w
            .clone()
            .with_context(|c| c.release.as_mut().unwrap().reversible = false);
    }),
    (Guard::Freeze, "a window that holds rollbacks", |w| {
        w.policy.guards.freeze = vec![frozen(Rollbacks::Hold)];
    }),
    (Guard::OtherExecutions, "somebody deploys too", |w| {
        let other = ActiveExecution::of_pipeline("E9", "config-prod");
        w.active.as_mut().unwrap().push(other);
    }),
    (Guard::OtherExecutions, "something may touch it", |w| {
        let mut other = ActiveExecution::of_pipeline("E9", "nightly");
        other.touches = Touches::Untold("its stage does not say".into());
        w.active.as_mut().unwrap().push(other);
    }),
    (Guard::OtherExecutions, "Gate does not say", |w| {
        w.active = Err("502".into());
    }),
    (Guard::Cooldown, "the last rollback was a minute ago", |w| {
        w.closed = vec![incident("D0", Scope::Full, Some(Ending::Recovered))];
    }),
    (Guard::Budget, "the service's is spent", |w| {
        w.service_grants = vec![at(NOW - 60)];
    }),
    (Guard::Budget, "everybody's is spent", |w| {
        w.overall_grants = vec![at(NOW - 60); 3];
    }),
    (Guard::Budget, "the budget can't be read", |w| {
        w.budget_trouble = Some("timeout".into());
    }),
    (Guard::Capacity, "too few would stay up", |w| {
        w.policy.guards.min_capacity = Some(0.7);
    }),
    (Guard::Capacity, "the hosts are not known", |w| {
        w.policy.guards.min_capacity = Some(0.1);
        w.fleet = Err("timeout".into());
    }),
    (Guard::Approval, "the mode asks a person", |w| {
        w.policy.guards.mode = Mode::Approve;
    }),
    (Guard::Approval, "the rule asks a person", |w| {
        w.rule().approval = Some(Approval {
            expires: Duration::from_mins(15),
            then: Expiry::Hold,
        });
    }),
];

#[test]
fn without_any_one_of_the_guards_a_rollback_would_happen_that_must_not() {
    for (guard, what, change) in NEEDS {
        let world = World::new().with(*change);
        let decision = world.decided();
        let minded = decision.guards.iter().filter(|v| !v.outcome.is_pass());
        let minded: Vec<Guard> = minded.map(|verdict| verdict.guard).collect();
        assert_eq!(minded, [*guard], "{what}");
        assert!(!matches!(decision.verdict, Verdict::Rollback(_)), "{what}");
        let without = world.decided_by(|asked| asked != *guard);
        assert!(
            matches!(without.verdict, Verdict::Rollback(_)) && !without.shadow,
            "{what}: without {} it is {:?}",
            guard.as_str(),
            without.verdict
        );
    }
}

#[test]
fn no_guard_is_without_such_a_world() {
    let needed: BTreeSet<Guard> = NEEDS.iter().map(|(guard, ..)| *guard).collect();
    assert_eq!(needed, Guard::ALL.into());
}
