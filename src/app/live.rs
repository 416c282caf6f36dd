//! What only Spinnaker can say right before something is done: what runs now, and how far the
//! accused deployment is.

use crate::config::ServiceConfig;
use crate::decide::ActiveExecution;
use crate::domain::deployment::Deployment;
use crate::domain::id::{Env, Service};
use crate::spinnaker::{ExecutionId, ExecutionStatus, Gate};
use crate::sync;

use super::setup::Setup;

/// Executions read per pipeline: those that are not terminal are few.
const ACTIVE_LIMIT: u32 = 20;
/// Statuses of an execution that may still touch hosts.
const ACTIVE: [ExecutionStatus; 5] = [
    ExecutionStatus::NotStarted,
    ExecutionStatus::Running,
    ExecutionStatus::Paused,
    ExecutionStatus::Suspended,
    ExecutionStatus::Buffered,
];

/// Executions of the service's pipelines that are not terminal.
///
/// # Errors
/// Why it can't be told, in words.
pub(super) async fn active(
    setup: &Setup,
    service: &Service,
    env: &Env,
) -> Result<Vec<ActiveExecution>, String> {
    let (gate, config) = parts(setup, service)?;
    let ours = |pipeline: &str| {
        let deploys = config
            .deploy
            .iter()
            .any(|deploy| deploy.pipeline == pipeline && deploy.env == *env);
        let rollbacks = [&config.rollback.batch, &config.rollback.full];
        deploys
            || rollbacks
                .into_iter()
                .flatten()
                .any(|rollback| rollback.pipeline == pipeline)
    };
    let found = gate
        .application_executions(&config.application, ACTIVE_LIMIT, &ACTIVE, None)
        .await;
    let found = found.map_err(|error| error.to_string())?;
    Ok(found
        .into_iter()
        .filter(|execution| ours(&execution.name) && !execution.status.is_terminal())
        .map(|execution| ActiveExecution {
            id: execution.id.to_string(),
            pipeline: execution.name,
        })
        .collect())
}

/// A deployment as Spinnaker sees it now: the catalog's answer may be seconds old.
///
/// # Errors
/// Why it can't be told, in words.
pub(super) async fn deployment(
    setup: &Setup,
    service: &Service,
    env: &Env,
    known: &Deployment,
) -> Result<Deployment, String> {
    let (gate, config) = parts(setup, service)?;
    let id = ExecutionId::new(known.id.as_str());
    let execution = gate
        .execution(&id)
        .await
        .map_err(|error| error.to_string())?;
    // Spinnaker forgets after days; then the catalog, which does not, is the only witness.
    let Some(execution) = execution else {
        return if known.is_active() {
            Err(format!(
                "spinnaker does not know the running deployment `{}`",
                known.id
            ))
        } else {
            Ok(known.clone())
        };
    };
    let pipeline = config
        .deploy
        .iter()
        .find(|deploy| deploy.pipeline == execution.name && deploy.env == *env)
        .ok_or_else(|| {
            format!(
                "`{}` ran in pipeline `{}`, which is not configured",
                known.id, execution.name
            )
        })?;
    sync::deployment_of(&execution, service, config, pipeline).map_err(|error| error.to_string())
}

fn parts<'a>(setup: &'a Setup, service: &Service) -> Result<(&'a Gate, &'a ServiceConfig), String> {
    let gate = setup.gate.as_ref().ok_or("no Spinnaker is configured")?;
    let config = setup
        .config
        .services
        .get(service)
        .ok_or_else(|| format!("service `{service}` is not configured"))?;
    Ok((gate, config))
}
