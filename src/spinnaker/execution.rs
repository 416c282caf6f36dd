//! An execution as this program thinks of it: typed, in run order, readable years later.
//!
//! These are our own shapes (a report keeps them), not Gate's: those are in `wire`.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Orca's id of an execution, a ULID in practice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(String);

impl ExecutionId {
    /// Takes an id as it was given.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an execution or a stage stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ExecutionStatus {
    /// Waiting for its turn.
    NotStarted,
    /// At work.
    Running,
    /// Paused by a person.
    Paused,
    /// Waiting for something outside.
    Suspended,
    /// Waiting for another execution of its pipeline.
    Buffered,
    /// Jumping to another stage.
    Redirect,
    /// Done.
    Succeeded,
    /// Not wanted, so not run.
    Skipped,
    /// Failed, and the pipeline was told to go on.
    FailedContinue,
    /// Failed.
    Terminal,
    /// Stopped by a person or a program.
    Canceled,
    /// Failed, and its branch was told to stop without failing the rest.
    Stopped,
    /// A word this program does not know; treated as running.
    Other(String),
}

impl ExecutionStatus {
    /// Whether nothing more will happen. Unknown words count as running, so that a newer
    /// Spinnaker makes us wait rather than act twice.
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::Skipped
                | Self::FailedContinue
                | Self::Terminal
                | Self::Canceled
                | Self::Stopped
        )
    }

    /// Whether it ended well. That it ended well does not say that it did anything.
    pub const fn succeeded(&self) -> bool {
        matches!(self, Self::Succeeded)
    }

    /// Orca's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Suspended => "SUSPENDED",
            Self::Buffered => "BUFFERED",
            Self::Redirect => "REDIRECT",
            Self::Succeeded => "SUCCEEDED",
            Self::Skipped => "SKIPPED",
            Self::FailedContinue => "FAILED_CONTINUE",
            Self::Terminal => "TERMINAL",
            Self::Canceled => "CANCELED",
            Self::Stopped => "STOPPED",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for ExecutionStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "NOT_STARTED" => Self::NotStarted,
            "RUNNING" => Self::Running,
            "PAUSED" => Self::Paused,
            "SUSPENDED" => Self::Suspended,
            "BUFFERED" => Self::Buffered,
            "REDIRECT" => Self::Redirect,
            "SUCCEEDED" => Self::Succeeded,
            "SKIPPED" => Self::Skipped,
            "FAILED_CONTINUE" => Self::FailedContinue,
            "TERMINAL" => Self::Terminal,
            "CANCELED" => Self::Canceled,
            "STOPPED" => Self::Stopped,
            _ => Self::Other(word),
        }
    }
}

impl From<ExecutionStatus> for String {
    fn from(status: ExecutionStatus) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Orca's id.
    pub id: ExecutionId,
    /// Spinnaker's application. Compare it before adopting an execution: Gate starts a pipeline
    /// by id whatever application the path names.
    pub application: String,
    /// The pipeline's name.
    pub name: String,
    /// The saved pipeline; absent for runs of an unsaved one.
    pub pipeline_config_id: Option<String>,
    /// The only field that tells how it went: `canceled` is also set on finished executions.
    pub status: ExecutionStatus,
    /// When Orca took it.
    pub build_time: Option<Timestamp>,
    /// When its first stage started.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// What started it.
    pub trigger: ExecutionTrigger,
    /// In run order: by start time, a synthetic stage right after the one it belongs to, stages
    /// not started last.
    pub stages: Vec<Stage>,
    /// Why it was canceled, or why it could not be started.
    pub cancellation_reason: Option<String>,
}

/// What started an execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutionTrigger {
    /// De-duplicates only while the execution runs.
    pub correlation_id: Option<String>,
    /// The starter's own id, kept as given.
    pub event_id: Option<String>,
    /// Who started it, as the starter says.
    pub user: Option<String>,
    /// Parameters with defaults filled in.
    pub parameters: BTreeMap<String, Value>,
}

impl ExecutionTrigger {
    /// A parameter's text, when it is one.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }
}

/// One stage of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Orca's id.
    pub id: String,
    /// Position in the saved pipeline.
    pub ref_id: String,
    /// Spinnaker's `type`, such as `webhook`.
    pub kind: String,
    /// Name shown to people.
    pub name: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// What it was given and what it noted; an object, empty where the answer was not expanded.
    pub context: Value,
    /// What it hands to later stages; an object.
    pub outputs: Value,
    /// The stage a synthetic one belongs to.
    pub parent: Option<String>,
    /// On which side of its parent a synthetic stage runs.
    pub owner: Option<StageOwner>,
}

/// Side of the parent on which a synthetic stage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOwner {
    /// Before the parent's own tasks.
    Before,
    /// After them.
    After,
}

/// A saved pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineConfig {
    /// Front50's id.
    pub id: String,
    /// Name, unique within its application.
    pub name: String,
    /// Starting it is refused.
    pub disabled: bool,
    /// As saved, expressions unresolved.
    pub stages: Vec<Value>,
    /// Declared parameters.
    pub parameters: Vec<Parameter>,
}

impl PipelineConfig {
    /// Names of the declared parameters.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|p| p.name.as_str())
    }
}

/// A declared parameter of a saved pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Starting without it is refused, unless there is a default.
    pub required: bool,
    /// Used when it is not given.
    pub default: Option<Value>,
}
