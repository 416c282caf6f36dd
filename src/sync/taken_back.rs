//! What rollbacks did to the deployments before them, in one lane.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::deployment::{Deployment, Status, Strategy};
use crate::domain::id::Host;

/// Gives a rollback that took everything back the hosts it reached, which Spinnaker does not say:
/// those that the accused deployment had reached, or, where that was a second set, those of the
/// set that was switched back to. `before` are the deployments that started earlier.
pub(super) fn reached(rollback: &mut Deployment, before: &[Deployment]) {
    let Some(accused) = accused(before, rollback) else {
        return;
    };
    let Some(accused) = before.get(accused) else {
        return;
    };
    rollback.strategy = match accused.strategy {
        Strategy::BlueGreen => Strategy::BlueGreen,
        Strategy::Canary | Strategy::All => Strategy::All,
    };
    if !rollback.target_hosts.is_empty() {
        return;
    }
    let hosts = match accused.strategy {
        Strategy::Canary | Strategy::All => started(accused),
        Strategy::BlueGreen => {
            let mut older = before.iter().rev();
            let set = older.find(|one| !one.is_rollback && one.release_id == rollback.release_id);
            set.map(started).unwrap_or_default()
        }
    };
    rollback.target_hosts.clone_from(&hosts);
    for batch in &mut rollback.batches {
        batch.hosts.clone_from(&hosts);
    }
}

/// Where in `lane` the deployments are that were taken back by successful rollbacks and do not say
/// so; those before `from` are not looked at. `is_full` tells whether a rollback took back all,
/// `by_batches` whether it names batches in place of hosts.
pub(super) fn unmarked(
    lane: &[Deployment],
    from: usize,
    is_full: impl Fn(&Deployment) -> bool,
    by_batches: impl Fn(&Deployment) -> bool,
) -> Vec<usize> {
    let mut taken: BTreeMap<usize, Taken<'_>> = BTreeMap::new();
    for (place, rollback) in lane.iter().enumerate().skip(from) {
        if !rollback.is_rollback || rollback.status != Status::Success {
            continue;
        }
        let Some(accused) = lane.get(..place).and_then(|all| accused(all, rollback)) else {
            continue;
        };
        let taken = taken.entry(accused).or_default();
        taken.whole |= is_full(rollback);
        taken.hosts.extend(&rollback.target_hosts);
        if rollback.target_hosts.is_empty() && by_batches(rollback) {
            taken
                .batches
                .extend(rollback.batches.iter().map(|one| one.n));
        }
    }
    let is_taken = |(place, taken): (usize, Taken<'_>)| {
        let one = lane.get(place)?;
        let all = taken.covers(one);
        let is_due = !one.is_active() && one.status != Status::RolledBack;
        (is_due && all).then_some(place)
    };
    taken.into_iter().filter_map(is_taken).collect()
}

/// What successful rollbacks took back of one deployment.
#[derive(Default)]
struct Taken<'a> {
    whole: bool,
    hosts: BTreeSet<&'a Host>,
    batches: BTreeSet<u32>,
}

impl Taken<'_> {
    /// Whether nothing is left of what the deployment had reached.
    fn covers(&self, deployment: &Deployment) -> bool {
        let hosts = started(deployment);
        let batches = deployment.batches.iter();
        let mut batches = batches.filter(|one| one.started_at.is_some()).peekable();
        self.whole
            || !hosts.is_empty() && hosts.iter().all(|host| self.hosts.contains(host))
            || batches.peek().is_some() && batches.all(|one| self.batches.contains(&one.n))
    }
}

/// Where the deployment is that a rollback took back: the newest of another release.
pub(super) fn accused(before: &[Deployment], rollback: &Deployment) -> Option<usize> {
    before
        .iter()
        .rposition(|one| !one.is_rollback && one.release_id != rollback.release_id)
}

/// Hosts of the batches that started.
fn started(deployment: &Deployment) -> Vec<Host> {
    let batches = deployment.batches.iter();
    let started = batches.filter(|batch| batch.started_at.is_some());
    started
        .flat_map(|batch| batch.hosts.iter().cloned())
        .collect()
}
