//! Gate as the engine's [`Spinnaker`].
//!
//! Executions are looked up by the pipeline's configuration id: Gate's search endpoint can hang
//! Orca for good.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::orders::{CantAsk, Order, Reach, Seen, Spinnaker, TriggerFailure};
use crate::domain::id::ExecutionId;
use crate::spinnaker::{
    self, Execution, Gate, GateError, Stage, StageOwner, Trigger, TriggerError,
};

/// Executions of one pipeline that a lookup reads, newest first.
const LOOKUP_LIMIT: u32 = 200;
/// Who starts rollbacks, as Spinnaker shows it.
const USER: &str = "backstop";

#[async_trait]
impl Spinnaker for Gate {
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure> {
        let trigger = Trigger {
            correlation_id: order.correlation_id(),
            event_id: order.correlation_id(),
            user: USER.into(),
            parameters: order.plan.parameters.clone(),
        };
        let plan = &order.plan;
        let named = Self::trigger(self, &plan.application, &plan.pipeline, &trigger).await?;
        named_by(&named).map_err(|CantAsk(why)| TriggerFailure::Unclear(why))
    }

    async fn find(&self, order: &Order) -> Result<Vec<Seen>, CantAsk> {
        let plan = &order.plan;
        let configs = self.pipeline_configs(&plan.application).await?;
        let config = configs.iter().find(|config| config.name == plan.pipeline);
        let config = config.ok_or_else(|| {
            CantAsk(format!(
                "application `{}` has no pipeline `{}`",
                plan.application, plan.pipeline
            ))
        })?;
        let listed = self.executions_of(&[&config.id], LOOKUP_LIMIT, &[]).await?;
        let seen = listed.iter().filter_map(|execution| see(execution).ok());
        Ok(seen.filter(|seen| order.is_answered_by(seen)).collect())
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        let id = spinnaker::ExecutionId::new(id.as_str());
        let execution = Self::execution(self, &id).await?;
        execution.as_ref().map(see).transpose()
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

/// An execution as the engine looks at it.
fn see(execution: &Execution) -> Result<Seen, CantAsk> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let parameters = execution.trigger.parameters.iter();
    Ok(Seen {
        id: named_by(&execution.id)?,
        application: execution.application.clone(),
        pipeline: execution.name.clone(),
        correlation_id: execution.trigger.correlation_id.clone(),
        event_id: execution.trigger.event_id.clone(),
        parameters: parameters
            .map(|(name, value)| (name.clone(), text(value)))
            .collect::<BTreeMap<_, _>>(),
        built_at: execution.build_time,
        status: execution.status.as_str().to_owned(),
        terminal: execution.status.is_terminal(),
        succeeded: execution.status.succeeded(),
        failure: execution.failure(),
        reach: reach(&execution.stages),
    })
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
    stage.kind == "webhook"
        && url.is_some_and(|url| {
            let path = url.split(['?', '#']).next().unwrap_or(url);
            path.contains("/incidents/") && path.ends_with("/admit")
        })
}

#[cfg(test)]
mod tests;
