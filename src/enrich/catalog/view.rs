//! The catalog at one moment, as alerts are resolved against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Lane, LaneIndex};
use crate::config::DeployPipeline;
use crate::domain::clock;
use crate::domain::context::Freshness;
use crate::domain::deployment::{Batch, Deployment, Status, Strategy};
use crate::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use crate::domain::lane::{BatchStart, Incident, LaneState};
use crate::domain::release::{Mark, MarkKind, Release};
use crate::domain::source::TagRecord;

/// Lane events older than this add nothing: what `sync` has not told by then is not in flight.
const LANE_HORIZON: Duration = Duration::from_hours(24);

/// What was read from the store.
#[derive(Debug, Default, Clone)]
pub(super) struct Snapshot {
    pub(super) releases: HashMap<ReleaseId, Arc<Release>>,
    pub(super) marks: HashMap<ReleaseId, Arc<Mark>>,
    pub(super) tags: HashMap<ReleaseId, Arc<TagRecord>>,
    pub(super) lanes: HashMap<Lane, Arc<LaneIndex>>,
}

/// The catalog at one moment; cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) snapshot: Arc<Snapshot>,
    /// Lanes with batch posts that `sync` has not seen yet.
    extended: BTreeMap<Lane, Arc<LaneIndex>>,
    now: Timestamp,
    freshness: Option<Freshness>,
}

/// A release that could be gone back to.
#[derive(Debug, Clone, PartialEq)]
pub struct StableRelease {
    /// Its id.
    pub release_id: ReleaseId,
    /// Its document, when one was published.
    pub release: Option<Arc<Release>>,
    /// When it last became whole, where a deployment says so.
    pub since: Option<Timestamp>,
    /// True when a person vouched for it.
    pub vouched: bool,
}

