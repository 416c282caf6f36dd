//! The sweep, and one driver per open incident.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Engine, Inner};
use crate::act::step::{Local, Now, Rules, Step, left_to_another, next_step};
use crate::act::steps::STORE_AGAIN;
use crate::act::steps::report::Reports;
use crate::domain::id::IncidentId;
use crate::domain::lane::LaneState;

/// Takes the incident out of the driven ones, however its driver ends.
struct InHand {
    inner: Arc<Inner>,
    id: IncidentId,
}

impl Drop for InHand {
    fn drop(&mut self) {
        let driven = self.inner.driven.lock();
        driven
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Engine {
    /// Sweeps until the token is cancelled, then lets every driver finish the step it is at.
    /// Dropping the future cuts them off, which is no worse than a crash.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut drivers = JoinSet::new();
        let mut next_sweep = Instant::now();
        while !shutdown.is_cancelled() {
            for id in self.inner.take_woken() {
                self.drive(&mut drivers, id, &shutdown);
            }
            if Instant::now() >= next_sweep {
                for id in self.inner.sweep().await {
                    self.drive(&mut drivers, id, &shutdown);
                }
                next_sweep = Instant::now() + self.inner.settings().timing.sweep;
            }
            while let Some(ended) = drivers.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!("a driver of an incident broke off: {error}");
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep_until(next_sweep) => {}
            }
        }
        while drivers.join_next().await.is_some() {}
    }

    fn drive(&self, drivers: &mut JoinSet<()>, id: IncidentId, shutdown: &CancellationToken) {
        let wake = Arc::new(Notify::new());
        {
            let driven = self.inner.driven.lock();
            let mut driven = driven.unwrap_or_else(PoisonError::into_inner);
            if driven.contains_key(&id) {
                return;
            }
            driven.insert(id.clone(), Arc::clone(&wake));
        }
        let inner = Arc::clone(&self.inner);
        let in_hand = InHand { inner, id };
        let shutdown = shutdown.clone();
        drivers.spawn(async move {
            in_hand.inner.drive(&in_hand.id, &wake, &shutdown).await;
        });
    }
}

impl Inner {
    fn take_woken(&self) -> BTreeSet<IncidentId> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }

    async fn sweep(&self) -> Vec<IncidentId> {
        match self.lanes.unfinished().await {
            Ok(found) => {
                for (lane, why) in &found.unreadable {
                    tracing::error!(lane.name = %lane, "lane {lane} can't be read, its incident waits: {why}");
                }
                found.open
            }
            Err(error) => {
                tracing::warn!("open incidents can't be listed: {error}");
                Vec::new()
            }
        }
    }

    async fn drive(self: &Arc<Self>, id: &IncidentId, wake: &Notify, shutdown: &CancellationToken) {
        let Some((lane, _)) = id.parts() else {
            return;
        };
        let mut local = Local::new(Instant::now());
        let mut reports = Reports::default();
        while !shutdown.is_cancelled() {
            let wait = match self.lanes.refresh(&lane).await {
                Ok(state) => match self.advance(id, &state, &mut local, &mut reports).await {
                    Some(wait) => wait,
                    None => return,
                },
                Err(error) => {
                    tracing::warn!(incident.id = %id, "incident {id} waits for its lane: {error}");
                    STORE_AGAIN
                }
            };
            if !wait.is_zero() {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = wake.notified() => {}
                    () = reports.ended(id) => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
        reports.finish().await;
    }

    /// One look at the incident and one step of it. How long to wait before the next; None when
    /// it is over.
    async fn advance(
        self: &Arc<Self>,
        id: &IncidentId,
        state: &LaneState,
        local: &mut Local,
        reports: &mut Reports,
    ) -> Option<Duration> {
        let incident = state.incident(id)?;
        let settings = self.settings().clone();
        let now = Now {
            instant: Instant::now(),
            wall: self.clock.now(),
        };
        local.observe(incident, now.instant);
        let rules = Rules {
            me: self.lanes.me(),
            timing: &settings.timing,
            http_timeout: settings.http_timeout,
        };
        if left_to_another(incident, local, now, rules).is_none() {
            reports.go_on(self, incident);
        }
        match next_step(incident, local, now, rules) {
            Step::Done if reports.are_owed(incident) => Some(settings.timing.sweep),
            Step::Done => {
                if let Err(error) = self.lanes.forget(id).await {
                    tracing::debug!(incident.id = %id, "the sweep removes what announced incident {id}: {error}");
                }
                None
            }
            Step::Wait(wait) => Some(wait.min(settings.timing.sweep)),
            step => match Box::pin(self.carry_out(step.clone(), incident, local)).await {
                // A step that changed nothing comes again; it need not come at once.
                Ok(()) if local.repeats(step, state.epoch()) => Some(STORE_AGAIN),
                Ok(()) => Some(Duration::ZERO),
                Err(error) => {
                    tracing::warn!(incident.id = %id, "a step of incident {id} was not recorded: {error}");
                    Some(STORE_AGAIN)
                }
            },
        }
    }
}
