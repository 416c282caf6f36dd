use std::collections::BTreeSet;

use super::*;
use crate::domain::decision::Verdict;
use crate::domain::policy::Mode;

fn id<T: std::str::FromStr<Err = super::super::id::InvalidId>>(text: &str) -> T {
    text.parse().unwrap()
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap()
}

fn decision() -> Decision {
    Decision {
        at: at(0),
        verdict: Verdict::Rollback(Scope::Full),
        shadow: false,
        mode: Mode::Enforce,
        rule: None,
        rules: Vec::new(),
        guards: Vec::new(),
        service: None,
        env: None,
        lane: None,
        deployment: None,
        release_id: None,
        phase: None,
        scope: None,
        hosts: Vec::new(),
        target: None,
        alerts: BTreeSet::new(),
        evidence: None,
        recheck_at: None,
        incident: None,
    }
}

fn batch_scope(n: u32) -> Scope {
    Scope::Batch(BTreeSet::from([n]))
}

fn opening(deployment: &str, scope: Scope) -> Opened {
    Opened {
        service: id("checkout"),
        env: id("prod"),
        deployment: id(deployment),
        release_id: id("checkout@2"),
        scope,
        hosts: vec![id("h1")],
        target: id("checkout@1"),
        origin: Origin::Automatic,
        decision: decision(),
        thread: "t".into(),
        channels: Vec::new(),
        supersedes: None,
    }
}

fn plan() -> Plan {
    Plan {
        application: "checkout".into(),
        pipeline: "rollback-batch".into(),
        scope: batch_scope(1),
        hosts: vec![id("h1")],
        from: id("checkout@2"),
        target: id("checkout@1"),
        parameters: BTreeMap::new(),
        admission: true,
    }
}

fn first() -> IncidentId {
    id("checkout@prod-1")
}

fn batch(deployment: &str, n: u32) -> LaneEvent {
    LaneEvent::Batch {
        deployment: id(deployment),
        release_id: id("checkout@2"),
        n,
        of: Some(3),
        hosts: vec![id("h1")],
    }
}

fn claimed(owner: &str) -> LaneEvent {
    LaneEvent::Claimed {
        incident: first(),
        owner: id(owner),
        until: at(60),
    }
}

fn submitting(attempt: u32) -> LaneEvent {
    LaneEvent::Submitting {
        incident: first(),
        attempt,
        plan: plan(),
    }
}

fn submitted(attempt: u32, execution: &str) -> LaneEvent {
    LaneEvent::Submitted {
        incident: first(),
        attempt,
        execution: id(execution),
    }
}

fn admitted(attempt: u32, execution: &str) -> LaneEvent {
    LaneEvent::Admitted {
        incident: first(),
        attempt,
        execution: id(execution),
    }
}

fn voided(attempt: u32) -> LaneEvent {
    LaneEvent::Voided {
        incident: first(),
        attempt,
        why: "w".into(),
    }
}

fn unknown(attempt: u32) -> LaneEvent {
    LaneEvent::Unknown {
        incident: first(),
        attempt,
        why: "w".into(),
    }
}

fn finished(execution: &str, succeeded: bool) -> LaneEvent {
    LaneEvent::Finished {
        incident: first(),
        execution: id(execution),
        status: if succeeded { "SUCCEEDED" } else { "TERMINAL" }.into(),
        succeeded,
        detail: String::new(),
    }
}

fn recovery(ending: Ending) -> LaneEvent {
    LaneEvent::Recovery {
        incident: first(),
        ending,
        detail: String::new(),
    }
}

fn reported(revision: u32) -> LaneEvent {
    LaneEvent::Reported {
        incident: first(),
        revision,
    }
}

fn abandoned() -> LaneEvent {
    LaneEvent::Abandoned {
        incident: first(),
        by: "oncall".into(),
        why: "w".into(),
    }
}

fn closed(ending: Ending) -> LaneEvent {
    LaneEvent::Closed {
        incident: first(),
        ending,
        why: String::new(),
    }
}

/// Folds events written by replica `a`; all must be legal.
fn lane(events: impl IntoIterator<Item = LaneEvent>) -> LaneState {
    let mut state = LaneState::default();
    for event in events {
        put(&mut state, "a", event).unwrap();
    }
    state
}

fn put(state: &mut LaneState, by: &str, event: LaneEvent) -> Result<(), Illegal> {
    let seq = state.next_seq;
    let entry = LaneEntry {
        at: at(seq),
        by: id(by),
        event,
    };
    state.apply(seq, &entry)
}

fn open() -> LaneEvent {
    LaneEvent::Opened(Box::new(opening("d1", batch_scope(1))))
}

fn until_submitting() -> Vec<LaneEvent> {
    vec![open(), claimed("a"), submitting(1)]
}

