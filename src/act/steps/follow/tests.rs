use std::collections::BTreeMap;

use super::*;
use crate::domain::lane::{LaneEntry, LaneState};

/// An incident with one attempt out, named `E1`.
fn incident(admission: bool, admitted: bool) -> Incident {
    let decision = serde_json::json!({
        "at": "2026-11-22T12:00:00Z", "verdict": {"rollback": "full"}, "shadow": false,
        "mode": "enforce", "rule": null, "rules": [], "guards": [], "service": null,
        "env": null, "lane": null, "deployment": null, "release_id": null, "phase": null,
        "scope": null, "hosts": [], "target": null, "alerts": [], "evidence": null,
        "recheck_at": null, "incident": null
    });
    let id = "checkout@prod-1";
    let events = [
        serde_json::json!({"opened": {
            "service": "checkout", "env": "prod", "deployment": "d1",
            "release_id": "checkout@2", "scope": "full", "hosts": [], "target": "checkout@1",
            "origin": "automatic", "decision": decision, "thread": "t", "channels": [],
            "supersedes": null}}),
        serde_json::json!({"claimed": {"incident": id, "owner": "a", "until": "2026-11-22T12:01:00Z"}}),
        serde_json::json!({"submitting": {"incident": id, "attempt": 1, "plan": {
            "application": "checkout", "pipeline": "rollback-full", "scope": "full",
            "hosts": [], "from": "checkout@2", "target": "checkout@1", "parameters": {},
            "admission": admission}}}),
        serde_json::json!({"submitted": {"incident": id, "attempt": 1, "execution": "E1"}}),
        serde_json::json!({"admitted": {"incident": id, "attempt": 1, "execution": "E1"}}),
    ];
    let mut lane = LaneState::default();
    for event in events.into_iter().take(if admitted { 5 } else { 4 }) {
        let entry = LaneEntry {
            at: "2026-11-22T12:00:00Z".parse().unwrap(),
            by: "a".parse().unwrap(),
            event: serde_json::from_value(event).unwrap(),
        };
        lane.apply(lane.next_seq, &entry).unwrap();
    }
    lane.open.unwrap()
}

fn seen(status: &str, reach: Reach) -> Seen {
    Seen {
        id: "E1".parse().unwrap(),
        application: "checkout".into(),
        pipeline: "rollback-full".into(),
        correlation_id: Some("bs-checkout@prod-1-1".into()),
        event_id: None,
        parameters: BTreeMap::new(),
        built_at: None,
        status: status.into(),
        terminal: status != "RUNNING",
        succeeded: status == "SUCCEEDED",
        failure: None,
        reach,
    }
}

#[test]
fn only_what_touched_nothing_is_voided() {
    for admitted in [false, true] {
        let incident = incident(true, admitted);
        let judged = |status, reach| judge(&incident, &seen(status, reach));
        assert_eq!(judged("RUNNING", Reach::Nothing), Judgement::Runs);
        for status in ["TERMINAL", "CANCELED"] {
            assert!(matches!(judged(status, Reach::Nothing), Judgement::Void(_)));
            for reach in [Reach::PastAdmission, Reach::Unclear] {
                let ended = judged(status, reach);
                assert!(matches!(ended, Judgement::Ended(false, _)), "{ended:?}");
            }
        }
        // It says that it did it, although it never asked: not one more time.
        for reach in [Reach::Nothing, Reach::PastAdmission, Reach::Unclear] {
            let ended = judged("SUCCEEDED", reach);
            assert!(matches!(ended, Judgement::Ended(true, _)), "{ended:?}");
        }
    }
}

#[test]
fn pipelines_that_do_not_ask_are_never_tried_twice() {
    let incident = incident(false, false);
    let ended = judge(&incident, &seen("TERMINAL", Reach::Nothing));
    assert!(matches!(ended, Judgement::Ended(false, _)), "{ended:?}");
}

#[test]
fn an_execution_of_another_order_is_let_go_unless_it_was_let_in() {
    let mut other = seen("RUNNING", Reach::Unclear);
    other.pipeline = "deploy-prod".into();
    let judged = judge(&incident(true, false), &other);
    assert!(matches!(judged, Judgement::Void(_)), "{judged:?}");
    assert_eq!(judge(&incident(true, true), &other), Judgement::Runs);
}
