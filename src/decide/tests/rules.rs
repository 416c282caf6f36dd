//! Rule selection and accusations.

use std::collections::BTreeSet;

use super::super::*;
use super::world::*;
use crate::domain::alert::{Alert, AlertStatus};
use crate::domain::context::Resolution;
use crate::domain::id::Service;
use crate::domain::policy::{MatchOp, Matcher, Policy};

fn two_rules() -> Policy {
    let mut canary = rule("canary", Action::Rollback);
    canary.phases = vec![Phase::Canary, Phase::Between];
    let mut full = rule("full", Action::RollbackFull);
    full.phases = vec![Phase::Full];
    let mut warn = rule("warn", Action::Notify);
    warn.matchers = vec![Matcher::new("severity", MatchOp::Regex, "warn.*").unwrap()];
    policy("shop.yaml", "shop", vec![canary, full, warn])
}

fn severity(word: &str) -> Alert {
    alert(&[("alertname", "A"), ("severity", word)])
}

fn found(change: impl FnOnce(&mut crate::domain::context::Context)) -> Resolution {
    let mut context = context();
    change(&mut context);
    Resolution::Found(Box::new(context))
}

/// Accuses with every alert open for a minute, in the canary phase.
fn accusations<'a>(
    alerts: &'a [(Alert, Resolution)],
    policies: &'a [Policy],
) -> Vec<Accusation<'a>> {
    let open: Vec<Accused<'a>> = alerts
        .iter()
        .map(|(alert, resolution)| Accused {
            open: OpenAlert {
                alert,
                since: at(NOW - 60),
            },
            resolution,
        })
        .collect();
    accuse(&open, policies, |_| Ok(Phase::Canary))
}

#[test]
fn the_first_rule_that_fits_labels_and_phase_wins() {
    let policy = two_rules();
    let name = |word: &str, phase| {
        select_rule(&policy, &severity(word).labels, phase).map(|rule| rule.name.clone())
    };
    assert_eq!(
        name("critical", Some(Phase::Canary)).as_deref(),
        Some("canary")
    );
    assert_eq!(name("critical", Some(Phase::Full)).as_deref(), Some("full"));
    assert_eq!(name("warning", Some(Phase::Full)).as_deref(), Some("warn"));
    assert_eq!(name("info", Some(Phase::Full)), None);
    assert_eq!(name("critical", None).as_deref(), Some("canary"));
}

#[test]
fn every_rule_asked_says_why_or_why_not() {
    let policy = two_rules();
    let explain = |alert: &Alert| -> Vec<String> {
        explain_rules(&policy, &alert.labels, Some(Phase::Full))
            .into_iter()
            .map(|verdict| format!("{} {} {}", verdict.rule, verdict.matched, verdict.why))
            .collect()
    };
    assert_eq!(
        explain(&severity("critical")),
        [
            "shop.yaml: canary false the phase is full, the rule speaks about canary, between",
            "shop.yaml: full true severity=\"critical\" match; the phase is full",
        ]
    );
    let bare = alert(&[("alertname", "A")]);
    assert_eq!(
        explain(&bare)[2],
        "shop.yaml: warn false severity=~\"warn.*\" does not match: the alert has no label \
         `severity`"
    );
    assert!(explain(&severity("info"))[0].ends_with("the alert has severity=\"info\""));
}

#[test]
fn what_the_explanation_says_is_what_is_selected() {
    let policy = two_rules();
    for word in ["critical", "warning", "info"] {
        for phase in [
            None,
            Some(Phase::Canary),
            Some(Phase::Between),
            Some(Phase::Full),
        ] {
            let labels = severity(word).labels;
            let selected = select_rule(&policy, &labels, phase);
            let explained = explain_rules(&policy, &labels, phase);
            let matched = explained.iter().find(|verdict| verdict.matched);
            assert_eq!(
                selected.map(|rule| format!("shop.yaml: {}", rule.name)),
                matched.map(|verdict| verdict.rule.clone()),
                "{word} {phase:?}"
            );
        }
    }
}

#[test]
fn a_file_that_names_the_service_comes_before_the_one_for_the_rest() {
    let policies = [policy("rest.yaml", "*", Vec::new()), two_rules()];
    let file = |name: &str| {
        let service = Service::new(name).unwrap();
        policy_for(&policies, &service).map(|policy| policy.file.clone())
    };
    assert_eq!(file("shop").as_deref(), Some("shop.yaml"));
    assert_eq!(file("cart").as_deref(), Some("rest.yaml"));
}

#[test]
fn alerts_of_one_deployment_and_rule_are_one_accusation() {
    let policies = [two_rules()];
    let other = found(|c| c.deployment = deployment("D9", "2", 1));
    let alerts = [
        (severity("critical"), found(|_| {})),
        (
            alert(&[("alertname", "B"), ("severity", "critical")]),
            found(|c| {
                c.batches = [2].into();
                c.hosts = vec![host(2), host(1)];
            }),
        ),
        (severity("warning"), found(|_| {})),
        (severity("critical"), other),
    ];
    let accusations = accusations(&alerts, &policies);
    let names: Vec<(usize, Option<String>)> = accusations
        .iter()
        .map(|accusation| (accusation.alerts.len(), accusation.rule_name()))
        .collect();
    let named = |n, rule: &str| (n, Some(format!("shop.yaml: {rule}")));
    assert_eq!(
        names,
        [named(2, "canary"), named(1, "warn"), named(1, "canary")]
    );
    let joined = accusations[0].resolution.context().unwrap();
    assert_eq!(joined.batches, BTreeSet::from([1, 2]));
    assert_eq!(joined.hosts, [host(1), host(2)]);
    assert!(!accusations[0].batch_untold);
}

