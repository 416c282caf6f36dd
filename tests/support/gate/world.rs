//! What the stand-in knows: saved pipelines, executions, requests. Documents look like Gate's.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{TriggerFault, Weather, clouddriver::Group, spel::Scope};

/// A request as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// HTTP method.
    pub method: String,
    /// Path, still escaped.
    pub path: String,
    /// Query, still escaped; empty without one.
    pub query: String,
    /// JSON, or the text where it was not JSON; null without a body.
    pub body: Value,
    /// Epoch milliseconds.
    pub at: i64,
}

/// Everything behind one Gate.
#[derive(Debug, Default)]
pub struct World {
    /// Every request, in order.
    pub requests: Vec<Recorded>,
    /// Requests that no Gate would understand, or that no client should make.
    pub unexpected: Vec<Recorded>,
    /// Gate cannot connect to Orca.
    pub orca_down: bool,
    /// Gate cannot connect to Clouddriver, and no job that needs it works.
    pub clouddriver_down: bool,
    /// Server groups as they are.
    pub groups: Vec<Group>,
    /// What each pod of a `StatefulSet` runs.
    pub pods: BTreeMap<String, String>,
    /// Server groups as Clouddriver's cache shows them, while it lags.
    pub cached_groups: Option<Vec<Group>>,
    pub(super) weather: Weather,
    pub(super) faults: VecDeque<TriggerFault>,
    accepted: u64,
    pub(super) sessions: HashSet<String>,
    configs: Vec<Value>,
    runs: Vec<Run>,
    correlations: HashMap<String, String>,
}

impl World {
    /// Saves a pipeline; one with the id of a saved one replaces it.
    pub(super) fn save(&mut self, mut config: Value) -> Result<String, String> {
        for key in ["application", "name", "stages"] {
            if config[key].is_null() {
                return Err(format!("Pipeline is missing `{key}`"));
            }
        }
        let same_name = |saved: &Value| {
            saved["application"] == config["application"] && saved["name"] == config["name"]
        };
        let id = match config["id"].as_str() {
            Some(id) => id.to_owned(),
            None if self.configs.iter().any(same_name) => {
                return Err("A pipeline of that name is saved already".to_owned());
            }
            None => uuid::Uuid::new_v4().to_string(),
        };
        config["id"] = json!(id);
        if config["schema"].is_null() {
            config["schema"] = json!("1");
        }
        if config["triggers"].is_null() {
            config["triggers"] = json!([]);
        }
        self.configs.retain(|saved| saved["id"] != config["id"]);
        self.configs.push(config);
        Ok(id)
    }

    /// An application's saved pipelines, by name, numbered as Gate does.
    pub fn configs_of(&self, application: &str) -> Vec<Value> {
        let mut configs: Vec<Value> = self
            .configs
            .iter()
            .filter(|c| c["application"] == application)
            .cloned()
            .collect();
        configs.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        for (index, config) in configs.iter_mut().enumerate() {
            config["index"] = json!(index);
        }
        configs
    }

    /// By name within the application, else by id whatever the application.
    pub fn config(&self, application: &str, name_or_id: &str) -> Option<&Value> {
        let named = |c: &&Value| c["application"] == application && c["name"] == name_or_id;
        let by_id = || self.configs.iter().find(|c| c["id"] == name_or_id);
        self.configs.iter().find(named).or_else(by_id)
    }

    /// An execution by id.
    pub fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub(super) fn run_mut(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    /// All executions, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    pub(super) fn add(&mut self, run: Run) {
        if let Some(correlation) = run.correlation().filter(|_| !run.has_ended()) {
            self.correlations
                .insert(correlation.to_owned(), run.id.clone());
        }
        self.runs.push(run);
    }

    /// The running execution with this correlation id, of whatever pipeline.
    pub(super) fn correlated(&self, correlation: &str) -> Option<&str> {
        self.correlations.get(correlation).map(String::as_str)
    }

    /// Server groups as Clouddriver shows them now.
    pub(super) fn shown_groups(&self) -> &[Group] {
        self.cached_groups.as_ref().unwrap_or(&self.groups)
    }

    /// Counts an accepted trigger; true when its reply is not to be sent.
    pub(super) fn swallows_reply(&mut self) -> bool {
        let every = self.weather.drop_reply_every;
        self.accepted += 1;
        every > 0 && self.accepted.is_multiple_of(every)
    }

    /// Makes a repeat with a known correlation id start again, as a lost race does.
    pub(super) fn forget_correlations(&mut self) {
        self.correlations.clear();
    }

