use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{HoldLine, IncidentLine, Presence, Step, text};
use super::*;
use crate::domain::alert::{Fingerprint, Source};
use crate::domain::clock;
use crate::domain::decision::{
    self, Decision, Guard, GuardVerdict, Outcome, RuleVerdict, Scope, Verdict,
};
use crate::domain::record::{Cause, NamedAlert};

/// `14:02` and some minutes.
fn t(minutes: i64) -> Timestamp {
    let at: Timestamp = "2026-11-22T14:02:00Z".parse().unwrap();
    let by = Duration::from_secs(minutes.unsigned_abs() * 60);
    if minutes < 0 {
        clock::before(at, by)
    } else {
        clock::after(at, by)
    }
}

fn moment() -> Moment {
    Moment {
        service: "checkout".parse().unwrap(),
        env: Some("prod".parse().unwrap()),
        at: t(0),
        from: t(-5),
        to: t(5),
        time_zone: "UTC".to_owned(),
    }
}

fn alert(fingerprint: u64, from: i64, until: Option<i64>) -> AlertLine {
    AlertLine {
        fingerprint: Fingerprint(fingerprint),
        name: "CanaryErrors".to_owned(),
        severity: "critical".to_owned(),
        instance: Some(format!("h{fingerprint}")),
        source: Source::Alertmanager,
        from: t(from),
        until: until.map(t),
        end: "resolved".to_owned(),
    }
}

/// A decision without reasons, as a document has it.
fn decision() -> Decision {
    let document = serde_json::json!({
        "at": t(0).to_string(), "verdict": "notify", "shadow": false, "mode": "enforce",
        "rule": null, "rules": [], "guards": [], "service": null, "env": null, "lane": null,
        "deployment": null, "release_id": null, "phase": null, "scope": null, "hosts": [],
        "target": null, "alerts": [], "evidence": null, "recheck_at": null, "incident": null,
    });
    serde_json::from_value(document).unwrap()
}

fn record(id: &str, at: i64, alert: u64, change: impl FnOnce(&mut Decision)) -> DecisionRecord {
    let mut decision = Decision {
        at: t(at),
        verdict: Verdict::Notify,
        rule: Some("checkout.yaml: bad canary".to_owned()),
        rules: vec![RuleVerdict {
            rule: "checkout.yaml: bad canary".to_owned(),
            matched: true,
            why: "all matchers fit".to_owned(),
        }],
        service: Some("checkout".parse().unwrap()),
        alerts: [Fingerprint(alert)].into(),
        ..decision()
    };
    change(&mut decision);
    DecisionRecord {
        id: id.to_owned(),
        by: Some("r1".parse().unwrap()),
        cause: Some(Cause::Delivery),
        accused: "checkout@1.3 in deployment D1, batch 1, by its release label".to_owned(),
        named: vec![NamedAlert {
            fingerprint: Fingerprint(alert),
            name: "CanaryErrors".to_owned(),
            severity: "critical".to_owned(),
            instance: Some(format!("h{alert}")),
            starts_at: t(at),
        }],
        decision,
    }
}

fn guard(guard: Guard, outcome: Outcome) -> impl FnOnce(&mut Decision) {
    move |decision| {
        if matches!(outcome, Outcome::Hold(_)) {
            decision.verdict = Verdict::Hold;
        }
        decision.guards = vec![
            GuardVerdict {
                guard: Guard::Mode,
                outcome: Outcome::Pass("enforce".to_owned()),
                code: decision::Code::Unstated,
            },
            GuardVerdict {
                guard,
                outcome,
                code: decision::Code::Unstated,
            },
        ];
    }
}

fn there() -> Presence {
    Presence {
        replicas: 2,
        gaps: Vec::new(),
        answers: BTreeMap::from([("webhook 200".to_owned(), 12)]),
        dropped: Vec::new(),
    }
}

fn known(alerts: Vec<AlertLine>, decisions: Vec<DecisionRecord>) -> Known {
    Known {
        alerts,
        decisions,
        presence: Some(there()),
        ..Known::default()
    }
}

fn explain(known: Known) -> Explanation {
    of_moment(moment(), known, &TimeZone::UTC)
}

