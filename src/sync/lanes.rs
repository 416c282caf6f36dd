//! The deployments of every lane as the store has them, and how one more changes them.
//!
//! What is written depends on the executions alone, never on how they were cut into rounds: an
//! execution is told once everything that started before it was, and a mark that it causes on an
//! earlier deployment is a link of that deployment's own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::chains::Chains;
use super::github::Steps;
use super::taken_back;
use crate::config::ServiceConfig;
use crate::domain::deployment::{Deployment, Status};
use crate::domain::id::{DeploymentId, Env, ReleaseId, Service};
use crate::store::{Store, StoreError, keys};

type Lane = (Service, Env);

/// All that is known, in memory; the store is behind it.
#[derive(Debug)]
pub(super) struct Lanes {
    chains: Chains<Deployment>,
    by_start: BTreeMap<Lane, Vec<Deployment>>,
    /// Where a deployment is.
    of: HashMap<DeploymentId, Lane>,
    loaded: BTreeSet<Service>,
}

impl Lanes {
    pub(super) fn new(store: Store) -> Self {
        Self {
            chains: Chains::new(store),
            by_start: BTreeMap::new(),
            of: HashMap::new(),
            loaded: BTreeSet::new(),
        }
    }

    /// Reads a service's deployments, once, and sets the marks that a process which died did not
    /// come to. Gives what was written.
    pub(super) async fn load(
        &mut self,
        service: &Service,
        config: &ServiceConfig,
    ) -> Result<Vec<String>, StoreError> {
        if self.loaded.contains(service) {
            return Ok(Vec::new());
        }
        self.chains.load(&format!("deployments/{service}")).await?;
        let said = self.chains.says().filter(|one| one.service == *service);
        for deployment in said.cloned().collect::<Vec<_>>() {
            self.place(deployment);
        }
        let lanes: Vec<Lane> = self.by_start.keys().cloned().collect();
        let mut written = Vec::new();
        for lane in lanes.iter().filter(|(of, _)| of == service) {
            written.extend(self.mark(lane, 0, config).await?);
        }
        self.loaded.insert(service.clone());
        Ok(written)
    }

    /// A deployment by its execution.
    pub(super) fn find(&self, execution: &str) -> Option<&Deployment> {
        let id = DeploymentId::new(execution).ok()?;
        let lane = self.by_start.get(self.of.get(&id)?)?;
        lane.iter().rev().find(|one| one.id == id)
    }

    /// Whether the store has a run of this pipeline.
    pub(super) fn knows(&self, application: &str, pipeline: &str) -> bool {
        let mut all = self.by_start.values().flatten();
        all.any(|one| one.application == application && one.pipeline == pipeline)
    }

    /// Writes what an execution says now, unless that is known, and what follows from it. Gives the
    /// chains that gained a link.
    pub(super) async fn tell(
        &mut self,
        mut deployment: Deployment,
        config: &ServiceConfig,
    ) -> Result<Vec<String>, StoreError> {
        let lane = (deployment.service.clone(), deployment.env.clone());
        let before = self.before(&lane, &deployment);
        if deployment.is_rollback
            && (is_full(&deployment, config) || !deployment.target_hosts.is_empty())
        {
            taken_back::reached(&mut deployment, before);
        }
        let from = if deployment.is_rollback {
            taken_back::accused(before, &deployment).unwrap_or(before.len())
        } else {
            before.len()
        };
        let mut written = self.keep(deployment).await?;
        written.extend(self.mark(&lane, from, config).await?);
        Ok(written)
    }

    /// Which release each lane went to from which.
    pub(super) fn steps(&self) -> Steps {
        let mut steps = Steps::new();
        for ((service, _), lane) in &self.by_start {
            let mut runs: Option<&ReleaseId> = None;
            for one in lane {
                if let Some(before) = runs.filter(|before| **before != one.release_id)
                    && !one.is_rollback
                {
                    let step = (before.clone(), one.release_id.clone());
                    steps.entry(service.clone()).or_default().insert(step);
                }
                if one.status == Status::Success {
                    runs = Some(&one.release_id);
                }
            }
        }
        steps
    }

    /// The deployments of a lane that started before `one`.
    fn before(&self, lane: &Lane, one: &Deployment) -> &[Deployment] {
        let all = self.by_start.get(lane).map_or(&[][..], Vec::as_slice);
        let place = all.partition_point(|other| order(other) < order(one));
        all.get(..place).unwrap_or_default()
    }

    /// Marks the deployments from `from` on that were taken back.
    async fn mark(
        &mut self,
        lane: &Lane,
        from: usize,
        config: &ServiceConfig,
    ) -> Result<Vec<String>, StoreError> {
        let all = self.by_start.get(lane).map_or(&[][..], Vec::as_slice);
        let places = taken_back::unmarked(
            all,
            from,
            |rollback| is_full(rollback, config),
            |rollback| by_batches(rollback, config),
        );
        let due = places.iter().filter_map(|place| all.get(*place));
        let due: Vec<Deployment> = due.cloned().collect();
        let mut written = Vec::new();
        for mut one in due {
            one.status = Status::RolledBack;
            written.extend(self.keep(one).await?);
        }
        Ok(written)
    }

    async fn keep(&mut self, deployment: Deployment) -> Result<Vec<String>, StoreError> {
        let chain = keys::deployment(&deployment.service, &deployment.env, &deployment.id);
        let next = |last: Option<&Deployment>| match last {
            Some(last) => last_said(last, deployment.clone()),
            None => deployment.clone(),
        };
        let is_new = self.chains.tell(&chain, next).await?;
        if let Some(said) = self.chains.said(&chain).cloned() {
            self.place(said);
        }
        Ok(if is_new { vec![chain] } else { Vec::new() })
    }

    fn place(&mut self, deployment: Deployment) {
        let lane = (deployment.service.clone(), deployment.env.clone());
        if let Some(old) = self.of.insert(deployment.id.clone(), lane.clone())
            && let Some(all) = self.by_start.get_mut(&old)
        {
            all.retain(|one| one.id != deployment.id);
        }
        let all = self.by_start.entry(lane).or_default();
        let place = all.partition_point(|other| order(other) < order(&deployment));
        all.insert(place, deployment);
    }
}

/// Those that have not started come last: they can take nothing back yet.
fn order(one: &Deployment) -> (Timestamp, &DeploymentId) {
    (one.started_at.unwrap_or(Timestamp::MAX), &one.id)
}

fn is_full(rollback: &Deployment, config: &ServiceConfig) -> bool {
    let full = config.rollback.full.as_ref();
    full.is_some_and(|full| full.name() == rollback.pipeline)
}

fn by_batches(rollback: &Deployment, config: &ServiceConfig) -> bool {
    let mut ways = config.rollback.pipelines();
    ways.any(|way| {
        let mut parameters = way.parameters.values();
        way.pipeline == rollback.pipeline && parameters.any(|one| one.names("batches"))
    })
}

/// What a link may say after `last`: that a deployment was taken back, and which hosts a rollback
/// reached, stays true when Spinnaker has forgotten the other run it was told by.
fn last_said(last: &Deployment, mut next: Deployment) -> Deployment {
    if last.status == Status::RolledBack && !next.is_active() {
        next.status = Status::RolledBack;
    }
    if next.is_rollback && next.target_hosts.is_empty() {
        next.target_hosts.clone_from(&last.target_hosts);
        for (batch, known) in next.batches.iter_mut().zip(&last.batches) {
            batch.hosts.clone_from(&known.hosts);
        }
    }
    next
}
