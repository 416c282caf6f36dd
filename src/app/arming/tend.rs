//! Looks after what is armed: proves it, and takes it away when its time has come.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::super::core::Core;
use super::super::setup::Setup;
use super::sights;
use crate::canary::{ArmEvent, Armed, Place, Sight, Turn};
use crate::domain::decision::Scope;
use crate::domain::deployment::{Phase, Status};
use crate::domain::id::{Env, LaneName, Service};
use crate::domain::lane::{Incident, LaneState};
use crate::domain::notice::{Notice, NoticeKind};
use crate::enrich::catalog::View;
use crate::store::StoreError;

impl Core {
    /// Proves and disarms, again and again, until `stop`.
    pub(in crate::app) async fn keep_armed(&self, stop: CancellationToken) {
        loop {
            let setup = self.setup().clone();
            if let Err(error) = self.tend_armed(&setup).await {
                tracing::warn!("armed rules can't be looked after: {error}");
            }
            let every = setup.config.timing.sweep;
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn tend_armed(&self, setup: &Setup) -> Result<(), StoreError> {
        if setup.canaries.is_empty() {
            // Nobody evaluates them; their time to live ends them.
            return Ok(());
        }
        let now = self.ground.clock.now();
        let all = self.armed.all().await?.all;
        let open: Vec<Armed> = all
            .into_iter()
            .filter(|one| one.disarmed.is_none())
            .collect();
        let places: BTreeSet<&Place> = open.iter().map(|armed| &armed.place).collect();
        self.watch.keep(|place| places.contains(place));
        let lanes: BTreeSet<LaneName> = places.iter().map(|place| place.lane.clone()).collect();
        let view = self.view_with(setup, lanes).await;
        let lists = if open.is_empty() {
            Vec::new()
        } else {
            setup.lists().await
        };
        for armed in &open {
            let lane = self.lanes.as_read(&armed.place.lane).await;
            let parts = setup.config.lane_parts(&armed.place.lane);
            if let Some(why) = over(armed, &lane, &view, parts.as_ref(), now) {
                let wanted = |current: Option<&Armed>| {
                    let same = current.is_some_and(|current| {
                        current.seq == armed.seq && current.disarmed.is_none()
                    });
                    same.then(|| ArmEvent::Disarmed { why: why.clone() })
                };
                self.armed.append_with(&armed.place, now, wanted).await?;
            } else if armed.proven_at.is_none() {
                // Why it is not proven yet is for whoever polls the batch.
                drop(self.prove(armed, &sights(armed, &lists)).await?);
            } else {
                self.look_again(setup, armed, &sights(armed, &lists)).await;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Rules that were proven: people hear when nobody evaluates them any more.
    async fn look_again(&self, setup: &Setup, armed: &Armed, sights: &[(String, Sight)]) {
        let now = self.ground.clock.now();
        // Some intervals, and what an evaluation may take.
        let fresh = setup.config.canary.interval * 3 + Duration::from_secs(30);
        let Place {
            deployment, batch, ..
        } = &armed.place;
        match self.watch.again(armed, sights, now, fresh) {
            None => {}
            Some(Turn::Back(after)) => tracing::info!(
                deployment.id = %deployment,
                "the canary rules of batch {batch} of `{deployment}` are evaluated again after {} s",
                after.as_secs()
            ),
            Some(Turn::Lost(why)) => {
                self.numbers.error("canary", "unwatched");
                tracing::error!(
                    deployment.id = %deployment,
                    "nobody evaluates the canary rules of batch {batch} of `{deployment}`: {why}"
                );
                self.tell_unwatched(setup, armed, why).await;
            }
        }
    }

    async fn tell_unwatched(&self, setup: &Setup, armed: &Armed, why: String) {
        let now = self.ground.clock.now();
        let (deployment, batch) = (&armed.place.deployment, armed.place.batch);
        let thread = format!("backstop/canary/{deployment}/{batch}/{}", armed.seq);
        let subject = "a canary is not watched";
        let mut notice = Notice::blank(NoticeKind::OwnTrouble, &thread, subject, now);
        "critical".clone_into(&mut notice.severity);
        notice.context_missing = Some(format!(
            "batch {batch} of {} ({deployment}) has canary rules that nobody evaluates: {why}",
            armed.release_id
        ));
        // Once an hour at most, however often it comes and goes, and over all replicas.
        let hour = now.strftime("%Y-%m-%dT%H");
        let fact = format!("{thread}/{hour}");
        self.tell_all(setup, &setup.config.default_channels, notice, &fact)
            .await;
    }
}

/// Why rules are to be evaluated no more; None while they are.
fn over(
    armed: &Armed,
    lane: &LaneState,
    view: &View,
    parts: Option<&(Service, Env)>,
    now: Timestamp,
) -> Option<String> {
    let Place {
        deployment, batch, ..
    } = &armed.place;
    let mut incidents = lane.closed.iter().chain(&lane.open);
    let taken = incidents.find(|one| one.opened.deployment == *deployment && takes(one, *batch));
    if let Some(incident) = taken {
        return Some(format!("{} takes the batch back", incident.id));
    }
    let known = parts.and_then(|(service, env)| view.lane(service, env));
    if let Some(known) = known.as_ref().and_then(|lane| lane.deployment(deployment)) {
        if known.phase(now) == Phase::Full {
            return Some("the deployment has soaked".to_owned());
        }
        if known.status == Status::RolledBack {
            return Some("the deployment was rolled back".to_owned());
        }
    }
    (now >= armed.until).then(|| "their time is over".to_owned())
}

/// Whether Spinnaker has an incident that takes this batch back.
fn takes(incident: &Incident, batch: u32) -> bool {
    let Some(plan) = incident
        .plan
        .as_ref()
        .filter(|_| incident.submitted_at.is_some())
    else {
        return false;
    };
    match &plan.scope {
        Scope::Full => true,
        Scope::Batch(batches) => batches.contains(&batch),
    }
}
