//! The resolution ladder: which release, batch and hosts an alert accuses.
//!
//! The first rung that answers wins, and two deployments that fit are an answer, too: ambiguous,
//! told and never acted upon. Labels are data from outside: what is no id ends the search at once,
//! so that it reaches neither a key nor a query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::catalog::{Lane, LaneIndex, Membership, View};
use super::host;
use crate::config::ServiceConfig;
use crate::domain::alert::Alert;
use crate::domain::context::{Context, Freshness, Resolution, Rung};
use crate::domain::deployment::{Deployment, Phase, Status};
use crate::domain::id::{Env, Host, InvalidId, ReleaseId, Service};

/// What an alert's labels say, checked.
#[derive(Debug)]
struct Clues {
    service: Option<Service>,
    env: Option<Env>,
    release_id: Option<ReleaseId>,
    /// A label that is no number, such as `canary`, names no batch.
    batch: Option<u32>,
    /// `version`, or the tag of `image`.
    version: Option<String>,
    pod: Option<Host>,
    server_group: Option<Host>,
    host: Option<Host>,
    /// When the anomaly began, as far as the sender knows.
    at: Timestamp,
}

/// A deployment that fits, with what is known of batch and host.
#[derive(Debug)]
struct Fit {
    lane: Lane,
    deployment: Arc<Deployment>,
    batches: BTreeSet<u32>,
    hosts: Vec<Host>,
    rung: Rung,
}

/// What a rung says.
#[derive(Debug)]
enum Step {
    /// It has no opinion: ask the next one.
    Next,
    /// These fit; more than one is ambiguous.
    Fits(Vec<Fit>),
    /// The labels say something definite that the catalog does not know.
    Stop(String),
}

/// One rung of the ladder.
type Ask = fn(&Clues, &View, &BTreeMap<Service, ServiceConfig>) -> Step;

/// Finds the deployment an alert accuses.
pub fn resolve(
    alert: &Alert,
    view: &View,
    services: &BTreeMap<Service, ServiceConfig>,
) -> Resolution {
    let clues = match Clues::read(alert) {
        Ok(clues) => clues,
        Err(error) => {
            return Resolution::Unavailable {
                service: id(alert, "service").ok().flatten(),
                env: id(alert, "env").ok().flatten(),
                reason: error,
            };
        }
    };
    let unavailable = |reason: String| Resolution::Unavailable {
        service: clues.service.clone(),
        env: clues.env.clone(),
        reason,
    };
    let Some(freshness) = view.freshness() else {
        return unavailable("the catalog could not be read yet".into());
    };
    let rungs: [Ask; 6] = [
        by_release_labels,
        by_pod,
        by_server_group,
        by_version,
        by_host,
        by_active_deployment,
    ];
    for rung in rungs {
        match rung(&clues, view, services) {
            Step::Next => {}
            Step::Stop(reason) => return unavailable(reason),
            Step::Fits(fits) => return settle(fits, &clues, view, freshness),
        }
    }
    unavailable("no label leads to a known deployment".into())
}

fn settle(fits: Vec<Fit>, clues: &Clues, view: &View, freshness: Freshness) -> Resolution {
    if fits.len() > 1 {
        return Resolution::Ambiguous {
            service: clues.service.clone(),
            env: clues.env.clone(),
            candidates: fits.iter().map(Fit::words).collect(),
        };
    }
    let Some(fit) = fits.into_iter().next() else {
        return Resolution::Unavailable {
            service: clues.service.clone(),
            env: clues.env.clone(),
            reason: "no known deployment fits".into(),
        };
    };
    let deployment = Deployment::clone(&fit.deployment);
    Resolution::Found(Box::new(Context {
        service: fit.lane.0,
        env: fit.lane.1,
        release: view
            .release(&deployment.release_id)
            .map(|release| release.as_ref().clone()),
        release_id: deployment.release_id.clone(),
        hosts: fit.hosts,
        batches: fit.batches,
        deployment,
        rung: fit.rung,
        freshness,
    }))
}

/// Rung 1: `release_id` with `batch`. A `release_id` alone is as good as a version (rung 4), and
/// ends the search there: no other rung may accuse another release.
fn by_release_labels(
    clues: &Clues,
    view: &View,
    _services: &BTreeMap<Service, ServiceConfig>,
) -> Step {
    let Some(release_id) = &clues.release_id else {
        return Step::Next;
    };
    let owner = release_id.service();
    if let (Some(service), Some(owner)) = (&clues.service, &owner)
        && service != owner
    {
        return Step::Stop(format!(
            "the labels contradict each other: service `{service}`, release `{release_id}`"
        ));
    }
    let service = clues.service.as_ref().or(owner.as_ref());
    let fits = deployments_of(clues, view, service, &|one| one.release_id == *release_id);
    if fits.is_empty() {
        return Step::Stop(format!("no known deployment of release `{release_id}`"));
    }
    let fits = fits.into_iter().map(|(lane, index, deployment)| {
        let exact = clues
            .batch
            .filter(|n| deployment.batches.iter().any(|batch| batch.n == *n));
        match exact {
            Some(n) => Fit::of_batch(clues, lane, &index, deployment, n),
            None => Fit::of_release(clues, lane, &index, deployment, Rung::Version),
        }
    });
    Step::Fits(fits.collect())
}

