//! Following an execution to its end, and asking afterwards whether it helped.

use tokio::time::Instant;

use super::ASK_AGAIN;
use crate::act::engine::Inner;
use crate::act::orders::{Order, Reach, Seen};
use crate::act::seams::{Answer, Page};
use crate::act::step::Local;
use crate::domain::clock::since;
use crate::domain::id::ExecutionId;
use crate::domain::lane::{Ending, Incident, LaneEvent, Stage};
use crate::store::StoreError;

impl Inner {
    pub(super) async fn follow(
        &self,
        incident: &Incident,
        local: &mut Local,
        execution: &ExecutionId,
    ) -> Result<(), StoreError> {
        let timing = self.settings().timing.clone();
        match self.spinnaker.execution(execution).await {
            Ok(Some(seen)) => match judge(incident, &seen) {
                Judgement::Runs => Self::pause(local, timing.follow),
                Judgement::Void(why) => return self.void(incident, why).await,
                Judgement::Ended(succeeded, detail) => {
                    return self
                        .finish(incident, execution, seen.status, succeeded, detail)
                        .await;
                }
            },
            Ok(None) if local.since.elapsed() < timing.settle => {
                Self::pause(local, timing.follow);
            }
            Ok(None) => {
                let asks = incident.plan.as_ref().is_none_or(|plan| plan.admission);
                let detail = "spinnaker no longer knows the execution".to_owned();
                if incident.stage == Stage::Submitted && asks {
                    return self.void(incident, detail).await;
                }
                let status = "NOT_FOUND".to_owned();
                return self
                    .finish(incident, execution, status, false, detail)
                    .await;
            }
            Err(error) => {
                // A blip is not worth a page.
                if local.since.elapsed() >= timing.stop_deadline {
                    let page = Page::Spinnaker(error.to_string());
                    self.page(incident, local, page).await;
                }
                Self::pause(local, ASK_AGAIN.min(timing.follow * 2));
            }
        }
        Ok(())
    }

    async fn finish(
        &self,
        incident: &Incident,
        execution: &ExecutionId,
        status: String,
        succeeded: bool,
        detail: String,
    ) -> Result<(), StoreError> {
        let event = LaneEvent::Finished {
            incident: incident.id.clone(),
            execution: execution.clone(),
            status,
            succeeded,
            detail,
        };
        self.append(incident, event).await?;
        Ok(())
    }

    /// Asks the recovery question until it is answered or its time is over.
    pub(super) async fn ask_recovery(
        &self,
        incident: &Incident,
        local: &mut Local,
    ) -> Result<(), StoreError> {
        let Some(question) = self.probe.question(incident) else {
            let detail = "the service has no recovery question".to_owned();
            return self.answer(incident, Ending::Unverified, detail).await;
        };
        let (ending, detail) = match self.probe.ask(incident).await {
            Answer::Good(detail) => (Ending::Recovered, detail),
            Answer::Bad(detail) => (Ending::StillBad, detail),
            Answer::Empty(detail) | Answer::SourceDown(detail) => (Ending::Unverified, detail),
        };
        let now = Instant::now();
        let end = incident.finished.as_ref().map(|end| end.at);
        let waited = since(self.clock.now(), end.unwrap_or(incident.opened_at));
        if ending == Ending::Recovered {
            let good_since = *local.good_since.get_or_insert(now);
            // What is good at the deadline may still prove that it stays so.
            if now.duration_since(good_since) >= question.for_ {
                return self.answer(incident, ending, detail).await;
            }
        } else {
            local.good_since = None;
            if waited >= question.within {
                return self.answer(incident, ending, detail).await;
            }
        }
        Self::pause(local, self.settings().timing.follow);
        Ok(())
    }

    async fn answer(
        &self,
        incident: &Incident,
        ending: Ending,
        detail: String,
    ) -> Result<(), StoreError> {
        let event = LaneEvent::Recovery {
            incident: incident.id.clone(),
            ending,
            detail,
        };
        self.append(incident, event).await?;
        Ok(())
    }
}

/// What an execution's state means for its incident.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Runs,
    /// It ended, or is not ours, and has touched nothing.
    Void(String),
    /// It ended; whether well, and the words.
    Ended(bool, String),
}

/// Judged by status alone, never by who canceled it. Void is only what touched nothing for sure:
/// a failed execution that may have touched something is a person's business, not one more try.
fn judge(incident: &Incident, seen: &Seen) -> Judgement {
    let admitted = incident.admitted.as_ref() == Some(&seen.id);
    let ours = Order::newest(incident).is_some_and(|order| order.is_answered_by(seen));
    if !admitted && !ours {
        return Judgement::Void(format!("execution {} answers another order", seen.id));
    }
    if !seen.terminal {
        return Judgement::Runs;
    }
    let asks = incident.plan.as_ref().is_none_or(|plan| plan.admission);
    if asks && seen.reach == Reach::Nothing && !seen.succeeded {
        let text = seen.failure.as_deref().unwrap_or("no reason given");
        let status = &seen.status;
        return Judgement::Void(format!("it ended {status} before it was let in: {text}"));
    }
    Judgement::Ended(seen.succeeded, seen.failure.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests;
