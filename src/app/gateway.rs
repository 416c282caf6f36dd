//! The app as the web room sees it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::core::Core;
use super::manual::away;
use super::run::Reloader;
use crate::act::engine::{Admission, BatchOutcome, BatchPost};
use crate::domain::decision::Decision;
use crate::domain::deployment::{Deployment, Instance, Status};
use crate::domain::id::{DeploymentId, IncidentId, LaneName};
use crate::domain::lane::{Incident, LaneState};
use crate::domain::policy::Mode;
use crate::domain::release::Release;
use crate::web::api::{
    Accepted, Admit, Admitted, AlertDelivery, AlertRecord, ApplyRollback, BatchState, BatchStatus,
    Filter, Gateway, ModeSwitch, Page, Refusal, ReportFormat, RollbackOpened, RollbackPlan,
    RollbackRequest, SetMode, StartBatch,
};

/// The app behind the routes.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) core: Arc<Core>,
    pub(super) reloader: Reloader,
}

impl Core {
    fn batch_state(
        state: &LaneState,
        deployment: &DeploymentId,
        n: u32,
        known: Option<&Deployment>,
    ) -> Option<BatchState> {
        let start = state.batches.get(deployment)?.get(&n)?;
        let incident = state
            .closed
            .iter()
            .chain(&state.open)
            .rev()
            .find(|incident| incident.opened.deployment == *deployment);
        let told = known
            .and_then(|known| known.batches.iter().find(|batch| batch.n == n))
            .map(|batch| batch.status);
        let status = match (state.stopped.contains(deployment), told) {
            (true, _) => BatchStatus::Aborted,
            (false, Some(Status::Success)) => BatchStatus::Succeeded,
            (false, Some(Status::Failed)) => BatchStatus::Failed,
            (false, Some(Status::RolledBack)) => BatchStatus::RolledBack,
            (false, Some(Status::Pending | Status::Running) | None) => BatchStatus::Running,
        };
        Some(BatchState {
            status,
            progress: format!("{} hosts", start.hosts.len()),
            deployment_id: deployment.clone(),
            batch: n,
            release_id: start.release_id.clone(),
            incident_id: incident.map(|incident| incident.id.clone()),
        })
    }

    /// The lane a deployment runs in, by its announced batches or the catalog.
    async fn lane_of(
        &self,
        deployment: &DeploymentId,
    ) -> Result<Option<(LaneName, Option<Deployment>)>, Refusal> {
        let view = self.catalog.view();
        for ((service, env), index) in view.lanes(None, None) {
            if let Some(known) = index.deployment(deployment) {
                let lane = LaneName::of(&service, &env).map_err(|error| away(&error))?;
                return Ok(Some((lane, Some((**known).clone()))));
            }
        }
        let setup = self.setup().clone();
        for (service, env) in setup.known_lanes() {
            let Ok(lane) = LaneName::of(&service, &env) else {
                continue;
            };
            if self
                .lanes
                .refresh(&lane)
                .await?
                .batches
                .contains_key(deployment)
            {
                return Ok(Some((lane, None)));
            }
        }
        Ok(None)
    }

    async fn batch_now(&self, deployment: &DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        let missing = || Refusal::Missing(format!("batch {n} of deployment `{deployment}`"));
        let (lane, known) = self.lane_of(deployment).await?.ok_or_else(missing)?;
        let state = self.lanes.refresh(&lane).await?;
        Self::batch_state(&state, deployment, n, known.as_ref()).ok_or_else(missing)
    }
}

#[async_trait]
impl Gateway for Door {
    async fn alerts(&self, delivery: AlertDelivery) -> Result<Accepted, Refusal> {
        self.core.take(delivery).await
    }

