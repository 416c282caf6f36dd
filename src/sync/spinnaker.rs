//! Executions of deploy and rollback pipelines, as Gate lists them.
//!
//! The list comes without stages, which makes it a third as long; only executions that are new,
//! not over, or not as the store has them are then read whole, a few at once and oldest first. So
//! a reader that dies goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::lanes::Lanes;
use super::read::{self, deployment_of, rollback_of};
use super::{Finding, Problem, Progress, Summary, SyncError};
use crate::config::ServiceConfig;
use crate::domain::deployment::{Deployment, Status};
use crate::domain::id::Service;
use crate::http::CallErrorKind;
use crate::spinnaker::{Execution, ExecutionId, Gate, GateError, PipelineConfig};
use crate::store::StoreError;

/// Executions of each pipeline that a round lists; it comes every few seconds.
const LIMIT: u32 = 25;
/// Executions of each pipeline that are listed at most, however far back is asked for.
const MOST: u32 = 12_800;
/// Executions read whole in one call.
const AT_ONCE: usize = 10;
/// Such calls under way at the same time: whole executions are work for Orca.
const CALLS: usize = 2;

/// How far back, and what of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// From this moment on; None: the newest of each pipeline, and what a pause left out.
    pub since: Option<Timestamp>,
    /// Also what the store has: after a template was changed.
    pub again: bool,
}

/// Reads one Gate, writes the store.
#[derive(Debug)]
pub(super) struct SpinnakerSync {
    gate: Gate,
}

type Services<'a> = Vec<(&'a Service, &'a ServiceConfig)>;

impl SpinnakerSync {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate }
    }

    /// One round, one application after the other.
    pub(super) async fn round(
        &self,
        services: &BTreeMap<Service, ServiceConfig>,
        reach: Reach,
        lanes: &mut Lanes,
        progress: &dyn Progress,
        summary: &mut Summary,
    ) {
        let mut applications: BTreeMap<&str, Services<'_>> = BTreeMap::new();
        for (service, config) in services {
            let of = applications.entry(config.application.as_str()).or_default();
            of.push((service, config));
        }
        for (application, services) in applications {
            let failed = |source| SyncError::Gate {
                application: application.to_owned(),
                source,
            };
            let done = async {
                for (service, config) in &services {
                    summary.written.extend(lanes.load(service, config).await?);
                }
                let configs = self.gate.pipeline_configs(application).await;
                let configs = configs.map_err(failed)?;
                summary
                    .problems
                    .extend(missing(application, &services, &configs));
                let listed = self
                    .list(application, &services, &configs, reach, lanes)
                    .await;
                let wanted = wanted(listed.map_err(failed)?, reach, lanes);
                progress.found(wanted.len());
                let chunks: Vec<&[ExecutionId]> = wanted.chunks(AT_ONCE).collect();
                let mut reads = stream::iter(chunks)
                    .map(|ids| self.read(ids))
                    .buffered(CALLS);
                while let Some(read) = reads.next().await {
                    let (executions, asked) = read.map_err(failed)?;
                    for execution in &executions {
                        take(execution, &services, lanes, summary).await?;
                    }
                    progress.read(asked);
                }
                Ok(())
            };
            if let Err(error) = done.await {
                summary.failures.push(error);
            }
        }
    }

    /// Every configured pipeline's executions, without stages, as far back as is needed.
    async fn list(
        &self,
        application: &str,
        services: &Services<'_>,
        configs: &[PipelineConfig],
        reach: Reach,
        lanes: &Lanes,
    ) -> Result<Vec<Execution>, GateError> {
        let names: HashSet<&str> = services
            .iter()
            .flat_map(|(_, one)| pipelines(one))
            .collect();
        let ours = configs
            .iter()
            .filter(|one| names.contains(one.name.as_str()));
        let ours: Vec<(&str, &str)> = ours
            .map(|one| (one.id.as_str(), one.name.as_str()))
            .collect();
        let mut found = Vec::new();
        for (id, name) in ours {
            let mut limit = LIMIT;
            loop {
                let mut listed = self.gate.executions_of(&[id], limit, &[]).await?;
                let is_full = u64::try_from(listed.len()) == Ok(u64::from(limit));
                let is_known = |one: &Execution| lanes.find(one.id.as_str()).is_some();
                let goes_on = if let Some(since) = reach.since {
                    listed.iter().all(|one| began(one) >= since)
                } else {
                    // More ran since the last round than it lists.
                    lanes.knows(application, name) && !listed.iter().any(is_known)
                };
                if is_full && goes_on && limit < MOST {
                    limit *= 4;
                    continue;
                }
                // What lies behind the newest that is known was not left out by a pause.
                if limit > LIMIT
                    && reach.since.is_none()
                    && let Some(newest) = listed.iter().position(is_known)
                {
                    listed.truncate(newest.saturating_add(1));
                }
                found.extend(listed);
                break;
            }
        }
        Ok(found)
    }

    /// Reads executions whole, oldest first, and how many were asked for; fewer at once where they
    /// make too long an answer.
    async fn read(&self, ids: &[ExecutionId]) -> Result<(Vec<Execution>, usize), GateError> {
        let mut found = Vec::new();
        let mut size = ids.len().max(1);
        let mut rest = ids;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            let names: Vec<&str> = now.iter().map(ExecutionId::as_str).collect();
            match self.gate.executions_by_id(&names).await {
                Ok(executions) => found.extend(executions),
                Err(error) if error.kind() == CallErrorKind::Decode && size > 1 => {
                    size = (size / 4).max(1);
                    continue;
                }
                Err(error) => return Err(error),
            }
            rest = later;
        }
        found.sort_by(|a, b| (began(a), &a.id).cmp(&(began(b), &b.id)));
        Ok((found, ids.len()))
    }
}

