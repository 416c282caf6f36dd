//! What holds for any facts.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::*;
use super::world::*;
use crate::domain::alert::AlertStatus;
use crate::domain::context::Resolution;
use crate::domain::decision::{Code, Scope};
use crate::domain::deployment::{Status, Strategy as Spread};
use crate::domain::evidence::{Check, Evidence, Verify};
use crate::domain::freeze::Rollbacks;
use crate::domain::lane::Ending;
use crate::domain::policy::{Approval, Expiry, NoData};

/// Ways the world may differ from one in which everything speaks for a rollback; some of them do
/// no harm, so that rollbacks come out as well.
const CHANGES: &[fn(&mut World)] = &[
    |w| w.phase = Ok(Phase::Between),
    |w| w.phase = Ok(Phase::Full),
    |w| w.phase = Err("502".into()),
    |w| w.truncated = 1,
    |w| w.received_at = at(NOW - 1000),
    |w| w.held_since = Some(at(NOW - 1000)),
    |w| w.held_since = Some(at(NOW - 100_000)),
    |w| w.switches.unreadable = Some("down".into()),
    |w| w.switches.set.push(switch(Reach::Everything, Mode::Off)),
    |w| w.switches.set.push(switch(Reach::Env, Mode::Approve)),
    |w| w.switches.set.push(switch(Reach::Service, Mode::Shadow)),
    |w| w.policy.guards.mode = Mode::Off,
    |w| w.policy.guards.freeze = vec![frozen(Rollbacks::Pass)],
    |w| w.policy.guards.freeze = vec![frozen(Rollbacks::Hold)],
    |w| {
        *w = w
            .clone()
            .with_context(|c| c.release.as_mut().unwrap().reversible = false);
    },
    |w| {
        let mut earlier = incident("D0", Scope::Full, Some(Ending::Recovered));
        earlier.opened.target = release_id("2");
        earlier.closed_at = Some(at(NOW - 10_000));
        w.closed.push(earlier);
    },
    |w| w.policy.guards.mode = Mode::Shadow,
    |w| w.rule().action = Action::Notify,
    |w| w.rule().action = Action::Hold,
    |w| w.rule().action = Action::RollbackFull,
    |w| w.rule().action = Action::RollbackBatch,
    |w| w.rule().on_no_data = NoData::Rollback,
    |w| w.rule().min_hosts = 5,
    |w| w.rule().phases = vec![Phase::Full],
    |w| {
        w.rule().approval = Some(Approval {
            expires: std::time::Duration::from_mins(1),
            then: Expiry::Rollback,
        });
    },
    |w| w.alerts[0].1 = at(NOW - 1),
    |w| w.alerts[0].0.starts_at = at(NOW + 1000),
    |w| w.alerts[0].0.ends_at = Some(at(NOW - 1000)),
    |w| {
        let mut over = alert(&[("severity", "critical"), ("x", "y")]);
        over.status = AlertStatus::Resolved;
        w.alerts.push((over, at(NOW - 90)));
    },
    |w| *w = w.clone().with_context(|c| c.freshness.stale = true),
    |w| *w = w.clone().with_context(|c| c.deployment.is_rollback = true),
    |w| {
        *w = w
            .clone()
            .with_context(|c| c.deployment.strategy = Spread::All);
    },
    |w| *w = w.clone().with_context(|c| c.batches = [9].into()),
    |w| *w = w.clone().with_context(|c| c.hosts.clear()),
    |w| {
        w.resolution = Resolution::Ambiguous {
            service: w.resolution.service().cloned(),
            env: None,
            candidates: vec!["a".into(), "b".into()],
        };
    },
    |w| {
        w.resolution = Resolution::Unavailable {
            service: w.resolution.service().cloned(),
            env: None,
            reason: "no label".into(),
        };
    },
    |w| w.lane_trouble = Some("down".into()),
    |w| w.open = Some(incident("D2", Scope::Full, None)),
    |w| w.open = Some(incident("D0", Scope::Full, None)),
    |w| {
        w.closed.push(incident(
            "D2",
            Scope::Batch([2].into()),
            Some(Ending::StillBad),
        ));
    },
    |w| {
        w.closed
            .push(incident("D2", Scope::Full, Some(Ending::RollbackFailed)));
    },
    |w| {
        w.closed
            .push(incident("D0", Scope::Full, Some(Ending::Recovered)));
    },
    |w| w.active = Err("502".into()),
    |w| w.candidates = Ok(Vec::new()),
    |w| {
        w.candidates
            .iter_mut()
            .flatten()
            .for_each(|c| c.release = release("2"));
    },
    |w| {
        for candidate in w.candidates.iter_mut().flatten() {
            candidate.deployment.as_mut().unwrap().status = Status::RolledBack;
        }
    },
    |w| w.policy.guards.min_capacity = Some(0.9),
    |w| w.fleet = Err("down".into()),
    |w| w.service_grants = vec![at(NOW - 1)],
    |w| w.overall_grants = vec![at(NOW - 1); 3],
    |w| w.budget_trouble = Some("down".into()),
    |w| {
        if let Some(evidence) = &mut w.evidence {
            evidence.at = at(NOW - 1000);
        }
    },
];

fn any_check() -> impl Strategy<Value = Check> {
    prop_oneof![
        4 => Just(Check::Pass("fine".to_owned())),
        1 => Just(Check::Hold("unknown".to_owned())),
        1 => Just(Check::Deny("others too".to_owned())),
    ]
}

