//! What follows a batch's rollback that did not help: everything goes back, where the rule says so.
//!
//! The evidence is the recovery question's answer, asked of the metrics store by ourselves, so the
//! guards that hold alerts against the metrics store have nothing to say. All others are asked.

use super::{Gather, Judge, Occasion};
use crate::decide::{self, Accusation};
use crate::domain::context::{Context, Freshness, Resolution, Rung};
use crate::domain::decision::Decision;
use crate::domain::lane::Incident;
use crate::domain::policy::{Action, Escalation, Rule};
use crate::enrich::catalog::View;

impl Judge<'_> {
    /// Judges whether all of the deployment goes back, for a batch's `incident` that is still bad
    /// or for one that took over from such. None: its rule wants a page and no more, or is gone.
    ///
    /// # Errors
    /// When the deployment can't be told now.
    pub(crate) async fn escalation(
        &self,
        view: &View,
        incident: &Incident,
    ) -> Result<Option<Decision>, String> {
        let opened = &incident.opened;
        let policy = decide::policy_for(&self.config.policies, &opened.service);
        let rule = policy.and_then(|policy| {
            let named =
                |rule: &&Rule| Some(decide::rule_name(policy, rule)) == opened.decision.rule;
            policy.rules.iter().find(named)
        });
        let (Some(policy), Some(rule)) = (policy, rule) else {
            return Ok(None);
        };
        if rule.escalate != Escalation::Full {
            return Ok(None);
        }
        let everything = Rule {
            action: Action::RollbackFull,
            ..rule.clone()
        };
        let index = view.lane(&opened.service, &opened.env);
        let known = index.and_then(|index| index.deployment(&opened.deployment).cloned());
        let known = known.ok_or("the deployment is in no catalog")?;
        let mut context = Context {
            service: opened.service.clone(),
            env: opened.env.clone(),
            release_id: opened.release_id.clone(),
            release: view
                .release(&opened.release_id)
                .map(|release| (**release).clone()),
            deployment: (*known).clone(),
            batches: std::collections::BTreeSet::new(),
            hosts: opened.hosts.clone(),
            rung: Rung::ReleaseLabels,
            freshness: view.freshness().unwrap_or(Freshness {
                as_of: self.sources.now(),
                stale: true,
            }),
        };
        let (deployment, active, granted) = tokio::join!(
            self.sources.deployment(&context),
            self.sources.active(&context),
            self.sources.granted()
        );
        let phase = match deployment {
            Ok(deployment) => {
                let phase = deployment.phase(self.sources.now());
                context.deployment = deployment;
                Ok(phase)
            }
            Err(why) => Err(why),
        };
        let accusation = Accusation {
            alerts: Vec::new(),
            resolution: Resolution::Found(Box::new(context)),
            batch_untold: false,
            phase: Some(phase),
            policy: Some(policy),
            rule: Some(&everything),
            rules: Vec::new(),
        };
        let mut world = self.ask_store(&accusation).await;
        world.active = active;
        world.granted = granted;
        let now = self.sources.now();
        let occasion = Occasion {
            truncated: 0,
            received_at: now,
            held_since: Some(incident.opened_at),
            gather: Gather::Later,
            again: true,
        };
        let decision = self.with_facts(view, &accusation, &world, occasion, decide::escalate);
        Ok(Some(Decision {
            escalates: Some(incident.id.clone()),
            ..decision
        }))
    }
}
