//! What the engine asks back: guards, plans, recovery, reports, messages.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::core::Core;
use super::judge::{Gather, Occasion};
use super::live;
use super::setup::Setup;
use crate::act::orders::{CantAsk, Order, Seen, Spinnaker, TriggerFailure};
use crate::act::seams::{
    Answer, Followup, Followups, Objection, Page, Planner, Question, Recheck, RecoveryProbe,
    Reporter,
};
use crate::domain::decision::{Guard, Outcome, Scope, Verdict};
use crate::domain::id::{ExecutionId, Host};
use crate::domain::lane::{Incident, Origin, Plan};
use crate::domain::notice::{Execution, Notice, NoticeKind};
use crate::enrich::evidence::RecoveryAnswer;
use crate::notify::Delivery;

/// The report's revision that people are told of: at the end of the execution.
const TOLD_REVISION: u32 = 2;
/// Hosts named in a parameter; more would not fit a command line.
const MAX_HOSTS: usize = 50;

/// The engine's way back to the app; the app owns the engine, so this holds it weakly.
#[derive(Debug, Clone)]
pub(super) struct Seams(pub(super) Weak<Core>);

impl Seams {
    fn core(&self) -> Option<Arc<Core>> {
        self.0.upgrade()
    }
}

/// Guards that a decision's own incident makes moot while it is sent.
fn concerns_sending(guard: Guard) -> bool {
    !matches!(
        guard,
        Guard::Freshness | Guard::Threshold | Guard::Lane | Guard::Budget
    )
}

#[async_trait]
impl Recheck for Seams {
    async fn recheck(&self, incident: &Incident) -> Result<(), Objection> {
        let core = self
            .core()
            .ok_or_else(|| Objection::NotNow("shutting down".to_owned()))?;
        core.recheck(incident).await
    }
}

impl Core {
    /// The guards once more, with fresh evidence. A person's wish is bound by no guard of the
    /// rules, only by the mode `off`.
    async fn recheck(&self, incident: &Incident) -> Result<(), Objection> {
        let setup = self.setup().clone();
        let opened = &incident.opened;
        if matches!(opened.origin, Origin::Manual { .. }) {
            return self.recheck_manual(&setup, incident).await;
        }
        let view = self.view_with(&setup, [incident.lane.clone()]).await;
        let resolved = Self::resolve(&setup, &view, self.book.open_alerts());
        let focus = resolved
            .iter()
            .filter(|one| {
                one.resolution
                    .context()
                    .is_some_and(|context| context.deployment.id == opened.deployment)
            })
            .map(|one| one.open.alert.fingerprint)
            .collect();
        let occasion = Occasion {
            truncated: 0,
            received_at: opened.decision.at,
            held_since: Some(incident.opened_at),
            gather: Gather::Now(setup.config.timing.evidence_deadline),
            again: true,
        };
        let judgements = self.judge(&setup, &view, &resolved, &focus, occasion).await;
        let Some(judgement) = judgements
            .into_iter()
            .find(|judgement| judgement.wants_rollback)
        else {
            // A resolved alert never cancels what was decided; the evidence of the decision stands.
            return self.recheck_mode(&setup, incident).await;
        };
        for verdict in judgement
            .decision
            .guards
            .iter()
            .filter(|verdict| concerns_sending(verdict.guard))
        {
            let words = || format!("{}: {}", verdict.guard.as_str(), verdict.outcome.reason());
            match &verdict.outcome {
                Outcome::Pass(_) => {}
                Outcome::Hold(_) => return Err(Objection::NotNow(words())),
                Outcome::Deny(_) => return Err(Objection::Never(words())),
            }
        }
        match (&judgement.decision.verdict, judgement.decision.shadow) {
            (Verdict::Rollback(_), true) => Err(Objection::Never("mode: shadow now".to_owned())),
            _ => Ok(()),
        }
    }

    async fn recheck_mode(&self, setup: &Setup, incident: &Incident) -> Result<(), Objection> {
        let opened = &incident.opened;
        let modes = self
            .modes_of(setup, Some(&opened.service), Some(&opened.env))
            .await
            .map_err(Objection::NotNow)?;
        let strictest = [modes.global, modes.service, modes.env]
            .into_iter()
            .flatten()
            .min();
        match strictest {
            Some(mode) if mode < crate::domain::policy::Mode::Enforce => {
                Err(Objection::Never(format!("mode: {} now", mode.as_str())))
            }
            _ => Ok(()),
        }
    }

