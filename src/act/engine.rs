//! Opens incidents, lets executions in, and moves every open incident on until it is closed.
//!
//! Every replica runs one; none of them is special. An incident belongs to nobody: whoever looks
//! at its lane and finds something due does it, and the lane says whether it still counted.

mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::budget::{BudgetView, Budgets};
use super::lane::{Appended, LaneStore};
use super::orders::Spinnaker;
use super::seams::{Escalator, Followups, Planner, Recheck, RecoveryProbe, Reporter};
use crate::config::{Budget, Timing};
use crate::domain::clock::SharedClock;
use crate::domain::id::{DeploymentId, ExecutionId, Host, IncidentId, LaneName, ReleaseId};
use crate::domain::lane::{Illegal, LaneEvent, LaneState, Opened, Origin};
use crate::store::StoreError;

/// What a reload may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Leases, pauses and deadlines.
    pub timing: Timing,
    /// How many automatic rollbacks there may be.
    pub budget: Budget,
    /// The longest one call to Spinnaker takes.
    pub http_timeout: Duration,
}

/// What the engine works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The lanes, and who we are.
    pub lanes: LaneStore,
    /// Wall time.
    pub clock: SharedClock,
    /// Spinnaker.
    pub spinnaker: Arc<dyn Spinnaker>,
    /// The guards.
    pub recheck: Arc<dyn Recheck>,
    /// Makes plans.
    pub planner: Arc<dyn Planner>,
    /// Asks whether it helped.
    pub probe: Arc<dyn RecoveryProbe>,
    /// Says what follows where it did not.
    pub escalator: Arc<dyn Escalator>,
    /// Writes reports.
    pub reporter: Arc<dyn Reporter>,
    /// Tells people.
    pub followups: Arc<dyn Followups>,
    /// Times and budget.
    pub settings: Settings,
}

/// What became of a wish to open an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenOutcome {
    /// It is open.
    Opened(IncidentId),
    /// An incident does, or did, what was wished.
    Merged(IncidentId),
    /// It may not be; the words say why.
    Refused(String),
    /// Nobody can tell: the sender must come again.
    Unknown,
}

/// A batch that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPost {
    /// Where.
    pub lane: LaneName,
    /// The deployment.
    pub deployment: DeploymentId,
    /// What it deploys.
    pub release_id: ReleaseId,
    /// Its ordinal, from 1.
    pub n: u32,
    /// How many there are, when known.
    pub of: Option<u32>,
    /// Its members.
    pub hosts: Vec<Host>,
}

/// What a batch hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It may start; the number is the epoch its hosts obey.
    Started {
        /// The lane's epoch.
        epoch: u64,
    },
    /// It had started before.
    AlreadyStarted,
    /// It may not; the words say why.
    Refused(String),
}

/// What an execution hears when it asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is in.
    Granted,
    /// It was in before.
    AlreadyGranted,
    /// It must stop before it touches anything; the words say why.
    Refused(String),
}

/// What became of giving up an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abandonment {
    /// It sends and admits nothing more. What was let in is followed to its end.
    Abandoned,
    /// It was given up before.
    AlreadyAbandoned,
    /// There is no such open incident.
    NotOpen,
}

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("lanes", &self.inner.lanes)
            .finish_non_exhaustive()
    }
}

pub(super) struct Inner {
    pub(super) lanes: LaneStore,
    pub(super) clock: SharedClock,
    pub(super) spinnaker: Arc<dyn Spinnaker>,
    pub(super) recheck: Arc<dyn Recheck>,
    pub(super) planner: Arc<dyn Planner>,
    pub(super) probe: Arc<dyn RecoveryProbe>,
    pub(super) escalator: Arc<dyn Escalator>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) followups: Arc<dyn Followups>,
    pub(super) budgets: Budgets,
    settings: ArcSwap<Settings>,
    /// Incidents somebody woke, and those that a driver has in hand.
    woken: Mutex<BTreeSet<IncidentId>>,
    driven: Mutex<BTreeMap<IncidentId, Arc<Notify>>>,
    wake: Notify,
}

