//! Phases × strategies × what is accused → how much goes back.

use std::collections::BTreeSet;

use super::super::*;
use super::world::*;
use crate::domain::decision::Scope;
use crate::domain::deployment::Strategy;

fn batches(numbers: &[u32]) -> Scope {
    Scope::Batch(numbers.iter().copied().collect())
}

#[test]
fn the_scope_follows_action_phase_and_strategy() {
    use Action::{Rollback, RollbackBatch, RollbackFull};
    use Phase::{Between, Canary, Full};
    let told: &[u32] = &[1, 2];
    let rows: &[(Action, Phase, &[u32], Option<Scope>)] = &[
        (Rollback, Canary, told, Some(batches(told))),
        (Rollback, Between, told, Some(batches(told))),
        (Rollback, Full, told, Some(Scope::Full)),
        (Rollback, Canary, &[], None),
        (Rollback, Between, &[], Some(Scope::Full)),
        (Rollback, Full, &[], Some(Scope::Full)),
        (RollbackBatch, Canary, told, Some(batches(told))),
        (RollbackBatch, Between, told, Some(batches(told))),
        (RollbackBatch, Full, told, Some(batches(told))),
        (RollbackBatch, Full, &[], None),
        (RollbackFull, Canary, told, Some(Scope::Full)),
        (RollbackFull, Canary, &[], Some(Scope::Full)),
        (Action::Notify, Canary, told, None),
        (Action::Hold, Full, told, None),
    ];
    for (action, phase, told, want) in rows {
        let mut accused = context();
        accused.batches = told.iter().copied().collect();
        let got = scope_of(*action, &Ok(*phase), &accused, told.is_empty());
        assert_eq!(got.ok(), *want, "{action:?} {phase:?} {told:?}");
        for strategy in [Strategy::All, Strategy::BlueGreen] {
            accused.deployment.strategy = strategy;
            let got = scope_of(*action, &Ok(*phase), &accused, told.is_empty());
            let whole = action.is_rollback().then_some(Scope::Full);
            assert_eq!(got.ok(), whole, "{action:?} {phase:?} {strategy:?}");
        }
    }
}

#[test]
fn in_between_one_untold_batch_makes_it_everything_and_in_a_canary_it_does_not() {
    let accused = context();
    let between = scope_of(Action::Rollback, &Ok(Phase::Between), &accused, true);
    assert_eq!(between, Ok(Scope::Full));
    let canary = scope_of(Action::Rollback, &Ok(Phase::Canary), &accused, true);
    assert_eq!(canary, Ok(batches(&[1])));
    let only = scope_of(Action::RollbackBatch, &Ok(Phase::Between), &accused, true);
    assert_eq!(only, Ok(batches(&[1])));
}

#[test]
fn only_an_action_that_follows_the_phase_needs_it() {
    let untold = || Err("Gate answers 502".to_owned());
    let scope = |action| scope_of(action, &untold(), &context(), false);
    assert_eq!(scope(Action::Rollback), Err("Gate answers 502".to_owned()));
    assert_eq!(scope(Action::RollbackFull), Ok(Scope::Full));
    assert_eq!(scope(Action::RollbackBatch), Ok(batches(&[1])));
}

#[test]
fn a_full_rollback_concerns_every_host_of_the_deployment() {
    let decision = World::new().with(|w| w.phase = Ok(Phase::Full)).decided();
    assert_eq!(decision.verdict, Verdict::Rollback(Scope::Full));
    assert_eq!(decision.hosts, [host(1), host(2), host(3)]);
}

#[test]
fn hosts_tell_their_batches_when_the_alerts_name_none() {
    let decision = World::new()
        .with_context(|c| {
            c.batches.clear();
            c.hosts = vec![host(1), host(2)];
        })
        .decided();
    assert_eq!(decision.verdict, Verdict::Rollback(batches(&[1, 2])));
}

#[test]
fn a_batch_the_deployment_does_not_have_tells_nothing() {
    let world = World::new().with_context(|c| c.batches = [9].into());
    assert_eq!(world.decided().verdict, Verdict::Hold);
    let between = world.with(|w| w.phase = Ok(Phase::Between)).decided();
    assert_eq!(between.verdict, Verdict::Rollback(Scope::Full));
}

#[test]
fn a_scope_covers_the_hosts_of_its_batches_only() {
    let deployment = deployment("D2", "2", 3);
    let two: BTreeSet<u32> = [1, 3].into();
    assert_eq!(
        hosts_in(&Scope::Batch(two), &deployment),
        [host(1), host(3)]
    );
}
