//! The guards that look at what would be done and what else moves, and what all say together.

use std::time::Duration;

use super::super::*;
use super::table::check;
use super::world::*;
use crate::domain::decision::Scope;
use crate::domain::freeze::{Rollbacks, Window};
use crate::domain::lane::Ending;

#[test]
fn phase_and_scope() {
    check(
        Guard::Phase,
        &[
            (
                "canary",
                |_| {},
                "pass",
                "the phase is canary: batch 1 goes back",
            ),
            (
                "unreadable",
                |w| w.phase = Err("Gate answers 502".into()),
                "hold",
                "the phase can't be told: Gate answers 502",
            ),
            (
                "no batch",
                |w| {
                    w.rule().min_hosts = 0;
                    *w = w.clone().with_context(|c| {
                        c.batches.clear();
                        c.hosts.clear();
                    });
                },
                "hold",
                "which batch is accused can't be told",
            ),
        ],
    );
}

#[test]
fn what_moves_in_the_lane() {
    check(
        Guard::Lane,
        &[
            ("free", |_| {}, "pass", "no incident here"),
            (
                "unreadable",
                |w| w.lane_trouble = Some("timeout".into()),
                "hold",
                "timeout",
            ),
            (
                "handled",
                |w| w.open = Some(incident("D2", Scope::Full, None)),
                "deny",
                "already being handled by incident shop@prod-7, which takes back full",
            ),
            (
                "wider",
                |w| w.open = Some(incident("D2", Scope::Batch([2].into()), None)),
                "hold",
                "takes back batch 2 of this deployment; more waits",
            ),
            (
                "another deployment",
                |w| w.open = Some(incident("D0", Scope::Full, None)),
                "hold",
                "about deployment D0 is not over",
            ),
        ],
    );
}

#[test]
fn earlier_incidents_of_a_lane() {
    check(
        Guard::Lane,
        &[
            (
                "failed before",
                |w| w.closed = vec![incident("D2", Scope::Full, Some(Ending::RollbackFailed))],
                "hold",
                "failed: a person must act",
            ),
            (
                "given up",
                |w| w.closed = vec![incident("D2", Scope::Full, Some(Ending::Abandoned))],
                "deny",
                "a person gave up incident",
            ),
            (
                "done already",
                |w| w.closed = vec![incident("D2", Scope::Full, Some(Ending::StillBad))],
                "deny",
                "already took back full",
            ),
            (
                "escalation",
                |w| {
                    let done = Scope::Batch([2].into());
                    w.closed = vec![incident("D2", done, Some(Ending::Recovered))];
                },
                "pass",
                "",
            ),
            (
                "withdrawn",
                |w| w.closed = vec![incident("D2", Scope::Full, Some(Ending::Withdrawn))],
                "pass",
                "",
            ),
        ],
    );
}

#[test]
fn a_merged_accusation_names_its_incident() {
    let open = incident("D2", Scope::Full, None);
    let decision = World::new().with(|w| w.open = Some(open.clone())).decided();
    assert_eq!(decision.verdict, Verdict::Notify);
    assert_eq!(decision.incident, Some(open.id));
}

#[test]
fn a_failed_rollback_and_a_spent_budget_wait_for_a_person() {
    for change in [
        (|w: &mut World| w.service_grants = vec![at(NOW - 60)]) as fn(&mut World),
        |w| w.closed = vec![incident("D2", Scope::Full, Some(Ending::RollbackFailed))],
    ] {
        let decision = World::new().with(change).decided();
        assert_eq!(decision.verdict, Verdict::Hold);
        assert_eq!(decision.recheck_at, None);
    }
    let also_waiting = World::new()
        .with(|w| {
            w.service_grants = vec![at(NOW - 60)];
            w.lane_trouble = Some("timeout".into());
        })
        .decided();
    assert_eq!(also_waiting.recheck_at, Some(at(NOW + 10)));
}

#[test]
fn target() {
    check(
        Guard::Target,
        &[
            (
                "stable",
                |_| {},
                "pass",
                "shop@1 is the last stable release",
            ),
            (
                "none",
                |w| w.candidates = Ok(Vec::new()),
                "hold",
                "no other release",
            ),
            (
                "unreadable",
                |w| w.candidates = Err("timeout".into()),
                "hold",
                "timeout",
            ),
            (
                "only the accused",
                |w| w.candidate().release = release("2"),
                "hold",
                "no other release",
            ),
        ],
    );
}

