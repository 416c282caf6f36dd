//! A rollback that a person asks for: the plan, and doing it.

use std::collections::BTreeSet;

use super::active;
use super::core::Core;
use super::live;
use super::setup::Setup;
use crate::act::engine::OpenOutcome;
use crate::config::{ServiceConfig, Way};
use crate::decide::{self, ByHand, StableCandidate, guards_by_hand, hosts_in, stable_target};
use crate::domain::decision::{Decision, GuardVerdict, Outcome, Scope, Verdict};
use crate::domain::deployment::Deployment;
use crate::domain::id::{LaneName, ReleaseId, Service};
use crate::domain::lane::{Incident, LaneState, Opened, Origin};
use crate::domain::policy::Mode;
use crate::enrich::catalog::View;
use crate::store::StoreError;
use crate::web::api::{ApplyRollback, Refusal, RollbackOpened, RollbackPlan, RollbackRequest};

/// The plan and what it was made from.
struct Planned {
    plan: RollbackPlan,
    deployment: Deployment,
}

impl Core {
    /// What a rollback would do now.
    ///
    /// # Errors
    /// When service, deployment or target can't be told.
    pub(super) async fn plan_manual(
        &self,
        request: &RollbackRequest,
    ) -> Result<RollbackPlan, Refusal> {
        let setup = self.setup().clone();
        Ok(self.planned(&setup, request).await?.plan)
    }

    async fn planned(&self, setup: &Setup, request: &RollbackRequest) -> Result<Planned, Refusal> {
        let RollbackRequest {
            service,
            env,
            scope,
            ..
        } = request;
        let config = setup
            .config
            .services
            .get(service)
            .ok_or_else(|| Refusal::Missing(format!("service `{service}`")))?;
        let lane = LaneName::of(service, env).map_err(|error| Refusal::Invalid {
            code: "invalid_id",
            pointer: "/env".to_owned(),
            reason: error.to_string(),
        })?;
        let state = self
            .lanes
            .refresh(&lane)
            .await
            .map_err(|error| away(&error))?;
        let view = self.view_with(setup, [lane.clone()]).await;
        let index = view
            .lane(service, env)
            .ok_or_else(|| Refusal::Missing(format!("deployment of `{service}` in `{env}`")))?;
        let deployment = match &request.deployment_id {
            Some(id) => index.deployment(id).cloned(),
            None => index
                .deployments()
                .iter()
                .rev()
                .find(|one| !one.is_rollback)
                .cloned(),
        };
        let deployment = deployment
            .ok_or_else(|| Refusal::Missing(format!("deployment of `{service}` in `{env}`")))?;
        let target = match &request.target {
            Some(target) => Ok(target.clone()),
            None => target_of(&view, &deployment, &state, self.ground.clock.now()),
        };
        let target = target.map_err(|reason| Refusal::Denied {
            code: "no_target",
            reason,
        })?;
        let way = way_of(config, service, scope)?;
        let live = live::deployment(setup, service, env, &deployment).await;
        let known = live.as_ref().map_or(&*deployment, |live| live);
        let hosts = hosts_in(scope, known);
        let read = live.as_ref().map(drop).map_err(String::as_str);
        let guards = self
            .manual_guards(
                setup,
                &deployment,
                &target,
                state.open.as_ref(),
                read,
                &view,
            )
            .await;
        let allowed = guards.iter().all(|verdict| verdict.outcome.is_pass());
        let plan = RollbackPlan {
            service: service.clone(),
            env: env.clone(),
            deployment_id: deployment.id.clone(),
            scope: scope.clone(),
            hosts,
            current: deployment.release_id.clone(),
            target,
            pipeline: way.name().to_owned(),
            guards,
            allowed,
        };
        Ok(Planned {
            plan,
            deployment: Deployment::clone(known),
        })
    }

    /// The guards that bind a person too.
    async fn manual_guards(
        &self,
        setup: &Setup,
        deployment: &Deployment,
        target: &ReleaseId,
        open: Option<&Incident>,
        live: Result<(), &str>,
        view: &View,
    ) -> Vec<GuardVerdict> {
        let (service, env) = (&deployment.service, &deployment.env);
        let (switches, active) = tokio::join!(
            self.switches_of(setup, Some(service), Some(env)),
            active::active(setup, service, env, &deployment.id),
        );
        let policy = decide::policy_for(&setup.config.policies, service);
        let release = view.release(&deployment.release_id);
        guards_by_hand(&ByHand {
            switches: &switches,
            live,
            open,
            deployment: &deployment.id,
            current: &deployment.release_id,
            release: release.map(AsRef::as_ref),
            target,
            target_is_published: view.release(target).is_some(),
            freeze: policy.map_or(&[], |policy| &policy.guards.freeze),
            active: active.as_deref().map_err(String::as_str),
            now: self.ground.clock.now(),
        })
    }

