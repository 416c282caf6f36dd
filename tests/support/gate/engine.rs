//! Orca: takes a trigger, runs stages as their requisites complete, ends the execution.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Shared, StageCall, clouddriver,
    trigger::Wanted,
    webhook,
    world::{Run, StageRun, World, ulid},
};

/// Why a pipeline was not started.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Front50 has no pipeline of that name or id.
    Unknown(String),
    /// A required parameter is not given.
    MissingParameter(String),
    /// The pipeline is disabled; an execution is stored all the same.
    Disabled,
}

/// How a stage ended.
pub(super) struct Outcome {
    pub(super) status: &'static str,
    /// Added to the stage's context.
    pub(super) context: Map<String, Value>,
    pub(super) outputs: Map<String, Value>,
}

impl Outcome {
    pub(super) fn of(status: &'static str) -> Self {
        Self {
            status,
            context: Map::new(),
            outputs: Map::new(),
        }
    }

    /// A failure as Orca writes one down for most stages.
    pub(super) fn exception(kind: &str, error: &str) -> Self {
        let exception = json!({"exceptionType": kind, "shouldRetry": false,
            "details": {"error": "Unexpected Task Failure", "errors": [error]}});
        Self {
            context: Map::from_iter([("exception".to_owned(), exception)]),
            ..Self::of("TERMINAL")
        }
    }
}

/// Starts something, or names the running execution with the same correlation id.
pub(super) fn submit(shared: &Shared, wanted: &Wanted, trigger: Value) -> Result<String, Refusal> {
    match look(shared, wanted, &trigger)? {
        Some(running) => Ok(running),
        None => start(shared, wanted, trigger),
    }
}

/// The running execution that stands in the way of a trigger, of whatever pipeline or task.
pub(super) fn look(
    shared: &Shared,
    wanted: &Wanted,
    trigger: &Value,
) -> Result<Option<String>, Refusal> {
    let world = shared.world.lock().unwrap();
    if let Wanted::Pipeline(application, name) = wanted {
        let config = world.config(application, name);
        let config = config.ok_or_else(|| Refusal::Unknown(name.clone()))?;
        complete(config, trigger.clone(), &shared.options.username)?;
    }
    let correlation = trigger["correlationId"].as_str();
    let running = correlation.and_then(|correlation| world.correlated(correlation));
    Ok(running.map(str::to_owned))
}

/// Starts something, whatever runs.
pub(super) fn start(shared: &Shared, wanted: &Wanted, trigger: Value) -> Result<String, Refusal> {
    let now = shared.now();
    let user = &shared.options.username;
    let id = shared.update(|world| {
        let config = match wanted {
            Wanted::Pipeline(application, name) => world
                .config(application, name)
                .ok_or_else(|| Refusal::Unknown(name.clone()))?
                .clone(),
            Wanted::Task(task) => config_of(task),
        };
        let trigger = complete(&config, trigger, user)?;
        let mut run = new_run(&config, trigger, user, now);
        if config["disabled"] == true {
            run.status = "TERMINAL";
            run.canceled = true;
            run.canceled_by = Some("system".to_owned());
            let reason = "Failed on startup: Pipeline is disabled and cannot be started.";
            run.cancellation_reason = Some(reason.to_owned());
            run.end_time = Some(now);
            world.add(run);
            return Err(Refusal::Disabled);
        }
        let id = run.id.clone();
        world.add(run);
        Ok(id)
    })?;
    shared.spawn(run(shared.clone(), id.clone()));
    Ok(id)
}

/// A task as if it were a pipeline: its jobs run one after another. It has no id of a saved one.
fn config_of(task: &Value) -> Value {
    let jobs = task["job"].as_array().into_iter().flatten().enumerate();
    let stages = jobs.map(|(place, job)| {
        let mut stage = job.clone();
        stage["refId"] = json!(place.to_string());
        stage["requisiteStageRefIds"] = match place.checked_sub(1) {
            Some(before) => json!([before.to_string()]),
            None => json!([]),
        };
        stage
    });
    json!({"application": task["application"], "name": task["description"],
        "stages": stages.collect::<Vec<_>>()})
}

