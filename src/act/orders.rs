//! What the engine asks of Spinnaker, and which execution answers an order.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::id::{ExecutionId, IncidentId};
use crate::domain::lane::{Incident, Plan};

/// One attempt of an incident, as Spinnaker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// For whom.
    pub incident: IncidentId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What is sent.
    pub plan: Plan,
}

impl Order {
    /// The order of an incident's newest attempt; None while nothing was planned.
    pub fn newest(incident: &Incident) -> Option<Self> {
        Some(Self {
            incident: incident.id.clone(),
            attempt: incident.attempt,
            plan: incident.plan.clone()?,
        })
    }

    /// Correlation id and event id in one: Orca keeps both, and an incident's attempt is told by
    /// either.
    pub fn correlation_id(&self) -> String {
        format!("bs-{}-{}", self.incident, self.attempt)
    }

    /// Whether `seen` is an execution of this order: application, pipeline, ids and every
    /// parameter agree. Anything less is never adopted.
    pub fn is_answered_by(&self, seen: &Seen) -> bool {
        let id = self.correlation_id();
        let ids = [&seen.correlation_id, &seen.event_id];
        let mut told = ids.into_iter().flatten().peekable();
        told.peek().is_some()
            && told.all(|told| *told == id)
            && seen.application == self.plan.application
            && seen.pipeline == self.plan.pipeline
            && self
                .plan
                .parameters
                .iter()
                .all(|(name, value)| seen.parameters.get(name) == Some(value))
    }
}

/// How far an execution got, as far as hosts are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No stage behind its admit stage has begun, and that one did not pass.
    Nothing,
    /// Its admit stage passed.
    PastAdmission,
    /// It can't be told, or it has no admit stage.
    Unclear,
}

/// What an execution waits for, with the words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// For nothing: it is at work, or over.
    No,
    /// For its turn; that comes, or not.
    Turn(String),
    /// For a person: it goes no further by itself.
    Person(String),
}

/// What an execution that ended well has done, by its own outputs and by what runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster shows it; the words say what.
    Shown(String),
    /// Nothing it says can be looked at; the words, if any, are for people.
    Silent(String),
    /// The cluster shows something else. Its view lags behind.
    Contradicted(String),
    /// By its own outputs it did nothing, or not all of it.
    Nothing(String),
}

/// An execution as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: ExecutionId,
    /// Spinnaker's application.
    pub application: String,
    /// The pipeline's name; of a task its job's type.
    pub pipeline: String,
    /// As the trigger gave it.
    pub correlation_id: Option<String>,
    /// As the trigger gave it.
    pub event_id: Option<String>,
    /// Parameters, or a job's fields, as text.
    pub parameters: BTreeMap<String, String>,
    /// When Orca took it.
    pub built_at: Option<Timestamp>,
    /// Spinnaker's word.
    pub status: String,
    /// Whether nothing more will happen in it.
    pub terminal: bool,
    /// Whether it ended well.
    pub succeeded: bool,
    /// The failure's text, when it failed.
    pub failure: Option<String>,
    /// What it waits for, while it does not run by itself.
    pub waiting: Waiting,
    /// How far it got. Only meaningful where the execution was read whole.
    pub reach: Reach,
}

/// A trigger that named no execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TriggerFailure {
    /// Nothing was started; the same attempt may be sent again.
    #[error("nothing was started: {0}")]
    NotSent(String),
    /// Nothing was started, and the same call would never work.
    #[error("spinnaker refuses: {0}")]
    Refused(String),
    /// Nobody knows.
    #[error("it is not known whether it was started: {0}")]
    Unclear(String),
}

/// A question that got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spinnaker can't be asked: {0}")]
pub struct CantAsk(pub String);

/// Spinnaker, as the engine needs it. Each call is over within the engine's `http_timeout`.
#[async_trait]
pub trait Spinnaker: Send + Sync + fmt::Debug {
    /// Starts the rollback pipeline, or the task.
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure>;

    /// Every execution that answers the order, of those Spinnaker lists.
    async fn find(&self, order: &Order) -> Result<Vec<Seen>, CantAsk>;

    /// Reads a pipeline's execution whole; None when Spinnaker has none of that id.
    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk>;

    /// Reads the execution of an order whole; None when Spinnaker has none of that id.
    async fn execution_of(&self, order: &Order, id: &ExecutionId) -> Result<Option<Seen>, CantAsk>;

    /// What the execution of an order, which ended well, has done.
    async fn outcome(&self, order: &Order, id: &ExecutionId) -> Result<Outcome, CantAsk>;

    /// Asks for a cancel, which happens later. Never for an execution that is terminal.
    async fn cancel(&self, id: &ExecutionId, reason: &str) -> Result<(), CantAsk>;

    /// Whether the pipeline is there to be started.
    async fn pipeline_config_exists(
        &self,
        application: &str,
        pipeline: &str,
    ) -> Result<bool, CantAsk>;
}

/// The execution to adopt of those that answer an order: one that still runs before one that
/// ended, then the oldest. Which of several touches hosts is not decided here but by admission.
pub fn adopt(order: &Order, found: Vec<Seen>) -> Option<Seen> {
    found
        .into_iter()
        .filter(|seen| order.is_answered_by(seen))
        .min_by(|a, b| {
            let rank = |seen: &Seen| (seen.terminal, seen.built_at, seen.id.clone());
            rank(a).cmp(&rank(b))
        })
}

#[cfg(test)]
mod tests;
