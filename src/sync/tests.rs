use std::sync::{Arc, Mutex as StdMutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;
use crate::config::{DeployPipeline, Rollback, RollbackPipeline, Template};
use crate::domain::deployment::Strategy;
use crate::domain::id::Env;
use crate::spinnaker::{GateSettings, Login};

/// What Gate answers, and the limits it was asked with.
#[derive(Debug, Clone, Default)]
struct World {
    executions: Arc<StdMutex<Vec<Value>>>,
    down: Arc<StdMutex<bool>>,
    limits: Arc<StdMutex<Vec<String>>>,
}

async fn list(
    State(world): State<World>,
    Query(query): Query<BTreeMap<String, String>>,
) -> impl IntoResponse {
    assert_eq!(query["expand"], "true");
    world.limits.lock().unwrap().push(query["limit"].clone());
    if *world.down.lock().unwrap() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            axum::Json(json!({"message": "no Orca"})),
        );
    }
    let executions = world.executions.lock().unwrap().clone();
    (StatusCode::OK, axum::Json(Value::Array(executions)))
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn config() -> ServiceConfig {
    let deploy = |pipeline: &str, env: &str| DeployPipeline {
        pipeline: pipeline.into(),
        env: Env::new(env).unwrap(),
        strategy: Strategy::Canary,
        soak: Duration::from_mins(15),
        release: template("{parameters.release_id}"),
        batch: Some(template("{stage.context.batch}")),
        hosts: Some(template("{stage.context.hosts}")),
    };
    let rollback = |pipeline: &str, more: &[(&str, &str)]| RollbackPipeline {
        pipeline: pipeline.into(),
        parameters: [
            ("release", "{target.release_id}"),
            ("incident", "{incident.id}"),
        ]
        .iter()
        .chain(more)
        .map(|(name, text)| ((*name).to_owned(), template(text)))
        .collect(),
        admission: true,
    };
    ServiceConfig {
        application: "shop".into(),
        deploy: vec![
            deploy("deploy-prod", "prod"),
            deploy("deploy-stage", "stage"),
        ],
        rollback: Rollback {
            batch: Some(rollback("rollback-batch", &[("hosts", "{hosts}")])),
            full: Some(rollback("rollback-full", &[])),
        },
        recovery: None,
        mode: None,
        tag_prefix: "v".into(),
    }
}

const T: i64 = 1_795_380_000_000;

fn stage(name: &str, status: &str, start: Option<i64>, context: &Value) -> Value {
    let mut stage = json!({
        "id": name, "refId": name, "type": "webhook", "name": name, "status": status,
        "context": context, "outputs": {}
    });
    if let Some(start) = start {
        stage["startTime"] = json!(T + start);
        if status != "RUNNING" {
            stage["endTime"] = json!(T + start + 1000);
        }
    }
    stage
}

fn execution(id: &str, name: &str, status: &str, parameters: &Value, stages: &[Value]) -> Value {
    json!({
        "id": id, "application": "shop", "name": name, "status": status,
        "pipelineConfigId": name, "buildTime": T, "startTime": T + 10,
        "trigger": {"type": "manual", "parameters": parameters}, "stages": stages
    })
}

/// A canary of two batches; the second has not started.
fn canary(id: &str, release: &str) -> Value {
    execution(
        id,
        "deploy-prod",
        "RUNNING",
        &json!({"release_id": release}),
        &[
            stage("Build", "SUCCEEDED", Some(5), &json!({})),
            stage(
                "Announce 1",
                "SUCCEEDED",
                Some(100),
                &json!({"batch": "1", "hosts": "h1, h2"}),
            ),
            stage(
                "Deploy 1",
                "RUNNING",
                Some(2000),
                &json!({"batch": 1, "hosts": ["h1", "h2"]}),
            ),
            stage(
                "Announce 2",
                "NOT_STARTED",
                None,
                &json!({"batch": "2", "hosts": "h3"}),
            ),
            stage(
                "Deploy 2",
                "NOT_STARTED",
                None,
                &json!({"batch": "2", "hosts": "${parameters.rest}"}),
            ),
        ],
    )
}

