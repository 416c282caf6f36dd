//! What rollbacks did to the deployments before them.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::deployment::{Deployment, Status};
use crate::domain::id::{DeploymentId, Host};

/// Gives full rollbacks the hosts they reach (Spinnaker does not say), and marks deployments whose
/// every started host was taken back by successful rollbacks.
pub(super) fn settle(deployments: &mut [Deployment], is_full: impl Fn(&Deployment) -> bool) {
    deployments.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let mut taken: BTreeMap<DeploymentId, BTreeSet<Host>> = BTreeMap::new();
    for place in 0..deployments.len() {
        let (before, rest) = deployments.split_at_mut(place);
        let Some(rollback) = rest.first_mut().filter(|one| one.is_rollback) else {
            continue;
        };
        let accused = before.iter().rev().find(|one| {
            !one.is_rollback && one.env == rollback.env && one.release_id != rollback.release_id
        });
        let Some(accused) = accused else {
            continue;
        };
        if rollback.target_hosts.is_empty() && is_full(rollback) {
            rollback.target_hosts = started(accused);
            for batch in &mut rollback.batches {
                batch.hosts.clone_from(&rollback.target_hosts);
            }
        }
        if rollback.status == Status::Success {
            let hosts = rollback.target_hosts.iter().cloned();
            taken.entry(accused.id.clone()).or_default().extend(hosts);
        }
    }
    for deployment in deployments.iter_mut() {
        let Some(back) = taken.get(&deployment.id) else {
            continue;
        };
        let reached = started(deployment);
        if !deployment.is_active()
            && !reached.is_empty()
            && reached.iter().all(|host| back.contains(host))
        {
            deployment.status = Status::RolledBack;
        }
    }
}

/// Hosts of the batches that started.
fn started(deployment: &Deployment) -> Vec<Host> {
    let batches = deployment.batches.iter();
    let started = batches.filter(|batch| batch.started_at.is_some());
    started
        .flat_map(|batch| batch.hosts.iter().cloned())
        .collect()
}
