//! Deployments for the tests of this room.

use std::time::Duration;

use jiff::Timestamp;

use super::catalog::Lane;
use crate::domain::deployment::{Batch, Deployment, Status, Strategy};
use crate::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use crate::store::{Store, chain, keys};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(super) fn host(name: &str) -> Host {
    Host::new(name).unwrap()
}

pub(super) fn lane() -> Lane {
    (Service::new("checkout").unwrap(), Env::new("prod").unwrap())
}

/// A deployment of one batch per list of hosts; batch `n` starts `60 n` seconds after `start`.
pub(super) fn deployment(id: &str, version: &str, start: i64, batches: &[&[&str]]) -> Deployment {
    let hosts = |names: &&[&str]| names.iter().map(|name| host(name)).collect::<Vec<_>>();
    let (service, env) = lane();
    Deployment {
        id: DeploymentId::new(id).unwrap(),
        release_id: ReleaseId::of(&service, version).unwrap(),
        service,
        env,
        strategy: Strategy::Canary,
        target_hosts: batches.iter().flat_map(hosts).collect(),
        batches: (1..)
            .zip(batches)
            .map(|(n, names)| Batch {
                n,
                hosts: hosts(names),
                status: Status::Success,
                started_at: Some(at(start + 60 * i64::from(n))),
                finished_at: None,
            })
            .collect(),
        status: Status::Success,
        started_at: Some(at(start)),
        finished_at: Some(at(start + 600)),
        soak: Duration::from_mins(15),
        application: "checkout".into(),
        pipeline: "deploy-prod".into(),
        is_rollback: false,
    }
}

pub(super) async fn put(store: &Store, seq: u64, deployment: &Deployment) {
    let (service, env) = lane();
    let chain = keys::deployment(&service, &env, &deployment.id);
    chain::append(store, &chain, seq, deployment).await.unwrap();
}