impl View {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        now: Timestamp,
        freshness: Option<Freshness>,
    ) -> Self {
        Self {
            snapshot,
            extended: BTreeMap::new(),
            now,
            freshness,
        }
    }

    /// When it last agreed with the store; None when it never did.
    pub fn freshness(&self) -> Option<Freshness> {
        self.freshness
    }

    /// When it was taken.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds what the lane's chain knows before `sync` does: started batches, and rollbacks of ours
    /// that are through. `pipelines` are the service's, for strategy and soak.
    #[must_use]
    pub fn with_lane(
        mut self,
        service: &Service,
        env: &Env,
        state: &LaneState,
        pipelines: &[DeployPipeline],
    ) -> Self {
        let lane = (service.clone(), env.clone());
        let known = self.lane(service, env);
        let recent = |at: Timestamp| clock::since(self.now, at) < LANE_HORIZON;
        let mut changed: BTreeMap<DeploymentId, Deployment> = BTreeMap::new();
        for (id, starts) in &state.batches {
            let told = known.as_deref().and_then(|lane| lane.deployment(id));
            let deployment = match told {
                Some(told) => extend(told, starts),
                None if starts.values().any(|start| recent(start.at)) => {
                    announced(&lane, id, starts, pipelines)
                }
                None => None,
            };
            changed.extend(deployment.map(|deployment| (id.clone(), deployment)));
        }
        for incident in state.closed.iter().chain(&state.open) {
            let done = taken_back(&lane, incident, known.as_deref());
            let done = done.filter(|one| one.started_at.is_some_and(recent));
            changed.extend(done.map(|one| (one.id.clone(), one)));
        }
        if changed.is_empty() {
            return self;
        }
        let mut deployments: Vec<Arc<Deployment>> = known
            .iter()
            .flat_map(|lane| lane.deployments())
            .filter(|deployment| !changed.contains_key(&deployment.id))
            .cloned()
            .collect();
        deployments.extend(changed.into_values().map(Arc::new));
        let records = known.as_deref().map(|known| known.records().clone());
        let index = LaneIndex::build(deployments, records.unwrap_or_default());
        self.extended.insert(lane, Arc::new(index));
        self
    }

    /// One lane.
    pub fn lane(&self, service: &Service, env: &Env) -> Option<Arc<LaneIndex>> {
        let lane = (service.clone(), env.clone());
        let found = self.extended.get(&lane);
        found.or_else(|| self.snapshot.lanes.get(&lane)).cloned()
    }

    /// The lanes that fit; None fits all.
    pub fn lanes(
        &self,
        service: Option<&Service>,
        env: Option<&Env>,
    ) -> Vec<(Lane, Arc<LaneIndex>)> {
        if let (Some(service), Some(env)) = (service, env) {
            let found = self.lane(service, env);
            return found
                .map(|index| ((service.clone(), env.clone()), index))
                .into_iter()
                .collect();
        }
        let fits = |lane: &Lane| {
            service.is_none_or(|service| lane.0 == *service) && env.is_none_or(|env| lane.1 == *env)
        };
        let mut found: BTreeMap<Lane, Arc<LaneIndex>> = BTreeMap::new();
        for (lane, index) in self.snapshot.lanes.iter().chain(&self.extended) {
            if fits(lane) {
                // The extended ones come last and win.
                found.insert(lane.clone(), Arc::clone(index));
            }
        }
        found.into_iter().collect()
    }

    /// A release's document.
    pub fn release(&self, id: &ReleaseId) -> Option<&Arc<Release>> {
        self.snapshot.releases.get(id)
    }

    /// Every release document.
    pub fn releases(&self) -> impl Iterator<Item = &Arc<Release>> {
        self.snapshot.releases.values()
    }

    /// What GitHub says of a release's tag.
    pub fn tag(&self, id: &ReleaseId) -> Option<&Arc<TagRecord>> {
        self.snapshot.tags.get(id)
    }

    /// A release's newest mark that was not taken back.
    pub fn mark(&self, id: &ReleaseId) -> Option<&Arc<Mark>> {
        let mark = self.snapshot.marks.get(id);
        mark.filter(|mark| mark.kind != MarkKind::Clear)
    }

    /// Every release of a service with each of its deployments to an env, rollbacks left out, and
    /// its mark: what a target is chosen from.
    pub fn candidates(
        &self,
        service: &Service,
        env: &Env,
    ) -> Vec<(&Release, Option<&Deployment>, Option<&Mark>)> {
        let lane = (service.clone(), env.clone());
        let index = self.extended.get(&lane);
        let index = index.or_else(|| self.snapshot.lanes.get(&lane));
        let deployments = index.map_or(&[][..], |index| index.deployments());
        let mut by_release: HashMap<&ReleaseId, Vec<&Deployment>> = HashMap::new();
        for deployment in deployments.iter().filter(|one| !one.is_rollback) {
            by_release
                .entry(&deployment.release_id)
                .or_default()
                .push(deployment);
        }
        let mut found = Vec::new();
        for release in self
            .snapshot
            .releases
            .values()
            .filter(|one| one.service == *service)
        {
            let mark = self.mark(&release.id).map(AsRef::as_ref);
            match by_release.get(&release.id) {
                Some(deployments) => {
                    found.extend(deployments.iter().map(|one| (&**release, Some(*one), mark)));
                }
                None => found.push((&**release, None, mark)),
            }
        }
        found
    }

    /// Releases that could be gone back to in a lane, newest first: fully deployed, soaked, not
    /// rolled back, not marked bad; or marked stable by a person. Whether one has an open incident
    /// or can be fetched is not known here.
    pub fn stable(&self, service: &Service, env: &Env) -> Vec<StableRelease> {
        let mut found: Vec<StableRelease> = Vec::new();
        let mut seen: BTreeSet<ReleaseId> = BTreeSet::new();
        let index = self.lane(service, env);
        let marked = |id: &ReleaseId, kind| self.mark(id).is_some_and(|mark| mark.kind == kind);
        let mut add = |id: &ReleaseId, since| {
            let vouched = marked(id, MarkKind::Stable);
            if !marked(id, MarkKind::Bad) && seen.insert(id.clone()) {
                found.push(StableRelease {
                    release_id: id.clone(),
                    release: self.release(id).cloned(),
                    since,
                    vouched,
                });
            }
        };
        let deployments = index.iter().flat_map(|index| index.deployments());
        let mut deployments: Vec<&Arc<Deployment>> = deployments.collect();
        deployments.reverse();
        let refused: BTreeSet<&ReleaseId> = deployments
            .iter()
            .filter(|one| one.status == Status::RolledBack)
            .map(|one| &one.release_id)
            .collect();
        for one in deployments {
            let vouched = marked(&one.release_id, MarkKind::Stable);
            let proven =
                one.is_soaked(self.now) && !one.is_rollback && !refused.contains(&one.release_id);
            if proven || vouched {
                add(&one.release_id, one.finished_at.or(one.started_at));
            }
        }
        let mut vouched: Vec<&Arc<Mark>> = self
            .snapshot
            .marks
            .values()
            .filter(|mark| mark.kind == MarkKind::Stable)
            .filter(|mark| mark.release_id.service().as_ref() == Some(service))
            .collect();
        vouched.sort_by_key(|mark| std::cmp::Reverse(mark.at));
        for mark in vouched {
            add(&mark.release_id, None);
        }
        found
    }
}

