use super::*;
use crate::domain::policy::Expiry;

const RULE: &str = "shop.yaml: back";

fn asked(scope: Scope) -> Asked {
    Asked {
        service: id("checkout"),
        env: id("prod"),
        deployment: id("d1"),
        release_id: id("checkout@2"),
        rule: RULE.into(),
        scope,
        hosts: vec![id("h1")],
        target: id("checkout@1"),
        decision: decision(),
        thread: "t".into(),
        channels: Vec::new(),
        expires: at(601),
        then: Expiry::Hold,
    }
}

fn ask(scope: Scope) -> LaneEvent {
    LaneEvent::Asked(Box::new(asked(scope)))
}

fn answer() -> Answer {
    Answer {
        by: "oncall".into(),
        via: Via::Token,
        reason: "seen it".into(),
    }
}

fn question() -> ApprovalId {
    id("checkout@prod-1")
}

fn yes() -> LaneEvent {
    LaneEvent::Approved {
        approval: question(),
        answer: answer(),
    }
}

fn no() -> LaneEvent {
    LaneEvent::Denied {
        approval: question(),
        answer: answer(),
    }
}

fn cleared() -> LaneEvent {
    LaneEvent::Cleared {
        approval: question(),
        answer: answer(),
    }
}

fn expired() -> LaneEvent {
    LaneEvent::Expired {
        approval: question(),
    }
}

fn lapsed() -> LaneEvent {
    LaneEvent::Lapsed {
        approval: question(),
        why: "over".into(),
    }
}

fn opening_on(approval: Option<ApprovalId>, scope: Scope) -> Opened {
    let mut opened = opening("d1", scope);
    opened.approval = approval;
    opened.decision.rule = Some(RULE.into());
    opened
}

fn open_on(approval: &ApprovalId, scope: Scope) -> LaneEvent {
    LaneEvent::Opened(Box::new(opening_on(Some(approval.clone()), scope)))
}

#[test]
fn a_question_gets_one_answer_whoever_comes_second() {
    for first in [yes(), no(), expired(), lapsed()] {
        let state = lane([ask(batch_scope(1)), first]);
        for second in [yes(), no(), expired(), lapsed()] {
            assert!(matches!(refused(&state, &second), Illegal::Settled { .. }));
        }
    }
    assert_eq!(refused(&lane([]), &yes()), Illegal::NotAsked(question()));
}

#[test]
fn a_question_stops_no_batch_and_an_incident_on_its_consent_does() {
    let state = lane([ask(batch_scope(1)), batch("d1", 2), yes(), batch("d1", 3)]);
    let mut opened = state;
    put(&mut opened, "a", open_on(&question(), batch_scope(1))).unwrap();
    assert_eq!(
        refused(&opened, &batch("d1", 4)),
        Illegal::Stopped(id("d1"))
    );
    let incident = opened.open.as_ref().unwrap();
    assert_eq!(opened.approvals[0].used_by.as_ref(), Some(&incident.id));
    let words: Vec<_> = incident.events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(words, ["asked", "approved", "opened"]);
}

#[test]
fn an_incident_opens_only_on_a_consent_to_all_of_it() {
    let on = |scope| open_on(&question(), scope);
    let no_consent = Illegal::NoConsent(question());
    assert_eq!(refused(&lane([]), &on(batch_scope(1))), no_consent);
    for event in [no(), expired(), lapsed()] {
        let state = lane([ask(batch_scope(1)), event]);
        assert_eq!(refused(&state, &on(batch_scope(1))), no_consent);
    }
    let open = lane([ask(batch_scope(1))]);
    assert_eq!(refused(&open, &on(batch_scope(1))), no_consent);
    let approved = lane([ask(batch_scope(1)), yes()]);
    for wider in [Scope::Full, batch_scope(2)] {
        assert_eq!(refused(&approved, &on(wider)), no_consent);
    }
    let mut elsewhere = opening_on(Some(question()), batch_scope(1));
    elsewhere.target = id("checkout@0");
    let elsewhere = LaneEvent::Opened(Box::new(elsewhere));
    assert_eq!(refused(&approved, &elsewhere), no_consent);
    let mut other = opening_on(Some(question()), batch_scope(1));
    other.deployment = id("d2");
    let other = LaneEvent::Opened(Box::new(other));
    assert_eq!(refused(&approved, &other), no_consent);
}

#[test]
fn a_consent_serves_one_incident() {
    let withdrawn = LaneEvent::Closed {
        incident: id("checkout@prod-3"),
        ending: Ending::Withdrawn,
        why: "well again".into(),
    };
    let state = lane([
        ask(batch_scope(1)),
        yes(),
        open_on(&question(), batch_scope(1)),
        withdrawn,
    ]);
    assert_eq!(
        refused(&state, &open_on(&question(), batch_scope(1))),
        Illegal::NoConsent(question())
    );
}

