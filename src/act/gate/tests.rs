use serde_json::json;

use super::*;
use crate::spinnaker::ExecutionStatus;

const ADMIT: &str =
    "https://backstop.example.com/api/v1/incidents/checkout@prod-7/attempts/1/admit";

fn stage(id: &str, kind: &str, status: ExecutionStatus, begun: bool, url: &str) -> Stage {
    Stage {
        id: id.into(),
        ref_id: id.into(),
        kind: kind.into(),
        name: id.into(),
        status,
        start_time: begun.then_some(jiff::Timestamp::UNIX_EPOCH),
        end_time: None,
        context: json!({"url": url}),
        outputs: json!({}),
        parent: None,
        owner: None,
    }
}

fn admit(status: ExecutionStatus, begun: bool) -> Stage {
    stage("1", "webhook", status, begun, ADMIT)
}

fn deploy(begun: bool) -> Stage {
    let status = if begun {
        ExecutionStatus::Running
    } else {
        ExecutionStatus::NotStarted
    };
    stage("2", "deployManifest", status, begun, "")
}

#[test]
fn an_execution_that_began_nothing_has_touched_nothing() {
    assert_eq!(reach(&[]), Reach::Nothing);
    let not_started = admit(ExecutionStatus::NotStarted, false);
    assert_eq!(reach(&[not_started, deploy(false)]), Reach::Nothing);
}

#[test]
fn a_refused_admit_stage_keeps_everything_else_from_beginning() {
    let refused = admit(ExecutionStatus::Terminal, true);
    assert_eq!(reach(&[refused.clone(), deploy(false)]), Reach::Nothing);
    let canceled = admit(ExecutionStatus::Canceled, true);
    assert_eq!(reach(&[canceled, deploy(false)]), Reach::Nothing);
    // Somebody told the pipeline to go on after a refusal.
    assert_eq!(reach(&[refused, deploy(true)]), Reach::Unclear);
}

#[test]
fn a_passed_admit_stage_tells() {
    let passed = admit(ExecutionStatus::Succeeded, true);
    assert_eq!(reach(&[passed, deploy(false)]), Reach::PastAdmission);
}

#[test]
fn without_an_admit_stage_nothing_can_be_told() {
    assert_eq!(reach(&[deploy(true)]), Reach::Unclear);
    let other = stage(
        "1",
        "webhook",
        ExecutionStatus::Terminal,
        true,
        "https://x/hook",
    );
    assert_eq!(reach(&[other]), Reach::Unclear);
    let lookalike = stage("1", "script", ExecutionStatus::Terminal, true, ADMIT);
    assert_eq!(reach(&[lookalike]), Reach::Unclear);
}

#[test]
fn what_runs_for_the_admit_stage_touches_nothing() {
    let mut before = stage("0", "wait", ExecutionStatus::Succeeded, true, "");
    before.parent = Some("1".into());
    before.owner = Some(StageOwner::Before);
    let refused = admit(ExecutionStatus::Terminal, true);
    assert_eq!(reach(&[before.clone(), refused.clone()]), Reach::Nothing);
    before.owner = Some(StageOwner::After);
    assert_eq!(reach(&[before, refused]), Reach::Unclear);
}

#[test]
fn parameters_are_compared_as_text() {
    let execution: Execution = serde_json::from_value(json!({
        "id": "01M82G4ZXJA10WZ4CQQNM0ZKE4", "application": "checkout", "name": "rollback-full",
        "pipeline_config_id": null, "status": "TERMINAL", "build_time": null,
        "start_time": null, "end_time": null, "stages": [],
        "cancellation_reason": "Failed on startup",
        "trigger": {
            "correlation_id": "bs-checkout@prod-7-1", "event_id": null, "user": null,
            "parameters": {"attempt": 1, "release": "checkout@1"}
        }
    }))
    .unwrap();
    let seen = see(&execution, None).unwrap();
    assert_eq!(seen.parameters["attempt"], "1");
    assert_eq!(seen.parameters["release"], "checkout@1");
    assert!(seen.terminal && !seen.succeeded);
    assert_eq!(seen.reach, Reach::Nothing);
    assert_eq!(seen.failure.as_deref(), Some("Failed on startup"));
}
