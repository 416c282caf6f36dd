//! One service in one env: its deployments in order, and who ran what when.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::host;
use crate::domain::deployment::{Deployment, Health, Instance, Status, Strategy};
use crate::domain::id::{DeploymentId, Host};

/// Deployments of one lane, with an index by host. Immutable once built.
#[derive(Debug, Default)]
pub struct LaneIndex {
    /// Oldest first.
    deployments: Vec<Arc<Deployment>>,
    /// Stays of a host, in order, without overlap.
    stays: HashMap<Host, Vec<Stay>>,
    /// What agents told.
    records: Records,
    /// Where a deployment is, by id.
    numbers: HashMap<DeploymentId, u32>,
    /// Other names of hosts; None where two hosts share one.
    aliases: HashMap<String, Option<Host>>,
}

/// What agents told of the hosts of a lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    /// Documents of one record each.
    pub(in crate::enrich::catalog) single: Vec<Arc<Instance>>,
    /// All records of a deployment that is over; one of its own is newer.
    pub(in crate::enrich::catalog) snapshots: Vec<Arc<[Instance]>>,
}

/// A host ran a deployment's release from `from` until `to` (milliseconds; a million of these are
/// kept).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stay {
    from: i64,
    to: i64,
    deployment: u32,
    /// The batch, with [`TOLD`].
    batch: u32,
}

/// In a stay's batch: an agent told of it. No batch has such a number.
const TOLD: u32 = 1 << 31;

impl Stay {
    fn holds(&self, at: i64) -> bool {
        self.from <= at && at < self.to
    }

    fn batch(&self) -> u32 {
        self.batch & !TOLD
    }
}

/// What a host ran at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The host by its catalog name.
    pub host: Host,
    /// The deployment that put the release there.
    pub deployment: Arc<Deployment>,
    /// Its batch.
    pub batch: u32,
    /// Since when.
    pub from: Timestamp,
    /// Until when; None while it does.
    pub to: Option<Timestamp>,
}

/// A stay that no agent told of.
#[derive(Debug, Clone, Copy)]
pub struct Untold<'a> {
    /// The host.
    pub host: &'a Host,
    /// The deployment that put the release there.
    pub deployment: &'a Arc<Deployment>,
    /// Its batch.
    pub batch: u32,
    /// Since when.
    pub from: Timestamp,
    /// Until when; None while it does.
    pub to: Option<Timestamp>,
}

impl Records {
    /// Every record once.
    fn all(&self) -> impl Iterator<Item = &Instance> {
        let key = |one: &Instance| (one.deployment_id.clone(), one.host.clone());
        let newer: HashSet<_> = self.single.iter().map(|one| key(one)).collect();
        let kept = self.snapshots.iter().flat_map(|all| all.iter());
        let kept = kept.filter(move |one| newer.is_empty() || !newer.contains(&key(one)));
        self.single.iter().map(AsRef::as_ref).chain(kept)
    }
}

impl LaneIndex {
    /// Orders `deployments` and derives who ran what: a host runs a release from its batch's start
    /// until the next batch that holds it starts. `records` know better where they exist.
    pub(super) fn build(mut deployments: Vec<Arc<Deployment>>, records: Records) -> Self {
        deployments.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        let ids = deployments.iter().map(|one| one.id.clone());
        let mut index = Self {
            numbers: ids.zip(0..).collect(),
            stays: stays_of(&deployments),
            deployments,
            records,
            aliases: HashMap::new(),
        };
        index.add_instances();
        for stays in index.stays.values_mut() {
            close_in_order(stays);
        }
        index.end_at_switches();
        index.add_aliases();
        index
    }

    fn add_instances(&mut self) {
        for instance in self.records.all() {
            let Some(number) = self.numbers.get(&instance.deployment_id).copied() else {
                continue;
            };
            let Some(from) = instance.from else {
                let stays = self.stays.get_mut(&instance.host).into_iter().flatten();
                for stay in stays.filter(|stay| stay.deployment == number) {
                    stay.batch |= TOLD;
                }
                continue;
            };
            let stay = Stay {
                from: from.as_millisecond(),
                to: instance.to.map_or(i64::MAX, Timestamp::as_millisecond),
                deployment: number,
                batch: instance.batch | TOLD,
            };
            match self.stays.get_mut(&instance.host) {
                Some(stays) => {
                    stays.retain(|stay| stay.deployment != number);
                    stays.push(stay);
                }
                None => drop(self.stays.insert(instance.host.clone(), vec![stay])),
            }
        }
    }

