//! What the engine asks back: guards, plans, recovery, reports, messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;

use super::core::Core;
use super::judge::Again;
use super::live;
use super::setup::Setup;
use crate::act;
use crate::act::gate::Wish;
use crate::act::orders::{CantAsk, Order, Outcome, Seen, Spinnaker, TriggerFailure};
use crate::act::seams::{
    Answer, Followup, Followups, Objection, Page, Planner, Question, Recheck, RecoveryProbe,
    Reporter,
};
use crate::config::{RollbackPipeline, Way};
use crate::decide::Switches;
use crate::domain::decision::{Guard, Outcome as Found, Scope};
use crate::domain::id::{ExecutionId, Host};
use crate::domain::lane::{Ending, Incident, Origin, Plan, Task};
use crate::domain::notice::{Execution, Happened, Notice, NoticeKind};
use crate::domain::policy::Mode;
use crate::domain::record::Cause;
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
    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.0.upgrade()
    }
}

/// Guards that are asked again right before sending. The alerts were fresh when it was decided;
/// the lane and the budget are chains that decide for themselves, and so is a person's yes.
fn concerns_sending(guard: Guard) -> bool {
    match guard {
        Guard::KillSwitch
        | Guard::Mode
        | Guard::Context
        | Guard::Verify
        | Guard::Attribution
        | Guard::Phase
        | Guard::Target
        | Guard::RollbackOfRollback
        | Guard::Irreversible
        | Guard::Freeze
        | Guard::OtherExecutions
        | Guard::Cooldown
        | Guard::Capacity => true,
        Guard::Freshness | Guard::Threshold | Guard::Lane | Guard::Budget | Guard::Approval => {
            false
        }
    }
}