fn until_admitted() -> Vec<LaneEvent> {
    let mut events = until_submitting();
    events.extend([submitted(1, "e1"), admitted(1, "e1")]);
    events
}

fn until_finished(succeeded: bool) -> Vec<LaneEvent> {
    let mut events = until_admitted();
    events.push(finished("e1", succeeded));
    events
}

fn with(mut events: Vec<LaneEvent>, more: impl IntoIterator<Item = LaneEvent>) -> LaneState {
    events.extend(more);
    lane(events)
}

fn refused(state: &LaneState, event: &LaneEvent) -> Illegal {
    let mut copy = state.clone();
    let seq = copy.next_seq;
    let illegal = state.check(&id("a"), event).unwrap_err();
    assert_eq!(put(&mut copy, "a", event.clone()), Err(illegal.clone()));
    // An illegal link uses its number up, is counted, and changes nothing else.
    let mut expected = state.clone();
    expected.next_seq = seq + 1;
    expected.skipped += 1;
    assert_eq!(copy, expected);
    illegal
}

fn not_now(state: &LaneState, event: &LaneEvent) {
    let illegal = refused(state, event);
    assert!(matches!(illegal, Illegal::NotNow { .. }), "{illegal:?}");
}

#[test]
fn a_whole_life_is_legal_and_ends_closed() {
    let state = with(
        until_finished(true),
        [
            reported(1),
            reported(2),
            recovery(Ending::Recovered),
            reported(3),
            closed(Ending::Recovered),
        ],
    );
    assert_eq!(state.open, None);
    assert_eq!(state.skipped, 0);
    let incident = state.incident(&first()).unwrap();
    assert_eq!(incident.stage, Stage::Closed);
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!(incident.admitted, Some(id("e1")));
    assert_eq!(incident.revision, 3);
    assert_eq!(incident.submitted_at, Some(at(4)));
    assert_eq!(incident.events.len(), 11);
    assert_eq!(state.epoch(), 11);
}

#[test]
fn links_come_in_order() {
    let mut state = lane([]);
    let entry = LaneEntry {
        at: at(0),
        by: id("a"),
        event: batch("d1", 1),
    };
    let wrong = Illegal::OutOfOrder {
        expected: 1,
        got: 2,
    };
    assert_eq!(state.apply(2, &entry), Err(wrong.clone()));
    assert_eq!(state.skip(2), Err(wrong));
    assert_eq!(state, lane([]));
    state.skip(1).unwrap();
    assert_eq!((state.next_seq, state.skipped), (2, 1));
}

#[test]
fn a_batch_starts_once_and_never_after_its_deployment_was_stopped() {
    let state = lane([batch("d1", 1)]);
    assert!(matches!(
        refused(&state, &batch("d1", 1)),
        Illegal::BatchStarted { n: 1, .. }
    ));
    let state = lane([batch("d1", 1), batch("d1", 2), {
        LaneEvent::Opened(Box::new(opening("d1", batch_scope(1))))
    }]);
    assert_eq!(refused(&state, &batch("d1", 3)), Illegal::Stopped(id("d1")));
    let withdrawn = lane([open(), closed(Ending::Withdrawn)]);
    assert_eq!(
        refused(&withdrawn, &batch("d1", 3)),
        Illegal::Stopped(id("d1"))
    );
}

#[test]
fn another_deployment_waits_until_the_rollback_has_ended() {
    let busy = with(until_admitted(), []);
    assert_eq!(refused(&busy, &batch("d2", 1)), Illegal::Busy(first()));
    with(until_finished(true), [batch("d2", 1)]);
}

#[test]
fn a_lane_has_one_unfinished_incident() {
    let other = LaneEvent::Opened(Box::new(opening("d2", Scope::Full)));
    assert_eq!(refused(&lane([open()]), &other), Illegal::Busy(first()));
    let state = lane([open(), closed(Ending::Withdrawn), other]);
    assert_eq!(state.open.unwrap().id.as_str(), "checkout@prod-3");
}

#[test]
fn an_escalation_closes_the_old_one_once_its_execution_has_ended() {
    let mut wider = opening("d1", Scope::Full);
    wider.supersedes = Some(first());
    let wider = LaneEvent::Opened(Box::new(wider));
    for events in [until_submitting(), until_admitted()] {
        assert_eq!(refused(&lane(events), &wider), Illegal::NotEnded(first()));
    }
    let state = with(until_finished(true), [wider.clone()]);
    assert_eq!(state.closed[0].ending, Some(Ending::Superseded));
    assert_eq!(state.closed[0].closed_at, Some(at(7)));
    assert_eq!(state.open.unwrap().id.as_str(), "checkout@prod-7");
    // Closed meanwhile: nothing is left to close.
    with(
        until_finished(true),
        [
            recovery(Ending::StillBad),
            closed(Ending::StillBad),
            wider.clone(),
        ],
    );
    assert_eq!(refused(&lane([]), &wider), Illegal::NotOpen(first()));
}

