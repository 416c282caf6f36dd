//! An execution as the deployment it is, read by the configured templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::template::lookup;
use crate::config::{DeployPipeline, RollbackPipeline, ServiceConfig, Template};
use crate::domain::deployment::{Batch, Deployment, Status, Strategy};
use crate::domain::id::{
    DeploymentId, Env, Host, IncidentId, InvalidId, LaneName, ReleaseId, Service,
};
use crate::spinnaker::{Execution, ExecutionStatus, Stage};

/// An execution that can't be understood with the configuration at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A template asks for something the execution does not have.
    #[error("the template for the {what} names `{field}`, which the execution does not have")]
    Missing {
        /// Release, batch or hosts.
        what: &'static str,
        /// The field.
        field: String,
    },
    /// A value that is no id.
    #[error("the {what} is unusable: {source}")]
    Invalid {
        /// Release, host or execution.
        what: &'static str,
        /// Why.
        #[source]
        source: InvalidId,
    },
    /// A batch that is no ordinal.
    #[error("the batch of stage `{stage}` is `{text}`, not a number from 1")]
    Batch {
        /// The stage's name.
        stage: String,
        /// What it says.
        text: String,
    },
    /// A rollback whose batches are no ordinals.
    #[error("the batches of the rollback are `{0}`, not numbers from 1 joined by commas")]
    Batches(String),
    /// A rollback that does not say where it ran.
    #[error(
        "nothing tells the env of the rollback: map `{{env}}` or `{{incident.id}}` to a parameter"
    )]
    UnknownEnv,
    /// A rollback that does not say what it went back to.
    #[error("nothing tells the release gone back to: map `{{target.release_id}}` to a parameter")]
    UnknownTarget,
}

/// The deploy pipeline an execution ran in.
pub(super) fn deploy_pipeline<'a>(
    execution: &Execution,
    config: &'a ServiceConfig,
) -> Option<&'a DeployPipeline> {
    let ran_in = |pipeline: &&DeployPipeline| pipeline.pipeline == execution.name;
    config.deploy.iter().find(ran_in)
}

/// Whether an execution ran in one of the rollback pipelines.
pub(super) fn is_rollback(execution: &Execution, config: &ServiceConfig) -> bool {
    rollback_pipeline(execution, config).is_some()
}

fn rollback_pipeline<'a>(
    execution: &Execution,
    config: &'a ServiceConfig,
) -> Option<&'a RollbackPipeline> {
    let mut pipelines = config.rollback.pipelines();
    pipelines.find(|one| one.pipeline == execution.name)
}

/// Where the names in templates are looked up.
struct Scope<'a> {
    execution: &'a Execution,
    stage: Option<&'a Stage>,
}

impl Scope<'_> {
    /// The value of a dotted name; None when there is none.
    fn value(&self, name: &str) -> Option<Value> {
        let text = |text: &str| Some(Value::from(text));
        if let Some(path) = name.strip_prefix("parameters.") {
            let parameters = &self.execution.trigger.parameters;
            if let Some(found) = parameters.get(path) {
                return Some(found.clone());
            }
            let (head, tail) = path.split_once('.')?;
            return lookup(parameters.get(head)?, tail).cloned();
        }
        if let Some(path) = name.strip_prefix("stage.context.") {
            return lookup(&self.stage?.context, path).cloned();
        }
        if let Some(path) = name.strip_prefix("stage.outputs.") {
            return lookup(&self.stage?.outputs, path).cloned();
        }
        match name {
            "stage.name" => text(&self.stage?.name),
            "stage.type" => text(&self.stage?.kind),
            "execution.id" => text(self.execution.id.as_str()),
            "execution.name" => text(&self.execution.name),
            "trigger.user" => text(self.execution.trigger.user.as_deref()?),
            _ => None,
        }
    }

    /// The filled template. None where a stage does not have what it asks for, or not yet: most
    /// stages are no batches, and expressions are resolved when a stage starts.
    fn fill(&self, template: &Template, what: &'static str) -> Result<Option<String>, ReadError> {
        for field in template.fields() {
            match self.value(field) {
                Some(value) if text(&value).is_some_and(|text| !text.contains("${")) => {}
                _ if field.starts_with("stage.") => return Ok(None),
                _ => {
                    let field = field.to_owned();
                    return Err(ReadError::Missing { what, field });
                }
            }
        }
        Ok(template.fill(|field| text(&self.value(field)?)))
    }
}

/// A value as text: numbers as written, lists joined by commas. None for an object.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(text).collect();
            items.map(|items| items.join(","))
        }
        Value::Object(_) => None,
    }
}

