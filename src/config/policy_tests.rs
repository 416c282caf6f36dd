//! Policy files as people write them, right and wrong.

use super::*;
use crate::domain::freeze::{Freeze, Rollbacks};

const GOOD: &str = r#"
services: [checkout, "cart-*"]
rules:
  - name: bad canary takes its batch back
    matchers: ['severity=~"critical|page"', 'alertname=~"Canary.+"']
    phase: [canary, between]
    for: 30s
    min_hosts: 1
    action: rollback
    channels: [ops-slack]
  - name: bad full rollout goes back
    matchers: ['{severity="critical",team=shop}']
    phase: [full]
    action: rollback_full
    verify: sum(rate(errors[1m])) > 1
    on_no_data: ignore
    approval: {expires: 15m, then: hold}
guards:
  mode: enforce
  cooldown: 10m
  min_capacity: 60%
  freeze:
    - name: weekend
      weekly: {days: [sat, sun]}
      time_zone: Asia/Shanghai
    - {name: nights, weekly: {days: [mon], from: 22:00, to: 06:30}, rollbacks: hold}
    - name: year's end
      dated: {from: 2026-12-24T18:00, to: 2026-12-27T00:00:00+01:00}
      time_zone: Europe/Berlin
"#;

fn problems(text: &str) -> Vec<String> {
    load_policy("p.yaml", text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// A file with one rule, whose lines are given.
fn with_rule(lines: &str) -> String {
    format!("services: [s]\nrules:\n  - name: r\n{lines}")
}

fn service(name: &str) -> Service {
    Service::new(name).unwrap()
}

#[test]
fn a_whole_file_is_read() {
    let policy = load_policy("p.yaml", GOOD).unwrap();
    assert!(policy.covers(&service("cart-eu")));
    assert!(!policy.covers(&service("cart")));
    assert_eq!(policy.rules.len(), 2);
    let canary = &policy.rules[0];
    assert_eq!(canary.phases, [Phase::Canary, Phase::Between]);
    assert_eq!(canary.for_, Duration::from_secs(30));
    assert_eq!(canary.matchers.len(), 2);
    assert_eq!(canary.on_no_data, NoData::Hold);
    let full = &policy.rules[1];
    assert_eq!(full.action, Action::RollbackFull);
    assert_eq!(full.matchers.len(), 2);
    assert_eq!(full.verify.as_deref(), Some("sum(rate(errors[1m])) > 1"));
    assert_eq!(
        full.approval,
        Some(Approval {
            expires: Duration::from_mins(15),
            then: Expiry::Hold
        })
    );
    assert_eq!(policy.guards.mode, Mode::Enforce);
    assert_eq!(policy.guards.cooldown, Duration::from_mins(10));
    assert_eq!(policy.guards.min_capacity, Some(0.6));
    let [weekend, nights, end_of_year] = policy.guards.freeze.as_slice() else {
        panic!("{:#?}", policy.guards.freeze);
    };
    let open = |freeze: &Freeze, at: &str| freeze.open_until(at.parse().unwrap());
    assert_eq!(weekend.rollbacks, Rollbacks::Pass);
    assert!(open(weekend, "2026-11-27T16:00:00Z").is_some());
    assert_eq!(open(weekend, "2026-11-29T16:00:00Z"), None);
    assert_eq!(nights.rollbacks, Rollbacks::Hold);
    assert!(open(nights, "2026-11-24T06:29:59Z").is_some());
    assert_eq!(open(nights, "2026-11-24T06:30:00Z"), None);
    assert_eq!(end_of_year.name, "year's end");
    assert_eq!(open(end_of_year, "2026-12-24T16:59:59Z"), None);
    let end = "2026-12-26T23:00:00Z".parse().unwrap();
    assert_eq!(open(end_of_year, "2026-12-24T17:00:00Z"), Some(end));
}

#[test]
fn each_problem_of_a_freeze_window_names_its_place() {
    for (window, want) in [
        (
            "{name: w}",
            "p.yaml:6:26: the window `w` needs either `weekly` or `dated`",
        ),
        (
            "{name: '', weekly: {days: [sat]}}",
            "p.yaml:6:26: the name of the window is empty",
        ),
        (
            "{name: w, weekly: {days: [sat]}, dated: {from: 2026-01-01, to: 2026-01-02}}",
            "p.yaml:6:26: the window `w` needs either",
        ),
        (
            "{name: w, weekly: {days: []}}",
            "p.yaml:6:44: `days` names no day",
        ),
        (
            "{name: w, weekly: {days: [sunday]}}",
            "p.yaml:6:45: unknown word `sunday`",
        ),
        (
            "{name: w, weekly: {days: [sat], from: 25:00}}",
            "p.yaml:6:57: `25:00` is not a time of day\n  hint: for example 06:00",
        ),
        (
            "{name: w, weekly: {days: [sat]}, time_zone: Mars/Olympus}",
            "p.yaml:6:63: `Mars/Olympus`",
        ),
        (
            "{name: w, dated: {from: soon, to: 2026-01-02}}",
            "p.yaml:6:43: `soon` is not a moment",
        ),
        (
            "{name: w, dated: {from: 2026-01-01, to: '2026-01-02T00:00+8'}}",
            "p.yaml:6:59: `2026-01-02T00:00+8` is not a moment",
        ),
        (
            "{name: w, dated: {from: 2026-01-02, to: 2026-01-02}}",
            "p.yaml:6:59: the window ends before it begins",
        ),
        (
            "{name: w, weekly: {days: [sat]}, rollbacks: maybe}",
            "p.yaml:6:63: unknown word `maybe`\n  hint: one of: pass, hold",
        ),
        (
            "{name: w, weekly: {days: [sat]}}, {name: w, weekly: {days: [sun]}}",
            "`w` is the name of two windows",
        ),
    ] {
        let text = format!(
            "{}guards: {{freeze: [{window}]}}\n",
            with_rule("    matchers: [a=b]\n    action: notify\n")
        );
        let got = problems(&text);
        assert!(
            got.iter().any(|problem| problem.contains(want)),
            "{window}\n{got:#?}"
        );
    }
}

#[test]
fn the_mode_off_is_a_word_and_not_a_boolean() {
    for (word, mode) in [
        ("off", Mode::Off),
        ("shadow", Mode::Shadow),
        ("approve", Mode::Approve),
        ("enforce", Mode::Enforce),
    ] {
        let text = format!(
            "{}guards: {{mode: {word}}}\n",
            with_rule("    matchers: [a=b]\n    action: notify\n")
        );
        assert_eq!(load_policy("p.yaml", &text).unwrap().guards.mode, mode);
    }
}

#[test]
fn what_is_left_out_is_cautious() {
    let text = with_rule("    matchers: [a=b]\n    action: rollback\n");
    let policy = load_policy("p.yaml", &text).unwrap();
    assert_eq!(policy.guards.mode, Mode::Shadow);
    assert_eq!(policy.guards.cooldown, DEFAULT_COOLDOWN);
}

#[test]
fn each_problem_names_its_place_and_a_way_out() {
    for (lines, want) in [
        (
            "    matcher: [a=b]\n    action: notify\n",
            "p.yaml:4:5: unknown key `matcher`\n  hint: did you mean `matchers`?",
        ),
        (
            "    matchers: [a=b]\n    action: rolback\n",
            "p.yaml:5:13: unknown word `rolback`\n  hint: did you mean `rollback`?",
        ),
        (
            "    matchers: [a=b]\n    action: notify\n    phase: [full, soon]\n",
            "p.yaml:6:19: unknown word `soon`\n  hint: one of: canary, between, full",
        ),
        ("    matchers: [a=b]\n", "the key `action` is missing"),
        (
            "    matchers: a=b\n    action: notify\n",
            "p.yaml:4:15: a list is expected here",
        ),
        (
            "    matchers: [a=b]\n    action:\n",
            "p.yaml:5:11: the value is missing\n  hint: one of: rollback,",
        ),
        (
            "    matchers: [a=b]\n    action: [hold]\n",
            "p.yaml:5:13: one word is expected here",
        ),
        (
            "    matchers: []\n    action: notify\n",
            "p.yaml:4:15: the rule has no condition",
        ),
        (
            "    matchers: ['a=~\".*\"']\n    action: notify\n",
            "p.yaml:4:15: the rule has no condition",
        ),
        (
            "    matchers: [x=1, 'a=~\"(\"']\n    action: notify\n",
            "p.yaml:4:21: the pattern `(` is not a usable regular expression: unclosed group\n",
        ),
        (
            "    matchers: [a=b]\n    action: notify\n    for: 30\n",
            "p.yaml:6:10: `30` is not a duration",
        ),
        (
            "    matchers: [a=b]\n    action: notify\n    min_hosts: -1\n",
            "p.yaml:6:16: not a whole number that fits here",
        ),
        (
            "    matchers: [a=b]\n    action: rollback\n    on_no_data: rollback\n",
            "p.yaml:6:17: `on_no_data: rollback` is refused",
        ),
        (
            "    matchers: [a=b]\n    action: notify\n    approval: {expires: 0s, then: hold}\n",
            "p.yaml:6:25: nobody can answer within no time",
        ),
        (
            "    matchers: [a=b]\n    action: notify\n    channels: [../x]\n",
            "p.yaml:6:16: `../x` is not an id",
        ),
        (
            "    matchers: [a=b]\n    action: notify\nguards: {min_capacity: 120%}\n",
            "p.yaml:6:24: `120%` is not a share between 0% and 100%",
        ),
    ] {
        let got = problems(&with_rule(lines));
        assert!(
            got.iter().any(|problem| problem.contains(want)),
            "{lines}\n{got:#?}"
        );
    }
}

#[test]
fn all_problems_of_a_file_come_at_once_in_order() {
    let text = "services: ['a[']\nrules:\n\
                \x20 - {name: r, matchers: ['a'], action: notify, for: x}\n\
                \x20 - {name: r, matchers: [a=b], action: notify}\n";
    let got = problems(text);
    let lines: Vec<&str> = got
        .iter()
        .map(|problem| problem.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["1", "3", "3", "4"], "{got:#?}");
    assert!(got[3].contains("`r` is the name of two rules\n  hint: the other one is on line 3"));
}

#[test]
fn empty_lists_and_empty_files_are_refused() {
    assert!(problems("services: []\nrules: []\n").len() == 2);
    assert_eq!(problems("").len(), 1);
    assert_eq!(problems("- a\n").len(), 1);
}

#[test]
fn a_service_claimed_twice_is_told_unless_one_file_takes_only_the_rest() {
    let rule = "rules: [{name: r, matchers: [a=b], action: notify}]\n";
    let load = |file: &str, services: &str| {
        load_policy(file, &format!("services: {services}\n{rule}")).unwrap()
    };
    let services = [service("cart"), service("shop")];
    let policies = [
        load("a.yaml", "[cart]"),
        load("b.yaml", "['c*']"),
        load("rest.yaml", "['*']"),
    ];
    assert_eq!(
        overlaps(&policies, &services),
        [Overlap {
            service: service("cart"),
            files: vec!["a.yaml".into(), "b.yaml".into()]
        }]
    );
    let rests = [load("r1.yaml", "['*']"), load("r2.yaml", "['*']")];
    assert_eq!(overlaps(&rests, &services).len(), 2);
}

#[test]
fn the_shipped_policy_is_valid_and_only_watches() {
    let policy = load_policy(
        "default.yaml",
        include_str!("../../rules/policy/default.yaml"),
    )
    .unwrap();
    assert_eq!(policy.guards.mode, Mode::Shadow);
    assert!(policy.is_fallback());
    let actions: Vec<_> = policy
        .rules
        .iter()
        .map(|rule| (rule.action, rule.phases.clone()))
        .collect();
    assert_eq!(
        actions,
        [
            (Action::Rollback, vec![Phase::Canary, Phase::Between]),
            (Action::RollbackFull, vec![Phase::Full]),
            (Action::Hold, vec![Phase::Canary, Phase::Between]),
        ]
    );
}