async fn syncer(world: &World, store: &Store) -> Syncer {
    let router = Router::new()
        .route("/applications/shop/pipelines", get(list))
        .with_state(world.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let settings = GateSettings::new(format!("http://{address}").parse().unwrap(), Login::None);
    let services = BTreeMap::from([(service(), config())]);
    Syncer::new(Gate::new(settings).unwrap(), services, store.clone())
}

fn service() -> Service {
    Service::new("checkout").unwrap()
}

async fn links(store: &Store, env: &str, id: &str) -> Vec<Deployment> {
    let chain = format!("deployments/checkout/{env}/{id}");
    let links = chain::read_from(store, &chain, 1).await.unwrap();
    links.into_iter().map(|(_, link)| link).collect()
}

fn names(hosts: &[crate::domain::id::Host]) -> Vec<&str> {
    hosts.iter().map(crate::domain::id::Host::as_str).collect()
}

#[tokio::test]
async fn a_running_canary_is_told_with_its_started_and_planned_batches() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![canary("E1", "checkout@1.8.0")];
    let summary = syncer(&world, &store).await.run_once().await;
    assert!(
        summary.is_complete() && summary.problems.is_empty(),
        "{summary:?}"
    );
    let links = links(&store, "prod", "E1").await;
    let [one] = links.as_slice() else {
        panic!("{links:?}")
    };
    assert_eq!(one.release_id.as_str(), "checkout@1.8.0");
    assert_eq!(one.status, Status::Running);
    assert_eq!(names(&one.target_hosts), ["h1", "h2", "h3"]);
    let [first, second] = one.batches.as_slice() else {
        panic!("{one:?}")
    };
    assert_eq!((first.n, first.status), (1, Status::Running));
    assert_eq!(first.started_at.unwrap().as_millisecond(), T + 100);
    assert_eq!(first.finished_at, None);
    assert_eq!(
        (second.n, second.status, second.started_at),
        (2, Status::Pending, None)
    );
    assert_eq!(names(&second.hosts), ["h3"]);
}

#[tokio::test]
async fn a_link_is_added_only_when_something_changed() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![canary("E1", "v1.8.0")];
    let first = syncer(&world, &store).await;
    assert_eq!(first.run_once().await.written.len(), 1);
    assert_eq!(first.run_once().await.written.len(), 0);
    // A process that has seen nothing yet reads what is there.
    let second = syncer(&world, &store).await;
    assert_eq!(second.run_once().await.written.len(), 0);
    world.executions.lock().unwrap()[0]["status"] = json!("SUCCEEDED");
    assert_eq!(second.run_once().await.written.len(), 1);
    // The first one's memory is behind; the store decides.
    assert_eq!(first.run_once().await.written.len(), 0);
    let links = links(&store, "prod", "E1").await;
    assert_eq!(
        links.iter().map(|one| one.status).collect::<Vec<_>>(),
        [Status::Running, Status::Success]
    );
    assert_eq!(links[0].release_id.as_str(), "checkout@1.8.0");
}

#[tokio::test]
async fn with_gate_down_the_store_keeps_what_it_has() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![canary("E1", "1.8.0")];
    let syncer = syncer(&world, &store).await;
    syncer.run_once().await;
    *world.down.lock().unwrap() = true;
    let summary = syncer.run_once().await;
    let told = summary.failures[0].to_string();
    assert!(told.contains("`shop`"), "{told}");
    assert_eq!(links(&store, "prod", "E1").await.len(), 1);
    // A server error is not a too long answer: it is asked once.
    assert_eq!(world.limits.lock().unwrap().as_slice(), ["25", "25"]);
}

