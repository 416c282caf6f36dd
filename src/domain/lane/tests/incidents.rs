use super::*;

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