fn any_verify() -> impl Strategy<Value = Verify> {
    prop_oneof![
        6 => Just(holds()),
        1 => Just(Verify::DoesNotHold { expr: expr() }),
        1 => Just(Verify::HoldsForOthers { expr: expr(), series: Vec::new() }),
        1 => Just(Verify::NoData { expr: expr() }),
        1 => Just(Verify::SourceDown { reason: "503".to_owned() }),
        1 => Just(Verify::NoTrustedExpression { reason: "none".to_owned() }),
    ]
}

fn any_evidence() -> impl Strategy<Value = Option<Evidence>> {
    let some = (any_verify(), any_check(), any_check(), any_check());
    proptest::option::weighted(0.9, some).prop_map(|some| {
        some.map(|(verify, began_after, others_are_well, still_running)| {
            let mut evidence = evidence(verify);
            evidence.attribution.began_after = began_after;
            evidence.attribution.others_are_well = others_are_well;
            evidence.attribution.still_running = still_running;
            evidence
        })
    })
}

fn any_world() -> impl Strategy<Value = World> {
    let changes = proptest::collection::vec(0..CHANGES.len(), 0..3);
    (changes, any_evidence()).prop_map(|(changes, evidence)| {
        let mut world = World::new();
        world.evidence = evidence;
        for index in changes {
            CHANGES[index](&mut world);
        }
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_rollback_needs_every_guard_and_the_metrics_stores_own_word(world in any_world()) {
        if let Answer::Decided(decision) = world.answer()
            && let Verdict::Rollback(scope) = &decision.verdict
        {
            let asked: Vec<Guard> = decision.guards.iter().map(|verdict| verdict.guard).collect();
            prop_assert_eq!(asked, Guard::ALL);
            prop_assert!(decision.guards.iter().all(|verdict| verdict.outcome.is_pass()));
            let evidence = world.evidence.as_ref().unwrap();
            prop_assert!(matches!(evidence.verify, Verify::Holds(_)));
            prop_assert!(world.truncated == 0);
            let context = world.resolution.context().unwrap();
            prop_assert!(!context.freshness.stale);
            prop_assert_eq!(decision.scope.as_ref(), Some(scope));
            prop_assert!(decision.target.is_some());
            prop_assert_ne!(decision.target.as_ref(), decision.release_id.as_ref());
            prop_assert_eq!(decision.shadow, decision.mode == Mode::Shadow);
            prop_assert!(decision.mode != Mode::Off && decision.mode != Mode::Approve);
            let modes = world.switches.set.iter().map(|switch| switch.mode);
            let strictest = modes.chain([world.policy.guards.mode]).min();
            prop_assert_eq!(Some(decision.mode), strictest);
            prop_assert!(world.switches.unreadable.is_none());
            prop_assert!(decision.rule.is_some());
            prop_assert_eq!(decision.recheck_at, None);
        }
    }

    #[test]
    fn the_same_facts_give_the_same_answer(world in any_world()) {
        prop_assert_eq!(world.answer(), world.clone().answer());
    }

    #[test]
    fn the_order_of_what_is_known_does_not_matter(world in any_world()) {
        let mut turned = world.clone();
        turned.switches.set.reverse();
        turned.policy.guards.freeze.reverse();
        turned.active.iter_mut().for_each(|active| active.reverse());
        turned.candidates.iter_mut().for_each(|candidates| candidates.reverse());
        turned.overall_grants.reverse();
        let verdicts = |world: &World| match world.answer() {
            Answer::Decided(decision) => {
                let codes = decision.guards.iter().map(|verdict| (verdict.guard, verdict.code));
                Some((decision.verdict, decision.mode, decision.target, codes.collect::<Vec<_>>()))
            }
            Answer::NeedsEvidence(_) => None,
        };
        prop_assert_eq!(verdicts(&world), verdicts(&turned));
    }

    #[test]
    fn one_off_is_enough_whatever_else_is_set(world in any_world(), place in 0_usize..5) {
        let mut off = world;
        let place = place.min(off.switches.set.len());
        off.switches.set.insert(place, switch(Reach::Env, Mode::Off));
        if let Answer::Decided(decision) = off.answer() {
            prop_assert!(!matches!(decision.verdict, Verdict::Rollback(_)));
            prop_assert!(decision.guards.is_empty() || decision.verdict == Verdict::Notify);
        } else {
            prop_assert!(false, "evidence is wanted for nothing");
        }
    }

    #[test]
    fn every_refusal_has_words_and_a_recheck_is_never_in_the_past(world in any_world()) {
        if let Answer::Decided(decision) = world.answer() {
            prop_assert!(!decision.why().is_empty());
            for verdict in &decision.guards {
                prop_assert!(!verdict.outcome.reason().is_empty(), "{:?}", verdict);
                prop_assert_ne!(verdict.code, Code::Unstated);
                prop_assert!(verdict.outcome.is_pass() || verdict.code != Code::Ok);
            }
            if let Some(recheck_at) = decision.recheck_at {
                prop_assert_eq!(&decision.verdict, &Verdict::Hold);
                prop_assert!(recheck_at >= world.now);
            }
        }
    }

    #[test]
    fn evidence_is_asked_for_only_where_there_is_none(world in any_world()) {
        if let Answer::NeedsEvidence(request) = world.answer() {
            prop_assert!(world.evidence.is_none());
            prop_assert!(!request.sources.is_empty());
        }
    }
}

#[test]
fn rollbacks_do_come_out_of_the_random_worlds() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..500 {
        let world = any_world().new_tree(&mut runner).unwrap().current();
        seen.insert(match world.answer() {
            Answer::Decided(decision) => decision.verdict.as_str(),
            Answer::NeedsEvidence(_) => "needs evidence",
        });
    }
    let all = [
        "hold",
        "needs evidence",
        "notify",
        "rollback_batch",
        "rollback_full",
    ];
    assert_eq!(seen, all.into());
}
