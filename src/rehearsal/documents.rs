//! Documents of a test as they stand at one moment.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::given::{DeploymentEnd, RawBatch, RawDeployment, RawInstance, RawMark, RawRelease};
use super::offset::Offset;
use crate::domain::clock;
use crate::domain::deployment::{Batch, Deployment, Health, Instance, Status, Strategy};
use crate::domain::id::{Host, Service};
use crate::domain::release::{Mark, Release};

/// How long a deployment soaks when the test does not say.
const SOAK: Duration = Duration::from_mins(15);
/// When a release was published when the test does not say.
const PUBLISHED: Offset = Offset::hours_before(30 * 24);
/// When a mark was set when the test does not say.
const MARKED: Offset = Offset::hours_before(1);

/// What a rollback did to a deployment.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    /// No batch starts any more.
    pub at: Timestamp,
    /// When every host was taken back; None: some are left.
    pub taken_back: Option<Timestamp>,
}

/// The service of a release; the id's whole text when it names none.
pub(super) fn service_of(raw: &RawDeployment) -> Option<Service> {
    raw.release.value.service()
}

/// A release's document; None before it was published.
pub(super) fn release(raw: &RawRelease, start: Timestamp, now: Timestamp) -> Option<Release> {
    let created_at = raw.created.unwrap_or(PUBLISHED).after(start);
    let id = raw.id.value.clone();
    let service = id.service()?;
    let version = id.version().to_owned();
    (created_at <= now).then(|| Release {
        service,
        tag: format!("v{version}"),
        artifact_url: format!("s3://artifacts/{id}"),
        version,
        id,
        checksum: "0".repeat(64),
        config: None,
        commit: None,
        reversible: raw.reversible.unwrap_or(true),
        created_at,
        created_by: "this test".to_owned(),
    })
}

/// A mark; None before it was set.
pub(super) fn mark(raw: &RawMark, start: Timestamp, now: Timestamp) -> Option<Mark> {
    let at = raw.at.unwrap_or(MARKED).after(start);
    (at <= now).then(|| Mark {
        release_id: raw.release.clone(),
        kind: raw.kind,
        reason: "as this test says".to_owned(),
        by: "this test".to_owned(),
        at,
        incident: None,
    })
}

/// A deployment as far as it is; None before it started.
pub(super) fn deployment(
    raw: &RawDeployment,
    stop: Option<&Stop>,
    start: Timestamp,
    now: Timestamp,
) -> Option<Deployment> {
    let service = service_of(raw)?;
    let started_at = raw.started.after(start);
    if started_at > now {
        return None;
    }
    let planned_end = raw.finished.map(|end| end.after(start));
    let stopped = stop.map(|stop| stop.at);
    let end = planned_end.into_iter().chain(stopped).min();
    let finished_at = end.filter(|end| *end <= now);
    let cut =
        finished_at.is_some() && planned_end.is_none_or(|planned| Some(planned) != finished_at);
    let status = match (finished_at, raw.ends) {
        _ if stop
            .and_then(|stop| stop.taken_back)
            .is_some_and(|at| at <= now) =>
        {
            Status::RolledBack
        }
        (None, _) => Status::Running,
        (Some(_), _) if cut => Status::Failed,
        (Some(_), None | Some(DeploymentEnd::Success)) => Status::Success,
        (Some(_), Some(DeploymentEnd::Failed)) => Status::Failed,
        (Some(_), Some(DeploymentEnd::RolledBack)) => Status::RolledBack,
    };
    let begun = |batch: &RawBatch| {
        let at = batch.started?.after(start);
        (at <= now && stopped.is_none_or(|stopped| at < stopped)).then_some(at)
    };
    let batches: Vec<Batch> = (1..)
        .zip(&raw.batches)
        .map(|(n, batch)| Batch {
            n,
            hosts: batch.hosts.clone(),
            status: match (begun(batch), finished_at) {
                (None, _) => Status::Pending,
                (Some(_), None) => Status::Running,
                (Some(_), Some(_)) => status,
            },
            started_at: begun(batch),
            finished_at: begun(batch).and(finished_at),
        })
        .collect();
    let mut seen = BTreeSet::new();
    let members = raw.batches.iter().flat_map(|batch| &batch.hosts);
    let all: Vec<Host> = raw
        .hosts
        .iter()
        .chain(members)
        .filter(|host| seen.insert(*host))
        .cloned()
        .collect();
    Some(Deployment {
        id: raw.id.value.clone(),
        release_id: raw.release.value.clone(),
        application: service.to_string(),
        service,
        env: raw.env.clone(),
        strategy: raw.strategy.unwrap_or(Strategy::Canary),
        target_hosts: all,
        batches,
        status,
        started_at: Some(started_at),
        finished_at,
        soak: raw.soak.map_or(SOAK, |soak| soak.0),
        pipeline: raw
            .pipeline
            .clone()
            .unwrap_or_else(|| format!("deploy-{}", raw.env)),
        is_rollback: raw.rollback,
    })
}

/// What an agent told of a host; None before the release arrived there.
pub(super) fn instance(
    raw: &RawInstance,
    deployment: &RawDeployment,
    start: Timestamp,
    now: Timestamp,
) -> Option<Instance> {
    let from = raw.from.after(start);
    (from <= now).then_some(())?;
    Some(Instance {
        host: raw.host.clone(),
        ip: raw.ip,
        status: Status::Success,
        deployed_at: Some(from),
        health_status: Health::Healthy,
        error_message: None,
        deployment_id: deployment.id.value.clone(),
        release_id: deployment.release.value.clone(),
        service: service_of(deployment)?,
        env: deployment.env.clone(),
        batch: raw.batch.unwrap_or(1),
        from: Some(from),
        to: raw.to.map(|to| to.after(start)).filter(|to| *to <= now),
    })
}

/// The moment `span` after `at`.
pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    clock::after(at, span)
}
