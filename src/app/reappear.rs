//! Bad releases that come back: deployed once more, or still running where they were taken back.
//!
//! The catalog is held against the marks again and again. A fact's name keeps each reappearance to
//! one message, over replicas; what ended more than a day ago is not looked at any more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::setup::Setup;
use crate::domain::clock;
use crate::domain::deployment::Deployment;
use crate::domain::id::{ChannelName, Env, Host, LaneName, Service};
use crate::domain::lane::{Incident, LaneState};
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::release::{Mark, MarkKind};
use crate::enrich::catalog::{LaneIndex, View};

/// Deployments that began longer ago are history.
const NEWS: Duration = Duration::from_hours(24);

/// A host's record may be this late.
const GRACE: Duration = Duration::from_mins(15);

/// A bad release that is there again.
struct Back<'a> {
    mark: &'a Mark,
    deployment: &'a Deployment,
    /// What is told, and the name it is told once by.
    what: String,
    fact: String,
    hosts: Vec<Host>,
}

impl Core {
    /// Looks until `stop`.
    pub(super) async fn keep_watch(&self, stop: CancellationToken) {
        loop {
            let setup = self.setup().clone();
            self.look_for_bad_releases(&setup).await;
            let every = setup.config.timing.catalog_refresh;
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn look_for_bad_releases(&self, setup: &Setup) {
        let view = self.catalog.view();
        for ((service, env), index) in view.lanes(None, None) {
            // Lanes are read only where there is something to find.
            let bad = |one: &Arc<Deployment>| {
                let mark = view.mark(&one.release_id);
                mark.is_some_and(|mark| mark.kind == MarkKind::Bad)
            };
            if index.deployments().iter().any(bad) {
                self.look_for_bad_release(setup, &service, &env).await;
            }
        }
    }

    /// Looks at one lane, with the batches that were announced and `sync` has not seen yet.
    pub(super) async fn look_for_bad_release(&self, setup: &Setup, service: &Service, env: &Env) {
        let Ok(lane) = LaneName::of(service, env) else {
            return;
        };
        let view = self.view_with(setup, [lane.clone()]).await;
        let Some(index) = view.lane(service, env) else {
            return;
        };
        let state = self.lanes.as_read(&lane).await;
        for back in found(&view, &index, &state, self.ground.clock.now()) {
            self.tell_reappearance(setup, &state, back).await;
        }
    }

    async fn tell_reappearance(&self, setup: &Setup, lane: &LaneState, back: Back<'_>) {
        let channels = audience(setup, lane, back.mark);
        let unheard = |name: &ChannelName| !setup.notify.knows(name, [&back.fact]);
        let channels: Vec<ChannelName> = channels.into_iter().filter(unheard).collect();
        if channels.is_empty() {
            return;
        }
        let deployment = back.deployment;
        let now = self.ground.clock.now();
        let thread = format!("reappeared/{}", deployment.release_id);
        let mut notice = Notice::blank(NoticeKind::HoldPage, &thread, "a bad release is back", now);
        "critical".clone_into(&mut notice.severity);
        notice.service = Some(deployment.service.clone());
        notice.env = Some(deployment.env.clone());
        notice.release_id = Some(deployment.release_id.clone());
        notice.version = Some(deployment.release_id.version().to_owned());
        notice.deployment = Some(deployment.id.clone());
        notice.phase = Some(deployment.phase(now));
        notice.hosts.clone_from(&back.hosts);
        notice.context_missing = Some(format!(
            "{}; marked bad by {}: {}",
            back.what, back.mark.by, back.mark.reason
        ));
        notice.links = Self::links(setup, back.mark.incident.as_ref(), None);
        tracing::warn!(release.id = %deployment.release_id, "{}", back.what);
        self.tell_all(setup, &channels, notice, &back.fact).await;
    }
}

/// Every deployment that brings a bad release again, and every host that still runs one.
fn found<'a>(
    view: &'a View,
    index: &'a LaneIndex,
    lane: &LaneState,
    now: Timestamp,
) -> Vec<Back<'a>> {
    let mut found = Vec::new();
    for deployment in index.deployments() {
        let mark = view.mark(&deployment.release_id);
        let Some(mark) = mark.filter(|mark| mark.kind == MarkKind::Bad) else {
            continue;
        };
        let began = deployment.started_at;
        let again = began.is_some_and(|at| at > mark.at && clock::since(now, at) < NEWS);
        if again && !deployment.is_rollback {
            found.push(Back {
                mark,
                deployment,
                what: format!(
                    "deployment {} brings {} again",
                    deployment.id, mark.release_id
                ),
                fact: format!("{}/reappeared/{}", mark.release_id, deployment.id),
                hosts: deployment.target_hosts.clone(),
            });
        }
        found.extend(still_running(index, lane, mark, deployment, now));
    }
    found
}

/// Hosts whose records say, after the rollback's end, that they run what was taken back.
fn still_running<'a>(
    index: &LaneIndex,
    lane: &LaneState,
    mark: &'a Mark,
    deployment: &'a Deployment,
    now: Timestamp,
) -> Option<Back<'a>> {
    let taken_back = |one: &&Incident| {
        one.opened.deployment == deployment.id
            && one.finished.as_ref().is_some_and(|end| end.succeeded)
    };
    let incident = lane.closed.iter().rev().find(taken_back)?;
    let ended = incident.finished.as_ref()?.at;
    if clock::since(now, ended) >= NEWS {
        return None;
    }
    let plan = incident.plan.as_ref()?;
    let late = clock::since(now, ended) >= GRACE;
    let covered = |host| plan.hosts.is_empty() || plan.hosts.contains(host);
    let instances = index.instances().filter(|one| {
        one.deployment_id == deployment.id
            && one.to.is_none()
            && (late || one.deployed_at.is_some_and(|at| at > ended))
            && covered(&one.host)
    });
    let hosts: Vec<_> = instances.map(|one| one.host.clone()).collect();
    (!hosts.is_empty()).then(|| Back {
        mark,
        deployment,
        what: format!(
            "{} still runs on {} hosts after incident {}",
            mark.release_id,
            hosts.len(),
            incident.id
        ),
        fact: format!("{}/still-runs", incident.id),
        hosts,
    })
}

/// Those who were told of the incident that made the mark, else everybody's default.
fn audience(setup: &Setup, lane: &LaneState, mark: &Mark) -> Vec<ChannelName> {
    let incident = mark.incident.as_ref().and_then(|id| lane.incident(id));
    let told = incident.map_or(&[][..], |incident| &incident.opened.channels);
    setup.config.audience(told)
}