/// Reads a run of `pipeline`.
///
/// # Errors
/// When a template asks for what is not there, or finds what it can't be.
pub fn deployment_of(
    execution: &Execution,
    service: &Service,
    config: &ServiceConfig,
    pipeline: &DeployPipeline,
) -> Result<Deployment, ReadError> {
    let scope = Scope {
        execution,
        stage: None,
    };
    let release = scope
        .fill(&pipeline.release, "release")?
        .unwrap_or_default();
    let batches = match &pipeline.batch {
        Some(batch) => batches(execution, batch, pipeline.hosts.as_ref())?,
        None => one_batch(execution, pipeline.hosts.as_ref())?,
    };
    Ok(Deployment {
        id: execution_id(execution)?,
        release_id: release_id(service, &release, &config.tag_prefix)?,
        service: service.clone(),
        env: pipeline.env.clone(),
        strategy: pipeline.strategy,
        target_hosts: members(&batches),
        batches,
        status: status(&execution.status),
        started_at: execution.start_time.or(execution.build_time),
        finished_at: execution.end_time,
        soak: pipeline.soak,
        application: execution.application.clone(),
        pipeline: execution.name.clone(),
        is_rollback: false,
    })
}

/// Reads a run of a rollback pipeline: a deployment of the release gone back to. What it went
/// back to, where and on which hosts is read from the parameters we would have sent ourselves.
///
/// # Errors
/// When release or env can't be told.
pub fn rollback_of(
    execution: &Execution,
    service: &Service,
    config: &ServiceConfig,
) -> Result<Deployment, ReadError> {
    let pipeline = rollback_pipeline(execution, config).ok_or(ReadError::UnknownTarget)?;
    let sent = |field: &str| {
        let mapped = pipeline.parameters.iter();
        let mut mapped = mapped.filter(|(_, template)| template.only_field() == Some(field));
        let (name, _) = mapped.next()?;
        let value = text(execution.trigger.parameters.get(name)?)?;
        (!value.is_empty()).then_some(value)
    };
    let target = sent("target.release_id").or_else(|| sent("target.version"));
    let target = target.ok_or(ReadError::UnknownTarget)?;
    let env = rollback_env(service, config, sent("env"), sent("incident.id"))?;
    // Long lists are sent as an address, which is not asked here.
    let list = sent("hosts").filter(|text| !text.contains("://"));
    let hosts = hosts_in(&list.unwrap_or_default())?;
    let started_at = execution.start_time.or(execution.build_time);
    let status = status(&execution.status);
    let numbers = sent("batches").filter(|_| hosts.is_empty());
    let numbers = numbers.map_or_else(|| Ok(vec![1]), |text| ordinals(&text))?;
    let batch = |n| Batch {
        n,
        hosts: hosts.clone(),
        status,
        started_at,
        finished_at: execution.end_time,
    };
    let deploy = config.deploy.iter().find(|pipeline| pipeline.env == env);
    Ok(Deployment {
        id: execution_id(execution)?,
        release_id: release_id(service, &target, &config.tag_prefix)?,
        service: service.clone(),
        env,
        strategy: Strategy::All,
        target_hosts: hosts.clone(),
        batches: numbers.into_iter().map(batch).collect(),
        status,
        started_at,
        finished_at: execution.end_time,
        soak: deploy.map(|pipeline| pipeline.soak).unwrap_or_default(),
        application: execution.application.clone(),
        pipeline: execution.name.clone(),
        is_rollback: true,
    })
}

/// Ordinals joined by commas.
fn ordinals(text: &str) -> Result<Vec<u32>, ReadError> {
    let read = |one: &str| one.trim().parse().ok().filter(|n| *n > 0);
    let all: Option<Vec<u32>> = text.split(',').map(read).collect();
    all.ok_or_else(|| ReadError::Batches(text.to_owned()))
}

/// Where a rollback ran: by its env parameter, its incident's lane, or there is only one env.
fn rollback_env(
    service: &Service,
    config: &ServiceConfig,
    env: Option<String>,
    incident: Option<String>,
) -> Result<Env, ReadError> {
    let envs: BTreeSet<&Env> = config.deploy.iter().map(|pipeline| &pipeline.env).collect();
    if let Some(env) = env {
        return Env::new(env).map_err(|source| ReadError::Invalid {
            what: "env",
            source,
        });
    }
    let lane = incident.and_then(|id| Some(IncidentId::new(id).ok()?.parts()?.0));
    let of_lane = |env: &&&Env| LaneName::of(service, env).ok() == lane;
    if let Some(env) = lane.as_ref().and_then(|_| envs.iter().find(of_lane)) {
        return Ok((**env).clone());
    }
    match envs.iter().collect::<Vec<_>>().as_slice() {
        [only] => Ok((***only).clone()),
        _ => Err(ReadError::UnknownEnv),
    }
}

/// A release id as it is, a version, or a tag with its prefix.
fn release_id(service: &Service, text: &str, prefix: &str) -> Result<ReleaseId, ReadError> {
    let is_id = text
        .strip_prefix(service.as_str())
        .is_some_and(|rest| rest.starts_with('@'));
    let id = if is_id {
        ReleaseId::new(text)
    } else if text.is_empty() {
        Err(InvalidId(String::new()))
    } else {
        ReleaseId::of(service, text.strip_prefix(prefix).unwrap_or(text))
    };
    id.map_err(|source| ReadError::Invalid {
        what: "release",
        source,
    })
}