#[test]
fn what_was_gone_back_to_is_left_by_a_person_only() {
    fn went_to_2(w: &mut World, ending: Ending) {
        let mut earlier = incident("D0", Scope::Full, Some(ending));
        earlier.opened.target = release_id("2");
        earlier.closed_at = Some(at(NOW - 100_000));
        w.closed = vec![earlier];
    }
    check(
        Guard::RollbackOfRollback,
        &[
            ("neither", |_| {}, "pass", "no rollback went to shop@2"),
            (
                "the deployment was one",
                |w| *w = w.clone().with_context(|c| c.deployment.is_rollback = true),
                "hold",
                "was itself a rollback",
            ),
            (
                "an incident went there",
                |w| went_to_2(w, Ending::Recovered),
                "hold",
                "incident shop@prod-7 went back to shop@2",
            ),
            (
                "even if it could not be seen to help",
                |w| went_to_2(w, Ending::Unverified),
                "hold",
                "for a person",
            ),
            (
                "an incident that nothing came of",
                |w| went_to_2(w, Ending::Withdrawn),
                "pass",
                "",
            ),
        ],
    );
}

#[test]
fn what_can_not_be_undone_is_left_by_a_person_only() {
    check(
        Guard::Irreversible,
        &[
            ("reversible", |_| {}, "pass", "not marked"),
            (
                "not",
                |w| {
                    *w = w.clone().with_context(|c| {
                        c.release.as_mut().unwrap().reversible = false;
                    });
                },
                "hold",
                "not reversible",
            ),
        ],
    );
}

#[test]
fn freeze() {
    check(
        Guard::Freeze,
        &[
            ("none", |_| {}, "pass", "no freeze window is open"),
            (
                "rollbacks pass",
                |w| w.policy.guards.freeze = vec![frozen(Rollbacks::Pass)],
                "pass",
                "`double eleven` is open until 2027-01-15 10:48 UTC and lets rollbacks pass",
            ),
            (
                "one of two holds",
                |w| w.policy.guards.freeze = vec![frozen(Rollbacks::Pass), frozen(Rollbacks::Hold)],
                "hold",
                "holds rollbacks until 2027-01-15 10:48 UTC",
            ),
            (
                "over",
                |w| {
                    w.policy.guards.freeze = vec![frozen(Rollbacks::Hold)];
                    w.policy.guards.freeze[0].window = Window::Dated {
                        from: at(NOW - 100),
                        to: at(NOW),
                    };
                },
                "pass",
                "",
            ),
        ],
    );
    let held = World::new()
        .with(|w| w.policy.guards.freeze = vec![frozen(Rollbacks::Hold)])
        .decided();
    assert_eq!(held.recheck_at, Some(at(NOW + 100)));
}

#[test]
fn other_executions() {
    check(
        Guard::OtherExecutions,
        &[
            ("only the accused one", |_| {}, "pass", "no other execution"),
            (
                "another",
                |w| {
                    let other = ActiveExecution::of_pipeline("E9", "config-prod");
                    w.active.as_mut().unwrap().push(other);
                },
                "hold",
                "execution E9 of pipeline config-prod is running here too",
            ),
            (
                "one that touches a place of it, and one that may",
                |w| {
                    let touching = |id: &str, touches| ActiveExecution {
                        id: id.to_owned(),
                        words: format!("task {id}"),
                        touches,
                    };
                    w.active.as_mut().unwrap().extend([
                        touching("E1", Touches::Untold("nobody can tell".into())),
                        touching("E2", Touches::Place("`shop` in prod/eu".into())),
                    ]);
                },
                "hold",
                "task E2 is running and touches `shop` in prod/eu",
            ),
            (
                "one that may",
                |w| {
                    w.active.as_mut().unwrap().push(ActiveExecution {
                        id: "E1".into(),
                        words: "task E1".into(),
                        touches: Touches::Untold("its stage does not say".into()),
                    });
                },
                "hold",
                "task E1 is running, and its stage does not say",
            ),
            ("untold", |w| w.active = Err("502".into()), "hold", "502"),
        ],
    );
}

#[test]
fn cooldown() {
    check(
        Guard::Cooldown,
        &[
            ("nothing before", |_| {}, "pass", "no rollback of another"),
            (
                "too soon",
                |w| w.closed = vec![incident("D0", Scope::Full, Some(Ending::Recovered))],
                "hold",
                "ended 1m ago; the cooldown of 30m lasts 29m more",
            ),
            (
                "cooled down",
                |w| {
                    w.policy.guards.cooldown = Duration::from_mins(1);
                    w.closed = vec![incident("D0", Scope::Full, Some(Ending::Recovered))];
                },
                "pass",
                "ended 1m ago, the cooldown is 1m",
            ),
            (
                "never sent",
                |w| w.closed = vec![incident("D0", Scope::Full, Some(Ending::Withdrawn))],
                "pass",
                "",
            ),
            (
                "too soon after a task",
                |w| {
                    let done = incident("D0", Scope::Full, Some(Ending::Recovered));
                    w.closed = vec![by_task(done, true)];
                },
                "hold",
                "ended 1m ago",
            ),
            (
                "too soon after a task that nobody found again",
                |w| {
                    let lost = incident("D0", Scope::Full, Some(Ending::Abandoned));
                    w.closed = vec![by_task(lost, false)];
                },
                "hold",
                "ended 1m ago",
            ),
            (
                "an escalation",
                |w| {
                    let done = Scope::Batch([2].into());
                    w.closed = vec![incident("D2", done, Some(Ending::StillBad))];
                },
                "pass",
                "",
            ),
        ],
    );
}