    /// A second set that took over ends what the sets before it ran, though none of their hosts is
    /// in it.
    fn end_at_switches(&mut self) {
        let numbered = (0_u32..).zip(&self.deployments);
        let switches: Vec<(u32, i64)> = numbered
            .filter_map(|(number, one)| Some((number, switched_at(one)?.as_millisecond())))
            .collect();
        for stay in self.stays.values_mut().flatten() {
            let later = switches
                .iter()
                .filter(|(number, _)| *number > stay.deployment);
            let ends = later.map(|(_, at)| *at).filter(|at| *at > stay.from);
            stay.to = ends.fold(stay.to, i64::min);
        }
    }

    fn add_aliases(&mut self) {
        let mut aliases: HashMap<String, Option<Host>> = HashMap::new();
        let mut add = |alias: String, host: &Host| {
            aliases
                .entry(alias)
                .and_modify(|known| {
                    if known.as_ref() != Some(host) {
                        *known = None;
                    }
                })
                .or_insert_with(|| Some(host.clone()));
        };
        for host in self.stays.keys() {
            let lower = host.as_str().to_ascii_lowercase();
            let short = host::short(host.as_str());
            if short != lower {
                add(short, host);
            }
            if lower != host.as_str() {
                add(lower, host);
            }
        }
        for instance in self.records.all() {
            if let Some(ip) = instance.ip
                && self.stays.contains_key(&instance.host)
            {
                add(ip.to_string(), &instance.host);
            }
        }
        self.aliases = aliases;
    }

    /// Deployments, oldest first.
    pub fn deployments(&self) -> &[Arc<Deployment>] {
        &self.deployments
    }

    /// What agents told of its hosts.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.records.all()
    }

    /// The same, as it is kept.
    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    /// What an agent told of a host in a deployment.
    pub fn instance(&self, deployment: &DeploymentId, host: &Host) -> Option<&Instance> {
        let is_it = |one: &&Instance| one.host == *host && one.deployment_id == *deployment;
        let single = self.records.single.iter().map(AsRef::as_ref).find(is_it);
        let of = |all: &&Arc<[Instance]>| {
            all.first()
                .is_some_and(|one| one.deployment_id == *deployment)
        };
        let snapshot = || self.records.snapshots.iter().find(of)?.iter().find(is_it);
        single.or_else(snapshot)
    }

    /// Every stay that no agent told of, with its host.
    pub fn untold(&self) -> impl Iterator<Item = Untold<'_>> {
        self.stays.iter().flat_map(move |(host, stays)| {
            let untold = stays.iter().filter(|stay| stay.batch & TOLD == 0);
            untold.filter_map(move |stay| {
                let number = usize::try_from(stay.deployment).ok()?;
                Some(Untold {
                    host,
                    deployment: self.deployments.get(number)?,
                    batch: stay.batch(),
                    from: Timestamp::from_millisecond(stay.from).ok()?,
                    to: end(stay),
                })
            })
        })
    }

    /// One deployment.
    pub fn deployment(&self, id: &DeploymentId) -> Option<&Arc<Deployment>> {
        let number = self.numbers.get(id)?;
        self.deployments.get(usize::try_from(*number).ok()?)
    }

    /// The catalog's name for a host that may be written short, in full, or as an address.
    pub fn canonical(&self, name: &Host) -> Option<&Host> {
        if let Some((host, _)) = self.stays.get_key_value(name) {
            return Some(host);
        }
        let lower = name.as_str().to_ascii_lowercase();
        if let Some(found) = self.aliases.get(&lower) {
            return found.as_ref();
        }
        // A full name is a short one's, never another full one's.
        let simpler = if host::is_full(&lower) {
            host::short(&lower)
        } else {
            lower
        };
        let known = self.stays.get_key_value(&Host::new(simpler).ok()?);
        known.map(|(host, _)| host)
    }

    /// What `host` (any of its names) ran at `at`.
    pub fn membership(&self, host: &Host, at: Timestamp) -> Option<Membership> {
        let host = self.canonical(host)?;
        let at = at.as_millisecond();
        let stays = self.stays.get(host)?;
        let next = stays.partition_point(|stay| stay.from <= at);
        let stay = stays.get(next.checked_sub(1)?)?;
        (at < stay.to).then(|| self.told(host, *stay)).flatten()
    }

    /// Everything `host` (any of its names) ran, oldest first.
    pub fn stays(&self, host: &Host) -> Vec<Membership> {
        let stays = self
            .canonical(host)
            .and_then(|host| self.stays.get_key_value(host));
        stays.map_or_else(Vec::new, |(host, stays)| {
            stays
                .iter()
                .filter_map(|stay| self.told(host, *stay))
                .collect()
        })
    }

    /// The hosts that run one of its deployments at `at`.
    pub fn current_hosts(&self, at: Timestamp) -> impl Iterator<Item = &Host> {
        let at = at.as_millisecond();
        let runs = move |stays: &[Stay]| stays.iter().any(|stay| stay.holds(at));
        let hosts = self.stays.iter().filter(move |(_, stays)| runs(stays));
        hosts.map(|(host, _)| host)
    }

    /// Hosts whose newest record says that they are not well.
    pub fn unwell_hosts(&self) -> impl Iterator<Item = &Host> {
        let mut newest: HashMap<&Host, &Instance> = HashMap::new();
        for instance in self.records.all() {
            let known = newest.entry(&instance.host).or_insert(instance);
            if instance.from > known.from {
                *known = instance;
            }
        }
        let unwell = |one: &&Instance| {
            one.health_status == Health::Unhealthy || one.status == Status::Failed
        };
        newest.into_values().filter(unwell).map(|one| &one.host)
    }

    /// The hosts a lane knows.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.stays.keys()
    }

    /// Deployments that some host runs at `at`, oldest first.
    pub fn running(&self, at: Timestamp) -> Vec<Arc<Deployment>> {
        let at = at.as_millisecond();
        let mut found: Vec<u32> = self
            .stays
            .values()
            .flatten()
            .filter(|stay| stay.holds(at))
            .map(|stay| stay.deployment)
            .collect();
        found.sort_unstable();
        found.dedup();
        let by_number = |number: u32| self.deployments.get(usize::try_from(number).ok()?).cloned();
        found.into_iter().filter_map(by_number).collect()
    }

    /// Deployments in flight, oldest first.
    pub fn active(&self) -> Vec<Arc<Deployment>> {
        self.deployments
            .iter()
            .filter(|deployment| deployment.is_active() && !deployment.is_rollback)
            .cloned()
            .collect()
    }

    fn told(&self, host: &Host, stay: Stay) -> Option<Membership> {
        let deployment = self
            .deployments
            .get(usize::try_from(stay.deployment).ok()?)?;
        Some(Membership {
            host: host.clone(),
            deployment: Arc::clone(deployment),
            batch: stay.batch(),
            from: Timestamp::from_millisecond(stay.from).ok()?,
            to: end(&stay),
        })
    }
}