/// Writes what an execution says for each service whose pipeline it ran in.
async fn take(
    execution: &Execution,
    services: &Services<'_>,
    lanes: &mut Lanes,
    summary: &mut Summary,
) -> Result<(), StoreError> {
    for (service, config) in services {
        let told = if let Some(pipeline) = read::deploy_pipeline(execution, config) {
            deployment_of(execution, service, config, pipeline)
        } else if read::is_rollback(execution, config) {
            rollback_of(execution, service, config)
        } else {
            continue;
        };
        summary.read += 1;
        match told {
            Ok(deployment) => {
                let written = lanes.tell(deployment, config).await?;
                summary.written.extend(written);
            }
            Err(error) => summary.problems.push(Problem {
                service: (*service).clone(),
                of: format!("execution {} of `{}`", execution.id, execution.name),
                finding: error.into(),
            }),
        }
    }
    Ok(())
}

/// The configured pipelines that Spinnaker does not have.
fn missing(application: &str, services: &Services<'_>, configs: &[PipelineConfig]) -> Vec<Problem> {
    let saved: HashSet<&str> = configs.iter().map(|one| one.name.as_str()).collect();
    let of = |(service, config): &(&Service, &ServiceConfig)| -> Vec<Problem> {
        let names: BTreeSet<&str> = pipelines(config).collect();
        let gone = names.into_iter().filter(|name| !saved.contains(name));
        gone.map(|name| Problem {
            service: (*service).clone(),
            of: format!("pipeline `{name}`"),
            finding: Finding::NoPipeline(application.to_owned()),
        })
        .collect()
    };
    services.iter().flat_map(of).collect()
}

/// The pipelines of a service whose executions say something.
fn pipelines(config: &ServiceConfig) -> impl Iterator<Item = &str> {
    let deploy = config.deploy.iter().map(|one| one.pipeline.as_str());
    let rollback = config.rollback.pipelines();
    deploy.chain(rollback.map(|one| one.pipeline.as_str()))
}

/// The executions that are to be read whole, oldest first.
fn wanted(mut listed: Vec<Execution>, reach: Reach, lanes: &Lanes) -> Vec<ExecutionId> {
    listed.retain(|one| reach.since.is_none_or(|since| began(one) >= since));
    listed.sort_by(|a, b| (began(a), &a.id).cmp(&(began(b), &b.id)));
    let is_wanted = |one: &Execution| {
        let known = lanes.find(one.id.as_str());
        reach.again || known.is_none_or(|known| !is_as(known, one))
    };
    listed.retain(is_wanted);
    listed.into_iter().map(|one| one.id).collect()
}

/// Whether a deployment is over, and as the execution says. A stage that was run again makes an
/// execution run again, or end later.
fn is_as(known: &Deployment, execution: &Execution) -> bool {
    let status = read::status(&execution.status);
    let ended = status == known.status || known.status == Status::RolledBack;
    !known.is_active() && ended && execution.end_time == known.finished_at
}

/// When an execution began; one without any time is as old as can be.
fn began(execution: &Execution) -> Timestamp {
    let began = execution.start_time.or(execution.build_time);
    began.unwrap_or(Timestamp::MIN)
}