#[test]
fn what_was_taken_back_is_not_taken_back_again_by_the_rules() {
    let over = || {
        let mut events = until_finished(true);
        events.extend([recovery(Ending::StillBad), closed(Ending::StillBad)]);
        events
    };
    assert_eq!(refused(&lane(over()), &open()), Illegal::TakenBack(first()));
    let wider = LaneEvent::Opened(Box::new(opening("d1", Scope::Full)));
    with(over(), [wider]);
    let mut by_hand = opening("d1", batch_scope(1));
    by_hand.origin = Origin::Manual {
        by: "oncall".into(),
        reason: "r".into(),
        key: "k".into(),
    };
    with(over(), [LaneEvent::Opened(Box::new(by_hand))]);
}

#[test]
fn after_a_failed_rollback_only_a_person_goes_on() {
    let mut wider = opening("d1", Scope::Full);
    let failed = with(until_finished(false), [closed(Ending::RollbackFailed)]);
    let again = LaneEvent::Opened(Box::new(wider.clone()));
    assert_eq!(refused(&failed, &again), Illegal::PersonMustAct(first()));
    wider.supersedes = Some(first());
    let escalation = LaneEvent::Opened(Box::new(wider.clone()));
    let not_closed = lane(until_finished(false));
    assert_eq!(
        refused(&not_closed, &escalation),
        Illegal::PersonMustAct(first())
    );
    wider.origin = Origin::Manual {
        by: "oncall".into(),
        reason: "r".into(),
        key: "k".into(),
    };
    with(until_finished(false), [LaneEvent::Opened(Box::new(wider))]);
}

#[test]
fn only_the_owner_submits() {
    let mut state = lane([open(), claimed("b")]);
    assert_eq!(refused(&state, &submitting(1)), Illegal::NotOwner(id("b")));
    put(&mut state, "b", submitting(1)).unwrap();
    not_now(&lane([open()]), &submitting(1));
    not_now(&lane(until_submitting()), &claimed("b"));
}

#[test]
fn attempts_count_up_to_three() {
    let state = lane([open(), claimed("a")]);
    assert!(matches!(
        refused(&state, &submitting(2)),
        Illegal::WrongAttempt { newest: 0, got: 2 }
    ));
    let mut events = vec![open()];
    for attempt in 1..=MAX_ATTEMPTS {
        events.extend([claimed("a"), submitting(attempt), voided(attempt)]);
    }
    let state = lane(events.clone());
    assert_eq!(
        refused(&state, &claimed("a")),
        Illegal::TooManyAttempts(MAX_ATTEMPTS)
    );
    with(events, [closed(Ending::RollbackFailed)]);
}

#[test]
fn admission_is_for_one_execution_of_the_newest_attempt() {
    for before in [
        lane(until_submitting()),
        with(until_submitting(), [unknown(1)]),
    ] {
        let mut state = before;
        put(&mut state, "b", admitted(1, "e1")).unwrap();
        assert_eq!(refused(&state, &admitted(1, "e1")), Illegal::Already);
        assert_eq!(
            refused(&state, &admitted(1, "e2")),
            Illegal::OtherExecution(id("e1"))
        );
        assert_eq!(refused(&state, &submitted(1, "e1")), Illegal::Already);
        assert_eq!(
            refused(&state, &submitted(1, "e2")),
            Illegal::OtherExecution(id("e1"))
        );
    }
    let named = with(until_submitting(), [submitted(1, "e1")]);
    assert_eq!(
        refused(&named, &admitted(1, "e2")),
        Illegal::OtherExecution(id("e1"))
    );
    assert!(matches!(
        refused(&named, &admitted(2, "e1")),
        Illegal::WrongAttempt { .. }
    ));
    not_now(&lane([open(), claimed("a")]), &admitted(0, "e1"));
    let ended = lane(until_finished(true));
    assert_eq!(refused(&ended, &admitted(1, "e1")), Illegal::Already);
}

#[test]
fn a_voided_attempt_is_never_let_in() {
    let state = with(until_admitted(), [voided(1)]);
    assert_eq!(state.open.as_ref().unwrap().admitted, None);
    not_now(&state, &admitted(1, "e1"));
    let state = with(until_submitting(), [voided(1), claimed("a"), submitting(2)]);
    assert!(matches!(
        refused(&state, &admitted(1, "e1")),
        Illegal::WrongAttempt { newest: 2, got: 1 }
    ));
    let over = with(
        until_submitting(),
        [voided(1), closed(Ending::RollbackFailed)],
    );
    assert_eq!(
        refused(&over, &admitted(1, "e1")),
        Illegal::NotOpen(first())
    );
}