/// Rung 2: a pod that a deployment lists among its hosts.
fn by_pod(clues: &Clues, view: &View, _services: &BTreeMap<Service, ServiceConfig>) -> Step {
    let Some(pod) = &clues.pod else {
        return Step::Next;
    };
    fits_by_membership(clues, view, pod, Rung::Pod)
}

/// Rung 3: a server group that a deployment lists among its hosts.
fn by_server_group(
    clues: &Clues,
    view: &View,
    _services: &BTreeMap<Service, ServiceConfig>,
) -> Step {
    let Some(group) = &clues.server_group else {
        return Step::Next;
    };
    fits_by_membership(clues, view, group, Rung::ServerGroup)
}

/// Rung 4: version or image of a service in an env.
fn by_version(clues: &Clues, view: &View, services: &BTreeMap<Service, ServiceConfig>) -> Step {
    let (Some(version), Some(service)) = (&clues.version, &clues.service) else {
        return Step::Next;
    };
    let prefix = services.get(service).map(|one| one.tag_prefix.as_str());
    let bare = prefix.and_then(|prefix| version.strip_prefix(prefix));
    let is_it = |one: &Deployment| {
        let known = one.release_id.version();
        known == version
            || Some(known) == bare
            || view
                .release(&one.release_id)
                .is_some_and(|release| release.tag == *version)
    };
    let fits = deployments_of(clues, view, Some(service), &is_it);
    if fits.is_empty() {
        return Step::Stop(format!(
            "no known deployment of version `{version}` of `{service}`"
        ));
    }
    let fits = fits.into_iter().map(|(lane, index, deployment)| {
        Fit::of_release(clues, lane, &index, deployment, Rung::Version)
    });
    Step::Fits(fits.collect())
}

/// Rung 5: who ran on the host when the anomaly began.
fn by_host(clues: &Clues, view: &View, _services: &BTreeMap<Service, ServiceConfig>) -> Step {
    let Some(host) = &clues.host else {
        return Step::Next;
    };
    match fits_by_membership(clues, view, host, Rung::Host) {
        // An alert about a host nobody deployed to must not accuse whatever is in flight.
        Step::Next => Step::Stop(format!(
            "host `{host}` ran no known deployment when the anomaly began"
        )),
        step => step,
    }
}

/// Rung 6: the only deployment in flight, or the only one that runs when none is.
fn by_active_deployment(
    clues: &Clues,
    view: &View,
    _services: &BTreeMap<Service, ServiceConfig>,
) -> Step {
    let (Some(service), Some(env)) = (&clues.service, &clues.env) else {
        return Step::Stop("the labels `service` and `env` are needed to tell a deployment".into());
    };
    let Some(index) = view.lane(service, env) else {
        return Step::Stop(format!("no known deployment of `{service}` in `{env}`"));
    };
    let mut candidates = index.active();
    if candidates.is_empty() {
        candidates = index.running(view.now());
    }
    if candidates.is_empty() {
        // Deployments that name no hosts: the newest one that got through.
        let ended = |one: &&Arc<Deployment>| one.status == Status::Success;
        candidates.extend(index.deployments().iter().rev().find(ended).cloned());
    }
    let lane = (service.clone(), env.clone());
    let fits = candidates
        .into_iter()
        .map(|deployment| Fit::of_lane(view.now(), lane.clone(), deployment));
    Step::Fits(fits.collect())
}

/// The newest deployment of each lane that `is_it`, begun before the anomaly where there is one.
fn deployments_of(
    clues: &Clues,
    view: &View,
    service: Option<&Service>,
    is_it: &dyn Fn(&Deployment) -> bool,
) -> Vec<(Lane, Arc<LaneIndex>, Arc<Deployment>)> {
    let newest = |(lane, index): (Lane, Arc<LaneIndex>)| {
        let fitting = || index.deployments().iter().rev().filter(|one| is_it(one));
        let begun = |one: &&Arc<Deployment>| one.started_at.is_some_and(|start| start <= clues.at);
        let found = fitting()
            .find(begun)
            .or_else(|| fitting().next())
            .cloned()?;
        Some((lane, index, found))
    };
    let lanes = view.lanes(service, clues.env.as_ref());
    lanes.into_iter().filter_map(newest).collect()
}

