//! Tasks and outcomes through the engine's view of Spinnaker: what is sent is absolute, what comes
//! back is adopted only when it is ours, and a good status is believed only when the cluster
//! agrees.

use std::collections::BTreeMap;
use std::time::Duration;

use backstop::act::gate::{Wish, task};
use backstop::act::orders::{Order, Outcome, Seen, Spinnaker, TriggerFailure, Waiting, adopt};
use backstop::act::seams::Objection;
use backstop::config::{ServerGroupRollback, Template, UndoRollout, Way};
use backstop::domain::decision::Scope;
use backstop::domain::id::{Env, ExecutionId, ReleaseId, Service};
use backstop::domain::lane::{Plan, Task};
use backstop::spinnaker::{self, Gate};
use serde_json::{Value, json};

use crate::support::gate::{GateStandIn, Group, TriggerFault};

const DEADLINE: Duration = Duration::from_secs(10);

fn template(text: &str) -> Template {
    Template::parse(text).expect("a template")
}

fn server_group() -> Way {
    Way::ServerGroup(ServerGroupRollback {
        cloud_provider: "aws".into(),
        credentials: template("{env}"),
        region: template("eu-west-1"),
        cluster: template("{service}-{env}"),
        image: template("checkout-{version}"),
        target_healthy_percentage: Some(90),
    })
}

fn undo_rollout() -> Way {
    Way::UndoRollout(UndoRollout {
        account: template("k8s-{env}"),
        location: template("shop"),
        manifest_name: template("deployment {service}"),
        image: template("reg/checkout:{version}"),
    })
}

/// What `way` plans for `checkout@2` back to `checkout@1` in prod.
async fn planned(gate: &Gate, way: &Way) -> Result<Option<Task>, Objection> {
    let (service, env): (Service, Env) = (
        "checkout".parse().expect("an id"),
        "prod".parse().expect("an id"),
    );
    let (from, target): (ReleaseId, ReleaseId) = (
        "checkout@2".parse().expect("an id"),
        "checkout@1".parse().expect("an id"),
    );
    let wish = Wish {
        application: "checkout",
        service: &service,
        env: &env,
        from: &from,
        target: &target,
    };
    task(gate, way, &wish).await
}

fn plan(pipeline: &str, task: Option<Task>) -> Plan {
    Plan {
        application: "checkout".into(),
        pipeline: pipeline.into(),
        scope: Scope::Full,
        hosts: Vec::new(),
        from: "checkout@2".parse().expect("an id"),
        target: "checkout@1".parse().expect("an id"),
        parameters: task.as_ref().map(Task::fields).unwrap_or_default(),
        admission: false,
        task: task.map(Box::new),
    }
}

fn order(plan: Plan) -> Order {
    Order {
        incident: "checkout@prod-7".parse().expect("an id"),
        attempt: 1,
        plan,
    }
}

fn task_order(task: Task) -> Order {
    order(plan(task.job_type(), Some(task)))
}

fn vms(stand_in: &GateStandIn) {
    stand_in.add_group(Group::vm("checkout-prod-v041", "checkout-1", true));
    stand_in.add_group(Group::vm("checkout-prod-v042", "checkout-2", false));
}

fn pods(stand_in: &GateStandIn) {
    stand_in.add_group(Group::replica_set(4, "reg/checkout:1", 0));
    stand_in.add_group(Group::replica_set(5, "reg/checkout:1.5", 0));
    stand_in.add_group(Group::replica_set(6, "reg/checkout:2", 3));
}

async fn ended(stand_in: &GateStandIn, gate: &Gate, order: &Order, id: &ExecutionId) -> Seen {
    stand_in.ended(id.as_str(), DEADLINE).await;
    let seen = gate.execution_of(order, id).await.expect("an answer");
    seen.expect("an execution")
}

fn job(stand_in: &GateStandIn) -> Value {
    let sent = stand_in
        .requests()
        .into_iter()
        .rfind(|sent| sent.method == "POST");
    sent.expect("a request").body["job"][0].clone()
}