#[test]
fn voiding_needs_something_sent_and_not_ended() {
    not_now(&lane([open()]), &voided(0));
    not_now(&lane(until_finished(true)), &voided(1));
    assert!(matches!(
        refused(&lane(until_admitted()), &voided(2)),
        Illegal::WrongAttempt { .. }
    ));
    with(until_submitting(), [submitted(1, "e1"), voided(1)]);
    with(until_submitting(), [unknown(1), voided(1)]);
}

#[test]
fn what_is_unknown_may_become_known() {
    let state = with(until_submitting(), [unknown(1)]);
    assert_eq!(refused(&state, &unknown(1)), Illegal::Already);
    with(until_submitting(), [unknown(1), submitted(1, "e1")]);
    not_now(&lane(until_admitted()), &unknown(1));
    not_now(&lane([open(), claimed("a")]), &submitted(0, "e1"));
}

#[test]
fn only_the_execution_of_the_incident_finishes_it() {
    assert_eq!(
        refused(&lane(until_admitted()), &finished("e2", true)),
        Illegal::OtherExecution(id("e1"))
    );
    not_now(&lane(until_submitting()), &finished("e1", true));
    not_now(&lane(until_finished(true)), &finished("e1", true));
}

#[test]
fn recovery_is_asked_once_and_only_after_success() {
    not_now(&lane(until_admitted()), &recovery(Ending::Recovered));
    not_now(&lane(until_finished(false)), &recovery(Ending::Recovered));
    let state = lane(until_finished(true));
    assert_eq!(
        refused(&state, &recovery(Ending::Withdrawn)),
        Illegal::WrongEnding
    );
    let state = with(until_finished(true), [recovery(Ending::StillBad)]);
    assert_eq!(
        refused(&state, &recovery(Ending::Recovered)),
        Illegal::Already
    );
}

#[test]
fn an_ending_must_fit_what_happened() {
    let wrong = |state: &LaneState, ending| {
        assert_eq!(refused(state, &closed(ending)), Illegal::WrongEnding);
    };
    wrong(&lane([open()]), Ending::RollbackFailed);
    wrong(&lane([open()]), Ending::Abandoned);
    wrong(&lane([open()]), Ending::Superseded);
    wrong(&lane(until_submitting()), Ending::Withdrawn);
    wrong(&lane(until_admitted()), Ending::RollbackFailed);
    wrong(&lane(until_finished(true)), Ending::Recovered);
    wrong(&lane(until_finished(true)), Ending::RollbackFailed);
    let answered = with(until_finished(true), [recovery(Ending::StillBad)]);
    wrong(&answered, Ending::Recovered);
    with(until_submitting(), [closed(Ending::RollbackFailed)]);
    let over = lane([open(), closed(Ending::Withdrawn)]);
    assert_eq!(
        refused(&over, &closed(Ending::Withdrawn)),
        Illegal::NotOpen(first())
    );
}

#[test]
fn an_abandoned_incident_sends_and_admits_nothing_more() {
    let state = lane([open(), claimed("a"), abandoned()]);
    assert_eq!(refused(&state, &abandoned()), Illegal::Already);
    for event in [claimed("a"), submitting(1)] {
        assert_eq!(refused(&state, &event), Illegal::Abandoned(first()));
    }
    let sent = with(until_submitting(), [abandoned()]);
    assert_eq!(
        refused(&sent, &admitted(1, "e1")),
        Illegal::Abandoned(first())
    );
    with(until_submitting(), [abandoned(), closed(Ending::Abandoned)]);
    // What was let in is followed to its end first.
    let running = with(until_admitted(), [abandoned()]);
    assert_eq!(
        refused(&running, &closed(Ending::Abandoned)),
        Illegal::WrongEnding
    );
    with(
        until_finished(true),
        [abandoned(), closed(Ending::Abandoned)],
    );
}

#[test]
fn without_admission_a_named_execution_counts_as_touching() {
    let mut weak = plan();
    weak.admission = false;
    let sent = LaneEvent::Submitting {
        incident: first(),
        attempt: 1,
        plan: weak,
    };
    let state = lane([open(), claimed("a"), sent, submitted(1, "e1"), abandoned()]);
    assert_eq!(
        refused(&state, &closed(Ending::Abandoned)),
        Illegal::WrongEnding
    );
}

#[test]
fn reports_count_up_and_strangers_are_refused() {
    let state = with(until_admitted(), [reported(2)]);
    assert_eq!(refused(&state, &reported(2)), Illegal::Already);
    let stranger = LaneEvent::Reported {
        incident: id("checkout@prod-9"),
        revision: 1,
    };
    assert!(matches!(refused(&state, &stranger), Illegal::NotOpen(_)));
    let late = lane([open(), closed(Ending::Withdrawn), reported(1)]);
    assert_eq!(late.incident(&first()).unwrap().revision, 1);
    assert_eq!(late.open, None);
}
