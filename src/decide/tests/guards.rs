//! Each guard's pass, hold and deny, and what becomes of the verdict.

use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::domain::alert::AlertStatus;
use crate::domain::context::Resolution;
use crate::domain::decision::{Outcome, Scope};
use crate::domain::evidence::{Check, Verify};
use crate::domain::lane::Ending;
use crate::domain::policy::{Approval, Expiry, NoData};

/// A change, and what the guard says then: its word and a piece of its words.
type Row<'a> = (&'a str, fn(&mut World), &'a str, &'a str);

fn outcome(decision: &Decision, guard: Guard) -> &Outcome {
    let verdict = decision.guards.iter().find(|v| v.guard == guard);
    &verdict
        .unwrap_or_else(|| panic!("{guard:?} was not asked"))
        .outcome
}

fn check(guard: Guard, rows: &[Row<'_>]) {
    for (name, change, word, words) in rows {
        let decision = World::new().with(*change).decided();
        let outcome = outcome(&decision, guard);
        assert_eq!(outcome.as_str(), *word, "{name}: {outcome:?}");
        assert!(outcome.reason().contains(words), "{name}: {outcome:?}");
        let verdict = match *word {
            "deny" => "notify",
            "hold" => "hold",
            _ => "rollback_batch",
        };
        assert_eq!(
            decision.verdict.as_str(),
            verdict,
            "{name}: {}",
            decision.why()
        );
        assert_eq!(decision.guards.len(), 10, "{name}: every guard is recorded");
        if *word != "pass" {
            let why = decision.why();
            assert!(why.starts_with(guard.as_str()), "{name}: {why}");
        }
    }
}

#[test]
fn when_everything_speaks_for_it_the_accused_batch_goes_back() {
    let decision = World::new().decided();
    assert_eq!(
        decision.verdict,
        Verdict::Rollback(Scope::Batch([1].into()))
    );
    assert!(!decision.shadow);
    assert_eq!(decision.target, Some(release_id("1")));
    assert_eq!(decision.hosts, [host(1)]);
    assert_eq!(decision.rule.as_deref(), Some("shop.yaml: back"));
    assert_eq!(decision.lane.unwrap().as_str(), "shop@prod");
    let order: Vec<Guard> = decision.guards.iter().map(|v| v.guard).collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
}

#[test]
fn mode() {
    check(
        Guard::Mode,
        &[
            (
                "enforce",
                |_| {},
                "pass",
                "the mode is enforce (enforce by shop.yaml)",
            ),
            (
                "kill switch",
                |w| {
                    w.modes = Ok(Modes {
                        global: Some(Mode::Off),
                        ..Modes::default()
                    })
                },
                "deny",
                "off for everything",
            ),
            (
                "strictest wins",
                |w| {
                    w.modes = Ok(Modes {
                        global: Some(Mode::Enforce),
                        service: Some(Mode::Approve),
                        env: Some(Mode::Enforce),
                    });
                },
                "hold",
                "approve for the service, enforce for the environment): needs a person",
            ),
            (
                "unreadable",
                |w| w.modes = Err("the store is down".into()),
                "hold",
                "can't be read: the store is down",
            ),
            (
                "approval",
                |w| {
                    w.rule().approval = Some(Approval {
                        expires: Duration::from_secs(900),
                        then: Expiry::Hold,
                    });
                },
                "hold",
                "needs a person",
            ),
            (
                "off for the environment",
                |w| {
                    w.modes = Ok(Modes {
                        env: Some(Mode::Off),
                        ..Modes::default()
                    })
                },
                "deny",
                "off for the environment",
            ),
        ],
    );
}

#[test]
fn in_shadow_it_is_said_and_not_done() {
    let decision = World::new()
        .with(|w| w.policy.guards.mode = Mode::Shadow)
        .decided();
    assert_eq!(decision.verdict.as_str(), "rollback_batch");
    assert!(decision.shadow);
    assert_eq!(decision.mode, Mode::Shadow);
    let held = World::new()
        .with(|w| {
            w.policy.guards.mode = Mode::Shadow;
            w.lane_trouble = Some("gone".into());
        })
        .decided();
    assert_eq!(held.verdict, Verdict::Hold);
    assert!(!held.shadow);
}

#[test]
fn freshness() {
    check(
        Guard::Freshness,
        &[
            (
                "fresh",
                |_| {},
                "pass",
                "1 alert is firing, delivered 2s ago",
            ),
            (
                "old",
                |w| w.received_at = at(NOW - 301),
                "deny",
                "is 5m 1s old, more than 5m",
            ),
            (
                "just in time",
                |w| w.received_at = at(NOW - 300),
                "pass",
                "5m",
            ),
            (
                "truncated",
                |w| w.truncated = 3,
                "deny",
                "3 alerts are missing",
            ),
            (
                "future",
                |w| w.alerts[0].0.starts_at = at(NOW + 90),
                "hold",
                "starts 1m 30s in the future",
            ),
            (
                "skewed a little",
                |w| w.alerts[0].0.starts_at = at(NOW + 29),
                "pass",
                "firing",
            ),
            (
                "lease over",
                |w| w.alerts[0].0.ends_at = Some(at(NOW - 5)),
                "hold",
                "until 5s ago",
            ),
            (
                "a hold asked again",
                |w| {
                    w.received_at = at(NOW - 3600);
                    w.held_since = Some(at(NOW - 3600));
                },
                "pass",
                "held for 1h",
            ),
            (
                "a hold too old",
                |w| w.held_since = Some(at(NOW - 6 * 3600 - 1)),
                "deny",
                "longer than the 6h",
            ),
        ],
    );
}

#[test]
fn what_resolved_in_between_triggers_nothing() {
    let mut over = alert(&[("severity", "critical")]);
    over.status = AlertStatus::Resolved;
    let world = World::new();
    let answer = world.answer_with(|accusation| {
        for open in &mut accusation.alerts {
            // Leaked, since the accusation may borrow only what outlives it.
            open.alert = Box::leak(Box::new(over.clone()));
        }
    });
    let Answer::Decided(decision) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(decision.verdict, Verdict::Notify);
    assert!(
        decision
            .why()
            .starts_with("freshness: 1 of 1 alert is no longer firing")
    );
}

#[test]
fn context_guard() {
    check(
        Guard::Context,
        &[
            ("found", |_| {}, "pass", "deployment D2 of shop@2 in prod"),
            (
                "stale",
                |w| {
                    *w = w.clone().with_context(|c| {
                        c.freshness.stale = true;
                        c.freshness.as_of = at(NOW - 400);
                    });
                },
                "hold",
                "the catalog is 6m 40s old",
            ),
            (
                "ambiguous",
                |w| {
                    w.resolution = Resolution::Ambiguous {
                        service: w.resolution.service().cloned(),
                        env: None,
                        candidates: vec!["D2".into(), "D3".into()],
                    };
                },
                "deny",
                "2 deployments fit the alert: D2, D3",
            ),
            (
                "unavailable",
                |w| {
                    w.resolution = Resolution::Unavailable {
                        service: w.resolution.service().cloned(),
                        env: None,
                        reason: "no release label".into(),
                    };
                },
                "deny",
                "no release label",
            ),
            (
                "another release",
                |w| *w = w.clone().with_context(|c| c.release_id = release_id("9")),
                "deny",
                "accuses shop@9, but deployment D2 brought shop@2",
            ),
        ],
    );
}

#[test]
fn threshold() {
    check(
        Guard::Threshold,
        &[
            ("met", |_| {}, "pass", "stands for 1m on 1 known host"),
            (
                "for",
                |w| w.alerts[0].1 = at(NOW - 12),
                "hold",
                "stands for 12s, the rule wants 30s: 18s more",
            ),
            (
                "min_hosts",
                |w| w.rule().min_hosts = 2,
                "hold",
                "1 host is accused",
            ),
            (
                "hosts by batch",
                |w| *w = w.clone().with_context(|c| c.hosts.clear()),
                "pass",
                "1 known host",
            ),
        ],
    );
    let decision = World::new()
        .with(|w| w.alerts[0].1 = at(NOW - 12))
        .decided();
    assert_eq!(decision.recheck_at, Some(at(NOW + 18)));
}

#[test]
fn the_threshold_counts_the_whole_accusation() {
    let mut world = World::new();
    world.alerts[0].1 = at(NOW - 5);
    let second = alert(&[("severity", "critical"), ("instance", "h1")]);
    world.alerts.push((second, at(NOW - 45)));
    assert_eq!(world.decided().verdict.as_str(), "rollback_batch");
}

#[test]
fn verify() {
    check(
        Guard::Verify,
        &[
            ("holds", |_| {}, "pass", "worst value 0.25"),
            (
                "does not",
                |w| w.evidence = Some(evidence(Verify::DoesNotHold { expr: expr() })),
                "hold",
                "the alert says firing, the metrics store says no",
            ),
            (
                "others",
                |w| {
                    w.evidence = Some(evidence(Verify::HoldsForOthers {
                        expr: expr(),
                        series: vec!["shop@1".into()],
                    }));
                },
                "hold",
                "for others, not for the accused: shop@1",
            ),
            (
                "silence",
                |w| w.evidence = Some(evidence(Verify::NoData { expr: expr() })),
                "hold",
                "no sample at all",
            ),
            (
                "silence, whatever the rule",
                |w| {
                    w.rule().on_no_data = NoData::Rollback;
                    w.evidence = Some(evidence(Verify::NoData { expr: expr() }));
                },
                "hold",
                "no sample at all",
            ),
            (
                "source down",
                |w| {
                    w.evidence = Some(evidence(Verify::SourceDown {
                        reason: "503".into(),
                    }))
                },
                "hold",
                "can't be asked: 503",
            ),
            (
                "nothing to ask",
                |w| {
                    let reason = "no vmalert lists X".into();
                    w.evidence = Some(evidence(Verify::NoTrustedExpression { reason }));
                },
                "hold",
                "no trusted expression",
            ),
            (
                "evidence of yesterday",
                |w| w.evidence.as_mut().unwrap().at = at(NOW - 61),
                "hold",
                "the evidence is 1m 1s old",
            ),
        ],
    );
    let held = World::new()
        .with(|w| w.evidence = Some(evidence(Verify::DoesNotHold { expr: expr() })))
        .decided();
    assert_eq!(held.recheck_at, Some(at(NOW + 10)));
}

#[test]
fn attribution() {
    fn set(w: &mut World, check: Check) {
        w.evidence.as_mut().unwrap().attribution.others_are_well = check;
    }
    check(
        Guard::Attribution,
        &[
            (
                "pass",
                |_| {},
                "pass",
                "it began after the batch; the other hosts are well",
            ),
            (
                "hold",
                |w| set(w, Check::Hold("no other host reports".into())),
                "hold",
                "no other host reports",
            ),
            (
                "deny",
                |w| set(w, Check::Deny("all hosts are equally bad".into())),
                "deny",
                "all hosts are equally bad",
            ),
            (
                "deny beats hold",
                |w| {
                    set(w, Check::Hold("?".into()));
                    w.evidence.as_mut().unwrap().attribution.still_running =
                        Check::Deny("shop@2 is gone".into());
                },
                "deny",
                "shop@2 is gone",
            ),
            (
                "wordless",
                |w| set(w, Check::Deny(String::new())),
                "deny",
                "no reason",
            ),
        ],
    );
}

#[test]
fn phase() {
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
fn lane() {
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
                    w.policy.guards.cooldown = Duration::from_secs(60);
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