fn execution_id(execution: &Execution) -> Result<DeploymentId, ReadError> {
    DeploymentId::new(execution.id.as_str()).map_err(|source| ReadError::Invalid {
        what: "execution",
        source,
    })
}

/// Every stage that names a batch, those not started among them; several stages of one batch
/// (announce, deploy, check) are one.
fn batches(
    execution: &Execution,
    template: &Template,
    hosts: Option<&Template>,
) -> Result<Vec<Batch>, ReadError> {
    let mut stages: BTreeMap<u32, Vec<&Stage>> = BTreeMap::new();
    for stage in &execution.stages {
        let scope = Scope {
            execution,
            stage: Some(stage),
        };
        let Some(text) = scope
            .fill(template, "batch")?
            .filter(|text| !text.is_empty())
        else {
            continue;
        };
        let n = text.parse().ok().filter(|n| *n > 0);
        let n = n.ok_or_else(|| ReadError::Batch {
            stage: stage.name.clone(),
            text,
        })?;
        stages.entry(n).or_default().push(stage);
    }
    let batch = |(n, stages): (u32, Vec<&Stage>)| {
        let status = folded(&stages, &execution.status);
        let is_over = !matches!(status, Status::Pending | Status::Running);
        // A stage that was passed over did nothing to its hosts.
        let ran = |stage: &&&Stage| stage.status != ExecutionStatus::Skipped;
        let starts = stages.iter().filter(ran).filter_map(|one| one.start_time);
        let ends = stages.iter().filter(ran).filter_map(|one| one.end_time);
        Ok(Batch {
            n,
            hosts: hosts_of(execution, &stages, hosts)?,
            status,
            started_at: starts.min(),
            finished_at: ends.max().filter(|_| is_over),
        })
    };
    stages.into_iter().map(batch).collect()
}

/// A deployment in one go.
fn one_batch(execution: &Execution, hosts: Option<&Template>) -> Result<Vec<Batch>, ReadError> {
    let stages: Vec<&Stage> = execution.stages.iter().collect();
    Ok(vec![Batch {
        n: 1,
        hosts: hosts_of(execution, &stages, hosts)?,
        status: status(&execution.status),
        started_at: execution.start_time,
        finished_at: execution.end_time,
    }])
}

fn hosts_of(
    execution: &Execution,
    stages: &[&Stage],
    template: Option<&Template>,
) -> Result<Vec<Host>, ReadError> {
    let Some(template) = template else {
        return Ok(Vec::new());
    };
    let mut found: Vec<Host> = Vec::new();
    let mut seen: BTreeSet<Host> = BTreeSet::new();
    for stage in stages {
        let scope = Scope {
            execution,
            stage: Some(stage),
        };
        let text = scope.fill(template, "hosts")?.unwrap_or_default();
        for host in hosts_in(&text)? {
            if seen.insert(host.clone()) {
                found.push(host);
            }
        }
    }
    Ok(found)
}

/// Hosts separated by commas or white space.
fn hosts_in(text: &str) -> Result<Vec<Host>, ReadError> {
    let names = text.split(|c: char| c == ',' || c.is_whitespace());
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            Host::new(name).map_err(|source| ReadError::Invalid {
                what: "host",
                source,
            })
        })
        .collect()
}

fn members(batches: &[Batch]) -> Vec<Host> {
    let mut seen: BTreeSet<&Host> = BTreeSet::new();
    let all = batches.iter().flat_map(|batch| &batch.hosts);
    all.filter(|host| seen.insert(host)).cloned().collect()
}

/// The status of a batch out of its stages', and of the execution's: nothing of it runs on when
/// that has ended.
fn folded(stages: &[&Stage], execution: &ExecutionStatus) -> Status {
    let ran = stages.iter().map(|stage| &stage.status);
    let ran = ran.filter(|status| **status != ExecutionStatus::Skipped);
    let all: Vec<Status> = ran.map(status).collect();
    let is_over = execution.is_terminal();
    if all.contains(&Status::Failed) {
        Status::Failed
    } else if all.iter().all(|one| *one == Status::Pending) {
        Status::Pending
    } else if all.iter().all(|one| *one == Status::Success) {
        Status::Success
    } else if is_over {
        Status::Failed
    } else {
        Status::Running
    }
}

/// Orca's word in ours. A word we don't know counts as running.
pub(super) fn status(status: &ExecutionStatus) -> Status {
    match status {
        ExecutionStatus::NotStarted | ExecutionStatus::Buffered => Status::Pending,
        ExecutionStatus::Succeeded | ExecutionStatus::Skipped => Status::Success,
        ExecutionStatus::Terminal
        | ExecutionStatus::Canceled
        | ExecutionStatus::Stopped
        | ExecutionStatus::FailedContinue => Status::Failed,
        ExecutionStatus::Running
        | ExecutionStatus::Paused
        | ExecutionStatus::Suspended
        | ExecutionStatus::Redirect
        | ExecutionStatus::Other(_) => Status::Running,
    }
}
