//! Where the stages of recorded executions and tasks work.

use serde_json::{Value, json};

use super::documents::{execution, execution_of_task, fixture};
use crate::spinnaker::{Execution, ExecutionStatus, Place, Stage};

fn stage(kind: &str, context: Value) -> Stage {
    Stage {
        id: "S".into(),
        ref_id: "1".into(),
        kind: kind.into(),
        name: kind.into(),
        status: ExecutionStatus::Running,
        start_time: None,
        end_time: None,
        context,
        outputs: json!({}),
        parent: None,
        owner: None,
    }
}

fn worked_on(run: &Execution, place: &Place) {
    let places: Vec<Place> = run.stages.iter().flat_map(Stage::places).collect();
    assert!(!places.is_empty());
    assert!(places.iter().all(|one| one.may_be(place)), "{places:#?}");
    assert!(places.iter().any(|one| one == place), "{places:#?}");
}

#[test]
fn recorded_tasks_and_executions_name_where_they_work() {
    let vms = Place::new("prod", "eu-west-1", "checkout-prod");
    worked_on(&execution_of_task(fixture!("task_explicit.json")), &vms);
    worked_on(
        &execution_of_task(fixture!("task_rollbackCluster.json")),
        &vms,
    );
    let pods = Place::new("k8s-prod", "shop", "deployment checkout");
    worked_on(&execution_of_task(fixture!("task_undo.json")), &pods);
    worked_on(
        &execution_of_task(fixture!("task_deployManifest.json")),
        &pods,
    );
    worked_on(&execution(fixture!("exec_deploy.json")), &pods);
    let made = execution_of_task(fixture!("task_createApplication.json"));
    let places: Vec<Place> = made.stages.iter().flat_map(Stage::places).collect();
    assert_eq!(places, [], "an application's settings run nowhere");
}

#[test]
fn a_deploy_stage_names_a_cluster_for_each_entry() {
    let cluster = |more: &[(&str, &str)]| {
        let mut cluster = json!({"account": "prod", "application": "checkout"});
        for (name, value) in more {
            cluster[*name] = json!(value);
        }
        cluster
    };
    let context = json!({"clusters": [
        cluster(&[("stack", "prod"), ("region", "eu-west-1")]),
        cluster(&[("stack", "prod"), ("freeFormDetails", "canary")]),
    ]});
    let places = stage("deploy", context).places();
    assert_eq!(places[0], Place::new("prod", "eu-west-1", "checkout-prod"));
    assert_eq!(places[1].name.as_deref(), Some("checkout-prod-canary"));
    assert_eq!(places[1].location, None);
}

#[test]
fn what_is_not_told_may_be_anywhere() {
    let here = Place::new("prod", "eu-west-1", "checkout-prod");
    let nothing = stage("runJob", json!({})).places();
    assert_eq!(nothing, [Place::default()]);
    assert!(nothing[0].may_be(&here) && !nothing[0].is_told());
    let unread = json!({"credentials": "prod", "region": "${ parameters.region }",
        "serverGroupName": "checkout-prod-v042"});
    let places = stage("destroyServerGroup", unread).places();
    assert_eq!(places[0].location, None);
    assert!(places[0].may_be(&here));
    assert_eq!(stage("wait", json!({"account": "prod"})).places(), []);
}

#[test]
fn places_differ_where_something_known_of_both_differs() {
    let here = Place::new("prod", "eu-west-1", "checkout-prod");
    let may_be = |account, location, name| here.may_be(&Place::new(account, location, name));
    assert!(may_be("prod", "eu-west-1", "checkout-prod-v042"));
    assert!(may_be("prod", "eu-west-1", "checkout-prod-canary"));
    assert!(may_be("prod", "eu-west-1", "checkout"), "its name goes on");
    assert!(!may_be("prod", "eu-west-1", "checkout-stage"));
    assert!(!may_be("prod", "eu-west-1", "checkout-prodigy"));
    assert!(!may_be("prod", "us-east-1", "checkout-prod"));
    assert!(!may_be("stage", "eu-west-1", "checkout-prod"));
}
