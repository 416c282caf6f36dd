use std::sync::{Arc, Mutex as StdMutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::config::{DeployPipeline, Rollback, RollbackPipeline, Template, Way};
use crate::domain::deployment::{Deployment, Status, Strategy};
use crate::domain::id::Env;
use crate::spinnaker::{GateSettings, Login};
use crate::store::chain;

/// What Gate answers, and what it was asked.
#[derive(Debug, Clone, Default)]
struct World {
    executions: Arc<StdMutex<Vec<Value>>>,
    down: Arc<StdMutex<bool>>,
    /// Limits of lists, and ids of what was read whole.
    limits: Arc<StdMutex<Vec<String>>>,
    whole: Arc<StdMutex<Vec<String>>>,
}

async fn configs() -> impl IntoResponse {
    let names = [
        "deploy-prod",
        "deploy-stage",
        "rollback-batch",
        "rollback-full",
        "other",
    ];
    let config = |name| json!({"id": name, "name": name, "application": "shop", "stages": []});
    axum::Json(Value::from_iter(names.map(config)))
}

async fn list(
    State(world): State<World>,
    Query(query): Query<BTreeMap<String, String>>,
) -> impl IntoResponse {
    if *world.down.lock().unwrap() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            axum::Json(json!({"message": "no Orca"})),
        );
    }
    let mut executions = world.executions.lock().unwrap().clone();
    if let Some(ids) = query.get("executionIds") {
        assert_eq!(query["expand"], "true");
        let ids: Vec<&str> = ids.split(',').collect();
        executions.retain(|one| ids.contains(&one["id"].as_str().unwrap()));
        let whole = &mut world.whole.lock().unwrap();
        whole.extend(ids.iter().map(|id| (*id).to_owned()));
    } else {
        assert_eq!(query["expand"], "false");
        executions.retain(|one| one["pipelineConfigId"] == query["pipelineConfigIds"]);
        executions.sort_by_key(|one| std::cmp::Reverse(one["startTime"].as_i64()));
        executions.truncate(query["limit"].parse().unwrap());
        for one in &mut executions {
            one["stages"] = json!([]);
        }
        let asked = format!("{} {}", query["pipelineConfigIds"], query["limit"]);
        world.limits.lock().unwrap().push(asked);
    }
    (StatusCode::OK, axum::Json(Value::Array(executions)))
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn config() -> ServiceConfig {
    let deploy = |pipeline: &str, env: &str| DeployPipeline {
        agents: None,
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
        owner: None,
        application: "shop".into(),
        deploy: vec![
            deploy("deploy-prod", "prod"),
            deploy("deploy-stage", "stage"),
        ],
        rollback: Rollback {
            batch: Some(Way::Pipeline(rollback(
                "rollback-batch",
                &[("hosts", "{hosts}")],
            ))),
            full: Some(Way::Pipeline(rollback("rollback-full", &[]))),
        },
        recovery: None,
        canary: crate::config::ServiceCanary::default(),
        mode: None,
        harmless_pipelines: Vec::new(),
        tag_prefix: "v".into(),
        repository: None,
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
    syncer_of(world, store, config()).await
}

async fn syncer_of(world: &World, store: &Store, config: ServiceConfig) -> Syncer {
    let router = Router::new()
        .route("/applications/shop/pipelineConfigs", get(configs))
        .route("/executions", get(list))
        .with_state(world.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let settings = GateSettings::new(format!("http://{address}").parse().unwrap(), Login::None);
    let services = BTreeMap::from([(service(), config)]);
    Syncer::new(services, store.clone()).with_gate(Gate::new(settings).unwrap())
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
    // Nothing was asked twice.
    assert_eq!(world.limits.lock().unwrap().len(), 4);
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
            .find(|problem| problem.of.contains(id));
        found.unwrap().finding.to_string()
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

/// Deployments of pods name no hosts; a rollback of theirs names batches.
#[tokio::test]
async fn a_rollback_by_batches_marks_what_had_reached_no_others() {
    let (world, store) = (World::default(), Store::in_memory());
    let mut config = config();
    config.deploy[0].hosts = None;
    let Some(Way::Pipeline(batch)) = &mut config.rollback.batch else {
        panic!("a pipeline");
    };
    batch.parameters.remove("hosts");
    batch
        .parameters
        .insert("batches".into(), template("{batches}"));
    let back = |id: &str, batches: &str, start| {
        let parameters = json!({"release": "checkout@1", "incident": "checkout@prod-7",
            "batches": batches});
        let one = execution(id, "rollback-batch", "RUNNING", &parameters, &[]);
        ended(one, "SUCCEEDED", start)
    };
    let accused = ended(canary("E1", "checkout@2"), "CANCELED", 20);
    *world.executions.lock().unwrap() = vec![accused, back("E2", "2,3", 5_000)];
    let syncer = syncer_of(&world, &store, config).await;
    let summary = syncer.run_once().await;
    assert!(summary.problems.is_empty(), "{summary:?}");
    let last = async |id: &str| links(&store, "prod", id).await.pop().unwrap();
    assert_eq!(last("E1").await.status, Status::Failed);
    let rollback = last("E2").await;
    let numbers: Vec<u32> = rollback.batches.iter().map(|one| one.n).collect();
    assert_eq!(numbers, [2, 3]);
    world
        .executions
        .lock()
        .unwrap()
        .push(back("E3", "1", 9_000));
    syncer.run_once().await;
    assert_eq!(last("E1").await.status, Status::RolledBack);

    world
        .executions
        .lock()
        .unwrap()
        .push(back("E4", "1,x", 10_000));
    let summary = syncer.run_once().await;
    let finding = Finding::Execution(ReadError::Batches("1,x".into()));
    assert_eq!(summary.problems[0].finding, finding);
}

#[tokio::test]
async fn a_configured_pipeline_that_spinnaker_does_not_have_is_told() {
    let (world, store) = (World::default(), Store::in_memory());
    let mut config = config();
    config.deploy[1].pipeline = "deploy-sage".into();
    let summary = syncer_of(&world, &store, config).await.run_once().await;
    let [problem] = &summary.problems[..] else {
        panic!("{summary:?}")
    };
    assert_eq!(problem.of, "pipeline `deploy-sage`");
    assert_eq!(problem.finding, Finding::NoPipeline("shop".into()));
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
    assert_eq!(
        summary.problems[0].finding,
        Finding::Execution(ReadError::UnknownEnv)
    );
}

#[tokio::test]
async fn the_loop_ends_when_it_is_told_to() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![canary("E1", "1.8.0")];
    let syncer = syncer(&world, &store).await;
    let stop = CancellationToken::new();
    let loops = syncer.keep_synced(Duration::from_millis(1), stop.clone());
    let watch = async {
        while world.limits.lock().unwrap().len() < 12 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(loops, watch);
    assert_eq!(links(&store, "prod", "E1").await.len(), 1);
}

#[tokio::test]
async fn only_what_changed_is_read_whole() {
    let (world, store) = (World::default(), Store::in_memory());
    *world.executions.lock().unwrap() = vec![
        ended(canary("E1", "1.7.0"), "SUCCEEDED", 0),
        canary("E2", "1.8.0"),
    ];
    let first = syncer(&world, &store).await;
    first.run_once().await;
    let take = || std::mem::take(&mut *world.whole.lock().unwrap());
    assert_eq!(take(), ["E1", "E2"]);
    first.run_once().await;
    // The other one is over; a process that starts anew knows it too.
    assert_eq!(take(), ["E2"]);
    syncer(&world, &store).await.run_once().await;
    assert_eq!(take(), ["E2"]);
    // A stage was run again: the execution ended later.
    world.executions.lock().unwrap()[0]["endTime"] = json!(T + 99_000);
    first.run_once().await;
    assert_eq!(take(), ["E1", "E2"]);
    assert_eq!(links(&store, "prod", "E1").await.len(), 2);
}

#[tokio::test]
async fn a_pause_is_caught_up_with_and_since_goes_back_further() {
    let (world, store) = (World::default(), Store::in_memory());
    let run = |n: i64| {
        ended(
            canary(&format!("E{n:03}"), "1.7.0"),
            "SUCCEEDED",
            n * 100_000,
        )
    };
    *world.executions.lock().unwrap() = (0..60).map(run).collect();
    let first = syncer(&world, &store).await;
    assert_eq!(first.run_once().await.read, 25);
    // More ran than a list holds: it is asked for more until something is known.
    *world.executions.lock().unwrap() = (0..160).map(run).collect();
    assert_eq!(first.run_once().await.read, 100);
    assert!(links(&store, "prod", "E034").await.is_empty());

    let since = Timestamp::from_millisecond(T + 10 * 100_000).unwrap();
    let reach = Reach {
        since: Some(since),
        again: false,
    };
    let back = syncer(&world, &store).await.with_reach(reach);
    let summary = back.run_once().await;
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(summary.read, 25);
    assert!(links(&store, "prod", "E009").await.is_empty());
    assert_eq!(links(&store, "prod", "E010").await.len(), 1);
    let again = Reach {
        again: true,
        ..reach
    };
    let again = syncer(&world, &store).await.with_reach(again);
    let summary = again.run_once().await;
    assert_eq!((summary.read, summary.written.len()), (150, 0));
}

#[tokio::test]
async fn a_canceled_canary_leaves_no_batch_running_and_one_passed_over_ran_nowhere() {
    let (world, store) = (World::default(), Store::in_memory());
    let context = |n: u32, host: &str| json!({"batch": n.to_string(), "hosts": host});
    let stages = [
        stage("Announce 1", "SUCCEEDED", Some(100), &context(1, "h1")),
        stage("Deploy 1", "NOT_STARTED", None, &context(1, "h1")),
        stage("Announce 2", "SKIPPED", Some(200), &context(2, "h2")),
        stage("Announce 3", "NOT_STARTED", None, &context(3, "h3")),
    ];
    let release = json!({"release_id": "1.8.0"});
    let run = execution("E1", "deploy-prod", "", &release, &stages);
    *world.executions.lock().unwrap() = vec![ended(run, "CANCELED", 0)];
    syncer(&world, &store).await.run_once().await;
    let one = links(&store, "prod", "E1").await.pop().unwrap();
    assert_eq!(one.status, Status::Failed);
    let batches = one.batches.iter();
    let told: Vec<_> = batches
        .map(|b| (b.status, b.started_at.is_some()))
        .collect();
    let expected = [
        (Status::Failed, true),
        (Status::Pending, false),
        (Status::Pending, false),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn going_back_from_a_second_set_switches_to_the_hosts_of_the_first() {
    let (world, store) = (World::default(), Store::in_memory());
    let set = |host: &str| stage("Deploy", "SUCCEEDED", Some(100), &json!({"hosts": host}));
    let deploy = |id: &str, version: &str, host: &str, at: i64| {
        let release = json!({"release_id": version});
        let run = execution(id, "deploy-prod", "", &release, &[set(host)]);
        ended(run, "SUCCEEDED", at)
    };
    let back = json!({"release": "checkout@1.7.0", "incident": "checkout@prod-9"});
    *world.executions.lock().unwrap() = vec![
        deploy("E1", "1.7.0", "blue-1,blue-2", 0),
        deploy("E2", "1.8.0", "green-1,green-2", 100_000),
        ended(
            execution("R1", "rollback-full", "", &back, &[]),
            "SUCCEEDED",
            200_000,
        ),
    ];
    let mut config = config();
    config.deploy[0].strategy = Strategy::BlueGreen;
    config.deploy[0].batch = None;
    let syncer = syncer_of(&world, &store, config).await;
    let summary = syncer.run_once().await;
    assert!(summary.problems.is_empty(), "{summary:?}");
    let rollback = links(&store, "prod", "R1").await.pop().unwrap();
    assert_eq!(rollback.strategy, Strategy::BlueGreen);
    assert_eq!(names(&rollback.target_hosts), ["blue-1", "blue-2"]);
    let accused = links(&store, "prod", "E2").await;
    let said: Vec<Status> = accused.iter().map(|one| one.status).collect();
    assert_eq!(said, [Status::Success, Status::RolledBack]);
}