    /// Does it, once per key.
    ///
    /// # Errors
    /// When the world is not as expected, a guard refuses, or the store is away.
    pub(super) async fn apply_manual(
        &self,
        apply: ApplyRollback,
    ) -> Result<RollbackOpened, Refusal> {
        let setup = self.setup().clone();
        if let Some(done) = self.opened_before(&apply).await? {
            return Ok(RollbackOpened {
                incident_id: done,
                created: false,
            });
        }
        let Planned { plan, deployment } = self.planned(&setup, &apply.request).await?;
        if (&plan.current, &plan.target) != (&apply.expect.current, &apply.expect.target) {
            let reason = format!(
                "it would now go from `{}` to `{}`",
                plan.current, plan.target
            );
            return Err(Refusal::Conflict {
                code: "not_as_expected",
                reason,
            });
        }
        let obstacle = plan.guards.iter().find(|verdict| match verdict.outcome {
            Outcome::Deny(_) => true,
            Outcome::Hold(_) => !apply.override_hold,
            Outcome::Pass(_) => false,
        });
        if let Some(verdict) = obstacle {
            let reason = format!("{}: {}", verdict.guard.as_str(), verdict.outcome.reason());
            return Err(Refusal::Denied {
                code: "refused_by_guard",
                reason,
            });
        }
        let engine = self.engine().ok_or_else(|| away(&"still starting"))?;
        let opened = self.opened_by_hand(&apply, &plan, &deployment, &setup);
        match engine.open(opened).await {
            OpenOutcome::Opened(incident_id) => Ok(RollbackOpened {
                incident_id,
                created: true,
            }),
            OpenOutcome::Merged(incident_id) => Ok(RollbackOpened {
                incident_id,
                created: false,
            }),
            OpenOutcome::Refused(reason) => Err(Refusal::Conflict {
                code: "lane_refuses",
                reason,
            }),
            OpenOutcome::Unknown => Err(away(&"nobody can tell whether the incident is open")),
        }
    }

    /// The incident that this key opened before.
    async fn opened_before(
        &self,
        apply: &ApplyRollback,
    ) -> Result<Option<crate::domain::id::IncidentId>, Refusal> {
        let Ok(lane) = LaneName::of(&apply.request.service, &apply.request.env) else {
            return Ok(None);
        };
        let state = self
            .lanes
            .refresh(&lane)
            .await
            .map_err(|error| away(&error))?;
        let same = |origin: &Origin| matches!(origin, Origin::Manual { key, by, .. } if *key == apply.key && *by == apply.caller.name);
        Ok(state
            .closed
            .iter()
            .chain(&state.open)
            .find(|incident| same(&incident.opened.origin))
            .map(|incident| incident.id.clone()))
    }

    fn opened_by_hand(
        &self,
        apply: &ApplyRollback,
        plan: &RollbackPlan,
        deployment: &Deployment,
        setup: &Setup,
    ) -> Opened {
        let now = self.ground.clock.now();
        let decision = Decision {
            at: now,
            verdict: Verdict::Rollback(plan.scope.clone()),
            shadow: false,
            mode: Mode::Enforce,
            rule: None,
            rules: Vec::new(),
            guards: plan.guards.clone(),
            service: Some(plan.service.clone()),
            env: Some(plan.env.clone()),
            lane: LaneName::of(&plan.service, &plan.env).ok(),
            deployment: Some(plan.deployment_id.clone()),
            release_id: Some(plan.current.clone()),
            phase: Some(deployment.phase(now)),
            scope: Some(plan.scope.clone()),
            hosts: plan.hosts.clone(),
            target: Some(plan.target.clone()),
            alerts: BTreeSet::new(),
            evidence: None,
            recheck_at: None,
            incident: None,
            consent: None,
            suspects: Vec::new(),
            escalates: None,
        };
        Opened {
            service: plan.service.clone(),
            env: plan.env.clone(),
            deployment: plan.deployment_id.clone(),
            release_id: plan.current.clone(),
            scope: plan.scope.clone(),
            hosts: plan.hosts.clone(),
            target: plan.target.clone(),
            origin: Origin::Manual {
                by: apply.caller.name.clone(),
                reason: apply.reason.clone(),
                key: apply.key.clone(),
            },
            decision,
            thread: format!("manual/{}/{}", plan.deployment_id, apply.key),
            channels: setup.config.default_channels.clone(),
            alerts: Vec::new(),
            supersedes: None,
            approval: None,
        }
    }
}

fn way_of<'a>(
    config: &'a ServiceConfig,
    service: &Service,
    scope: &Scope,
) -> Result<&'a Way, Refusal> {
    let way = match scope {
        Scope::Batch(_) => &config.rollback.batch,
        Scope::Full => &config.rollback.full,
    };
    way.as_ref().ok_or_else(|| Refusal::Denied {
        code: "no_pipeline",
        reason: format!(
            "no pipeline for a {} rollback of `{service}` is configured",
            scope.kind()
        ),
    })
}

fn target_of(
    view: &View,
    deployment: &Deployment,
    state: &LaneState,
    now: jiff::Timestamp,
) -> Result<ReleaseId, String> {
    let candidates: Vec<StableCandidate<'_>> = view
        .candidates(&deployment.service, &deployment.env)
        .into_iter()
        .map(|(release, candidate, mark)| StableCandidate {
            release,
            deployment: candidate,
            mark,
            open_incident: candidate
                .zip(state.open.as_ref())
                .is_some_and(|(candidate, open)| open.opened.deployment == candidate.id),
        })
        .collect();
    stable_target(&candidates, &deployment.release_id, now)
}

/// The store, or something else a request needs, is away.
pub(super) fn away(error: &impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable {
        reason: error.to_string(),
        retry_after: std::time::Duration::from_secs(5),
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        away(&error)
    }
}