#[test]
fn silence_is_consent_only_where_the_rule_says_so() {
    let mut silent = asked(batch_scope(1));
    silent.then = Expiry::Rollback;
    let ask = LaneEvent::Asked(Box::new(silent));
    let state = lane([ask, expired(), open_on(&question(), batch_scope(1))]);
    assert!(state.open.is_some());
}

#[test]
fn a_denial_binds_its_deployment_and_rule_until_it_is_cleared() {
    let denied = lane([ask(batch_scope(1)), no()]);
    let bound = Illegal::Denied(question());
    assert_eq!(refused(&denied, &ask(Scope::Full)), bound);
    let automatic = LaneEvent::Opened(Box::new(opening_on(None, batch_scope(1))));
    assert_eq!(refused(&denied, &automatic), bound);
    let mut by_hand = opening_on(None, batch_scope(1));
    by_hand.origin = Origin::Manual {
        by: "oncall".into(),
        reason: "r".into(),
        key: "k".into(),
    };
    let by_hand = LaneEvent::Opened(Box::new(by_hand));
    with(vec![ask(batch_scope(1)), no()], [by_hand]);
    let mut other_rule = asked(batch_scope(1));
    other_rule.rule = "shop.yaml: other".into();
    let mut other_deployment = asked(batch_scope(1));
    other_deployment.deployment = id("d2");
    for free in [other_rule, other_deployment] {
        let free = LaneEvent::Asked(Box::new(free));
        with(vec![ask(batch_scope(1)), no()], [free]);
    }
    with(
        vec![ask(batch_scope(1)), no(), cleared()],
        [ask(batch_scope(1))],
    );
    with(vec![ask(batch_scope(1)), no(), cleared()], [automatic]);
}

#[test]
fn only_a_denial_can_be_cleared_and_once() {
    for events in [
        vec![ask(batch_scope(1))],
        vec![ask(batch_scope(1)), yes()],
        vec![ask(batch_scope(1)), no(), cleared()],
    ] {
        assert!(matches!(
            refused(&lane(events), &cleared()),
            Illegal::Settled { .. }
        ));
    }
}

#[test]
fn asking_for_more_replaces_the_question_and_asking_the_same_does_not() {
    let open = lane([ask(batch_scope(1))]);
    assert_eq!(
        refused(&open, &ask(batch_scope(1))),
        Illegal::Asked(question())
    );
    let wider = lane([ask(batch_scope(1)), ask(Scope::Full)]);
    assert_eq!(
        wider.approvals[0].outcome,
        Settled::Replaced(id("checkout@prod-2"))
    );
    assert!(matches!(refused(&wider, &yes()), Illegal::Settled { .. }));
    // Less is covered by what is being asked.
    assert_eq!(
        refused(&wider, &ask(batch_scope(1))),
        Illegal::Asked(id("checkout@prod-2"))
    );
    let mut elsewhere = asked(Scope::Full);
    elsewhere.target = id("checkout@0");
    let elsewhere = LaneEvent::Asked(Box::new(elsewhere));
    with(vec![ask(batch_scope(1)), ask(Scope::Full)], [elsewhere]);
}

#[test]
fn a_consent_is_good_as_long_after_it_as_the_question_would_have_stood() {
    let state = lane([ask(batch_scope(1)), yes()]);
    // Asked at 1, until 601; answered at 2.
    assert_eq!(state.approvals[0].good_until(), Some(at(602)));
}

#[test]
fn what_is_sent_on_a_consent_is_in_time_and_no_more_than_was_asked() {
    let opened = opening_on(Some(question()), batch_scope(1));
    let state = lane([ask(batch_scope(1)), yes()]);
    let sends = |opened: &Opened, scope: Scope, target: &str, second: u64| {
        state
            .lets_send(opened, &scope, &id(target), at(second))
            .is_ok()
    };
    assert!(sends(&opened, batch_scope(1), "checkout@1", 602));
    assert!(!sends(&opened, batch_scope(1), "checkout@1", 603));
    assert!(!sends(&opened, Scope::Full, "checkout@1", 602));
    assert!(!sends(&opened, batch_scope(1), "checkout@0", 602));
    let needs_none = opening_on(None, Scope::Full);
    assert!(sends(&needs_none, Scope::Full, "checkout@0", 9999));
    let denied = lane([ask(batch_scope(1)), no()]);
    let target = id("checkout@1");
    assert!(
        denied
            .lets_send(&opened, &batch_scope(1), &target, at(3))
            .is_err()
    );
}

#[test]
fn links_about_approvals_are_read_as_they_were_written() {
    for event in [
        ask(Scope::Full),
        yes(),
        no(),
        cleared(),
        expired(),
        lapsed(),
    ] {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<LaneEvent>(&text).unwrap(), event);
    }
    let mut old = serde_json::to_value(open()).unwrap();
    old["opened"].as_object_mut().unwrap().remove("approval");
    assert_eq!(serde_json::from_value::<LaneEvent>(old).unwrap(), open());
}
