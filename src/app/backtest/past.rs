//! The store as it was: documents in the order in which they were true.
//!
//! The store keeps what became of a deployment, with times. From them follows how `sync` would have
//! told it at each moment. Those documents go into a store in memory when their time comes, and
//! from there the catalog reads them as it does in a gateway.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Range, Really};
use crate::act::lane::LaneStore;
use crate::app::modes::{self, Switched};
use crate::config::Config;
use crate::domain::clock::{self, Clock as _, ManualClock, SharedClock};
use crate::domain::deployment::{Batch, Deployment, Status};
use crate::domain::id::{DeploymentId, LaneName, ReleaseId, ReplicaId};
use crate::domain::lane::Incident;
use crate::domain::release::{Mark, Release};
use crate::enrich::catalog::{Catalog, View};
use crate::store::{Store, StoreError, chain, keys};

/// A document whose time came.
#[derive(Debug, Clone)]
enum Change {
    Release(Box<Release>),
    Deployment(Box<Deployment>),
    Mark(Box<Mark>),
}

/// The past, at the moment its clock shows.
pub(super) struct Past {
    pub(super) clock: Arc<ManualClock>,
    /// Rollbacks that really happened in the range.
    pub(super) really: Vec<Really>,
    /// Every switch of modes, oldest first.
    pub(super) switches: Vec<Switched>,
    pub(super) notes: Vec<String>,
    store: Store,
    catalog: Catalog,
    /// Latest first.
    changes: Vec<(Timestamp, Change)>,
}

impl Past {
    /// Reads everything the store knows.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) async fn read(
        store: &Store,
        config: &Config,
        range: &Range,
    ) -> Result<Self, StoreError> {
        let clock = ManualClock::at(range.from);
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let today = Catalog::new(store.clone(), Arc::clone(&shared), &config.timing);
        let damaged = today.refresh().await?.damaged;
        let view = today.view();
        let incidents = incidents(store, &shared).await?;
        let mut notes: Vec<String> = damaged
            .into_iter()
            .map(|reason| format!("left out: {reason}"))
            .collect();
        let mut changes = Vec::new();
        for release in view.releases() {
            let release = Release::clone(release);
            changes.push((release.created_at, Change::Release(Box::new(release))));
        }
        let mut really = Vec::new();
        for (_, index) in view.lanes(None, None) {
            let lane: Vec<&Deployment> = index.deployments().iter().map(|one| &**one).collect();
            for deployment in &lane {
                let taken_back = taken_back_at(deployment, &lane, &incidents);
                let versions = versions(deployment, taken_back);
                if versions.is_empty() {
                    notes.push(format!(
                        "deployment {} is left out: nobody knows when it started",
                        deployment.id
                    ));
                }
                changes.extend(versions);
                really.extend(rolled_back(deployment, taken_back, &incidents));
            }
        }
        changes.extend(marks(store).await?);
        really.extend(
            incidents
                .iter()
                .filter(|one| one.took_effect())
                .map(of_incident),
        );
        // Equal times keep their order: a release before its deployment.
        changes.reverse();
        changes.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let memory = Store::in_memory();
        Ok(Self {
            catalog: Catalog::new(memory.clone(), shared, &config.timing),
            store: memory,
            really: in_range(really, range),
            switches: modes::history(store).await?,
            notes,
            clock,
            changes,
        })
    }

    /// Moves the clock forward, and answers the catalog as it was then.
    ///
    /// # Errors
    /// Never in practice: the store is in memory.
    pub(super) async fn move_to(&mut self, at: Timestamp) -> Result<View, StoreError> {
        self.clock.advance(clock::since(at, self.clock.now()));
        let now = self.clock.now();
        while let Some((at, change)) = self.changes.pop() {
            if at > now {
                self.changes.push((at, change));
                break;
            }
            self.write(change).await?;
        }
        self.catalog.refresh().await?;
        Ok(self.catalog.view())
    }

    async fn write(&self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Release(release) => {
                let key = keys::release(&release.service, &release.id);
                self.store.create(&key, &release).await.map(drop)
            }
            Change::Deployment(one) => {
                let prefix = keys::deployment(&one.service, &one.env, &one.id);
                self.append(&prefix, &one).await
            }
            Change::Mark(mark) => self.append(&keys::marks(&mark.release_id), &mark).await,
        }
    }

    async fn append<T: serde::Serialize>(&self, prefix: &str, link: &T) -> Result<(), StoreError> {
        let next = self.store.list(prefix).await?.len() as u64 + 1;
        chain::append(&self.store, prefix, next, link)
            .await
            .map(drop)
    }
}