fn codes(explanation: &Explanation) -> Vec<Code> {
    explanation
        .because
        .iter()
        .map(|reason| reason.code)
        .collect()
}

#[test]
fn silence_while_somebody_was_there_is_no_alert() {
    let before = alert(1, -60, Some(-30));
    let after = alert(2, 20, None);
    let explanation = explain(known(vec![before, after], Vec::new()));
    assert_eq!(codes(&explanation), [Code::NoAlert]);
    assert_eq!(
        explanation.answer,
        "Nothing was taken back: no alert of checkout in prod fired (2 replicas were there, 12 \
         deliveries of any alerts taken in); the last one before was CanaryErrors until 13:32:00; \
         the next one was CanaryErrors at 14:22:00."
    );
}

#[test]
fn silence_while_nobody_was_there_is_not_called_quiet() {
    let mut silent = known(Vec::new(), Vec::new());
    let gap = Span {
        from: t(-4),
        to: t(3),
    };
    silent.presence.as_mut().unwrap().gaps = vec![gap];
    let explanation = explain(silent);
    assert_eq!(codes(&explanation), [Code::NobodyUp, Code::NoAlert]);
    assert!(
        explanation
            .answer
            .contains("no replica gave a sign of life from 13:58:00 to 14:05:00"),
        "{}",
        explanation.answer
    );
}

#[test]
fn silence_that_nobody_can_vouch_for_is_not_known() {
    let explanation = explain(Known::default());
    assert_eq!(codes(&explanation), [Code::NotKnown]);
    let answer = &explanation.answer;
    assert!(answer.contains("whether anybody was there"), "{answer}");
}

#[test]
fn refused_deliveries_bad_alerts_and_strangers_are_named_before_silence() {
    let mut refused = known(Vec::new(), Vec::new());
    let presence = refused.presence.as_mut().unwrap();
    presence.answers.insert("webhook 401".to_owned(), 3);
    presence.dropped.push(Step {
        at: t(0),
        what: "an alert was left out: /alerts/0 (X): no labels".to_owned(),
    });
    refused.strangers.push(alert(9, 0, None));
    let explanation = explain(refused);
    assert_eq!(
        codes(&explanation),
        [
            Code::Refused,
            Code::LeftOut,
            Code::OtherAlerts,
            Code::NoAlert
        ]
    );
    assert!(
        explanation.answer.contains("webhook 401 (3 times)"),
        "{}",
        explanation.answer
    );
}

type Change = Box<dyn FnOnce(&mut Decision)>;

#[test]
fn every_way_to_do_nothing_has_its_own_reason() {
    let hold = |words: &str| Outcome::Hold(words.to_owned());
    let deny = |words: &str| Outcome::Deny(words.to_owned());
    let cases: Vec<(Code, &str, Change)> = vec![
        (
            Code::Held,
            "guard verify holds: the source is down",
            Box::new(guard(Guard::Verify, hold("the source is down"))),
        ),
        (
            Code::Denied,
            "guard attribution says no: other hosts are as bad",
            Box::new(guard(Guard::Attribution, deny("other hosts are as bad"))),
        ),
        (
            Code::Mode,
            "guard mode says no: off",
            Box::new(guard(Guard::Mode, deny("off"))),
        ),
        (
            Code::NoDeployment,
            "guard context holds: nothing fits (checkout@1.3 in deployment D1",
            Box::new(guard(Guard::Context, hold("nothing fits"))),
        ),
        (
            Code::NotifyOnly,
            "only tells people",
            Box::new(|decision| decision.guards.clear()),
        ),
        (
            Code::NoRule,
            "none of 1 rule matches: `checkout.yaml: bad canary`: severity is info",
            Box::new(|decision| {
                decision.rule = None;
                decision.rules[0].matched = false;
                decision.rules[0].why = "severity is info".to_owned();
            }),
        ),
        (
            Code::NoPolicy,
            "no policy speaks about checkout",
            Box::new(|decision| {
                decision.rule = None;
                decision.rules.clear();
            }),
        ),
        (
            Code::Mode,
            "mode shadow only watches: full of checkout@1.3 would have gone back to checkout@1.0",
            Box::new(|decision| {
                decision.verdict = Verdict::Rollback(Scope::Full);
                decision.shadow = true;
                decision.release_id = "checkout@1.3".parse().ok();
                decision.target = "checkout@1.0".parse().ok();
            }),
        ),
    ];
    for (code, words, change) in cases {
        let alerts = vec![alert(1, -1, Some(4))];
        let explanation = explain(known(alerts, vec![record("1", -1, 1, change)]));
        assert_eq!(codes(&explanation), [code], "{words}");
        assert!(
            explanation
                .answer
                .starts_with("Nothing was taken back: CanaryErrors on h1: ")
        );
        assert!(explanation.answer.contains(words), "{}", explanation.answer);
    }
}