#[test]
fn an_alert_that_can_not_tell_its_batch_is_remembered() {
    let policies = [two_rules()];
    let alerts = [
        (severity("critical"), found(|_| {})),
        (
            severity("critical"),
            found(|c| {
                c.batches.clear();
                c.hosts = vec![host(77)];
            }),
        ),
    ];
    let accusations = accusations(&alerts, &policies);
    assert!(accusations[0].batch_untold);
    let joined = accusations[0].resolution.context().unwrap();
    assert_eq!(joined.batches, BTreeSet::from([1]));
}

#[test]
fn resolved_alerts_accuse_nobody() {
    let policies = [two_rules()];
    let mut over = severity("critical");
    over.status = AlertStatus::Resolved;
    assert!(accusations(&[(over, found(|_| {}))], &policies).is_empty());
}

#[test]
fn without_a_rule_people_are_told_and_nothing_else() {
    let decision = World::new()
        .with(|w| w.alerts[0].0 = severity("info"))
        .decided();
    assert_eq!(decision.verdict, Verdict::Notify);
    assert_eq!(decision.rule, None);
    assert_eq!(decision.why(), "no rule matches");
    assert_eq!(decision.rules.len(), 1);
    assert!(!decision.rules[0].matched);
}

#[test]
fn a_rule_that_only_tells_asks_no_guard() {
    let decision = World::new()
        .with(|w| {
            w.rule().action = Action::Notify;
            w.evidence = None;
        })
        .decided();
    assert_eq!(decision.verdict, Verdict::Notify);
    assert_eq!(decision.why(), "rule shop.yaml: back");
    assert!(decision.guards.is_empty());
}

#[test]
fn a_rule_that_holds_waits_for_a_person_once_it_stands() {
    let world = World::new().with(|w| {
        w.rule().action = Action::Hold;
        w.evidence = None;
    });
    let decision = world.decided();
    assert_eq!(
        (decision.verdict, decision.recheck_at),
        (Verdict::Hold, None)
    );
    let early = world
        .clone()
        .with(|w| w.alerts[0].1 = at(NOW - 10))
        .decided();
    assert_eq!(early.recheck_at, Some(at(NOW + 20)));
    let off = world.with(|w| w.policy.guards.mode = Mode::Off).decided();
    assert_eq!(off.verdict, Verdict::Notify);
}

#[test]
fn a_wanted_rollback_asks_for_its_evidence_once() {
    let mut world = World::new().with(|w| {
        w.evidence = None;
        w.rule().verify = Some("errors > 1".into());
    });
    let labels = [
        ("alertname", "B"),
        ("alertgroup", "g"),
        ("severity", "critical"),
    ];
    let mut second = alert(&labels);
    second.starts_at = at(NOW - 300);
    world.alerts.push((second.clone(), at(NOW - 300)));
    world.alerts.push((second, at(NOW - 300)));
    let Answer::NeedsEvidence(request) = world.answer() else {
        panic!("{:?}", world.answer());
    };
    assert_eq!(request.verify.as_deref(), Some("errors > 1"));
    assert_eq!(request.since, at(NOW - 300));
    assert_eq!(request.batches, BTreeSet::from([1]));
    assert_eq!(request.hosts, [host(1)]);
    let rule = |name: &str, group: Option<&str>| AlertRule {
        name: name.to_owned(),
        group: group.map(str::to_owned),
    };
    let want = [rule("B", Some("g")), rule("CanaryErrors", None)];
    assert_eq!(request.sources, BTreeSet::from(want));
}

#[test]
fn evidence_is_not_gathered_for_what_waits_or_is_refused_anyway() {
    for change in [
        (|w: &mut World| w.truncated = 1) as fn(&mut World),
        |w| w.alerts[0].1 = at(NOW - 1),
        |w| w.switches.set = vec![switch(Reach::Everything, Mode::Off)],
        |w| *w = w.clone().with_context(|c| c.freshness.stale = true),
    ] {
        let world = World::new().with(|w| w.evidence = None).with(change);
        let decision = world.decided();
        assert!(!matches!(decision.verdict, Verdict::Rollback(_)));
        let why = decision.why();
        assert!(!why.starts_with("verify"), "{why}");
    }
}

#[test]
fn a_thousand_alerts_of_a_thousand_hosts_make_one_accusation() {
    let mut wide = context();
    wide.batches.clear();
    wide.deployment.batches[0].hosts = (0..1000).map(host).collect();
    let policies = [two_rules()];
    let alerts: Vec<(Alert, Resolution)> = (0..1000)
        .map(|n| {
            let instance = format!("h{n}");
            let labels = [("severity", "critical"), ("instance", instance.as_str())];
            let mut context = wide.clone();
            context.hosts = vec![host(n)];
            (alert(&labels), Resolution::Found(Box::new(context)))
        })
        .collect();
    let accusations = accusations(&alerts, &policies);
    assert_eq!(accusations.len(), 1);
    let joined = accusations[0].resolution.context().unwrap();
    assert_eq!(joined.hosts.len(), 1000);
    assert_eq!(joined.batches, BTreeSet::from([1]));
}
