use super::*;

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
    with(until_admitted(), [batch("e1", 1)]);
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
fn what_has_ended_well_gives_way_to_more_of_its_own_deployment_alone() {
    let gives_way = |events: Vec<LaneEvent>, deployment: &str, scope: Scope| {
        lane(events).gives_way(&opening(deployment, scope))
    };
    let well = || until_finished(true);
    assert_eq!(gives_way(well(), "d1", Scope::Full), Some(first()));
    assert_eq!(gives_way(well(), "d1", batch_scope(1)), None);
    assert_eq!(gives_way(well(), "d2", Scope::Full), None);
    assert_eq!(gives_way(until_finished(false), "d1", Scope::Full), None);
    assert_eq!(gives_way(until_admitted(), "d1", Scope::Full), None);
    assert_eq!(gives_way(Vec::new(), "d1", Scope::Full), None);
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
