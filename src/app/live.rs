//! What only Spinnaker can say right before something is done: how far the accused deployment is.

use crate::config::ServiceConfig;
use crate::domain::deployment::Deployment;
use crate::domain::id::{Env, Service};
use crate::spinnaker::{ExecutionId, Gate};
use crate::sync;

use super::setup::Setup;

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
    let told = sync::deployment_of(&execution, service, config, pipeline);
    let told = told.map_err(|error| error.to_string())?;
    Ok(with_announced(told, known))
}

/// Stages that are our own webhooks name no batch to Spinnaker; then the batches announced to us
/// count.
fn with_announced(mut told: Deployment, known: &Deployment) -> Deployment {
    if told.batches.is_empty() {
        told.batches.clone_from(&known.batches);
        if told.target_hosts.is_empty() {
            told.target_hosts.clone_from(&known.target_hosts);
        }
    }
    told
}

/// Gate, and the service's configuration.
///
/// # Errors
/// Which of them is not configured.
pub(super) fn parts<'a>(
    setup: &'a Setup,
    service: &Service,
) -> Result<(&'a Gate, &'a ServiceConfig), String> {
    let gate = setup.gate.as_ref().ok_or("no Spinnaker is configured")?;
    let config = setup
        .config
        .services
        .get(service)
        .ok_or_else(|| format!("service `{service}` is not configured"))?;
    Ok((gate, config))
}
