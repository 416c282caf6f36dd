//! A rollback that a person asks for: the plan, and doing it.

use std::collections::BTreeSet;

use super::core::Core;
use super::live;
use super::setup::Setup;
use crate::act::engine::OpenOutcome;
use crate::config::{RollbackPipeline, ServiceConfig};
use crate::decide::{StableCandidate, hosts_in, stable_target};
use crate::domain::decision::{Decision, Guard, GuardVerdict, Outcome, Scope, Verdict};
use crate::domain::deployment::Deployment;
use crate::domain::id::{LaneName, ReleaseId, Service};
use crate::domain::lane::{LaneState, Opened, Origin};
use crate::domain::policy::Mode;
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
        let pipeline = pipeline_of(config, service, scope)?;
        let live = live::deployment(setup, service, env, &deployment).await;
        let known = live.as_ref().map_or(&*deployment, |live| live);
        let hosts = hosts_in(scope, known);
        let guards = self
            .manual_guards(
                setup,
                request,
                &deployment.release_id,
                &target,
                &state,
                &live,
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
            pipeline: pipeline.pipeline.clone(),
            guards,
            allowed,
        };
        Ok(Planned {
            plan,
            deployment: Deployment::clone(known),
        })
    }

    /// The guards that bind a person too: the kill switch, the lane, a target that is there and
    /// differs.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that is known")]
    async fn manual_guards(
        &self,
        setup: &Setup,
        request: &RollbackRequest,
        current: &ReleaseId,
        target: &ReleaseId,
        state: &LaneState,
        live: &Result<Deployment, String>,
        view: &crate::enrich::catalog::View,
    ) -> Vec<GuardVerdict> {
        let mode = match self
            .modes_of(setup, Some(&request.service), Some(&request.env))
            .await
        {
            Err(why) => Outcome::Hold(why),
            Ok(modes) if [modes.global, modes.service, modes.env].contains(&Some(Mode::Off)) => {
                Outcome::Deny("switched off".to_owned())
            }
            Ok(_) => Outcome::Pass("a person asks".to_owned()),
        };
        let lane = match &state.open {
            Some(open) => Outcome::Hold(format!("incident `{}` is open", open.id)),
            None => Outcome::Pass("free".to_owned()),
        };
        let phase = match live {
            Ok(_) => Outcome::Pass("read from Spinnaker".to_owned()),
            Err(why) => Outcome::Hold(why.clone()),
        };
        let known = view.release(target);
        let target = match known {
            _ if target == current => Outcome::Deny(format!("`{target}` is what runs")),
            None => Outcome::Deny(format!("release `{target}` was never published")),
            Some(_) => Outcome::Pass(format!("`{target}`")),
        };
        [
            (Guard::Mode, mode),
            (Guard::Phase, phase),
            (Guard::Lane, lane),
            (Guard::Target, target),
        ]
        .map(|(guard, outcome)| GuardVerdict { guard, outcome })
        .to_vec()
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
        }
    }
}

fn pipeline_of<'a>(
    config: &'a ServiceConfig,
    service: &Service,
    scope: &Scope,
) -> Result<&'a RollbackPipeline, Refusal> {
    let pipeline = match scope {
        Scope::Batch(_) => &config.rollback.batch,
        Scope::Full => &config.rollback.full,
    };
    pipeline.as_ref().ok_or_else(|| Refusal::Denied {
        code: "no_pipeline",
        reason: format!(
            "no pipeline for a {} rollback of `{service}` is configured",
            scope.kind()
        ),
    })
}

fn target_of(
    view: &crate::enrich::catalog::View,
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
