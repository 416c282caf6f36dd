//! One attempt: stop what still deploys, ask the guards, claim, write down, send.

use std::time::Duration;

use tokio::time::Instant;

use super::{ASK_AGAIN, STORE_AGAIN, in_time};
use crate::act::budget::Granted;
use crate::act::claim::{ClaimProof, claim};
use crate::act::engine::Inner;
use crate::act::orders::{Order, TriggerFailure};
use crate::act::seams::{Objection, Page};
use crate::act::step::Local;
use crate::domain::decision::Scope;
use crate::domain::id::{ExecutionId, ReleaseId};
use crate::domain::lane::{Ending, Incident, LaneEvent, Plan};
use crate::store::StoreError;

/// Pause between two sends of the same attempt.
const SEND_AGAIN: Duration = Duration::from_secs(1);
/// Guards that spoke longer ago than this speak again before the request.
const GUARDS_FRESH: Duration = Duration::from_secs(10);

/// Why an attempt is not made now.
enum NotReady {
    /// Asked again after a pause; people hear of it where there is a page.
    Later(Option<Page>),
    /// The incident ends.
    Never(String),
}

impl From<Objection> for NotReady {
    fn from(objection: Objection) -> Self {
        match objection {
            // The page about held incidents comes by time.
            Objection::NotNow(why) => {
                tracing::info!("a guard holds the rollback: {why}");
                Self::Later(None)
            }
            Objection::Never(why) => Self::Never(why),
        }
    }
}

/// How sending went.
enum Sent {
    Named(ExecutionId),
    /// Nothing was started, and this replica knows it.
    Nothing(String),
    Refused(String),
    Unclear(String),
}

impl Inner {
    pub(super) async fn attempt(
        &self,
        incident: &Incident,
        local: &mut Local,
    ) -> Result<(), StoreError> {
        let plan = match self.prepare(incident).await {
            Ok(plan) => plan,
            Err(not_ready) => return self.not_ready(incident, local, not_ready).await,
        };
        let asked = Instant::now();
        let lease = self.settings().timing.lease;
        let Some(proof) = claim(&self.lanes, self.clock.as_ref(), incident, lease).await? else {
            return Ok(());
        };
        let lane = self.lanes.refresh(&incident.lane).await?;
        let Some(claimed) = lane.incident(&incident.id).cloned() else {
            return Ok(());
        };
        let budget = self.settings().budget;
        let granted = self.budgets.grant(&claimed, &budget, self.clock.now());
        if let Granted::No(why) = granted.await? {
            let why = format!("no budget: {why}");
            return self.not_ready(&claimed, local, NotReady::Never(why)).await;
        }
        if asked.elapsed() > GUARDS_FRESH
            && let Err(objection) = in_time(self.recheck.recheck(&claimed)).await
        {
            return self.not_ready(&claimed, local, objection.into()).await;
        }
        self.send(&claimed, local, proof, plan).await
    }

    async fn not_ready(
        &self,
        incident: &Incident,
        local: &mut Local,
        not_ready: NotReady,
    ) -> Result<(), StoreError> {
        match not_ready {
            NotReady::Later(page) => {
                if let Some(page) = page {
                    self.page(incident, local, page).await;
                }
                Self::pause(local, ASK_AGAIN);
                Ok(())
            }
            NotReady::Never(why) => {
                let page = Page::Withdrawn(why.clone());
                self.page_surely(incident, local, page).await;
                self.close(incident, Ending::Withdrawn, why).await
            }
        }
    }

    /// Everything that leaves no trace in the lane, so that a long wait costs no links.
    async fn prepare(&self, incident: &Incident) -> Result<Plan, NotReady> {
        let target = &incident.opened.target;
        self.consented(incident, incident.scope(), target).await?;
        self.stop_accused(incident)
            .await
            .map_err(|why| NotReady::Later(Some(Page::CantStop(why))))?;
        let attempt = incident.attempt + 1;
        let (rechecked, planned) = tokio::join!(
            biased;
            in_time(self.recheck.recheck(incident)),
            in_time(self.planner.plan(incident, attempt))
        );
        rechecked?;
        let plan = planned?;
        self.consented(incident, &plan.scope, &plan.target).await?;
        // What a task needs was looked up in the cluster for its plan.
        if plan.task.is_some() {
            return Ok(plan);
        }
        let there = self
            .spinnaker
            .pipeline_config_exists(&plan.application, &plan.pipeline)
            .await;
        let missing = match there {
            Ok(true) => return Ok(plan),
            Ok(false) => format!(
                "application `{}` has no usable pipeline `{}`",
                plan.application, plan.pipeline
            ),
            Err(error) => error.to_string(),
        };
        Err(NotReady::Later(Some(Page::Spinnaker(missing))))
    }