fn end(stay: &Stay) -> Option<Timestamp> {
    let open = stay.to == i64::MAX;
    Timestamp::from_millisecond(stay.to).ok().filter(|_| !open)
}

fn stays_of(deployments: &[Arc<Deployment>]) -> HashMap<Host, Vec<Stay>> {
    let mut stays: HashMap<Host, Vec<Stay>> = HashMap::new();
    let mut add = |host: &Host, from: Timestamp, deployment: u32, batch: u32| {
        let stay = Stay {
            from: from.as_millisecond(),
            to: i64::MAX,
            deployment,
            batch,
        };
        match stays.get_mut(host) {
            Some(known) => known.push(stay),
            None => drop(stays.insert(host.clone(), vec![stay])),
        }
    };
    for (number, deployment) in (0_u32..).zip(deployments) {
        // A rollback that failed left hosts as nobody knows; the release before is the safer guess.
        if deployment.is_rollback && deployment.status == Status::Failed {
            continue;
        }
        for batch in &deployment.batches {
            for host in batch.started_at.iter().flat_map(|_| &batch.hosts) {
                add(host, batch.started_at.unwrap_or_default(), number, batch.n);
            }
        }
        if let (true, Some(from)) = (deployment.batches.is_empty(), deployment.started_at) {
            for host in &deployment.target_hosts {
                add(host, from, number, 1);
            }
        }
    }
    stays
}

/// When a blue/green deployment took over. One that was taken back later did, if it got through.
fn switched_at(deployment: &Deployment) -> Option<Timestamp> {
    let is_second_set = deployment.strategy == Strategy::BlueGreen;
    let batch = deployment.batches.last().filter(|_| is_second_set)?;
    let at = batch.finished_at.or(deployment.finished_at);
    at.filter(|_| batch.status == Status::Success)
}

/// Sorts and ends each stay where the next begins.
fn close_in_order(stays: &mut Vec<Stay>) {
    stays.sort_by_key(|stay| (stay.from, stay.deployment));
    let starts: Vec<i64> = stays.iter().skip(1).map(|stay| stay.from).collect();
    for (stay, next) in stays.iter_mut().zip(starts) {
        stay.to = stay.to.min(next);
    }
    stays.shrink_to_fit();
}
