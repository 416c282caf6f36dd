//! Incidents for tests, folded from events as they stand in a store.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::decision::{Decision, Scope, Verdict};
use crate::domain::lane::{Incident, LaneEntry, LaneEvent, LaneState, Opened, Origin, Plan};
use crate::domain::policy::Mode;

/// Noon of some day, when everything here happens.
pub(crate) fn noon() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_795_348_800).unwrap()
}

/// A decision without reasons.
pub(crate) fn decision() -> Decision {
    Decision {
        at: noon(),
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

/// A wish of the rules to take `service@2` back from prod.
pub(crate) fn opening(service: &str, deployment: &str, scope: Scope) -> Opened {
    Opened {
        service: service.parse().unwrap(),
        env: "prod".parse().unwrap(),
        deployment: deployment.parse().unwrap(),
        release_id: format!("{service}@2").parse().unwrap(),
        scope,
        hosts: Vec::new(),
        target: format!("{service}@1").parse().unwrap(),
        origin: Origin::Automatic,
        decision: decision(),
        thread: "t".into(),
        channels: Vec::new(),
        alerts: Vec::new(),
        supersedes: None,
        approval: None,
    }
}

/// Everything back by a pipeline, or by something else that does not ask for admission.
pub(crate) fn plan(opened: &Opened, admission: bool) -> Plan {
    Plan {
        application: opened.service.to_string(),
        pipeline: "rollback-full".into(),
        scope: Scope::Full,
        hosts: Vec::new(),
        from: opened.release_id.clone(),
        target: opened.target.clone(),
        parameters: BTreeMap::new(),
        admission,
        task: None,
    }
}

/// The incident that `opened` and the events after it make, all written by replica `a`.
pub(crate) fn incident(opened: Opened, events: impl IntoIterator<Item = LaneEvent>) -> Incident {
    let mut lane = LaneState::default();
    for event in std::iter::once(LaneEvent::Opened(Box::new(opened))).chain(events) {
        let entry = LaneEntry {
            at: noon(),
            by: "a".parse().unwrap(),
            event,
        };
        lane.apply(lane.next_seq, &entry).unwrap();
    }
    lane.open.unwrap()
}