#[tokio::test]
async fn a_server_group_is_named_by_what_runs_and_restored_explicitly() {
    let stand_in = GateStandIn::fast(50.0).await;
    vms(&stand_in);
    let gate = stand_in.client();
    let task = planned(&gate, &server_group()).await.expect("a plan");
    let order = task_order(task.expect("a task"));
    let id = Spinnaker::trigger(&gate, &order).await.expect("started");
    assert_eq!(
        job(&stand_in),
        json!({"type": "rollbackServerGroup", "rollbackType": "EXPLICIT", "user": "backstop",
            "cloudProvider": "aws", "credentials": "prod", "region": "eu-west-1",
            "rollbackContext": {"rollbackServerGroupName": "checkout-prod-v042",
                "restoreServerGroupName": "checkout-prod-v041", "targetHealthyRollbackPercentage": 90}})
    );
    let found = gate.find(&order).await.expect("an answer");
    assert_eq!(adopt(&order, found).map(|seen| seen.id), Some(id.clone()));
    let seen = ended(&stand_in, &gate, &order, &id).await;
    assert!(
        order.is_answered_by(&seen) && seen.terminal && seen.succeeded,
        "{seen:?}"
    );
    let outcome = gate.outcome(&order, &id).await.expect("an answer");
    let Outcome::Shown(words) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        words,
        "server group `checkout-prod-v041` is enabled with 3 of 3 instances up, \
         `checkout-prod-v042` is not"
    );
    assert_eq!(stand_in.unexpected(), []);
}

#[tokio::test]
async fn a_revision_is_absolute_and_looked_up_when_it_is_planned() {
    let stand_in = GateStandIn::fast(50.0).await;
    pods(&stand_in);
    let gate = stand_in.client();
    let task = planned(&gate, &undo_rollout()).await.expect("a plan");
    let order = task_order(task.expect("a task"));
    let id = Spinnaker::trigger(&gate, &order).await.expect("started");
    assert_eq!(
        job(&stand_in),
        json!({"type": "undoRolloutManifest", "user": "backstop", "cloudProvider": "kubernetes",
            "account": "k8s-prod", "location": "shop", "manifestName": "deployment checkout",
            "revision": 4})
    );
    let seen = ended(&stand_in, &gate, &order, &id).await;
    assert!(seen.succeeded, "{seen:?}");
    let outcome = gate.outcome(&order, &id).await.expect("an answer");
    let words = "`deployment checkout` runs `reg/checkout:1` with 3 of 3 instances up";
    assert_eq!(outcome, Outcome::Shown(words.into()));

    // The same job again finds no revision 4 any more: it never steps further back.
    let mut again = order.clone();
    again.attempt = 2;
    let second = Spinnaker::trigger(&gate, &again).await.expect("started");
    let seen = ended(&stand_in, &gate, &again, &second).await;
    assert_eq!(seen.status, "TERMINAL");
    let again = planned(&gate, &undo_rollout()).await.unwrap_err();
    assert!(
        matches!(&again, Objection::Never(why) if why.contains("already")),
        "{again:?}"
    );
}

