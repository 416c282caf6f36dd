use serde_json::{Value, json};

use crate::spinnaker::{Execution, ExecutionStatus, StageOwner, wire::ExecutionBody};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/spinnaker/", $name))
    };
}
pub(super) use fixture;

pub(super) fn execution(document: &str) -> Execution {
    let body: ExecutionBody = serde_json::from_str(document).unwrap();
    body.into()
}

/// The execution inside a recorded task document.
pub(super) fn execution_of_task(document: &str) -> Execution {
    let task: Value = serde_json::from_str(document).unwrap();
    execution(&task["execution"].to_string())
}

#[test]
fn a_recorded_execution_is_read_whole() {
    let run = execution(fixture!("exec_succeeded.json"));
    assert_eq!(run.id.as_str(), "01M82G4ZXJA10WZ4CQQNM0ZKE4");
    assert_eq!(
        (run.application.as_str(), run.name.as_str()),
        ("checkout", "rollback-checkout")
    );
    assert!(run.status.succeeded() && run.status.is_terminal());
    assert_eq!(run.build_time.unwrap().as_millisecond(), 1_795_380_379_570);
    assert_eq!(run.end_time.unwrap().as_millisecond(), 1_795_380_388_271);
    assert_eq!(
        run.trigger.correlation_id.as_deref(),
        Some("inc-1001-attempt")
    );
    assert_eq!(run.trigger.user.as_deref(), Some("alert-gateway"));
    assert_eq!(run.trigger.parameter("version"), Some("v41"));
    let names: Vec<&str> = run.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["Wait", "Vars", "Call hook"]);
    assert_eq!(run.stages[1].outputs["target"], "v41");
    assert_eq!(run.failure(), None);
}

#[test]
fn what_is_kept_reads_back_the_same() {
    for document in [fixture!("exec_deploy.json"), fixture!("exec_canceled.json")] {
        let run = execution(document);
        let kept = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<Execution>(&kept).unwrap(), run);
    }
}

#[test]
fn synthetic_stages_follow_their_parent_in_the_order_they_ran() {
    let run = execution_of_task(fixture!("task_explicit.json"));
    let kinds: Vec<&str> = run.stages.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "rollbackServerGroup",
            "captureSourceServerGroupCapacity",
            "enableServerGroup",
            "resizeServerGroup",
            "modifyAwsScalingProcess",
            "modifyAwsScalingProcess",
            "wait",
            "disableServerGroup",
            "applySourceServerGroupCapacity",
        ]
    );
    assert_eq!(run.stages[4].owner, Some(StageOwner::Before));
    assert_eq!(run.stages[5].owner, Some(StageOwner::After));
}

#[test]
fn stages_not_started_come_last_and_none_is_lost() {
    let stage = |id: &str, start: Option<u64>, parent: Option<&str>| json!({"id": id, "startTime": start, "parentStageId": parent});
    let document = json!({"id": "x", "stages": [
        stage("later", None, None),
        stage("second", Some(20), None),
        stage("orphan", Some(30), Some("gone")),
        stage("ring-a", Some(1), Some("ring-b")),
        stage("ring-b", Some(2), Some("ring-a")),
        stage("first", Some(10), None),
        stage("child", Some(15), Some("first")),
    ]});
    let run = execution(&document.to_string());
    let ids: Vec<&str> = run.stages.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids[..5], ["first", "child", "second", "orphan", "later"]);
    assert_eq!(ids.len(), 7);
}

#[test]
fn the_reason_of_a_failure_is_found_wherever_orca_left_it() {
    let webhook = execution(fixture!("exec_terminal.json")).failure().unwrap();
    assert!(
        webhook.starts_with("stage `Bad hook`: Received status code 404"),
        "{webhook}"
    );
    let exception = execution_of_task(fixture!("task_norollbacktype.json"));
    let exception = exception.failure().unwrap();
    assert!(exception.contains("Missing `rollbackType`"), "{exception}");
    let canceled = execution(fixture!("exec_canceled.json")).failure().unwrap();
    assert_eq!(
        canceled,
        "stage `Wait` ended CANCELED; canceled: alert resolved"
    );
    let disabled = json!({"id": "x", "status": "TERMINAL",
        "cancellationReason": "Failed on startup: Pipeline is disabled and cannot be started.",
        "stages": [{"status": "NOT_STARTED"}]});
    assert_eq!(
        execution(&disabled.to_string()).failure().unwrap(),
        "Failed on startup: Pipeline is disabled and cannot be started."
    );
    let bare = json!({"id": "x", "status": "TERMINAL", "stages": [{"name": "Deploy", "status": "TERMINAL",
        "context": {"exception": {"details": {"errors": []}, "exceptionType": "TimeoutException"}}}]});
    assert_eq!(
        execution(&bare.to_string()).failure().unwrap(),
        "stage `Deploy`: TimeoutException"
    );
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let document =
        json!({"id": "x", "status": "TERMINAL", "cancellationReason": "回".repeat(2_000)});
    let text = execution(&document.to_string()).failure().unwrap();
    assert_eq!(text.chars().count(), 501);
}

#[test]
fn a_canceled_flag_on_a_finished_execution_does_not_count() {
    let document = json!({"id": "x", "status": "SUCCEEDED", "canceled": true,
        "cancellationReason": "late"});
    let run = execution(&document.to_string());
    assert!(run.status.succeeded());
    assert_eq!(run.failure(), None);
}

#[test]
fn unknown_words_and_absent_keys_are_survived() {
    let run = execution(
        r#"{"id": "x", "status": "HIBERNATING", "buildTime": "1795380379570",
        "startTime": true, "stages": null, "trigger": null, "cancellationReason": null}"#,
    );
    assert_eq!(run.status, ExecutionStatus::Other("HIBERNATING".to_owned()));
    assert!(!run.status.is_terminal());
    assert!(run.build_time.is_some() && run.start_time.is_none());
    let nameless = serde_json::from_str::<ExecutionBody>(r#"{"status": "RUNNING"}"#);
    assert!(
        nameless.is_err(),
        "an execution without an id is not skipped"
    );
}
