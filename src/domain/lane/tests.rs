mod approvals;
mod incidents;
mod lanes;

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
        consent: None,
        suspects: Vec::new(),
        escalates: None,
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
        alerts: Vec::new(),
        supersedes: None,
        approval: None,
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
        task: None,
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
