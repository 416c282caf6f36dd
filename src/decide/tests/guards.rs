//! The guards that look at the accusation and its evidence.

use super::super::*;
use super::table::check;
use super::world::*;
use crate::domain::alert::AlertStatus;
use crate::domain::context::Resolution;
use crate::domain::decision::Scope;
use crate::domain::evidence::{Check, Verify};
use crate::domain::policy::NoData;

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
    assert_eq!(order, Guard::ALL);
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
                    }));
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
