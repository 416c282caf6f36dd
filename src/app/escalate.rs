//! From a batch to everything: what the engine is told when a batch's rollback did not help.

use async_trait::async_trait;

use super::core::Core;
use super::seams::Seams;
use super::setup::Setup;
use crate::act::seams::{Escalator, Objection};
use crate::domain::decision::{Decision, Outcome, Verdict};
use crate::domain::lane::{Incident, Opened, Origin};

#[async_trait]
impl Escalator for Seams {
    async fn escalation(&self, incident: &Incident) -> Result<Option<Opened>, Objection> {
        let core = self
            .core()
            .ok_or_else(|| Objection::NotNow("shutting down".to_owned()))?;
        let setup = core.setup().clone();
        Box::pin(core.escalation(&setup, incident)).await
    }
}

impl Core {
    async fn escalation(
        &self,
        setup: &Setup,
        incident: &Incident,
    ) -> Result<Option<Opened>, Objection> {
        let Some(decision) = self.judge_escalation(setup, incident).await? else {
            return Ok(None);
        };
        tracing::info!(incident.id = %incident.id, verdict = decision.verdict.as_str(), "incident {} is still bad: {}", incident.id, decision.why());
        let opened = &incident.opened;
        Box::pin(self.consult(setup, &decision, &opened.thread, &opened.channels)).await;
        match &decision.verdict {
            Verdict::Rollback(_) if decision.shadow => {
                Err(Objection::Never("the mode is shadow now".to_owned()))
            }
            Verdict::Rollback(scope) => Ok(Some(Opened {
                scope: scope.clone(),
                hosts: decision.hosts.clone(),
                target: decision
                    .target
                    .clone()
                    .unwrap_or_else(|| opened.target.clone()),
                origin: Origin::Automatic,
                supersedes: Some(incident.id.clone()),
                approval: decision.consent_given().cloned(),
                decision,
                ..opened.clone()
            })),
            Verdict::Hold => Err(Objection::NotNow(decision.why())),
            Verdict::Notify => Err(Objection::Never(decision.why())),
        }
    }

    /// The guards of an escalation, right before it is sent.
    pub(super) async fn recheck_escalation(
        &self,
        setup: &Setup,
        incident: &Incident,
        concerns: impl Fn(crate::domain::decision::Guard) -> bool,
    ) -> Result<(), Objection> {
        let Some(decision) = self.judge_escalation(setup, incident).await? else {
            return Err(Objection::Never("the rule escalates no longer".to_owned()));
        };
        let mut asked = decision.guards.iter().filter(|one| concerns(one.guard));
        let objection = asked.find_map(|one| {
            let words = format!("{}: {}", one.guard.as_str(), one.outcome.reason());
            match one.outcome {
                Outcome::Pass(_) => None,
                Outcome::Hold(_) => Some(Objection::NotNow(words)),
                Outcome::Deny(_) => Some(Objection::Never(words)),
            }
        });
        objection.map_or(Ok(()), Err)
    }

    async fn judge_escalation(
        &self,
        setup: &Setup,
        incident: &Incident,
    ) -> Result<Option<Decision>, Objection> {
        let view = self.view_with(setup, [incident.lane.clone()]).await;
        self.escalation_of(setup, &view, incident)
            .await
            .map_err(Objection::NotNow)
    }
}