impl Inner {
    pub(super) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }
}

impl Engine {
    /// An engine that does nothing until [`Engine::run`].
    pub fn new(parts: Parts) -> Self {
        let budgets = Budgets::new(parts.lanes.clone());
        Self {
            inner: Arc::new(Inner {
                lanes: parts.lanes,
                clock: parts.clock,
                spinnaker: parts.spinnaker,
                recheck: parts.recheck,
                planner: parts.planner,
                probe: parts.probe,
                escalator: parts.escalator,
                reporter: parts.reporter,
                followups: parts.followups,
                budgets,
                settings: ArcSwap::from_pointee(parts.settings),
                woken: Mutex::default(),
                driven: Mutex::default(),
                wake: Notify::new(),
            }),
        }
    }

    /// Takes reloaded settings; the next step goes by them.
    pub fn set(&self, settings: Settings) {
        self.inner.settings.store(Arc::new(settings));
    }

    /// The lanes.
    pub fn lanes(&self) -> &LaneStore {
        &self.inner.lanes
    }

    /// The automatic rollbacks that count against the budget now.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn budget(&self) -> Result<BudgetView, StoreError> {
        let budget = self.inner.settings().budget;
        let now = self.inner.clock.now();
        self.inner.budgets.view(&budget, now).await
    }

    /// Opens an incident, which also stops its deployment. A wish that an incident covers
    /// already, or a manual one repeated under its key, is merged.
    pub async fn open(&self, opened: Opened) -> OpenOutcome {
        let outcome = open(&self.inner.lanes, opened).await;
        if let OpenOutcome::Opened(id) = &outcome {
            self.wake(id);
        }
        outcome
    }

    /// Notes that a batch starts, or says why it may not.
    ///
    /// # Errors
    /// When the store can't be reached or the outcome is unknown: the batch must not start.
    pub async fn batch_started(&self, batch: BatchPost) -> Result<BatchOutcome, StoreError> {
        let me = self.inner.lanes.me();
        let event = LaneEvent::Batch {
            deployment: batch.deployment,
            release_id: batch.release_id,
            n: batch.n,
            of: batch.of,
            hosts: batch.hosts,
        };
        let mut illegal = None;
        let appended = self.inner.lanes.append_with(&batch.lane, |state| {
            illegal = state.check(me, &event).err();
            Some(event.clone())
        });
        Ok(match (appended.await?, illegal) {
            (Appended::Won { seq, .. }, _) => BatchOutcome::Started { epoch: seq },
            (_, Some(Illegal::BatchStarted { .. })) => BatchOutcome::AlreadyStarted,
            (_, Some(illegal)) => BatchOutcome::Refused(illegal.to_string()),
            (_, None) => BatchOutcome::Refused("the lane does not take it".into()),
        })
    }

    /// Lets an execution in: at most one per incident, whatever was sent how often.
    ///
    /// # Errors
    /// When the store can't be reached or the outcome is unknown: the execution must ask again
    /// and touch nothing meanwhile.
    pub async fn admit(
        &self,
        incident: &IncidentId,
        attempt: u32,
        execution: &ExecutionId,
    ) -> Result<Admission, StoreError> {
        let Some((lane, _)) = incident.parts() else {
            return Ok(Admission::Refused(format!("`{incident}` is no incident")));
        };
        let me = self.inner.lanes.me();
        let event = LaneEvent::Admitted {
            incident: incident.clone(),
            attempt,
            execution: execution.clone(),
        };
        let mut illegal = None;
        let appended = self.inner.lanes.append_with(&lane, |state| {
            illegal = state.check(me, &event).err();
            Some(event.clone())
        });
        let admission = match (appended.await?, illegal) {
            (Appended::Won { .. }, _) => Admission::Granted,
            (_, Some(Illegal::Already)) => Admission::AlreadyGranted,
            (_, Some(illegal)) => Admission::Refused(illegal.to_string()),
            (_, None) => Admission::Refused("the lane does not take it".into()),
        };
        self.wake(incident);
        Ok(admission)
    }

    /// A person gives an incident up.
    ///
    /// # Errors
    /// When the store can't be reached or the outcome is unknown.
    pub async fn abandon(
        &self,
        incident: &IncidentId,
        by: &str,
        why: &str,
    ) -> Result<Abandonment, StoreError> {
        let Some((lane, _)) = incident.parts() else {
            return Ok(Abandonment::NotOpen);
        };
        let me = self.inner.lanes.me();
        let event = LaneEvent::Abandoned {
            incident: incident.clone(),
            by: by.to_owned(),
            why: why.to_owned(),
        };
        let mut illegal = None;
        let appended = self.inner.lanes.append_with(&lane, |state| {
            illegal = state.check(me, &event).err();
            Some(event.clone())
        });
        let outcome = match (appended.await?, illegal) {
            (Appended::Won { .. }, _) => Abandonment::Abandoned,
            (_, Some(Illegal::Already)) => Abandonment::AlreadyAbandoned,
            _ => Abandonment::NotOpen,
        };
        self.wake(incident);
        Ok(outcome)
    }

    /// Looks at an incident at once instead of at the next sweep.
    pub fn wake(&self, incident: &IncidentId) {
        self.inner.wake(incident);
    }
}

