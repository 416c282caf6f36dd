//! What the catalog knows around an accusation: the service's hosts, and other deployments that
//! may be what went wrong.

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::{Accusation, Fleet};
use crate::domain::clock;
use crate::domain::decision::Suspect;
use crate::domain::deployment::Deployment;
use crate::enrich::catalog::View;

/// How long before an anomaly a deployment is still a suspect.
const SHORTLY: Duration = Duration::from_mins(30);
/// Suspects that are named, the newest first.
const NAMED: usize = 5;

/// The hosts of the accused service and env, and the suspects.
pub(super) fn surroundings(
    view: &View,
    accusation: &Accusation<'_>,
    now: Timestamp,
) -> (Result<Fleet, &'static str>, Vec<Suspect>) {
    let resolution = &accusation.resolution;
    let (Some(service), Some(env)) = (resolution.service(), resolution.env()) else {
        return (Err("no service and environment are known"), Vec::new());
    };
    let fleet = view.lane(service, env).map(|lane| Fleet {
        hosts: lane.current_hosts(now).cloned().collect(),
        unwell: lane.unwell_hosts().cloned().collect(),
    });
    let accused = resolution.context().map(|context| &context.deployment.id);
    let starts = accusation.alerts.iter().map(|open| open.alert.starts_at);
    let began = starts.min().unwrap_or(now);
    let from = clock::before(began, SHORTLY);
    let mut found: Vec<(bool, Suspect)> = Vec::new();
    for ((whose, _), lane) in view.lanes(None, Some(env)) {
        let mine = whose == *service;
        // What another service deployed after the anomaly began did not cause it.
        let until = if mine { now } else { began };
        let newest = lane.deployments().iter().rev();
        let young = newest.take_while(|one| one.started_at.is_some_and(|at| at >= from));
        let suspects = young.filter(|one| Some(&one.id) != accused);
        let suspects = suspects.filter_map(|one| suspect(one, until));
        found.extend(suspects.map(|suspect| (mine, suspect)));
    }
    found.sort_by(|(mine, a), (other, b)| {
        (other, b.started_at, &b.deployment).cmp(&(mine, a.started_at, &a.deployment))
    });
    found.truncate(NAMED);
    let suspects = found.into_iter().map(|(_, suspect)| suspect).collect();
    (fleet.ok_or("the catalog does not know them"), suspects)
}

fn suspect(deployment: &Deployment, until: Timestamp) -> Option<Suspect> {
    let started_at = deployment.started_at.filter(|at| *at <= until)?;
    Some(Suspect {
        service: deployment.service.clone(),
        release_id: deployment.release_id.clone(),
        deployment: deployment.id.clone(),
        started_at,
    })
}