    /// Marks the end; the correlation id is free from then on.
    pub(super) fn end(&mut self, id: &str, status: &'static str, now: i64) {
        let run = self.run_mut(id).unwrap();
        run.status = status;
        run.end_time = Some(now);
        self.correlations.retain(|_, running| running != id);
    }

    /// The newest `limit` executions of each pipeline, oldest first, as a Redis-backed Orca lists.
    pub(super) fn list(
        &self,
        config_ids: &[String],
        limit: usize,
        statuses: &[String],
    ) -> Vec<&Run> {
        let wanted = |run: &&Run| statuses.is_empty() || statuses.iter().any(|s| s == run.status);
        let mut listed: Vec<&Run> = Vec::new();
        for id in config_ids {
            let of_config = self.runs.iter().rev().filter(|run| run.config_id == *id);
            listed.extend(of_config.filter(wanted).take(limit));
        }
        listed.sort_by_key(|run| run.build_time);
        listed
    }
}

/// An execution.
#[derive(Debug, Clone)]
pub struct Run {
    /// ULID.
    pub id: String,
    /// Application of the pipeline, not of the path it was started by.
    pub application: String,
    /// Pipeline.
    pub name: String,
    /// Orca's word.
    pub status: &'static str,
    /// What started it.
    pub trigger: Value,
    /// Its stages, in the order they were saved.
    pub stages: Vec<StageRun>,
    pub(super) config_id: String,
    pub(super) user: String,
    pub(super) limit_concurrent: bool,
    pub(super) keep_waiting: bool,
    pub(super) build_time: i64,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
    pub(super) canceled: bool,
    pub(super) canceled_by: Option<String>,
    pub(super) cancellation_reason: Option<String>,
    pub(super) cancel: CancellationToken,
}

impl Run {
    /// Whether nothing more will happen.
    pub fn has_ended(&self) -> bool {
        matches!(
            self.status,
            "SUCCEEDED" | "TERMINAL" | "CANCELED" | "STOPPED"
        )
    }

    /// The correlation id it was started with.
    pub fn correlation(&self) -> Option<&str> {
        self.trigger["correlationId"].as_str()
    }

    /// A parameter it runs with.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.trigger["parameters"][name].as_str()
    }

    /// As Gate shows it; without `expand`, stages lose context, outputs and tasks.
    pub fn document(&self, expand: bool) -> Value {
        let scope = self.scope();
        let stages: Vec<Value> = self
            .stages
            .iter()
            .map(|stage| stage.document(expand, &scope))
            .collect();
        let mut document = json!({
            "application": self.application,
            "authentication": {"allowedAccounts": [], "user": self.user},
            "buildTime": self.build_time,
            "canceled": self.canceled,
            "id": self.id,
            "initialConfig": {},
            "keepWaitingPipelines": self.keep_waiting,
            "limitConcurrent": self.limit_concurrent,
            "maxConcurrentExecutions": 0,
            "name": self.name,
            "notifications": [],
            "origin": "api",
            "pipelineConfigId": self.config_id,
            "stages": stages,
            "status": self.status,
            "systemNotifications": [],
            "trigger": self.trigger,
            "type": "PIPELINE",
        });
        let optional = [
            ("canceledBy", json!(self.canceled_by)),
            ("cancellationReason", json!(self.cancellation_reason)),
            ("startTime", json!(self.start_time)),
            ("endTime", json!(self.end_time)),
        ];
        for (key, value) in optional {
            if !value.is_null() {
                document[key] = value;
            }
        }
        document
    }

    /// Whether it is a task, not a pipeline's.
    pub fn is_task(&self) -> bool {
        self.config_id.is_empty()
    }

    /// As Gate shows a task: the execution, wrapped.
    pub fn task_document(&self) -> Value {
        let mut execution = self.document(true);
        let own = execution.as_object_mut().unwrap();
        own.remove("name");
        own.remove("pipelineConfigId");
        own.insert("description".to_owned(), json!(self.name));
        own.insert("type".to_owned(), json!("ORCHESTRATION"));
        let stages = execution["stages"].as_array().into_iter().flatten();
        let steps: Vec<Value> = stages
            .clone()
            .filter_map(|stage| stage["tasks"].as_array())
            .flatten()
            .cloned()
            .collect();
        let variables: Vec<Value> = stages
            .filter_map(|stage| stage["context"].as_object())
            .flatten()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let mut document = json!({
            "application": self.application, "buildTime": self.build_time, "id": self.id,
            "name": self.name, "status": self.status, "steps": steps, "variables": variables,
        });
        for key in ["startTime", "endTime"] {
            if !execution[key].is_null() {
                document[key] = execution[key].clone();
            }
        }
        document["execution"] = execution;
        document
    }

    /// What expressions of its stages can see.
    pub(super) fn scope(&self) -> Scope {
        let mut root = Map::new();
        for stage in self.stages.iter().filter(|stage| stage.end_time.is_some()) {
            root.extend(stage.outputs.clone());
        }
        root.insert("parameters".to_owned(), self.trigger["parameters"].clone());
        root.insert("trigger".to_owned(), self.trigger.clone());
        let execution = json!({
            "id": self.id, "name": self.name, "application": self.application,
            "status": self.status, "pipelineConfigId": self.config_id, "user": self.user,
            "buildTime": self.build_time, "startTime": self.start_time, "trigger": self.trigger,
        });
        root.insert("execution".to_owned(), execution);
        let stages = self.stages.iter().map(StageRun::raw).collect();
        Scope { root, stages }
    }
}