#[tokio::test]
async fn what_can_not_be_told_for_sure_is_not_planned() {
    let stand_in = GateStandIn::fast(50.0).await;
    let gate = stand_in.client();
    let refused = async |way: &Way| match planned(&gate, way).await {
        Err(Objection::NotNow(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&server_group()).await.contains("no server group"));
    assert!(
        refused(&undo_rollout()).await.contains("does not run"),
        "nothing is there"
    );
    vms(&stand_in);
    stand_in.add_group(Group::vm("checkout-prod-v040", "checkout-1", true));
    let why = refused(&server_group()).await;
    assert!(
        why.contains("checkout-prod-v041, checkout-prod-v040"),
        "{why}"
    );
    stand_in.add_group(Group::replica_set(6, "reg/checkout:2", 3));
    assert!(refused(&undo_rollout()).await.contains("no revision"));
    stand_in.set_clouddriver_down(true);
    refused(&server_group()).await;
    refused(&undo_rollout()).await;
    assert!(stand_in.executions().is_empty());
}

#[tokio::test]
async fn a_task_without_an_answer_is_found_again_and_only_ours_is_adopted() {
    for fault in [TriggerFault::DropAfter, TriggerFault::ErrorAfter] {
        let stand_in = GateStandIn::fast(50.0).await;
        vms(&stand_in);
        let gate = stand_in.client();
        let task = planned(&gate, &server_group()).await.expect("a plan");
        let order = task_order(task.expect("a task"));
        stand_in.fail_trigger(fault);
        let failure = Spinnaker::trigger(&gate, &order).await.unwrap_err();
        assert!(matches!(failure, TriggerFailure::Unclear(_)), "{failure:?}");
        let found = gate.find(&order).await.expect("an answer");
        assert!(adopt(&order, found).is_some(), "{fault:?}");
        let mut other = order.clone();
        let name = "rollbackContext.restoreServerGroupName".to_owned();
        other
            .plan
            .parameters
            .insert(name, "checkout-prod-v000".into());
        assert!(gate.find(&other).await.expect("an answer").is_empty());
        other.attempt = 2;
        assert!(gate.find(&other).await.expect("an answer").is_empty());
    }
    let stand_in = GateStandIn::fast(50.0).await;
    vms(&stand_in);
    let gate = stand_in.client();
    let task = planned(&gate, &server_group()).await.expect("a plan");
    let order = task_order(task.expect("a task"));
    stand_in.set_orca_down(true);
    let failure = Spinnaker::trigger(&gate, &order).await.unwrap_err();
    assert!(matches!(failure, TriggerFailure::NotSent(_)), "{failure:?}");
    assert!(gate.find(&order).await.is_err(), "down is not absent");
    let id = "01NOSUCH".parse().expect("an id");
    assert!(gate.execution_of(&order, &id).await.is_err());
    stand_in.set_orca_down(false);
    assert_eq!(gate.execution_of(&order, &id).await, Ok(None));
}

#[tokio::test]
async fn a_good_status_is_compared_with_the_cluster_once_its_cache_has_caught_up() {
    let stand_in = GateStandIn::fast(50.0).await;
    vms(&stand_in);
    let gate = stand_in.client();
    let task = planned(&gate, &server_group()).await.expect("a plan");
    let order = task_order(task.expect("a task"));
    stand_in.set_clouddriver_lagging(true);
    let id = Spinnaker::trigger(&gate, &order).await.expect("started");
    ended(&stand_in, &gate, &order, &id).await;
    let seen = gate.outcome(&order, &id).await.expect("an answer");
    assert!(matches!(seen, Outcome::Contradicted(_)), "{seen:?}");
    stand_in.set_clouddriver_lagging(false);
    let seen = gate.outcome(&order, &id).await.expect("an answer");
    assert!(matches!(seen, Outcome::Shown(_)), "{seen:?}");
    stand_in.set_clouddriver_down(true);
    assert!(gate.outcome(&order, &id).await.is_err());
    stand_in.set_clouddriver_down(false);
    stand_in.world().groups[0].image = "checkout-9".into();
    let seen = gate.outcome(&order, &id).await.expect("an answer");
    let Outcome::Contradicted(why) = seen else {
        panic!("{seen:?}")
    };
    assert!(why.contains("not `checkout-1`"), "{why}");
}

/// A pipeline of these stages behind nothing, run to its end.
async fn piped(stand_in: &GateStandIn, gate: &Gate, stages: Value) -> (Order, ExecutionId) {
    stand_in.save(json!({"application": "checkout", "name": "back", "stages": stages}));
    let order = order(plan("back", None));
    let id = Spinnaker::trigger(gate, &order).await.expect("started");
    stand_in.ended(id.as_str(), DEADLINE).await;
    (order, id)
}

async fn outcome_of(stages: Value, prepare: impl FnOnce(&GateStandIn)) -> (String, Outcome) {
    let stand_in = GateStandIn::fast(50.0).await;
    prepare(&stand_in);
    let gate = stand_in.client();
    let (order, id) = piped(&stand_in, &gate, stages).await;
    let seen = gate.execution_of(&order, &id).await.expect("an answer");
    let outcome = gate.outcome(&order, &id).await.expect("an answer");
    (seen.expect("an execution").status, outcome)
}

#[tokio::test]
async fn a_rollback_cluster_that_did_nothing_is_no_success() {
    let stage = json!([{"refId": "1", "type": "rollbackCluster", "name": "Back",
        "cloudProvider": "aws", "credentials": "prod", "regions": ["eu-west-1"]}]);
    let one = |stand_in: &GateStandIn| {
        stand_in.add_group(Group::vm("checkout-prod-v042", "checkout-2", false));
    };
    let (status, outcome) = outcome_of(stage.clone(), one).await;
    assert_eq!(status, "SUCCEEDED");
    let why = "stage `Back` rolled nothing back in any region";
    assert_eq!(outcome, Outcome::Nothing(why.into()));
    let (_, outcome) = outcome_of(stage.clone(), vms).await;
    assert_eq!(outcome, Outcome::Silent(String::new()));
    let mut two = stage;
    two[0]["regions"] = json!(["eu-west-1", "us-east-1"]);
    let (_, outcome) = outcome_of(two, vms).await;
    let why = "stage `Back` skipped us-east-1";
    assert_eq!(outcome, Outcome::Nothing(why.into()));
}

#[tokio::test]
async fn stages_that_were_skipped_stopped_or_passed_over_are_told() {
    let skipped = json!([{"refId": "1", "type": "wait", "waitTime": 1,
        "stageEnabled": {"type": "expression", "expression": "false"}}]);
    let (status, outcome) = outcome_of(skipped, |_| {}).await;
    assert_eq!(status, "SUCCEEDED");
    assert!(matches!(outcome, Outcome::Nothing(_)), "{outcome:?}");

    let failing = |more: Value| {
        let mut stage = json!({"refId": "1", "type": "noSuchStage", "name": "Move",
            "failPipeline": false});
        stage
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        json!([stage, {"refId": "2", "type": "wait", "waitTime": 1}])
    };
    let (status, outcome) = outcome_of(failing(json!({})), |_| {}).await;
    assert_eq!(status, "SUCCEEDED");
    assert!(
        matches!(&outcome, Outcome::Nothing(why) if why.contains("`Move` failed")),
        "{outcome:?}"
    );
    let (_, outcome) = outcome_of(failing(json!({"continuePipeline": true})), |_| {}).await;
    assert!(
        matches!(&outcome, Outcome::Silent(why) if why.contains("passed over")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_image_of_a_deployed_manifest_is_read_from_the_cluster() {
    let deploys = |image: &str| {
        json!([{"refId": "1", "type": "deployManifest", "name": "Deploy", "account": "k8s-prod",
            "cloudProvider": "kubernetes", "manifests": [{"kind": "Deployment",
                "metadata": {"name": "checkout", "namespace": "shop"},
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}]}])
    };
    let (_, outcome) = outcome_of(deploys("reg/checkout:1"), pods).await;
    let words = "`Deployment checkout` runs `reg/checkout:1` with 3 of 3 instances up";
    assert_eq!(outcome, Outcome::Shown(words.into()));
    let lagging = |stand_in: &GateStandIn| {
        pods(stand_in);
        stand_in.set_clouddriver_lagging(true);
    };
    let (_, outcome) = outcome_of(deploys("reg/checkout:1"), lagging).await;
    assert!(matches!(outcome, Outcome::Contradicted(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_execution_that_waits_for_a_person_says_so() {
    let stand_in = GateStandIn::fast(1.0).await;
    stand_in.save(
        json!({"application": "checkout", "name": "back", "stages": [
        {"refId": "1", "type": "wait", "waitTime": 600}]}),
    );
    let gate = stand_in.client();
    let order = order(plan("back", None));
    let id = Spinnaker::trigger(&gate, &order).await.expect("started");
    let waiting = async || {
        let seen = gate.execution_of(&order, &id).await.expect("an answer");
        seen.expect("an execution").waiting
    };
    let status = |wanted: &'static str| {
        let id = id.clone();
        stand_in.when(DEADLINE, move |world| {
            (world.run(id.as_str())?.status == wanted).then_some(())
        })
    };
    status("RUNNING").await;
    assert_eq!(waiting().await, Waiting::No);
    let client = backstop::http::client(&backstop::http::Settings::default()).expect("a client");
    let put = async |what: &str| {
        let url = format!("{}/pipelines/{id}/{what}", stand_in.url());
        let request = client.put(url).basic_auth("gateway", Some("gate-password"));
        request.send().await.expect("an answer")
    };
    assert_eq!(put("pause").await.status(), 200);
    let Waiting::Person(why) = waiting().await else {
        panic!("not waiting")
    };
    assert!(why.contains("paused in Spinnaker"), "{why}");
    assert_eq!(put("resume").await.status(), 200);
    assert_eq!(waiting().await, Waiting::No);
}

#[tokio::test]
async fn the_cancel_of_a_task_that_gate_calls_a_500_has_worked() {
    let stand_in = GateStandIn::fast(1.0).await;
    let gate = stand_in.client();
    let new = spinnaker::NewTask {
        description: "a wait".into(),
        job: serde_json::Map::from_iter([
            ("type".to_owned(), json!("wait")),
            ("waitTime".to_owned(), json!(600)),
        ]),
        correlation_id: "bs-1".into(),
        event_id: "bs-1".into(),
        user: "backstop".into(),
    };
    let id = gate.start_task("checkout", &new).await.expect("started");
    assert_eq!(
        gate.start_task("checkout", &new).await.ok(),
        Some(id.clone())
    );
    gate.cancel_task(&id).await.expect("asked for");
    stand_in.ended(id.as_str(), DEADLINE).await;
    let read = gate.task(&id).await.expect("an answer").expect("a task");
    assert_eq!(read.status, spinnaker::ExecutionStatus::Canceled);
    assert_eq!((read.name.as_str(), read.stages.len()), ("a wait", 1));
    assert!(gate.execution(&id).await.expect("an answer").is_none());
}

#[test]
fn a_plan_written_before_there_were_tasks_is_read() {
    let mut old = serde_json::to_value(plan("back", None)).expect("a plan");
    assert!(
        old.get("task").is_none(),
        "older replicas read what they wrote"
    );
    old["parameters"] = json!(BTreeMap::from([("release", "checkout@1")]));
    let read: Plan = serde_json::from_value(old).expect("a plan");
    assert_eq!(read.task, None);
}
