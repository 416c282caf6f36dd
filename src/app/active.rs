//! What else runs: executions and tasks of the application that touch the accused service in its
//! environment, or may.
//!
//! A pipeline is configured for the service and environment, or for another one, or named harmless.
//! Of everything else the stages that are left are read: where they work, and whether that may be
//! where the service runs. What they do not tell counts as touching.

use super::live::parts;
use super::setup::Setup;
use crate::config::{Config, ServiceConfig, Template, Way};
use crate::decide::{ActiveExecution, Touches};
use crate::domain::id::{DeploymentId, Env, Service};
use crate::spinnaker::{Execution, ExecutionId, ExecutionStatus, Gate, GateError, Place};

/// Executions read per pipeline: those that are not terminal are few.
const ACTIVE_LIMIT: u32 = 20;
/// Tasks read of an application. More at once can't be told apart.
const TASK_LIMIT: u32 = 200;
/// A task's description is whatever its starter wrote.
const LONGEST_DESCRIPTION: usize = 80;
/// Statuses of an execution that may still touch hosts.
const ACTIVE: [ExecutionStatus; 6] = [
    ExecutionStatus::NotStarted,
    ExecutionStatus::Running,
    ExecutionStatus::Paused,
    ExecutionStatus::Suspended,
    ExecutionStatus::Buffered,
    ExecutionStatus::Redirect,
];

/// What is not terminal and touches the service in the environment, or may; the accused deployment
/// among it. Executions of pipelines that are not saved are not listed by Spinnaker, and other
/// applications are not looked at.
///
/// # Errors
/// Why it can't be told, in words.
pub(super) async fn active(
    setup: &Setup,
    service: &Service,
    env: &Env,
    accused: &DeploymentId,
) -> Result<Vec<ActiveExecution>, String> {
    let (gate, config) = parts(setup, service)?;
    let application = &config.application;
    let (executions, tasks) = tokio::join!(
        gate.application_executions(application, ACTIVE_LIMIT, &ACTIVE, None),
        gate.tasks_of(application, TASK_LIMIT, &ACTIVE),
    );
    let told = |error: GateError| error.to_string();
    let (executions, tasks) = (executions.map_err(told)?, tasks.map_err(told)?);
    if u32::try_from(tasks.len()).is_ok_and(|tasks| tasks >= TASK_LIMIT) {
        return Err(format!(
            "application `{application}` runs {TASK_LIMIT} tasks or more"
        ));
    }
    let mut active = Vec::new();
    let mut others = Vec::new();
    for execution in executions.into_iter().filter(is_active) {
        let (id, name) = (execution.id.as_str(), &execution.name);
        match owner(&setup.config, service, config, env, name) {
            Owner::Here => active.push(ActiveExecution::of_pipeline(id, name)),
            Owner::Elsewhere => {}
            Owner::Nobody => {
                let words = format!("execution {id} of pipeline {name}");
                others.push((words, execution));
            }
        }
    }
    for task in tasks.into_iter().filter(is_active) {
        let description: String = task.name.chars().take(LONGEST_DESCRIPTION).collect();
        others.push((format!("task {} ({description})", task.id), task));
    }
    // Mostly there is none, and then nobody needs to know where the service runs.
    others.retain(|(_, other)| other.id.as_str() != accused.as_str());
    if !others.is_empty() {
        let own = own_places(gate, config, service, env, accused).await?;
        active.extend(others.into_iter().filter_map(|(words, other)| {
            Some(ActiveExecution {
                id: other.id.to_string(),
                words,
                touches: touches(&other, &own)?,
            })
        }));
    }
    Ok(active)
}

fn is_active(execution: &Execution) -> bool {
    !execution.status.is_terminal()
}

/// For whom a pipeline of the application is configured.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// The service in the environment.
    Here,
    /// Another service or environment, or it is named harmless.
    Elsewhere,
    /// Nobody.
    Nobody,
}

fn owner(
    all: &Config,
    service: &Service,
    config: &ServiceConfig,
    env: &Env,
    pipeline: &str,
) -> Owner {
    let takes_back = |of: &ServiceConfig| {
        let mut ways = of.rollback.pipelines();
        ways.any(|way| way.pipeline == pipeline)
    };
    let deploys = |of: &ServiceConfig| of.deploy.iter().any(|one| one.pipeline == pipeline);
    let here = |one: &crate::config::DeployPipeline| one.pipeline == pipeline && one.env == *env;
    if config.deploy.iter().any(here) || takes_back(config) {
        return Owner::Here;
    }
    let harmless = config.harmless_pipelines.iter().any(|one| one == pipeline);
    let mut neighbours = all
        .services
        .iter()
        .filter(|(name, of)| *name != service && of.application == config.application);
    if harmless || deploys(config) || neighbours.any(|(_, of)| deploys(of) || takes_back(of)) {
        return Owner::Elsewhere;
    }
    Owner::Nobody
}

/// Where the service runs in the environment: by its ways back, and by what the accused execution
/// works on. Empty where neither names a place.
async fn own_places(
    gate: &Gate,
    config: &ServiceConfig,
    service: &Service,
    env: &Env,
    accused: &DeploymentId,
) -> Result<Vec<Place>, String> {
    let fill = |template: &Template| {
        template.fill(|field| match field {
            "service" => Some(service.to_string()),
            "env" => Some(env.to_string()),
            _ => None,
        })
    };
    let place = |way: &Way| {
        let [account, location, name] = match way {
            Way::Pipeline(_) => return None,
            Way::ServerGroup(way) => [&way.credentials, &way.region, &way.cluster],
            Way::UndoRollout(way) => [&way.account, &way.location, &way.manifest_name],
        };
        Some(Place::new(&fill(account)?, &fill(location)?, &fill(name)?))
    };
    let ways = [&config.rollback.batch, &config.rollback.full];
    let ways = ways.into_iter().flatten().filter_map(place);
    let execution = gate.execution(&ExecutionId::new(accused.as_str())).await;
    let execution = execution.map_err(|error| error.to_string())?;
    let stages = execution.iter().flat_map(|execution| &execution.stages);
    let worked = stages.flat_map(crate::spinnaker::Stage::places);
    Ok(ways.chain(worked.filter(Place::is_told)).collect())
}

/// What an execution that nobody is configured for will touch of `own`; None: surely nothing.
fn touches(execution: &Execution, own: &[Place]) -> Option<Touches> {
    if execution.stages.is_empty() {
        return Some(Touches::Untold("it shows no stages".to_owned()));
    }
    let mut untold = None;
    let left = execution.stages.iter();
    for stage in left.filter(|stage| !stage.status.is_terminal()) {
        for place in stage.places() {
            if own.iter().any(|own| place.is_told() && own.may_be(&place)) {
                return Some(Touches::Place(place.to_string()));
            }
            if untold.is_none() && (own.is_empty() || !place.is_told()) {
                untold = Some(Touches::Untold(why_untold(&stage.name, &place)));
            }
        }
    }
    untold
}

fn why_untold(stage: &str, place: &Place) -> String {
    if place.is_told() {
        return format!(
            "nothing in Spinnaker tells whether {place}, which its stage `{stage}` works on, is \
             part of this service"
        );
    }
    format!("its stage `{stage}` does not say what it touches")
}

#[cfg(test)]
mod tests;