/// One stage of an execution.
#[derive(Debug, Clone)]
pub struct StageRun {
    /// ULID.
    pub id: String,
    /// Type.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Orca's word.
    pub status: &'static str,
    /// Settings, expressions evaluated once it has started.
    pub context: Map<String, Value>,
    /// What later stages can read.
    pub outputs: Map<String, Value>,
    pub(super) ref_id: String,
    pub(super) requisites: Vec<String>,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
}

impl StageRun {
    /// A stage of a saved pipeline, not started.
    pub(super) fn new(id: String, saved: &Value) -> Self {
        let text = |key: &str| saved[key].as_str().unwrap_or_default().to_owned();
        let mut context = saved.as_object().cloned().unwrap_or_default();
        for key in ["refId", "requisiteStageRefIds", "type", "name"] {
            context.remove(key);
        }
        let requisites = saved["requisiteStageRefIds"].as_array();
        let requisites = requisites.into_iter().flatten().filter_map(Value::as_str);
        Self {
            id,
            kind: text("type"),
            name: if saved["name"].is_null() {
                text("type")
            } else {
                text("name")
            },
            status: "NOT_STARTED",
            context,
            outputs: Map::new(),
            ref_id: text("refId"),
            requisites: requisites.map(str::to_owned).collect(),
            start_time: None,
            end_time: None,
        }
    }

    fn raw(&self) -> Value {
        json!({"id": self.id, "name": self.name, "type": self.kind, "status": self.status,
            "refId": self.ref_id, "context": self.context, "outputs": self.outputs})
    }

    fn document(&self, expand: bool, scope: &Scope) -> Value {
        let mut document = self.raw();
        document["requisiteStageRefIds"] = json!(self.requisites);
        document["tasks"] = json!([]);
        if !expand {
            document["context"] = json!({});
            document["outputs"] = json!({});
        } else if self.start_time.is_none() {
            document["context"] = scope.evaluate(&Value::Object(self.context.clone()));
        } else {
            document["tasks"] = json!([self.task()]);
        }
        for (key, time) in [("startTime", self.start_time), ("endTime", self.end_time)] {
            if let Some(time) = time {
                document[key] = json!(time);
            }
        }
        document
    }

    /// A stage of Orca has one task or more; here always one.
    fn task(&self) -> Value {
        let (class, name) = match self.kind.as_str() {
            "wait" => ("orca.pipeline.tasks.WaitTask", "wait"),
            "webhook" => ("orca.webhook.tasks.CreateWebhookTask", "createWebhook"),
            "evaluateVariables" => (
                "orca.pipeline.tasks.EvaluateVariablesTask",
                "evaluateVariables",
            ),
            "manualJudgment" => (
                "orca.echo.pipeline.ManualJudgmentStage.WaitForManualJudgmentTask",
                "waitForJudgment",
            ),
            other => ("orca.pipeline.tasks.StandInTask", other),
        };
        let mut task = json!({
            "id": "1", "implementingClass": format!("com.netflix.spinnaker.{class}"),
            "loopEnd": false, "loopStart": false, "name": name, "stageEnd": true,
            "stageStart": true, "startTime": self.start_time, "status": self.status,
            "taskExceptionDetails": {},
        });
        if let Some(end) = self.end_time {
            task["endTime"] = json!(end);
        }
        task
    }
}

/// A ULID: 48 bits of time, 80 of chance.
pub(super) fn ulid(now: i64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let chance = uuid::Uuid::new_v4().as_u128() & ((1 << 80) - 1);
    let value = (u128::try_from(now).unwrap() << 80) | chance;
    let digit =
        |place: u32| char::from(DIGITS[usize::try_from((value >> (5 * place)) & 31).unwrap()]);
    (0..26).rev().map(digit).collect()
}
