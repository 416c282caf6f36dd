//! The guards that look at what would be done and what else moves, and what all say together.

use std::time::Duration;

use super::super::*;
use super::table::check;
use super::world::*;
use crate::domain::decision::Scope;
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
            ("free", |_| {}, "pass", "no other incident"),
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
            (
                "another execution",
                |w| {
                    w.active.as_mut().unwrap().push(ActiveExecution {
                        id: "E9".into(),
                        pipeline: "config-prod".into(),
                    });
                },
                "hold",
                "execution E9 of pipeline config-prod",
            ),
            (
                "no executions told",
                |w| w.active = Err("502".into()),
                "hold",
                "502",
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
            (
                "cooldown",
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
                "",
            ),
            (
                "never sent",
                |w| w.closed = vec![incident("D0", Scope::Full, Some(Ending::Withdrawn))],
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
            (
                "a rollback",
                |w| *w = w.clone().with_context(|c| c.deployment.is_rollback = true),
                "deny",
                "was itself a rollback",
            ),
            (
                "irreversible",
                |w| {
                    *w = w.clone().with_context(|c| {
                        c.release.as_mut().unwrap().reversible = false;
                    });
                },
                "deny",
                "not reversible",
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
fn a_no_explains_a_notice_even_after_a_hold() {
    let decision = World::new()
        .with(|w| {
            w.alerts[0].1 = at(NOW - 1);
            w.truncated = 1;
            *w = w.clone().with_context(|c| c.deployment.is_rollback = true);
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