impl Inner {
    pub(super) fn wake(&self, incident: &IncidentId) {
        let driven = self.driven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = driven.get(incident) {
            driver.notify_one();
            return;
        }
        drop(driven);
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.insert(incident.clone());
        drop(woken);
        self.wake.notify_one();
    }
}

/// Opens an incident in its lane, as [`Engine::open`] does, and moves it on no further.
pub async fn open(lanes: &LaneStore, opened: Opened) -> OpenOutcome {
    let lane = match LaneName::of(&opened.service, &opened.env) {
        Ok(lane) => lane,
        Err(error) => return OpenOutcome::Refused(error.to_string()),
    };
    let event = LaneEvent::Opened(Box::new(opened.clone()));
    let mut merged = None;
    let mut illegal = None;
    let appended = lanes.append_with(&lane, |state| {
        merged = covered_by(state, &opened);
        illegal = state.check(lanes.me(), &event).err();
        merged.is_none().then(|| event.clone())
    });
    match appended.await {
        Ok(Appended::Won { seq, .. }) => match IncidentId::of(&lane, seq) {
            Ok(id) => OpenOutcome::Opened(id),
            Err(error) => OpenOutcome::Refused(error.to_string()),
        },
        Ok(Appended::Declined { .. }) => match (merged, illegal) {
            (Some(id), _) => OpenOutcome::Merged(id),
            (None, Some(illegal)) => OpenOutcome::Refused(illegal.to_string()),
            (None, None) => OpenOutcome::Unknown,
        },
        Err(error) => {
            tracing::warn!(lane.name = %lane, "an incident of lane {lane} could not be opened: {error}");
            OpenOutcome::Unknown
        }
    }
}

/// The incident that does what is wished: the open one of the same deployment with at least that
/// scope, or the one a person opened under the same key.
pub(crate) fn covered_by(lane: &LaneState, wish: &Opened) -> Option<IncidentId> {
    if let Origin::Manual {
        key: mine, by: me, ..
    } = &wish.origin
    {
        let mut all = lane.closed.iter().chain(&lane.open);
        let same = all.find(|incident| {
            matches!(&incident.opened.origin, Origin::Manual { key, by, .. } if key == mine && by == me)
        });
        if let Some(same) = same {
            return Some(same.id.clone());
        }
    }
    let open = lane.open.as_ref()?;
    let escalates = wish.supersedes.as_ref() == Some(&open.id);
    let same = open.opened.deployment == wish.deployment && open.scope().covers(&wish.scope);
    (same && !escalates).then(|| open.id.clone())
}

#[cfg(test)]
mod tests;