#[test]
fn an_alert_that_fires_for_long_is_explained_by_its_old_decision() {
    let decided = record(
        "1",
        -90,
        1,
        guard(Guard::Verify, Outcome::Hold("no data".to_owned())),
    );
    // The same alert's earlier life has no part in it, nor has another alert's decision.
    let stranger = record("0", -100, 1, |decision| decision.guards.clear());
    let explanation = explain(known(vec![alert(1, -91, None)], vec![decided, stranger]));
    assert_eq!(codes(&explanation), [Code::Held]);
    assert!(
        explanation
            .answer
            .contains("(so since 12:32:00, nothing new after that)"),
        "{}",
        explanation.answer
    );
    assert_eq!(explanation.decisions.len(), 1);
}

#[test]
fn an_alert_without_a_decision_is_said_to_have_none() {
    let explanation = explain(known(
        vec![alert(1, -1, None), alert(2, -1, None)],
        Vec::new(),
    ));
    assert_eq!(codes(&explanation), [Code::NotRecorded]);
}

#[test]
fn a_rollback_in_the_window_is_the_answer() {
    let acted = record("2", 1, 1, |decision| {
        decision.verdict = Verdict::Rollback(Scope::Full);
        decision.incident = "checkout@prod-3".parse().ok();
    });
    let held = record(
        "1",
        -1,
        1,
        guard(Guard::Verify, Outcome::Hold("no data".to_owned())),
    );
    let mut known = known(vec![alert(1, -1, None)], vec![acted, held]);
    known.incidents.push(IncidentLine {
        id: "checkout@prod-3".parse().unwrap(),
        opened_at: t(1),
        closed_at: None,
        scope: "full".to_owned(),
        release_id: "checkout@1.3".parse().unwrap(),
        target: "checkout@1.0".parse().unwrap(),
        state: "submitted".to_owned(),
    });
    let explanation = explain(known);
    assert_eq!(codes(&explanation), [Code::Acted]);
    assert!(
        !explanation.answer.starts_with("Nothing"),
        "{}",
        explanation.answer
    );
    assert_eq!(
        (explanation.decisions.len(), explanation.incidents.len()),
        (2, 1)
    );
}

#[test]
fn the_terminal_marks_what_decided_and_shows_the_holds_history() {
    let decided = record(
        "1",
        -4,
        1,
        guard(Guard::Verify, Outcome::Hold("no data".to_owned())),
    );
    let mut known = known(vec![alert(1, -4, Some(3))], vec![decided]);
    let step = |minutes, what: &str| Step {
        at: t(minutes),
        what: what.to_owned(),
    };
    known.holds.push(HoldLine {
        deployment: "D1".parse().unwrap(),
        rule: "checkout.yaml: bad canary".to_owned(),
        since: t(-4),
        steps: vec![
            step(-4, "verify: evidence pending"),
            step(-3, "verify: no data"),
        ],
        paged_at: None,
        ended: Some(step(3, "its alerts are over")),
    });
    let shown = text(&explain(known), &TimeZone::get("Asia/Shanghai").unwrap());
    for line in [
        "checkout in prod at 2026-11-22 22:02:00 CST (looked at: 11-22 21:57:00 to 11-22 22:07:00)",
        "  -> rule  checkout.yaml: bad canary: all matchers fit",
        "     guard pass  mode         enforce",
        "  -> guard hold  verify       no data",
        "  11-22 21:59:00 verify: no data",
        "  11-22 22:05:00 ended: its alerts are over",
        "  2 replicas gave signs of life, somebody was there all the time",
    ] {
        assert!(shown.lines().any(|one| one == line), "{line}\n\n{shown}");
    }
}
