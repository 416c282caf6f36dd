//! The steps, carried out: calls to Spinnaker and other rooms, then an append.
//!
//! Every step may be cut off anywhere. What it leaves behind is either an event in the lane or
//! nothing that counts.

mod attempt;
mod escalate;
mod follow;
mod lookup;
pub(super) mod report;
mod tell;

use std::time::Duration;

use tokio::time::Instant;

use super::engine::Inner;
use super::lane::Appended;
use super::seams::{Followup, Objection, Page};
use super::step::{Local, Step};
use crate::domain::id::ExecutionId;
use crate::domain::lane::{Ending, Incident, LaneEvent};
use crate::store::StoreError;

/// Pause after a question Spinnaker did not answer, or a guard that holds.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Pause after a store that did not answer.
pub(super) const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Guards and planner answer within this.
const LONGEST: Duration = Duration::from_secs(30);

async fn in_time<T>(answer: impl Future<Output = Result<T, Objection>>) -> Result<T, Objection> {
    let late = || Objection::NotNow("the guards did not answer in time".into());
    tokio::time::timeout(LONGEST, answer)
        .await
        .unwrap_or_else(|_| Err(late()))
}

impl Inner {
    /// Carries out one step. What went wrong with the store ends it; the next look at the lane
    /// decides what is left to do.
    pub(super) async fn carry_out(
        &self,
        step: Step,
        incident: &Incident,
        local: &mut Local,
    ) -> Result<(), StoreError> {
        match step {
            Step::Wait(_) | Step::Done => Ok(()),
            Step::Attempt => Box::pin(self.attempt(incident, local)).await,
            Step::Name(execution) => self.name(incident, &execution).await,
            Step::LookUp { absence_counts } => self.look_up(incident, local, absence_counts).await,
            Step::Follow(execution) => self.follow(incident, local, &execution).await,
            Step::MarkBad => {
                let store = self.lanes.store();
                super::marks::mark_bad(store, self.clock.as_ref(), incident).await?;
                local.marked = true;
                Ok(())
            }
            Step::Tell(followup) => {
                self.tell(incident, local, &followup).await;
                Ok(())
            }
            Step::AskRecovery => self.ask_recovery(incident, local).await,
            Step::Escalate => self.escalate(incident, local).await,
            Step::Close(ending, why) => self.close(incident, ending, why).await,
        }
    }

    /// Appends an event if the incident still stands as it was seen.
    pub(super) async fn append(
        &self,
        seen: &Incident,
        event: LaneEvent,
    ) -> Result<Appended, StoreError> {
        self.lanes
            .append_with(&seen.lane, |lane| {
                let open = lane.open.as_ref()?;
                let same = open.id == seen.id
                    && open.stage == seen.stage
                    && open.attempt == seen.attempt
                    && open.abandoned == seen.abandoned;
                same.then(|| event.clone())
            })
            .await
    }

    pub(super) async fn name(
        &self,
        incident: &Incident,
        execution: &ExecutionId,
    ) -> Result<(), StoreError> {
        let event = LaneEvent::Submitted {
            incident: incident.id.clone(),
            attempt: incident.attempt,
            execution: execution.clone(),
        };
        // Admission may have come first; then the lane knows it already.
        self.lanes
            .append_with(&incident.lane, |_| Some(event.clone()))
            .await?;
        Ok(())
    }

    pub(super) async fn void(&self, incident: &Incident, why: String) -> Result<(), StoreError> {
        let event = LaneEvent::Voided {
            incident: incident.id.clone(),
            attempt: incident.attempt,
            why,
        };
        self.append(incident, event).await?;
        Ok(())
    }

    pub(super) async fn close(
        &self,
        incident: &Incident,
        ending: Ending,
        why: String,
    ) -> Result<(), StoreError> {
        let event = LaneEvent::Closed {
            incident: incident.id.clone(),
            ending,
            why,
        };
        self.append(incident, event).await?;
        Ok(())
    }

    pub(super) async fn page(&self, incident: &Incident, local: &mut Local, page: Page) {
        let followup = Followup::Page(page);
        if !local.told.contains(&followup.name()) {
            self.tell(incident, local, &followup).await;
        }
    }

    /// For a page that nothing will repeat: tried until it is told or given up.
    pub(super) async fn page_surely(&self, incident: &Incident, local: &mut Local, page: Page) {
        let followup = Followup::Page(page);
        while !local.told.contains(&followup.name()) {
            self.tell(incident, local, &followup).await;
            if !local.told.contains(&followup.name()) {
                tokio::time::sleep(STORE_AGAIN).await;
            }
        }
    }

    pub(super) fn pause(local: &mut Local, pause: Duration) {
        local.not_before = Some(Instant::now() + pause);
    }
}