/// Fills in what Orca adds to a trigger.
fn complete(config: &Value, mut trigger: Value, user: &str) -> Result<Value, Refusal> {
    let mut parameters = trigger["parameters"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for declared in config["parameterConfig"].as_array().into_iter().flatten() {
        let name = declared["name"].as_str().unwrap_or_default();
        if parameters.contains_key(name) {
            continue;
        }
        match (&declared["default"], declared["required"] == true) {
            (Value::Null, true) => return Err(Refusal::MissingParameter(name.to_owned())),
            (Value::Null, false) => {}
            (default, _) => {
                parameters.insert(name.to_owned(), default.clone());
            }
        }
    }
    trigger["parameters"] = Value::Object(parameters);
    let defaults = json!({"artifacts": [], "dryRun": false, "expectedArtifacts": [],
        "notifications": [], "rebake": false, "resolvedExpectedArtifacts": [], "strategy": false,
        "type": "manual", "user": user});
    for (key, value) in defaults.as_object().into_iter().flatten() {
        if trigger[key].is_null() {
            trigger[key] = value.clone();
        }
    }
    Ok(trigger)
}

fn new_run(config: &Value, trigger: Value, user: &str, now: i64) -> Run {
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let stages = config["stages"].as_array().into_iter().flatten();
    Run {
        id: ulid(now),
        application: text("application"),
        name: text("name"),
        config_id: text("id"),
        status: "NOT_STARTED",
        stages: stages
            .map(|saved| StageRun::new(ulid(now), saved))
            .collect(),
        trigger,
        user: user.to_owned(),
        limit_concurrent: config["limitConcurrent"] == true,
        keep_waiting: config["keepWaitingPipelines"] == true,
        build_time: now,
        start_time: None,
        end_time: None,
        canceled: false,
        canceled_by: None,
        cancellation_reason: None,
        cancel: CancellationToken::new(),
    }
}

/// Marks a cancel at once; it takes effect about a second later. A finished execution is marked
/// just the same. False when there is no such execution.
pub(super) fn cancel(shared: &Shared, id: &str, reason: Option<String>) -> bool {
    let found = shared.update(|world| {
        let run = world.run_mut(id)?;
        run.canceled = true;
        run.canceled_by = Some(shared.options.username.clone());
        run.cancellation_reason = reason;
        Some(run.cancel.clone())
    });
    let Some(cancel) = found else { return false };
    let delay = shared.scaled(Duration::from_secs(1));
    shared.spawn(async move {
        tokio::time::sleep(delay).await;
        cancel.cancel();
    });
    true
}

/// Pauses or resumes an execution: what runs goes on, nothing new starts. False when there is no
/// such execution.
pub(super) fn pause(shared: &Shared, id: &str, paused: bool) -> bool {
    let status = if paused { "PAUSED" } else { "RUNNING" };
    shared.update(|world| {
        let Some(run) = world.run_mut(id) else {
            return false;
        };
        if !run.has_ended() {
            run.status = status;
        }
        true
    })
}

/// Runs an execution to its end.
async fn run(shared: Shared, id: String) {
    let now = shared.now();
    let cancel = shared.update(|world| {
        let run = world.run_mut(&id).unwrap();
        run.status = "RUNNING";
        run.start_time = Some(now);
        run.cancel.clone()
    });
    let halt = cancel.child_token();
    let mut running = JoinSet::new();
    loop {
        let goes_on = |world: &World| {
            let paused = world.run(&id)?.status == "PAUSED";
            (!paused || halt.is_cancelled()).then_some(())
        };
        tokio::select! {
            () = shared.when(goes_on) => {}
            () = halt.cancelled() => {}
        }
        if !halt.is_cancelled() {
            for stage in shared.update(|world| start_ready(world, &id, shared.now())) {
                running.spawn(stage_to_end(
                    shared.clone(),
                    id.clone(),
                    stage,
                    halt.clone(),
                ));
            }
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        if matches!(ended.unwrap(), "TERMINAL" | "CANCELED") {
            halt.cancel();
        }
    }
    let now = shared.now();
    shared.update(|world| {
        let stages = &world.run(&id).unwrap().stages;
        let any = |status: &str| stages.iter().any(|stage| stage.status == status);
        let status = if any("TERMINAL") {
            "TERMINAL"
        } else if any("CANCELED") || (cancel.is_cancelled() && any("NOT_STARTED")) {
            "CANCELED"
        } else {
            "SUCCEEDED"
        };
        world.end(&id, status, now);
    });
}

/// Marks every stage as running whose requisites are complete, and returns their positions.
fn start_ready(world: &mut World, id: &str, now: i64) -> Vec<usize> {
    let run = world.run_mut(id).unwrap();
    let complete = |refs: &[String]| {
        refs.iter().all(|wanted| {
            let required = run.stages.iter().find(|stage| stage.ref_id == *wanted);
            required
                .is_some_and(|s| matches!(s.status, "SUCCEEDED" | "SKIPPED" | "FAILED_CONTINUE"))
        })
    };
    let ready: Vec<usize> = (0..run.stages.len())
        .filter(|at| {
            run.stages[*at].status == "NOT_STARTED" && complete(&run.stages[*at].requisites)
        })
        .collect();
    let scope = run.scope();
    for at in &ready {
        let stage = &mut run.stages[*at];
        stage.status = "RUNNING";
        stage.start_time = Some(now);
        if let Value::Object(context) = scope.evaluate(&Value::Object(stage.context.clone())) {
            stage.context = context;
        }
    }
    ready
}

async fn stage_to_end(
    shared: Shared,
    id: String,
    at: usize,
    halt: CancellationToken,
) -> &'static str {
    let (call, stage, enabled) = {
        let world = shared.world.lock().unwrap();
        let run = world.run(&id).unwrap();
        let stage = run.stages[at].clone();
        let wish = &stage
            .context
            .get("stageEnabled")
            .cloned()
            .unwrap_or_default();
        let enabled = wish["expression"]
            .as_str()
            .map(|e| run.scope().expression(e));
        let call = StageCall {
            execution_id: id.clone(),
            application: run.application.clone(),
            pipeline: run.name.clone(),
            name: stage.name.clone(),
            context: stage.context.clone(),
            canceled: halt.clone(),
        };
        (call, stage, enabled)
    };
    let mut outcome = if enabled == Some(Some(Value::Bool(false))) {
        Outcome::of("SKIPPED")
    } else {
        tokio::select! {
            outcome = work(&shared, &id, at, &stage, call) => outcome,
            () = halt.cancelled() => Outcome::of("CANCELED"),
        }
    };
    if stage.kind == "webhook" && matches!(outcome.status, "TERMINAL" | "CANCELED") {
        webhook::cancel_endpoint(&shared, &stage.context).await;
    }
    let flag = |key: &str| stage.context.get(key) == Some(&Value::Bool(true));
    if outcome.status == "TERMINAL"
        && stage.context.get("failPipeline") == Some(&Value::Bool(false))
    {
        outcome.status = if flag("continuePipeline") {
            "FAILED_CONTINUE"
        } else {
            "STOPPED"
        };
    }
    let now = shared.now();
    shared.update(|world| {
        let stage = &mut world.run_mut(&id).unwrap().stages[at];
        stage.status = outcome.status;
        stage.end_time = Some(now);
        stage.context.extend(outcome.context);
        stage.outputs.extend(outcome.outputs);
    });
    outcome.status
}

async fn work(shared: &Shared, id: &str, at: usize, stage: &StageRun, call: StageCall) -> Outcome {
    let hook = shared.hooks.lock().unwrap().get(&stage.kind).cloned();
    if let Some(hook) = hook {
        return match tokio::spawn(hook(call)).await {
            Ok(Ok(outputs)) => Outcome {
                outputs,
                ..Outcome::of("SUCCEEDED")
            },
            Ok(Err(error)) => Outcome::exception("RuntimeException", &error),
            Err(panicked) => Outcome::exception("RuntimeException", &panicked.to_string()),
        };
    }
    let rollback = stage.context.get("rollbackContext");
    let test_wait = rollback.filter(|_| stage.context.get("rollbackType") == Some(&json!("TEST")));
    if test_wait.is_none()
        && let Some(outcome) = clouddriver::run(shared, id, &stage.kind, &stage.context)
    {
        return outcome;
    }
    match stage.kind.as_str() {
        "rollbackServerGroup" => {
            let seconds = test_wait.and_then(|wait| wait["waitTime"].as_f64());
            let wait = Duration::from_secs_f64(seconds.unwrap_or_default());
            tokio::time::sleep(shared.scaled(wait)).await;
            Outcome::of("SUCCEEDED")
        }
        "wait" => {
            let wait = &stage.context.get("waitTime").cloned().unwrap_or_default();
            let seconds = wait.as_f64().or_else(|| wait.as_str()?.parse().ok());
            let Some(seconds) = seconds else {
                return Outcome::exception("IllegalArgumentException", "waitTime is not a number");
            };
            tokio::time::sleep(shared.scaled(Duration::from_secs_f64(seconds))).await;
            Outcome::of("SUCCEEDED")
        }
        "evaluateVariables" => Outcome {
            outputs: variables(stage),
            ..Outcome::of("SUCCEEDED")
        },
        "webhook" => webhook::run(shared, id, at, &stage.context).await,
        "manualJudgment" => {
            let judged = |world: &World| {
                let status = world.run(id)?.stages[at].context.get("judgmentStatus")?;
                status.as_str().map(str::to_owned)
            };
            let continues = shared.when(judged).await.eq_ignore_ascii_case("continue");
            Outcome::of(if continues { "SUCCEEDED" } else { "TERMINAL" })
        }
        other => {
            let error = format!("No stage builder found for `{other}`");
            Outcome::exception("NoSuchStageDefinitionBuilderException", &error)
        }
    }
}

fn variables(stage: &StageRun) -> Map<String, Value> {
    let variables = stage.context.get("variables").and_then(Value::as_array);
    let pair = |v: &Value| Some((v["key"].as_str()?.to_owned(), v["value"].clone()));
    variables.into_iter().flatten().filter_map(pair).collect()
}
