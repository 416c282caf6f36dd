//! Gate as the engine's [`Spinnaker`].
//!
//! Executions are looked up by the pipeline's configuration id: Gate's search endpoint can hang
//! Orca for good.

mod outcome;
mod task;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::orders::{CantAsk, Order, Outcome, Reach, Seen, Spinnaker, TriggerFailure, Waiting};
use crate::domain::id::ExecutionId;
use crate::spinnaker::{
    self, Execution, ExecutionStatus, Gate, GateError, Stage, StageOwner, Trigger, TriggerError,
};

pub use task::{Wish, task};

/// Executions of one pipeline, or tasks, that a lookup reads, newest first.
const LOOKUP_LIMIT: u32 = 200;
/// Who starts rollbacks, as Spinnaker shows it.
const USER: &str = "backstop";

#[async_trait]
impl Spinnaker for Gate {
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure> {
        let plan = &order.plan;
        if let Some(job) = &plan.task {
            return task::start(self, order, job).await;
        }
        let trigger = Trigger {
            correlation_id: order.correlation_id(),
            event_id: order.correlation_id(),
            user: USER.into(),
            parameters: plan.parameters.clone(),
        };
        let named = Self::trigger(self, &plan.application, &plan.pipeline, &trigger).await?;
        named_by(&named).map_err(|CantAsk(why)| TriggerFailure::Unclear(why))
    }

    async fn find(&self, order: &Order) -> Result<Vec<Seen>, CantAsk> {
        let plan = &order.plan;
        let listed = if plan.task.is_some() {
            self.tasks_of(&plan.application, LOOKUP_LIMIT, &[]).await?
        } else {
            let configs = self.pipeline_configs(&plan.application).await?;
            let config = configs.iter().find(|config| config.name == plan.pipeline);
            let config = config.ok_or_else(|| {
                CantAsk(format!(
                    "application `{}` has no pipeline `{}`",
                    plan.application, plan.pipeline
                ))
            })?;
            self.executions_of(&[&config.id], LOOKUP_LIMIT, &[]).await?
        };
        let seen = listed.iter().filter_map(|one| see(one, Some(order)).ok());
        Ok(seen.filter(|seen| order.is_answered_by(seen)).collect())
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        let id = spinnaker::ExecutionId::new(id.as_str());
        let execution = Self::execution(self, &id).await?;
        execution.as_ref().map(|one| see(one, None)).transpose()
    }

    async fn execution_of(&self, order: &Order, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        let read = read(self, order, id).await?;
        read.as_ref().map(|one| see(one, Some(order))).transpose()
    }

    async fn outcome(&self, order: &Order, id: &ExecutionId) -> Result<Outcome, CantAsk> {
        let read = read(self, order, id).await?;
        let execution = read.ok_or_else(|| CantAsk(format!("it no longer knows `{id}`")))?;
        outcome::outcome(self, order, &execution).await
    }

    async fn cancel(&self, id: &ExecutionId, reason: &str) -> Result<(), CantAsk> {
        let id = spinnaker::ExecutionId::new(id.as_str());
        Ok(Self::cancel(self, &id, reason).await?)
    }

    async fn pipeline_config_exists(
        &self,
        application: &str,
        pipeline: &str,
    ) -> Result<bool, CantAsk> {
        let configs = self.pipeline_configs(application).await?;
        Ok(configs
            .iter()
            .any(|config| config.name == pipeline && !config.disabled))
    }
}

/// The execution of an order, whole: a pipeline's or a task's.
async fn read(
    gate: &Gate,
    order: &Order,
    id: &ExecutionId,
) -> Result<Option<Execution>, GateError> {
    let id = spinnaker::ExecutionId::new(id.as_str());
    if order.plan.task.is_some() {
        gate.task(&id).await
    } else {
        Gate::execution(gate, &id).await
    }
}

impl From<GateError> for CantAsk {
    fn from(error: GateError) -> Self {
        Self(error.to_string())
    }
}

impl From<TriggerError> for TriggerFailure {
    fn from(error: TriggerError) -> Self {
        match error {
            TriggerError::NotSent(error) => Self::NotSent(error.to_string()),
            TriggerError::Refused { status, message } => {
                Self::Refused(format!("status {status}: {message}"))
            }
            TriggerError::Unclear(error) => Self::Unclear(error.to_string()),
        }
    }
}