#[tokio::test]
async fn what_a_template_does_not_find_is_named_and_the_others_go_on() {
    let (world, store) = (World::default(), Store::in_memory());
    let bad_batch = stage("Deploy", "RUNNING", Some(1), &json!({"batch": "canary"}));
    let bad_host = stage(
        "Deploy",
        "RUNNING",
        Some(1),
        &json!({"batch": "1", "hosts": "h1,../x"}),
    );
    let release = json!({"release_id": "1"});
    *world.executions.lock().unwrap() = vec![
        execution(
            "E1",
            "deploy-prod",
            "RUNNING",
            &json!({"version": "1"}),
            &[],
        ),
        execution("E2", "deploy-prod", "RUNNING", &release, &[bad_batch]),
        execution("E3", "deploy-prod", "RUNNING", &release, &[bad_host]),
        execution(
            "E4",
            "deploy-prod",
            "RUNNING",
            &json!({"release_id": "a/b"}),
            &[],
        ),
        execution("E5", "other", "RUNNING", &json!({}), &[]),
        canary("E6", "1.8.0"),
    ];
    let summary = syncer(&world, &store).await.run_once().await;
    assert_eq!((summary.read, summary.written.len()), (5, 1));
    let told = |id: &str| {
        let found = summary
            .problems
            .iter()
            .find(|problem| problem.execution == id);
        found.unwrap().error.to_string()
    };
    assert!(
        told("E1").contains("`parameters.release_id`"),
        "{}",
        told("E1")
    );
    assert!(told("E2").contains("`canary`"), "{}", told("E2"));
    assert!(told("E3").contains("../x"), "{}", told("E3"));
    assert!(told("E4").contains("release"), "{}", told("E4"));
}

fn ended(mut execution: Value, status: &str, start: i64) -> Value {
    execution["status"] = json!(status);
    execution["startTime"] = json!(T + start);
    execution["endTime"] = json!(T + start + 60_000);
    execution
}

#[tokio::test]
async fn rollbacks_are_known_as_such_and_mark_what_they_took_back() {
    let (world, store) = (World::default(), Store::in_memory());
    let batch =
        json!({"release": "checkout@1.7.0", "incident": "checkout@prod-3", "hosts": "h1,h2"});
    let full = json!({"release": "checkout@1.7.0", "incident": "checkout@prod-9"});
    *world.executions.lock().unwrap() = vec![
        ended(canary("E1", "1.8.0"), "CANCELED", 10),
        ended(
            execution("R1", "rollback-batch", "", &batch, &[]),
            "SUCCEEDED",
            100_000,
        ),
        ended(canary("E2", "1.9.0"), "SUCCEEDED", 200_000),
        ended(
            execution("R2", "rollback-full", "", &full, &[]),
            "SUCCEEDED",
            300_000,
        ),
        ended(canary("E3", "2.0.0"), "SUCCEEDED", 400_000),
        ended(
            execution("R3", "rollback-full", "", &full, &[]),
            "TERMINAL",
            500_000,
        ),
    ];
    let syncer = syncer(&world, &store).await;
    let summary = syncer.run_once().await;
    assert!(summary.problems.is_empty(), "{summary:?}");
    let status = async |id: &str| links(&store, "prod", id).await.last().unwrap().status;
    assert_eq!(status("E1").await, Status::RolledBack);
    assert_eq!(status("E2").await, Status::RolledBack);
    assert_eq!(status("E3").await, Status::Success);
    let back = links(&store, "prod", "R2").await.pop().unwrap();
    assert!(back.is_rollback);
    assert_eq!(back.release_id.as_str(), "checkout@1.7.0");
    // The pipeline does not say; it reaches what the deployment before it had reached.
    assert_eq!(names(&back.target_hosts), ["h1", "h2"]);

    // Spinnaker forgets, the store does not.
    world
        .executions
        .lock()
        .unwrap()
        .retain(|one| one["id"] == "E2" || one["id"] == "R2");
    world.executions.lock().unwrap().remove(1);
    assert_eq!(syncer.run_once().await.written.len(), 0);
    assert_eq!(status("E2").await, Status::RolledBack);
}

#[tokio::test]
async fn a_rollback_that_does_not_say_where_is_a_problem() {
    let (world, store) = (World::default(), Store::in_memory());
    let parameters = json!({"release": "checkout@1.7.0"});
    *world.executions.lock().unwrap() = vec![execution(
        "R1",
        "rollback-full",
        "SUCCEEDED",
        &parameters,
        &[],
    )];
    let summary = syncer(&world, &store).await.run_once().await;
    assert_eq!(summary.problems[0].error, ReadError::UnknownEnv);
}

#[tokio::test]
async fn the_loop_ends_when_it_is_told_to() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![canary("E1", "1.8.0")];
    let syncer = syncer(&world, &store).await;
    let stop = CancellationToken::new();
    let loops = syncer.keep_synced(Duration::from_millis(1), stop.clone());
    let watch = async {
        while world.limits.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(loops, watch);
    assert_eq!(links(&store, "prod", "E1").await.len(), 1);
}