/// Whether what was decided in one mode may still be done in the mode of now.
fn unless_stricter(now: Mode, decided_in: Mode) -> Result<(), Objection> {
    if now >= decided_in {
        return Ok(());
    }
    let words = format!("mode: {} now", now.as_str());
    Err(match now {
        // Nobody was asked yet; the mode may be given back.
        Mode::Approve | Mode::Enforce => Objection::NotNow(words),
        Mode::Off | Mode::Shadow => Objection::Never(words),
    })
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
        if opened.decision.escalates.is_some() {
            return self
                .recheck_escalation(&setup, incident, concerns_sending)
                .await;
        }
        let view = self.view_with(&setup, [incident.lane.clone()]).await;
        let asked = Again {
            deployment: Some(&opened.deployment),
            decision: &opened.decision,
            since: incident.opened_at,
            own_incident: true,
        };
        let judgements = self.judge_again(&setup, &view, asked).await;
        let Some(mut judgement) = judgements.into_iter().next() else {
            // A resolved alert never cancels what was decided; the evidence of the decision stands.
            return self.recheck_mode(&setup, incident).await;
        };
        judgement.decision.incident = Some(incident.id.clone());
        let at = judgement.decision.at;
        self.write_down(&judgement, Cause::Recheck, at).await;
        for verdict in judgement
            .decision
            .guards
            .iter()
            .filter(|verdict| concerns_sending(verdict.guard))
        {
            let words = || format!("{}: {}", verdict.guard.as_str(), verdict.outcome.reason());
            match &verdict.outcome {
                Found::Pass(_) => {}
                Found::Hold(_) => return Err(Objection::NotNow(words())),
                Found::Deny(_) => return Err(Objection::Never(words())),
            }
        }
        unless_stricter(judgement.decision.mode, opened.decision.mode)
    }

    async fn recheck_mode(&self, setup: &Setup, incident: &Incident) -> Result<(), Objection> {
        let switches = self.switches_for(setup, incident).await?;
        let service = &incident.opened.service;
        let policy = crate::decide::policy_for(&setup.config.policies, service);
        let of_policy = policy.map_or(Mode::Enforce, |policy| policy.guards.mode);
        unless_stricter(switches.strictest(of_policy), incident.opened.decision.mode)
    }

    async fn recheck_manual(&self, setup: &Setup, incident: &Incident) -> Result<(), Objection> {
        self.switches_for(setup, incident).await.map(drop)
    }

    /// The switches of an incident's lane, none of them off and none unreadable.
    async fn switches_for(
        &self,
        setup: &Setup,
        incident: &Incident,
    ) -> Result<Switches, Objection> {
        let (service, env) = (&incident.opened.service, &incident.opened.env);
        let switches = self.switches_of(setup, Some(service), Some(env)).await;
        if let Some(off) = switches.off() {
            let (reach, words) = (off.reach.as_str(), &off.words);
            return Err(Objection::Never(format!(
                "kill_switch: switched off for {reach} {words}"
            )));
        }
        match &switches.unreadable {
            Some(why) => Err(Objection::NotNow(format!("kill_switch: {why}"))),
            None => Ok(switches),
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
        let way = match &scope {
            Scope::Batch(_) => &config.rollback.batch,
            Scope::Full => &config.rollback.full,
        };
        let way = way.as_ref().ok_or_else(|| {
            Objection::Never(format!(
                "no pipeline for a {} rollback is configured",
                scope.kind()
            ))
        })?;
        let mut plan = Plan {
            application: config.application.clone(),
            pipeline: way.name().to_owned(),
            scope,
            hosts,
            from: opened.release_id.clone(),
            target: opened.target.clone(),
            parameters: BTreeMap::new(),
            admission: false,
            task: None,
        };
        if let Way::Pipeline(pipeline) = way {
            plan.parameters = parameters(pipeline, incident, attempt, &plan.hosts)?;
            plan.admission = pipeline.admission;
        } else {
            let gate = gate(setup).map_err(|CantAsk(why)| Objection::NotNow(why))?;
            let wish = Wish {
                application: &config.application,
                service: &opened.service,
                env: &opened.env,
                from: &plan.from,
                target: &plan.target,
            };
            let task = act::gate::task(gate, way, &wish).await?;
            plan.parameters = task.as_ref().map(Task::fields).unwrap_or_default();
            plan.task = task.map(Box::new);
        }
        Ok(plan)
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

/// A pipeline's parameters, mapped.
fn parameters(
    pipeline: &RollbackPipeline,
    incident: &Incident,
    attempt: u32,
    hosts: &[Host],
) -> Result<BTreeMap<String, String>, Objection> {
    let opened = &incident.opened;
    let mut templates = pipeline.parameters.values();
    let needs_hosts = templates.any(|template| template.names("hosts"));
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
            "batches" => opened.scope.batches_joined(),
            "incident.id" => incident.id.to_string(),
            "attempt" => attempt.to_string(),
            "service" => opened.service.to_string(),
            "env" => opened.env.to_string(),
            _ => return None,
        })
    };
    let mut parameters = BTreeMap::new();
    for (name, template) in &pipeline.parameters {
        let filled = template.fill(value).ok_or_else(|| {
            Objection::Never(format!("parameter `{name}` names something unknown"))
        })?;
        parameters.insert(name.clone(), filled);
    }
    Ok(parameters)
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
        let channels = setup.config.audience(&incident.opened.channels);
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
        let kind = match followup {
            Followup::Started { .. } => NoticeKind::RollbackStarted,
            Followup::Finished => NoticeKind::RollbackFinished,
            Followup::Recovery => NoticeKind::Recovery,
            Followup::Report { .. } => NoticeKind::Report,
            Followup::Page(_) => NoticeKind::HoldPage,
        };
        let mut notice = self.incident_notice(setup, incident, kind);
        let detail = match followup {
            Followup::Started { .. } | Followup::Report { .. } => None,
            Followup::Finished => incident
                .finished
                .as_ref()
                .map(|finished| finished.detail.clone()),
            Followup::Recovery => incident.recovery.as_ref().map(|(_, words)| words.clone()),
            Followup::Page(page) => Some(Page::why(page).to_owned()),
        };
        notice.happened = happened(followup, incident);
        if let Followup::Page(_) = followup {
            "critical".clone_into(&mut notice.severity);
        }
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
            && let Some((Ending::Recovered, _)) = &incident.recovery
        {
            notice.status = crate::domain::alert::AlertStatus::Resolved;
        }
        notice
    }
}

/// What a follow-up tells beside its kind.
fn happened(followup: &Followup, incident: &Incident) -> Option<Happened> {
    Some(match followup {
        Followup::Started { attempt } => Happened::Attempt(*attempt),
        Followup::Report { revision } => Happened::Revision(*revision),
        Followup::Finished => return None,
        Followup::Recovery => match incident.recovery.as_ref()?.0 {
            Ending::Recovered => Happened::Recovered,
            Ending::StillBad => Happened::StillBad,
            _ => Happened::Unverified,
        },
        Followup::Page(page) => match page {
            Page::CantStop(_) => Happened::CantStop,
            Page::Spinnaker(_) => Happened::Spinnaker,
            Page::Unknown(_) => Happened::Unknown,
            Page::Held(_) => Happened::Held,
            Page::Withdrawn(_) => Happened::Withdrawn,
            Page::NotSent(_) => Happened::NotSent,
            Page::StillRunning(_) => Happened::StillRunning,
            Page::Waits(_) => Happened::Waits,
            Page::Unchecked(_) => Happened::Unchecked,
            Page::Failed(_) => Happened::Failed,
            Page::NotRecovered(_) => Happened::NotRecovered,
        },
    })
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

    async fn execution_of(&self, order: &Order, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        Spinnaker::execution_of(gate(&*self.setup()?)?, order, id).await
    }

    async fn outcome(&self, order: &Order, id: &ExecutionId) -> Result<Outcome, CantAsk> {
        Spinnaker::outcome(gate(&*self.setup()?)?, order, id).await
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
