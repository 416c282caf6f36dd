//! How far the accused release had spread.

use std::collections::BTreeSet;

use super::super::input::Input;
use super::super::record::Impact;
use super::super::words::{seconds, share};
use super::clocks::Moments;
use crate::domain::deployment::Deployment;
use crate::domain::id::Host;

pub(super) fn impact(input: &Input, moments: &Moments) -> Impact {
    let incident = &input.incident;
    let in_scope = incident
        .plan
        .as_ref()
        .map_or(&incident.opened.hosts, |plan| &plan.hosts)
        .clone();
    let reached = input.deployment.as_ref().map(reached);
    let exposed = match reached {
        Some(hosts) if !hosts.is_empty() => Some(hosts.len()),
        _ => (!in_scope.is_empty()).then_some(in_scope.len()),
    };
    let fleet = Some(fleet(input).len()).filter(|fleet| *fleet > 0);
    let over = incident.finished.as_ref().is_some_and(|end| end.succeeded);
    let until = if over {
        moments.finished
    } else {
        Some(input.now)
    };
    let exposed_seconds = moments
        .exposed
        .zip(until)
        .map(|(since, until)| seconds(since, until))
        .filter(|seconds| *seconds >= 0.0);
    let note = match (&input.deployment, exposed, fleet) {
        (None, _, _) => Some("the deployment's document is not at hand"),
        (_, None, _) => Some("no host of the deployment is known"),
        (_, _, None) => Some("the size of the fleet is not known"),
        _ => None,
    };
    Impact {
        exposed,
        fleet,
        share: exposed
            .zip(fleet)
            .and_then(|(part, whole)| share(part, whole)),
        in_scope,
        exposed_since: moments.exposed,
        exposed_seconds,
        over,
        note: note.map(Into::into),
    }
}

/// Hosts the accused deployment has begun to change.
fn reached(deployment: &Deployment) -> BTreeSet<&Host> {
    deployment
        .batches
        .iter()
        .filter(|batch| batch.started_at.is_some())
        .flat_map(|batch| &batch.hosts)
        .collect()
}

/// Hosts the deployment was meant for: those of its document, which may know only the batches that
/// were announced, and those of the stages that were still to come.
fn fleet(input: &Input) -> BTreeSet<&Host> {
    let Some(deployment) = &input.deployment else {
        return BTreeSet::new();
    };
    let log = input.deploy_log.value();
    let stages = log.into_iter().flat_map(|log| &log.stages);
    let stages = stages.flat_map(|stage| &stage.hosts);
    deployment.target_hosts.iter().chain(stages).collect()
}