/// When a deployment was taken back, as far as anything tells.
fn taken_back_at(
    deployment: &Deployment,
    lane: &[&Deployment],
    incidents: &[Incident],
) -> Option<Timestamp> {
    let by_incident = incidents
        .iter()
        .filter(|one| one.opened.deployment == deployment.id && one.took_effect())
        .map(|one| one.opened_at)
        .min();
    if by_incident.is_some() {
        return by_incident;
    }
    if deployment.status != Status::RolledBack {
        return None;
    }
    let began = deployment.started_at?;
    let later = lane
        .iter()
        .filter_map(|one| Some((one.is_rollback, one.started_at?)));
    let later: Vec<_> = later.filter(|(_, at)| *at > began).collect();
    let rollback = later
        .iter()
        .filter(|(back, _)| *back)
        .map(|(_, at)| *at)
        .min();
    rollback.or(deployment.finished_at)
}

/// A deployment at each moment at which something about it changed.
fn versions(deployment: &Deployment, taken_back: Option<Timestamp>) -> Vec<(Timestamp, Change)> {
    let Some(began) = deployment.started_at else {
        return Vec::new();
    };
    let of_batch = |batch: &Batch| [batch.started_at, batch.finished_at];
    let mut times: Vec<Timestamp> = deployment
        .batches
        .iter()
        .flat_map(of_batch)
        .chain([deployment.finished_at, taken_back])
        .flatten()
        .map(|at| at.max(began))
        .chain([began])
        .collect();
    times.sort_unstable();
    times.dedup();
    times
        .into_iter()
        .map(|at| {
            let then = as_of(deployment, taken_back, at);
            (at, Change::Deployment(Box::new(then)))
        })
        .collect()
}

fn as_of(deployment: &Deployment, taken_back: Option<Timestamp>, at: Timestamp) -> Deployment {
    let by_then = |time: Option<Timestamp>| time.filter(|time| *time <= at);
    let is_back = by_then(taken_back).is_some();
    // That it was taken back was not known before.
    let told = |status: Status| match status {
        Status::RolledBack if !is_back => Status::Success,
        status => status,
    };
    let mut then = deployment.clone();
    then.finished_at = by_then(deployment.finished_at);
    then.status = match (is_back, then.finished_at) {
        (true, _) => Status::RolledBack,
        (false, Some(_)) => told(deployment.status),
        (false, None) => Status::Running,
    };
    then.batches
        .retain(|batch| by_then(batch.started_at).is_some());
    for batch in &mut then.batches {
        batch.finished_at = by_then(batch.finished_at);
        batch.status = match batch.finished_at {
            Some(_) => told(batch.status),
            None => Status::Running,
        };
    }
    then
}

async fn incidents(store: &Store, clock: &SharedClock) -> Result<Vec<Incident>, StoreError> {
    let lanes = LaneStore::new(store.clone(), Arc::clone(clock), ReplicaId::random());
    let mut found = Vec::new();
    for name in store.folders("lanes").await? {
        if let Ok(lane) = LaneName::new(name) {
            let state = lanes.refresh(&lane).await?;
            found.extend(state.closed.iter().chain(&state.open).cloned());
        }
    }
    Ok(found)
}

async fn marks(store: &Store) -> Result<Vec<(Timestamp, Change)>, StoreError> {
    let mut found = Vec::new();
    for name in store.folders("marks").await? {
        let Ok(release) = ReleaseId::new(name) else {
            continue;
        };
        for (_, mark) in chain::read_from::<Mark>(store, &keys::marks(&release), 1).await? {
            found.push((mark.at, Change::Mark(Box::new(mark))));
        }
    }
    Ok(found)
}

fn of_incident(incident: &Incident) -> Really {
    Really {
        at: Some(incident.opened_at),
        service: incident.opened.service.clone(),
        env: incident.opened.env.clone(),
        deployment: incident.opened.deployment.clone(),
        release_id: incident.opened.release_id.clone(),
        incident: Some(incident.id.clone()),
        replayed: false,
    }
}

/// A deployment that was taken back without an incident of ours.
fn rolled_back(
    deployment: &Deployment,
    taken_back: Option<Timestamp>,
    incidents: &[Incident],
) -> Option<Really> {
    let ours = |id: &DeploymentId| {
        incidents
            .iter()
            .any(|one| one.opened.deployment == *id && one.took_effect())
    };
    (deployment.status == Status::RolledBack && !ours(&deployment.id)).then(|| Really {
        at: taken_back,
        service: deployment.service.clone(),
        env: deployment.env.clone(),
        deployment: deployment.id.clone(),
        release_id: deployment.release_id.clone(),
        incident: None,
        replayed: false,
    })
}

fn in_range(mut really: Vec<Really>, range: &Range) -> Vec<Really> {
    really.retain(|one| {
        one.at.is_some_and(|at| range.from <= at && at <= range.to)
            && range
                .service
                .as_ref()
                .is_none_or(|service| *service == one.service)
    });
    really.sort_by(|a, b| {
        a.at.cmp(&b.at)
            .then_with(|| a.deployment.cmp(&b.deployment))
    });
    really
}