    async fn recheck_manual(&self, setup: &Setup, incident: &Incident) -> Result<(), Objection> {
        let opened = &incident.opened;
        let modes = self
            .modes_of(setup, Some(&opened.service), Some(&opened.env))
            .await
            .map_err(Objection::NotNow)?;
        let off = [modes.global, modes.service, modes.env]
            .contains(&Some(crate::domain::policy::Mode::Off));
        if off {
            Err(Objection::Never("mode: off now".to_owned()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Planner for Seams {
    async fn plan(&self, incident: &Incident, attempt: u32) -> Result<Plan, Objection> {
        let core = self
            .core()
            .ok_or_else(|| Objection::NotNow("shutting down".to_owned()))?;
        let setup = core.setup().clone();
        core.plan(&setup, incident, attempt).await
    }
}

impl Core {
    /// Scope and hosts from the deployment as it stands now, parameters from the configuration.
    async fn plan(
        &self,
        setup: &Setup,
        incident: &Incident,
        attempt: u32,
    ) -> Result<Plan, Objection> {
        let opened = &incident.opened;
        let config = setup.config.services.get(&opened.service).ok_or_else(|| {
            Objection::Never(format!(
                "service `{}` is not configured any more",
                opened.service
            ))
        })?;
        let scope = opened.scope.clone();
        let hosts = self.hosts_now(setup, incident, &scope).await?;
        let pipeline = match &scope {
            Scope::Batch(_) => &config.rollback.batch,
            Scope::Full => &config.rollback.full,
        };
        let pipeline = pipeline.as_ref().ok_or_else(|| {
            Objection::Never(format!(
                "no pipeline for a {} rollback is configured",
                scope.kind()
            ))
        })?;
        let needs_hosts = pipeline
            .parameters
            .values()
            .any(|template| template.names("hosts"));
        if needs_hosts && hosts.is_empty() {
            return Err(Objection::Never(
                "the hosts to roll back are not known".to_owned(),
            ));
        }
        if needs_hosts && hosts.len() > MAX_HOSTS {
            let many = format!(
                "{} hosts; at most {MAX_HOSTS} fit the pipeline's parameter",
                hosts.len()
            );
            return Err(Objection::Never(many));
        }
        let joined = hosts.iter().map(Host::as_str).collect::<Vec<_>>().join(",");
        let value = |field: &str| {
            Some(match field {
                "target.release_id" => opened.target.to_string(),
                "target.version" => opened.target.version().to_owned(),
                "from.release_id" => opened.release_id.to_string(),
                "from.version" => opened.release_id.version().to_owned(),
                "hosts" => joined.clone(),
                "incident.id" => incident.id.to_string(),
                "attempt" => attempt.to_string(),
                "service" => opened.service.to_string(),
                "env" => opened.env.to_string(),
                _ => return None,
            })
        };
        let mut parameters = std::collections::BTreeMap::new();
        for (name, template) in &pipeline.parameters {
            let filled = template.fill(value).ok_or_else(|| {
                Objection::Never(format!("parameter `{name}` names something unknown"))
            })?;
            parameters.insert(name.clone(), filled);
        }
        Ok(Plan {
            application: config.application.clone(),
            pipeline: pipeline.pipeline.clone(),
            scope,
            hosts,
            from: opened.release_id.clone(),
            target: opened.target.clone(),
            parameters,
            admission: pipeline.admission,
        })
    }

    /// The hosts a scope covers, by the accused deployment as Spinnaker shows it now.
    async fn hosts_now(
        &self,
        setup: &Setup,
        incident: &Incident,
        scope: &Scope,
    ) -> Result<Vec<Host>, Objection> {
        let opened = &incident.opened;
        let view = self.view_with(setup, [incident.lane.clone()]).await;
        let index = view.lane(&opened.service, &opened.env);
        let known = index
            .as_ref()
            .and_then(|index| index.deployment(&opened.deployment));
        let Some(known) = known else {
            return Ok(opened.hosts.clone());
        };
        let live = live::deployment(setup, &opened.service, &opened.env, known)
            .await
            .map_err(Objection::NotNow)?;
        let hosts = crate::decide::hosts_in(scope, &live);
        Ok(if hosts.is_empty() {
            opened.hosts.clone()
        } else {
            hosts
        })
    }
}

#[async_trait]
impl RecoveryProbe for Seams {
    fn question(&self, incident: &Incident) -> Option<Question> {
        let core = self.core()?;
        let setup = core.setup();
        let recovery = setup
            .config
            .services
            .get(&incident.opened.service)?
            .recovery
            .as_ref()?;
        Some(Question {
            for_: recovery.for_,
            within: recovery.within,
        })
    }

    async fn ask(&self, incident: &Incident) -> Answer {
        let Some(core) = self.core() else {
            return Answer::SourceDown("shutting down".to_owned());
        };
        let setup = core.setup().clone();
        let recovery = setup
            .config
            .services
            .get(&incident.opened.service)
            .and_then(|service| service.recovery.as_ref());
        let Some(recovery) = recovery else {
            return Answer::SourceDown("no recovery question is configured".to_owned());
        };
        let expr = &recovery.expr;
        match setup.prober.recovery(recovery).await {
            RecoveryAnswer::Good(value) => Answer::Good(format!("`{expr}` is {value:.4}")),
            RecoveryAnswer::Bad(value) => Answer::Bad(format!("`{expr}` is {value:.4}")),
            RecoveryAnswer::Empty => Answer::Empty(format!("`{expr}` has no data")),
            RecoveryAnswer::SourceDown(why) => Answer::SourceDown(why),
        }
    }
}

#[async_trait]
impl Reporter for Seams {
    async fn write(&self, incident: &Incident, revision: u32) -> Result<(), String> {
        let core = self.core().ok_or("shutting down")?;
        let setup = core.setup().clone();
        core.write_report(&setup, incident, revision).await
    }
}

#[async_trait]
impl Followups for Seams {
    async fn tell(&self, incident: &Incident, followup: &Followup) -> Result<(), String> {
        let core = self.core().ok_or("shutting down")?;
        // One message about the report: the others of its kind lie behind the same link.
        if matches!(followup, Followup::Report { revision } if *revision != TOLD_REVISION) {
            return Ok(());
        }
        let setup = core.setup().clone();
        let notice = core.followup_notice(&setup, incident, followup);
        let channels = Core::audience(&setup, &incident.opened.channels);
        let fact = format!("{}/{}", incident.id, followup.name());
        let told = core.tell_all(&setup, &channels, notice, &fact).await;
        match told.into_iter().find_map(|delivery| match delivery {
            Delivery::Lost(why) => Some(why),
            _ => None,
        }) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

impl Core {
    fn followup_notice(&self, setup: &Setup, incident: &Incident, followup: &Followup) -> Notice {
        let (kind, subject) = match followup {
            Followup::Started { .. } => (NoticeKind::RollbackStarted, "rollback started"),
            Followup::Finished => (NoticeKind::RollbackFinished, "rollback finished"),
            Followup::Recovery => (NoticeKind::Recovery, "recovery"),
            Followup::Report { .. } => (NoticeKind::Report, "incident report"),
            Followup::Page(_) => (NoticeKind::HoldPage, "somebody must look"),
        };
        let mut notice = self.incident_notice(setup, incident, kind, subject);
        let detail = match followup {
            Followup::Started { attempt } => Some(format!("attempt {attempt}")),
            Followup::Finished => incident
                .finished
                .as_ref()
                .map(|finished| finished.detail.clone()),
            Followup::Recovery => incident.recovery.as_ref().map(|(_, words)| words.clone()),
            Followup::Report { revision } => Some(format!("revision {revision}")),
            Followup::Page(page) => Some(Page::why(page).to_owned()),
        };
        match &mut notice.execution {
            Some(execution) => execution.detail = detail,
            None => {
                notice.execution = Some(Execution {
                    id: String::new(),
                    pipeline: String::new(),
                    status: None,
                    detail,
                });
            }
        }
        if let Followup::Recovery = followup
            && let Some((crate::domain::lane::Ending::Recovered, _)) = &incident.recovery
        {
            notice.status = crate::domain::alert::AlertStatus::Resolved;
        }
        notice
    }
}

/// Spinnaker as configured now; a reload may change it under the engine.
#[async_trait]
impl Spinnaker for Seams {
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure> {
        let not_sent = |CantAsk(why)| TriggerFailure::NotSent(why);
        let setup = self.setup().map_err(not_sent)?;
        let gate = gate(&setup).map_err(not_sent)?;
        Spinnaker::trigger(gate, order).await
    }

    async fn find(&self, order: &Order) -> Result<Vec<Seen>, CantAsk> {
        Spinnaker::find(gate(&*self.setup()?)?, order).await
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        Spinnaker::execution(gate(&*self.setup()?)?, id).await
    }

    async fn cancel(&self, id: &ExecutionId, reason: &str) -> Result<(), CantAsk> {
        Spinnaker::cancel(gate(&*self.setup()?)?, id, reason).await
    }

    async fn pipeline_config_exists(
        &self,
        application: &str,
        pipeline: &str,
    ) -> Result<bool, CantAsk> {
        Spinnaker::pipeline_config_exists(gate(&*self.setup()?)?, application, pipeline).await
    }
}

impl Seams {
    fn setup(&self) -> Result<Arc<Setup>, CantAsk> {
        let core = self
            .core()
            .ok_or_else(|| CantAsk("shutting down".to_owned()))?;
        Ok(core.setup().clone())
    }
}

fn gate(setup: &Setup) -> Result<&crate::spinnaker::Gate, CantAsk> {
    setup
        .gate
        .as_ref()
        .ok_or_else(|| CantAsk("no Spinnaker is configured".to_owned()))
}

/// How long a report waits for each of its sources.
pub(super) const SECTION_DEADLINE: Duration = Duration::from_secs(2);