fn fits_by_membership(clues: &Clues, view: &View, host: &Host, rung: Rung) -> Step {
    let lanes = view.lanes(clues.service.as_ref(), clues.env.as_ref());
    let fits: Vec<Fit> = lanes
        .into_iter()
        .filter_map(|(lane, index)| Some((lane, index.membership(host, clues.at)?)))
        .map(|(lane, found)| Fit::of_membership(lane, found, rung))
        .collect();
    if fits.is_empty() {
        Step::Next
    } else {
        Step::Fits(fits)
    }
}

impl Fit {
    fn of_batch(
        clues: &Clues,
        lane: Lane,
        index: &LaneIndex,
        deployment: Arc<Deployment>,
        n: u32,
    ) -> Self {
        let batches = BTreeSet::from([n]);
        let members = deployment.hosts_of(&batches);
        let named = clues.host.as_ref().and_then(|host| index.canonical(host));
        let named = named.filter(|host| members.contains(host)).cloned();
        Self {
            lane,
            hosts: named.map_or(members, |host| vec![host]),
            deployment,
            batches,
            rung: Rung::ReleaseLabels,
        }
    }

    /// A release without a batch: the named host's batch, else every batch that has started.
    fn of_release(
        clues: &Clues,
        lane: Lane,
        index: &LaneIndex,
        deployment: Arc<Deployment>,
        rung: Rung,
    ) -> Self {
        let named = clues.host.as_ref().and_then(|host| index.canonical(host));
        let member = named.and_then(|host| Some((host.clone(), deployment.batch_of(host)?.n)));
        let (batches, hosts) = if let Some((host, n)) = member {
            (BTreeSet::from([n]), vec![host])
        } else {
            let batches = started(&deployment);
            let hosts = deployment.hosts_of(&batches);
            (batches, hosts)
        };
        Self {
            lane,
            deployment,
            batches,
            hosts,
            rung,
        }
    }

    fn of_membership(lane: Lane, found: Membership, rung: Rung) -> Self {
        Self {
            lane,
            batches: BTreeSet::from([found.batch]),
            hosts: vec![found.host],
            deployment: found.deployment,
            rung,
        }
    }

    /// Nothing names the release. Each batch of a canary was let through by the one before, so the
    /// newest one is the suspect.
    fn of_lane(now: Timestamp, lane: Lane, deployment: Arc<Deployment>) -> Self {
        let mut batches = started(&deployment);
        if deployment.phase(now) == Phase::Canary {
            batches = batches.pop_last().into_iter().collect();
        }
        Self {
            lane,
            hosts: deployment.hosts_of(&batches),
            batches,
            deployment,
            rung: Rung::ActiveDeployment,
        }
    }

    fn words(&self) -> String {
        let (service, env) = &self.lane;
        let (id, release) = (&self.deployment.id, &self.deployment.release_id);
        format!("deployment {id} of {release} ({service} in {env})")
    }
}

fn started(deployment: &Deployment) -> BTreeSet<u32> {
    let started = |batch: &&crate::domain::deployment::Batch| batch.started_at.is_some();
    let batches = deployment.batches.iter().filter(started);
    batches.map(|batch| batch.n).collect()
}

impl Clues {
    fn read(alert: &Alert) -> Result<Self, String> {
        let image = alert.label("image").and_then(image_tag);
        let version = alert.label("version").or(image);
        if let Some(text) = version {
            // A version becomes part of a release id.
            ReleaseId::new(text).map_err(|error| refused("version", &error))?;
        }
        Ok(Self {
            service: id(alert, "service")?,
            env: id(alert, "env")?,
            release_id: id(alert, "release_id")?,
            batch: alert.label("batch").and_then(|text| text.parse().ok()),
            version: version.map(str::to_owned),
            pod: id(alert, "pod")?,
            server_group: id(alert, "server_group")?,
            // Not every `instance` is a host (a probe's target, say); such a one names none.
            host: alert.label("instance").and_then(host::of_instance),
            at: alert.starts_at,
        })
    }
}

fn id<T: std::str::FromStr<Err = InvalidId>>(
    alert: &Alert,
    label: &str,
) -> Result<Option<T>, String> {
    let text = alert.label(label).filter(|text| !text.is_empty());
    text.map(str::parse)
        .transpose()
        .map_err(|error| refused(label, &error))
}

fn refused(label: &str, error: &InvalidId) -> String {
    format!("label `{label}`: {error}")
}

/// The tag of `registry:5000/team/service:1.8.0@sha256:…`.
fn image_tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    name.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests;