/// A deployment with the batch starts that `sync` had not seen; None when it had seen all.
fn extend(told: &Deployment, starts: &BTreeMap<u32, BatchStart>) -> Option<Deployment> {
    let mut deployment = told.clone();
    let mut changed = false;
    for (n, start) in starts {
        if let Some(batch) = deployment.batches.iter_mut().find(|batch| batch.n == *n) {
            let starts_it = batch.started_at.is_none();
            let names_it = batch.hosts.is_empty() && !start.hosts.is_empty();
            if starts_it {
                batch.started_at = Some(start.at);
                batch.status = Status::Running;
            }
            if names_it {
                batch.hosts.clone_from(&start.hosts);
            }
            changed |= starts_it || names_it;
        } else {
            deployment.batches.push(started(*n, start));
            changed = true;
        }
    }
    if !changed {
        return None;
    }
    settle(&mut deployment, starts);
    Some(deployment)
}

/// A deployment that only its batch posts tell of.
fn announced(
    (service, env): &Lane,
    id: &DeploymentId,
    starts: &BTreeMap<u32, BatchStart>,
    pipelines: &[DeployPipeline],
) -> Option<Deployment> {
    let first = starts.values().min_by_key(|start| start.at)?;
    let pipeline = pipelines.iter().find(|pipeline| pipeline.env == *env);
    let mut deployment = Deployment {
        id: id.clone(),
        release_id: first.release_id.clone(),
        service: service.clone(),
        env: env.clone(),
        strategy: pipeline.map_or(Strategy::Canary, |pipeline| pipeline.strategy),
        target_hosts: Vec::new(),
        batches: starts.iter().map(|(n, start)| started(*n, start)).collect(),
        status: Status::Running,
        started_at: Some(first.at),
        finished_at: None,
        soak: pipeline.map_or(Duration::ZERO, |pipeline| pipeline.soak),
        application: String::new(),
        pipeline: pipeline.map_or_else(String::new, |pipeline| pipeline.pipeline.clone()),
        is_rollback: false,
    };
    if starts.values().all(|start| start.of.is_none()) && deployment.strategy == Strategy::Canary {
        // Nobody said that this batch is the last, so another one may follow.
        let last = starts.keys().next_back().copied().unwrap_or(0);
        deployment.batches.push(planned(last.saturating_add(1)));
    }
    settle(&mut deployment, starts);
    Some(deployment)
}

fn planned(n: u32) -> Batch {
    Batch {
        n,
        hosts: Vec::new(),
        status: Status::Pending,
        started_at: None,
        finished_at: None,
    }
}

fn started(n: u32, start: &BatchStart) -> Batch {
    Batch {
        n,
        hosts: start.hosts.clone(),
        status: Status::Running,
        started_at: Some(start.at),
        finished_at: None,
    }
}

/// Orders batches, adds the ones that are only counted, and names the hosts meant to be reached.
fn settle(deployment: &mut Deployment, starts: &BTreeMap<u32, BatchStart>) {
    let of = starts.values().filter_map(|start| start.of).max();
    // No fleet has more batches; a wild count must not fill the memory.
    for n in 1..=of.unwrap_or(0).min(1_000) {
        if !deployment.batches.iter().any(|batch| batch.n == n) {
            deployment.batches.push(planned(n));
        }
    }
    deployment.batches.sort_by_key(|batch| batch.n);
    let mut known: BTreeSet<&Host> = deployment.target_hosts.iter().collect();
    let members = deployment.batches.iter().flat_map(|batch| &batch.hosts);
    let more: Vec<Host> = members.filter(|host| known.insert(host)).cloned().collect();
    deployment.target_hosts.extend(more);
}

/// Our own rollback as the deployment it is, when `sync` has not told of it yet.
fn taken_back(
    (service, env): &Lane,
    incident: &Incident,
    known: Option<&LaneIndex>,
) -> Option<Deployment> {
    let finished = incident.finished.as_ref().filter(|end| end.succeeded)?;
    let plan = incident.plan.as_ref()?;
    let id = DeploymentId::new(incident.execution.as_ref()?.as_str()).ok()?;
    if known.is_some_and(|lane| lane.deployment(&id).is_some()) {
        return None;
    }
    let whole = plan.hosts.is_empty();
    let hosts: Vec<Host> = match known {
        Some(lane) if whole => lane.hosts().cloned().collect(),
        _ => plan.hosts.clone(),
    };
    let started_at = incident.submitted_at.or(incident.submitting_at);
    Some(Deployment {
        id,
        release_id: plan.target.clone(),
        service: service.clone(),
        env: env.clone(),
        strategy: Strategy::All,
        target_hosts: hosts.clone(),
        batches: vec![Batch {
            n: 1,
            hosts,
            status: Status::Success,
            started_at,
            finished_at: Some(finished.at),
        }],
        status: Status::Success,
        started_at,
        finished_at: Some(finished.at),
        soak: Duration::ZERO,
        application: plan.application.clone(),
        pipeline: plan.pipeline.clone(),
        is_rollback: true,
    })
}