    async fn start_batch(&self, request: StartBatch) -> Result<BatchState, Refusal> {
        let invalid = |pointer: &str, reason: String| Refusal::Invalid {
            code: "invalid_batch",
            pointer: pointer.to_owned(),
            reason,
        };
        let facts = request.facts;
        let service = facts.service.or_else(|| facts.release_id.service());
        let service = service.ok_or_else(|| {
            invalid(
                "/service",
                "the release does not tell its service".to_owned(),
            )
        })?;
        let lane = LaneName::of(&service, &facts.env)
            .map_err(|error| invalid("/env", error.to_string()))?;
        if !self.core.setup().config.services.contains_key(&service) {
            return Err(invalid(
                "/service",
                format!("service `{service}` is not configured"),
            ));
        }
        let engine = self.core.engine().ok_or_else(|| away(&"still starting"))?;
        let post = BatchPost {
            lane: lane.clone(),
            deployment: request.deployment.clone(),
            release_id: facts.release_id,
            n: request.n,
            of: facts.of,
            hosts: facts.hosts,
        };
        if let BatchOutcome::Refused(reason) = engine.batch_started(post).await? {
            return Err(Refusal::Conflict {
                code: "batch_refused",
                reason,
            });
        }
        let state = self.core.lanes.refresh(&lane).await?;
        Core::batch_state(&state, &request.deployment, request.n, None)
            .ok_or_else(|| away(&"the lane lost the batch"))
    }

    async fn batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        self.core.batch_now(&deployment, n).await
    }

    async fn cancel_batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        // Orca calls this when the stage failed or was cancelled: the execution's own status, which
        // `sync` reads, says it all.
        let state = self.core.batch_now(&deployment, n).await?;
        Ok(match state.status {
            BatchStatus::Running => BatchState {
                status: BatchStatus::Canceled,
                ..state
            },
            _ => state,
        })
    }

    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        let engine = self.core.engine().ok_or_else(|| away(&"still starting"))?;
        match engine
            .admit(&request.incident, request.attempt, &request.execution)
            .await?
        {
            Admission::Granted | Admission::AlreadyGranted => Ok(Admitted {
                status: "admitted".to_owned(),
                incident_id: request.incident,
                attempt: request.attempt,
                execution_id: request.execution,
            }),
            Admission::Refused(reason) => Err(Refusal::Conflict {
                code: "not_admitted",
                reason,
            }),
        }
    }

    async fn plan_rollback(&self, request: RollbackRequest) -> Result<RollbackPlan, Refusal> {
        self.core.plan_manual(&request).await
    }

    async fn apply_rollback(&self, request: ApplyRollback) -> Result<RollbackOpened, Refusal> {
        self.core.apply_manual(request).await
    }

    async fn releases(&self, filter: Filter) -> Result<Page<Release>, Refusal> {
        Ok(self.core.list_releases(&filter))
    }

    async fn deployments(&self, filter: Filter) -> Result<Page<Deployment>, Refusal> {
        Ok(self.core.list_deployments(&filter))
    }

    async fn instances(&self, filter: Filter) -> Result<Page<Instance>, Refusal> {
        Ok(self.core.list_instances(&filter))
    }

    async fn alert_records(&self, filter: Filter) -> Result<Page<AlertRecord>, Refusal> {
        Ok(self.core.list_alerts(&filter))
    }

    async fn incidents(&self, filter: Filter) -> Result<Page<Incident>, Refusal> {
        self.core.list_incidents(&filter).await
    }

    async fn decisions(&self, filter: Filter) -> Result<Page<Decision>, Refusal> {
        self.core.list_decisions(&filter).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Incident, Refusal> {
        self.core.find_incident(&id).await
    }

    async fn report(&self, id: IncidentId, format: ReportFormat) -> Result<Bytes, Refusal> {
        self.core.read_report(&id, format).await
    }

    async fn chart(&self, id: String) -> Result<Bytes, Refusal> {
        self.core.read_chart(&id).await
    }

    async fn modes(&self) -> Result<Vec<ModeSwitch>, Refusal> {
        let switches = self
            .core
            .modes
            .switches()
            .await
            .map_err(|error| away(&error))?;
        Ok((*switches).clone())
    }

    async fn set_mode(&self, change: SetMode) -> Result<Vec<ModeSwitch>, Refusal> {
        let switch = ModeSwitch {
            service: change.service,
            env: change.env,
            mode: change.mode.unwrap_or(Mode::Enforce),
            by: change.caller.name,
            reason: change.reason,
            at: self.core.ground.clock.now(),
        };
        self.core.modes.set(switch, change.mode.is_none()).await?;
        self.modes().await
    }

    fn ready(&self) -> Result<(), String> {
        if self.core.engine().is_some() {
            Ok(())
        } else {
            Err("still starting".to_owned())
        }
    }

    async fn reload(&self) -> Result<(), String> {
        self.reloader.reload(&self.core).await
    }

    async fn metrics(&self) -> String {
        self.core.fresh_gauges().await;
        self.core.numbers.encode()
    }
}