    /// A consent that ran out, or covers less than would be sent, is none.
    async fn consented(
        &self,
        incident: &Incident,
        scope: &Scope,
        target: &ReleaseId,
    ) -> Result<(), NotReady> {
        let lane = self.lanes.as_read(&incident.lane).await;
        lane.lets_send(&incident.opened, scope, target, self.clock.now())
            .map_err(|why| NotReady::Never(format!("approval: {why}")))
    }

    /// Cancels the accused deployment if it is in flight, and waits until it has ended. A
    /// terminal execution is never canceled; one that Spinnaker has forgotten has ended.
    async fn stop_accused(&self, incident: &Incident) -> Result<(), String> {
        let timing = self.settings().timing.clone();
        let deadline = Instant::now() + timing.stop_deadline;
        let id = ExecutionId::new(incident.opened.deployment.as_str())
            .map_err(|error| error.to_string())?;
        let reason = format!("taken back by incident {}", incident.id);
        let mut canceled = false;
        loop {
            let why = match self.spinnaker.execution(&id).await {
                Ok(None) => return Ok(()),
                Ok(Some(seen)) if seen.terminal => return Ok(()),
                Ok(Some(_)) if canceled => format!("deployment `{id}` does not stop"),
                Ok(Some(_)) => match self.spinnaker.cancel(&id, &reason).await {
                    Ok(()) => {
                        canceled = true;
                        format!("deployment `{id}` does not stop")
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(why);
            }
            tokio::time::sleep(timing.follow.min(Duration::from_secs(1))).await;
        }
    }

    async fn send(
        &self,
        claimed: &Incident,
        local: &mut Local,
        proof: ClaimProof,
        plan: Plan,
    ) -> Result<(), StoreError> {
        let attempt = claimed.attempt + 1;
        let appended = self
            .lanes
            .append_with(&claimed.lane, |lane| {
                let now = self.clock.now();
                let consent = lane.lets_send(&claimed.opened, &plan.scope, &plan.target, now);
                let may = proof.stands_in(lane, self.lanes.me()) && consent.is_ok();
                may.then(|| LaneEvent::Submitting {
                    incident: claimed.id.clone(),
                    attempt,
                    plan: plan.clone(),
                })
            })
            .await?;
        let submitting = appended.lane().incident(&claimed.id).cloned();
        let (true, Some(submitting)) = (appended.is_won(), submitting) else {
            return Ok(());
        };
        let Some(order) = Order::newest(&submitting) else {
            return Ok(());
        };
        let sent = self.submit(proof, &order).await;
        local.sent = Some((attempt, Instant::now()));
        self.record(&submitting, local, sent).await
    }

    /// Sends an order under a claim; again, with the same ids, while it is sure that nothing was
    /// started and the lease lasts.
    async fn submit(&self, proof: ClaimProof, order: &Order) -> Sent {
        let mut why = "the lease ran out before anything was sent".to_owned();
        while proof.covers(self.settings().http_timeout, self.clock.as_ref()) {
            match self.spinnaker.trigger(order).await {
                Ok(execution) => return Sent::Named(execution),
                Err(TriggerFailure::Refused(said)) => return Sent::Refused(said),
                Err(TriggerFailure::Unclear(said)) => return Sent::Unclear(said),
                // Gate itself may have tried more than once: without admission the request that
                // "could not connect" may be one too many already.
                Err(TriggerFailure::NotSent(said)) if !order.plan.admission => {
                    return Sent::Unclear(said);
                }
                Err(TriggerFailure::NotSent(said)) => why = said,
            }
            tokio::time::sleep(SEND_AGAIN).await;
        }
        Sent::Nothing(why)
    }

    async fn record(
        &self,
        submitting: &Incident,
        local: &mut Local,
        sent: Sent,
    ) -> Result<(), StoreError> {
        let asks = submitting.asks_for_admission();
        match sent {
            Sent::Named(execution) => {
                local.named = Some((submitting.attempt, execution.clone()));
                self.name(submitting, &execution).await
            }
            Sent::Refused(why) => {
                let why = format!("spinnaker refuses to start the rollback: {why}");
                let page = Page::NotSent(why.clone());
                self.page_surely(submitting, local, page).await;
                self.close(submitting, Ending::RollbackFailed, why).await
            }
            Sent::Nothing(why) if asks => self.void(submitting, why).await,
            // Without admission only a look tells.
            Sent::Nothing(why) | Sent::Unclear(why) => {
                let event = LaneEvent::Unknown {
                    incident: submitting.id.clone(),
                    attempt: submitting.attempt,
                    why,
                };
                self.append(submitting, event).await?;
                Self::pause(local, STORE_AGAIN);
                Ok(())
            }
        }
    }
}
