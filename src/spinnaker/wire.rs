//! Gate's JSON, and the way from it to our own types.
//!
//! Lenient where Gate is: keys are absent instead of null, times are epoch milliseconds. Strict
//! where leniency would lie: an execution without an id fails the whole list, because a list that
//! silently lost a member reads as "it was never started".

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    Artifact, Execution, ExecutionId, ExecutionTrigger, Parameter, PipelineConfig, Stage,
    StageOwner, order::in_run_order,
};

/// Body of `POST /pipelines/{application}/{name}`; all of it becomes `execution.trigger`.
#[derive(Serialize)]
pub(super) struct TriggerBody<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) user: &'a str,
    #[serde(rename = "correlationId")]
    pub(super) correlation_id: &'a str,
    #[serde(rename = "eventId")]
    pub(super) event_id: &'a str,
    pub(super) parameters: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) artifacts: &'a [Artifact],
}

/// Answer to it.
#[derive(Deserialize)]
pub(super) struct TriggerAnswer {
    #[serde(rename = "ref")]
    reference: String,
}

/// What a call is to have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// An execution of a pipeline.
    Pipeline,
    /// A task.
    Task,
}

impl Started {
    fn prefix(self) -> &'static str {
        match self {
            Self::Pipeline => "/pipelines/",
            Self::Task => "/tasks/",
        }
    }
}

impl TriggerAnswer {
    /// The id in `/<place>/<id>`; an answer that names something else started nothing we asked for.
    pub(super) fn execution_id(&self, place: Started) -> Option<ExecutionId> {
        let id = self.reference.strip_prefix(place.prefix())?;
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && !id.is_empty()).then(|| ExecutionId::new(id))
    }
}

/// Body of an error answer.
#[derive(Deserialize, Default)]
pub(super) struct ErrorBody {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) exception: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) message: String,
}

impl ErrorBody {
    /// Gate could not connect to what stands behind it, so nothing was handed on.
    pub(super) fn is_failed_connect(&self) -> bool {
        // The part before names application and pipeline, which could hold any words.
        let cause = self.message.rsplit("). Error: ").next().unwrap_or_default();
        self.exception.ends_with(".SpinnakerNetworkException")
            && cause.contains("ConnectException")
            && cause.contains("Failed to connect")
    }
}

/// `GET /auth/user`.
#[derive(Deserialize)]
pub(super) struct UserAnswer {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) username: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) email: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecutionBody {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    application: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    /// What a task has for a name.
    #[serde(default, deserialize_with = "or_default")]
    description: String,
    pipeline_config_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "epoch_ms")]
    build_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "epoch_ms")]
    start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "epoch_ms")]
    end_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    trigger: TriggerRecord,
    #[serde(default, deserialize_with = "or_default")]
    stages: Vec<StageBody>,
    cancellation_reason: Option<String>,
}

/// `GET /tasks/{id}`: the execution, wrapped. The outer fields repeat the inner ones.
#[derive(Deserialize)]
pub(super) struct TaskBody {
    execution: ExecutionBody,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct TriggerRecord {
    correlation_id: Option<String>,
    event_id: Option<String>,
    user: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    parameters: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StageBody {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    ref_id: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "epoch_ms")]
    start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "epoch_ms")]
    end_time: Option<Timestamp>,
    #[serde(default = "empty_object", deserialize_with = "object")]
    context: Value,
    #[serde(default = "empty_object", deserialize_with = "object")]
    outputs: Value,
    parent_stage_id: Option<String>,
    synthetic_stage_owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PipelineConfigBody {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    disabled: bool,
    #[serde(default, deserialize_with = "or_default")]
    stages: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    parameter_config: Vec<ParameterBody>,
}

#[derive(Deserialize)]
struct ParameterBody {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    required: bool,
    default: Option<Value>,
}

impl From<ExecutionBody> for Execution {
    fn from(body: ExecutionBody) -> Self {
        let stages = body.stages.into_iter().map(Stage::from).collect();
        Self {
            id: ExecutionId::new(body.id),
            application: body.application,
            name: body.name,
            pipeline_config_id: body.pipeline_config_id,
            status: body.status.into(),
            build_time: body.build_time,
            start_time: body.start_time,
            end_time: body.end_time,
            trigger: ExecutionTrigger {
                correlation_id: body.trigger.correlation_id,
                event_id: body.trigger.event_id,
                user: body.trigger.user,
                parameters: body.trigger.parameters,
            },
            stages: in_run_order(stages),
            cancellation_reason: body.cancellation_reason,
        }
    }
}

impl From<TaskBody> for Execution {
    fn from(body: TaskBody) -> Self {
        let description = body.execution.description.clone();
        let mut execution = Self::from(body.execution);
        execution.name = description;
        execution
    }
}

impl From<StageBody> for Stage {
    fn from(body: StageBody) -> Self {
        let owner = match body.synthetic_stage_owner.as_deref() {
            Some("STAGE_BEFORE") => Some(StageOwner::Before),
            Some("STAGE_AFTER") => Some(StageOwner::After),
            _ => None,
        };
        Self {
            id: body.id,
            ref_id: body.ref_id,
            kind: body.kind,
            name: body.name,
            status: body.status.into(),
            start_time: body.start_time,
            end_time: body.end_time,
            context: body.context,
            outputs: body.outputs,
            parent: body.parent_stage_id,
            owner,
        }
    }
}

impl From<PipelineConfigBody> for PipelineConfig {
    fn from(body: PipelineConfigBody) -> Self {
        let parameters = body.parameter_config.into_iter().map(|p| Parameter {
            name: p.name,
            required: p.required,
            default: p.default,
        });
        Self {
            id: body.id,
            name: body.name,
            disabled: body.disabled,
            stages: body.stages,
            parameters: parameters.collect(),
        }
    }
}

/// Null reads as absent.
pub(super) fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Anything but an object reads as an empty one.
fn object<'de, D: Deserializer<'de>>(input: D) -> Result<Value, D::Error> {
    let value = Value::deserialize(input)?;
    Ok(if value.is_object() {
        value
    } else {
        empty_object()
    })
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// A number, or a number in quotes; anything else is no time.
fn epoch_ms<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Timestamp>, D::Error> {
    let value = Value::deserialize(input)?;
    let ms = match &value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    Ok(ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}