fn named_by(id: &spinnaker::ExecutionId) -> Result<ExecutionId, CantAsk> {
    ExecutionId::new(id.as_str()).map_err(|error| CantAsk(error.to_string()))
}

/// An execution as the engine looks at it. That of a task is known by its job.
fn see(execution: &Execution, order: Option<&Order>) -> Result<Seen, CantAsk> {
    let job = order.filter(|order| order.plan.task.is_some());
    let job = job.and(execution.stages.first());
    let (pipeline, parameters) = if let Some(job) = job {
        (job.kind.clone(), job_fields(job))
    } else {
        let parameters = execution.trigger.parameters.iter();
        let parameters = parameters.map(|(name, value)| (name.clone(), text(value)));
        (execution.name.clone(), parameters.collect())
    };
    Ok(Seen {
        id: named_by(&execution.id)?,
        application: execution.application.clone(),
        pipeline,
        correlation_id: execution.trigger.correlation_id.clone(),
        event_id: execution.trigger.event_id.clone(),
        parameters,
        built_at: execution.build_time,
        status: execution.status.as_str().to_owned(),
        terminal: execution.status.is_terminal(),
        succeeded: execution.status.succeeded(),
        failure: execution.failure(),
        waiting: waiting(execution),
        reach: reach(&execution.stages),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A job's fields as [`crate::domain::lane::Task::fields`] names them.
fn job_fields(job: &Stage) -> BTreeMap<String, String> {
    let own = job.context.as_object().into_iter().flatten();
    let own = own.map(|(name, value)| (name.clone(), text(value)));
    let nested = rollback_context(job).into_iter().flatten();
    let nested = nested.map(|(name, value)| (format!("rollbackContext.{name}"), text(value)));
    own.chain(nested).collect()
}

/// What a `rollbackServerGroup` stage was told to do.
fn rollback_context(stage: &Stage) -> Option<&serde_json::Map<String, Value>> {
    stage.context.get("rollbackContext")?.as_object()
}

/// What an execution waits for. A judgment stage keeps its execution `RUNNING`.
fn waiting(execution: &Execution) -> Waiting {
    let judged = execution
        .stages
        .iter()
        .find(|stage| stage.kind == "manualJudgment" && stage.status == ExecutionStatus::Running);
    let id = &execution.id;
    match (&execution.status, judged) {
        (ExecutionStatus::Paused, _) => Waiting::Person(format!(
            "execution {id} is paused in Spinnaker: resume or cancel it there"
        )),
        (ExecutionStatus::Running, Some(stage)) => Waiting::Person(format!(
            "execution {id} waits for a judgment in Spinnaker, at stage `{}`",
            stage.name
        )),
        (
            status @ (ExecutionStatus::NotStarted
            | ExecutionStatus::Buffered
            | ExecutionStatus::Suspended),
            _,
        ) => Waiting::Turn(format!("execution {id} does not run: it is {status}")),
        _ => Waiting::No,
    }
}

/// How far the stages got. A stage has begun once it has a start time; what belongs to the admit
/// stage, or runs before its tasks, touches no host.
fn reach(stages: &[Stage]) -> Reach {
    let begun = |stage: &&Stage| stage.start_time.is_some();
    if !stages.iter().any(|stage| begun(&stage)) {
        return Reach::Nothing;
    }
    let Some(admit) = stages.iter().find(|stage| asks_for_admission(stage)) else {
        return Reach::Unclear;
    };
    if admit.status.succeeded() {
        return Reach::PastAdmission;
    }
    let belongs = |stage: &&Stage| {
        stage.id == admit.id
            || (stage.parent.as_deref() == Some(admit.id.as_str())
                && stage.owner == Some(StageOwner::Before))
    };
    if stages.iter().filter(begun).all(|stage| belongs(&stage)) {
        Reach::Nothing
    } else {
        Reach::Unclear
    }
}

/// Whether a stage is the webhook of the shipped rollback pipelines that asks to be let in.
fn asks_for_admission(stage: &Stage) -> bool {
    let url = stage.context.get("url").and_then(Value::as_str);
    stage.kind == "webhook" && url.is_some_and(spinnaker::is_admit_url)
}

#[cfg(test)]
mod tests;