#[test]
fn budget() {
    check(
        Guard::Budget,
        &[
            (
                "free",
                |_| {},
                "pass",
                "0 of 1 for the service in 30m, 0 of 3 over all in 10m",
            ),
            (
                "service",
                |w| w.service_grants = vec![at(NOW - 1799)],
                "hold",
                "only a person",
            ),
            (
                "window over",
                |w| w.service_grants = vec![at(NOW - 1800)],
                "pass",
                "0 of 1",
            ),
            (
                "overall",
                |w| w.overall_grants = (1..=3).map(|n| at(NOW - n)).collect(),
                "hold",
                "3 automatic rollbacks of all services in 10m",
            ),
            (
                "unreadable",
                |w| w.budget_trouble = Some("timeout".into()),
                "hold",
                "timeout",
            ),
            (
                "escalation",
                |w| {
                    w.service_grants = vec![at(NOW - 60)];
                    let done = Scope::Batch([2].into());
                    w.closed = vec![incident("D2", done, Some(Ending::StillBad))];
                },
                "pass",
                "does not count for the service",
            ),
        ],
    );
}

#[test]
fn capacity() {
    check(
        Guard::Capacity,
        &[
            ("not asked for", |_| {}, "pass", "no `min_capacity` is set"),
            (
                "not asked for, not known",
                |w| w.fleet = Err("timeout".into()),
                "pass",
                "no `min_capacity` is set",
            ),
            (
                "enough",
                |w| w.policy.guards.min_capacity = Some(0.66),
                "pass",
                "2 of 3 hosts would stay up, at least 66 % are wanted",
            ),
            (
                "too few",
                |w| w.policy.guards.min_capacity = Some(0.67),
                "hold",
                "2 of 3 hosts would stay up, at least 67 % are wanted",
            ),
            (
                "another is unwell",
                |w| {
                    w.policy.guards.min_capacity = Some(0.5);
                    w.fleet.as_mut().unwrap().unwell = [host(1), host(3)].into();
                },
                "hold",
                "1 of 3 hosts would stay up",
            ),
            (
                "not known",
                |w| {
                    w.policy.guards.min_capacity = Some(0.5);
                    w.fleet = Err("timeout".into());
                },
                "hold",
                "can't be told: timeout",
            ),
        ],
    );
    let full = World::new().with(|w| {
        w.policy.guards.min_capacity = Some(1.0);
        w.phase = Ok(Phase::Full);
    });
    assert_eq!(full.decided().verdict, Verdict::Rollback(Scope::Full));
}

#[test]
fn suspects_are_named_and_decide_nothing() {
    let suspect = crate::domain::decision::Suspect {
        service: "cart".parse().unwrap(),
        release_id: "cart@7".parse().unwrap(),
        deployment: "D9".parse().unwrap(),
        started_at: at(NOW - 300),
    };
    let world = World::new().with(|w| w.suspects = vec![suspect.clone()]);
    assert_eq!(world.decided().suspects, [suspect]);
    assert_eq!(world.decided().verdict, World::new().decided().verdict);
}

#[test]
fn a_no_explains_a_notice_even_after_a_hold() {
    let decision = World::new()
        .with(|w| {
            w.alerts[0].1 = at(NOW - 1);
            w.truncated = 1;
            w.open = Some(incident("D2", Scope::Full, None));
        })
        .decided();
    assert_eq!(decision.verdict, Verdict::Notify);
    assert!(
        decision
            .why()
            .starts_with("freshness: the delivery was cut: 1 alert is missing")
    );
    assert_eq!(decision.recheck_at, None);
}

#[test]
fn no_hold_sleeps_longer_than_the_longest_recheck() {
    let decision = World::new()
        .with(|w| w.closed = vec![incident("D0", Scope::Full, Some(Ending::Recovered))])
        .decided();
    assert_eq!(decision.recheck_at, Some(at(NOW + 300)));
}
