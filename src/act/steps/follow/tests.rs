use super::*;
use crate::act::fixtures::{self, noon, opening};
use crate::domain::decision::Scope;
use crate::domain::id::IncidentId;

/// An incident with one attempt out, named `E1`.
fn sent(admission: bool, admitted: bool) -> Incident {
    let incident: IncidentId = "checkout@prod-1".parse().unwrap();
    let execution: ExecutionId = "E1".parse().unwrap();
    let opened = opening("checkout", "d1", Scope::Full);
    let plan = fixtures::plan(&opened, admission);
    let attempt = 1;
    let mut events = vec![
        LaneEvent::Claimed {
            incident: incident.clone(),
            owner: "a".parse().unwrap(),
            until: noon(),
        },
        LaneEvent::Submitting {
            incident: incident.clone(),
            attempt,
            plan,
        },
        LaneEvent::Submitted {
            incident: incident.clone(),
            attempt,
            execution: execution.clone(),
        },
    ];
    if admitted {
        events.push(LaneEvent::Admitted {
            incident,
            attempt,
            execution,
        });
    }
    fixtures::incident(opened, events)
}

fn seen(status: &str, reach: Reach) -> Seen {
    Seen {
        id: "E1".parse().unwrap(),
        application: "checkout".into(),
        pipeline: "rollback-full".into(),
        correlation_id: Some("bs-checkout@prod-1-1".into()),
        event_id: None,
        parameters: std::collections::BTreeMap::new(),
        built_at: None,
        status: status.into(),
        terminal: status != "RUNNING",
        succeeded: status == "SUCCEEDED",
        failure: None,
        waiting: Waiting::No,
        reach,
    }
}

#[test]
fn only_what_touched_nothing_is_voided() {
    for admitted in [false, true] {
        let incident = sent(true, admitted);
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
    let incident = sent(false, false);
    let ended = judge(&incident, &seen("TERMINAL", Reach::Nothing));
    assert!(matches!(ended, Judgement::Ended(false, _)), "{ended:?}");
}

#[test]
fn an_execution_of_another_order_is_let_go_unless_it_was_let_in() {
    let mut other = seen("RUNNING", Reach::Unclear);
    other.pipeline = "deploy-prod".into();
    let judged = judge(&sent(true, false), &other);
    assert!(matches!(judged, Judgement::Void(_)), "{judged:?}");
    assert_eq!(judge(&sent(true, true), &other), Judgement::Runs);
}
