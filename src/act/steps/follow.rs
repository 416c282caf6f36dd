//! Following an execution to its end, and asking afterwards whether it helped.

use tokio::time::Instant;

use super::ASK_AGAIN;
use crate::act::engine::Inner;
use crate::act::orders::{Order, Outcome, Reach, Seen, Waiting};
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
        let read = match Order::newest(incident) {
            Some(order) => self.spinnaker.execution_of(&order, execution).await,
            None => self.spinnaker.execution(execution).await,
        };
        match read {
            Ok(Some(seen)) => match judge(incident, &seen) {
                Judgement::Runs => {
                    self.tell_waiting(incident, local, seen.waiting).await;
                    Self::pause(local, timing.follow);
                }
                Judgement::Void(why) => return self.void(incident, why).await,
                Judgement::Ended(true, _) => return self.confirm(incident, local, seen).await,
                Judgement::Ended(false, detail) => {
                    return self
                        .finish(incident, execution, seen.status, false, detail)
                        .await;
                }
            },
            Ok(None) if local.since.elapsed() < timing.settle => {
                Self::pause(local, timing.follow);
            }
            Ok(None) => {
                let asks = incident.asks_for_admission();
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

    /// An execution that does not go on by itself must not wait unheard.
    async fn tell_waiting(&self, incident: &Incident, local: &mut Local, waiting: Waiting) {
        let why = match waiting {
            Waiting::No => return,
            // It may be its turn in a moment.
            Waiting::Turn(_) if local.since.elapsed() < self.settings().timing.stop_deadline => {
                return;
            }
            Waiting::Turn(why) | Waiting::Person(why) => why,
        };
        self.page(incident, local, Page::Waits(why)).await;
    }

    /// Ends what says that it ended well by what it did. Clouddriver's view lags: what contradicts
    /// counts once it has had `settle` to catch up.
    async fn confirm(
        &self,
        incident: &Incident,
        local: &mut Local,
        seen: Seen,
    ) -> Result<(), StoreError> {
        let timing = self.settings().timing.clone();
        let ended = *local.ended.get_or_insert_with(Instant::now);
        let late = ended.elapsed() >= timing.settle;
        let outcome = match Order::newest(incident) {
            Some(order) => self.spinnaker.outcome(&order, &seen.id).await,
            None => Ok(Outcome::Silent(String::new())),
        };
        let (succeeded, detail) = match outcome {
            Ok(Outcome::Shown(detail)) => (true, detail),
            Ok(Outcome::Silent(detail)) if detail.is_empty() => (true, detail),
            Ok(Outcome::Silent(detail)) => {
                let page = Page::Unchecked(detail.clone());
                self.page_surely(incident, local, page).await;
                (true, detail)
            }
            Ok(Outcome::Nothing(detail)) => (false, detail),
            Ok(Outcome::Contradicted(detail)) if late => (false, detail),
            Err(error) if late => {
                let detail = format!("what it did could not be checked: {error}");
                let page = Page::Unchecked(detail.clone());
                self.page_surely(incident, local, page).await;
                (true, detail)
            }
            Ok(Outcome::Contradicted(_)) | Err(_) => {
                Self::pause(local, timing.follow);
                return Ok(());
            }
        };
        self.finish(incident, &seen.id, seen.status, succeeded, detail)
            .await
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
    let asks = incident.asks_for_admission();
    if !admitted && !ours {
        let why = format!("execution {} answers another order", seen.id);
        // Without admission one more try could be one too many.
        return if asks {
            Judgement::Void(why)
        } else {
            Judgement::Ended(false, why)
        };
    }
    if !seen.terminal {
        return Judgement::Runs;
    }
    if asks && seen.reach == Reach::Nothing && !seen.succeeded {
        let text = seen.failure.as_deref().unwrap_or("no reason given");
        let status = &seen.status;
        return Judgement::Void(format!("it ended {status} before it was let in: {text}"));
    }
    Judgement::Ended(seen.succeeded, seen.failure.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests;
