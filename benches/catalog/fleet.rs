//! A store as years of deployments leave it: releases, deployments, and the records of their hosts in
//! snapshots. Written as plain files: the store's own way syncs each to the disk.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use backstop::domain::clock;
use backstop::domain::deployment::{
    Batch, Deployment, Health, HostRecord, Instances, Status, Strategy,
};
use backstop::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::store::{chain, keys};
use jiff::Timestamp;
use serde::Serialize;

/// Services, half of them on hosts and half as pods.
pub(crate) const SERVICES: u32 = 50;
/// Releases of each, one deployment to each.
pub(crate) const VERSIONS: u32 = 200;
/// A deployment every day.
const APART: Duration = Duration::from_hours(24);

/// Who is asked for: the newest of its service.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) service: Service,
    pub(crate) host: Host,
    pub(crate) version: String,
    pub(crate) deployment: DeploymentId,
    pub(crate) is_pod: bool,
}

pub(crate) fn service(number: u32) -> anyhow::Result<Service> {
    Ok(Service::new(format!("service-{number:02}"))?)
}

pub(crate) fn env() -> anyhow::Result<Env> {
    Ok(Env::new("prod")?)
}

/// Who is asked for, in a fleet of `records` records.
pub(crate) fn asked(records: u32) -> anyhow::Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for number in 0..SERVICES * VERSIONS {
        let (service, hosts) = (service(number % SERVICES)?, hosts(number, records)?);
        if let Some(host) = hosts.last() {
            asked.retain(|before: &Asked| before.service != service);
            asked.push(Asked {
                service,
                host: host.clone(),
                version: (number / SERVICES).to_string(),
                deployment: id(number)?,
                is_pod: is_pod(number),
            });
        }
    }
    Ok(asked)
}

/// Writes the fleet with `records` records below `root`.
pub(crate) fn write(root: &Path, records: u32, now: Timestamp) -> anyhow::Result<()> {
    for number in 0..SERVICES * VERSIONS {
        let version = number / SERVICES;
        let started_at = clock::before(now, APART * (VERSIONS - version));
        let to = (version + 1 < VERSIONS).then(|| clock::after(started_at, APART));
        let hosts = hosts(number, records)?;
        let one = deployed(number, started_at, &hosts)?;
        // With few records the newest deployments of a service have none.
        let to = to.filter(|_| records >= SERVICES * VERSIONS);
        let all = snapshot(&one, hosts, started_at, to);
        put(
            root,
            &keys::release(&one.service, &one.release_id),
            &release(&one, started_at),
        )?;
        let chained = |prefix: &str| chain::key(prefix, 1);
        put(
            root,
            &chained(&keys::deployment(&one.service, &one.env, &one.id)),
            &one,
        )?;
        if !all.hosts.is_empty() {
            put(
                root,
                &chained(&keys::snapshot(&one.service, &one.env, &one.id)),
                &all,
            )?;
        }
    }
    Ok(())
}

fn is_pod(number: u32) -> bool {
    (number % SERVICES) % 2 == 1
}

fn id(number: u32) -> anyhow::Result<DeploymentId> {
    Ok(DeploymentId::new(format!("01J{number:023}"))?)
}

/// The hosts of a deployment, its share of all records; pods have new names each time.
fn hosts(number: u32, records: u32) -> anyhow::Result<Vec<Host>> {
    let share = |n: u32| u64::from(n) * u64::from(records) / u64::from(SERVICES * VERSIONS);
    let (service, version) = (service(number % SERVICES)?, number / SERVICES);
    let name = |n: u64| {
        Host::new(if is_pod(number) {
            format!("{service}-7d9f{version:04x}-{n:05x}")
        } else {
            format!("{service}-{n:04}.eu.example.com")
        })
    };
    // Of every service alike, however few there are.
    let place = (number % SERVICES) * VERSIONS + version;
    let names = (0..share(place + 1) - share(place)).map(name);
    Ok(names.collect::<Result<_, _>>()?)
}

fn deployed(number: u32, started_at: Timestamp, hosts: &[Host]) -> anyhow::Result<Deployment> {
    // Nobody names pods before they run.
    let named = if is_pod(number) {
        Vec::new()
    } else {
        hosts.to_vec()
    };
    let service = service(number % SERVICES)?;
    Ok(Deployment {
        id: id(number)?,
        release_id: ReleaseId::of(&service, &(number / SERVICES).to_string())?,
        service: service.clone(),
        env: env()?,
        strategy: Strategy::All,
        target_hosts: named.clone(),
        batches: vec![Batch {
            n: 1,
            hosts: named,
            status: Status::Success,
            started_at: Some(started_at),
            finished_at: Some(started_at),
        }],
        status: Status::Success,
        started_at: Some(started_at),
        finished_at: Some(started_at),
        soak: Duration::ZERO,
        application: service.to_string(),
        pipeline: "deploy-prod".to_owned(),
        is_rollback: false,
    })
}

fn snapshot(
    one: &Deployment,
    hosts: Vec<Host>,
    from: Timestamp,
    to: Option<Timestamp>,
) -> Instances {
    let record = |(n, host): (u32, Host)| HostRecord {
        host,
        ip: Some(std::net::Ipv4Addr::from(0x0a00_0000 + n).into()),
        status: Status::Success,
        deployed_at: Some(from),
        health_status: Health::Healthy,
        error_message: None,
        batch: 1,
        from: Some(from),
        to,
    };
    Instances {
        service: one.service.clone(),
        env: one.env.clone(),
        deployment_id: one.id.clone(),
        release_id: one.release_id.clone(),
        hosts: (0..).zip(hosts).map(record).collect(),
    }
}

fn release(one: &Deployment, at: Timestamp) -> Release {
    let version = one.release_id.version().to_owned();
    Release {
        id: one.release_id.clone(),
        service: one.service.clone(),
        tag: format!("v{version}"),
        version,
        artifact_url: format!("s3://artifacts/{}", one.release_id),
        checksum: "0".repeat(64),
        config: None,
        commit: None,
        reversible: true,
        created_at: at,
        created_by: "ci".to_owned(),
    }
}

fn put(root: &Path, key: &str, body: &impl Serialize) -> anyhow::Result<()> {
    let path = root.join(key);
    let folder = path.parent().context("a key with a folder")?;
    std::fs::create_dir_all(folder)?;
    let whole = serde_json::json!({"nonce": "b", "body": body});
    std::fs::write(&path, serde_json::to_vec(&whole)?).with_context(|| key.to_owned())
}
