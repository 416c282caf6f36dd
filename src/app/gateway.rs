//! The app as the web room sees it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::arming::Announced;
use super::core::Core;
use super::manual::away;
use super::run::Reloader;
use crate::act::engine::{Abandonment, Admission, BatchOutcome, BatchPost};
use crate::domain::agent::{Polled, Record};
use crate::domain::deployment::{Deployment, Instance, Status};
use crate::domain::id::{
    ApprovalId, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service,
};
use crate::domain::lane::{Approval, Incident, LaneState};
use crate::domain::policy::Mode;
use crate::domain::record::DecisionRecord;
use crate::explain::Explanation;
use crate::web::api::{
    Abandon, Accepted, Admit, Admitted, AgentAsk, AlertDelivery, AlertRecord, AnswerApproval,
    ApplyRollback, ApprovalAnswered, ArtifactStream, BatchState, BatchStatus, DeploymentState,
    Explain, Filter, Gateway, InstancesRecorded, ModeSwitch, Page, RecordInstances, Recorded,
    Refusal, ReleaseRecord, ReportFormat, RollbackOpened, RollbackPlan, RollbackRequest, SetMode,
    StartBatch, TargetGroup,
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
        let batches = state.batches.get(deployment);
        let start = batches.and_then(|batches| batches.get(&n));
        let incident = state
            .closed
            .iter()
            .chain(&state.open)
            .rev()
            .find(|incident| incident.opened.deployment == *deployment);
        // A batch that was refused was never announced; that its deployment is stopped is its state.
        let refused = || {
            let incident = incident.filter(|_| state.stopped.contains(deployment))?;
            Some((0, &incident.opened.release_id))
        };
        let (hosts, release_id) = start
            .map(|start| (start.hosts.len(), &start.release_id))
            .or_else(refused)?;
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
            progress: format!("{hosts} hosts"),
            deployment_id: deployment.clone(),
            batch: n,
            release_id: release_id.clone(),
            incident_id: incident.map(|incident| incident.id.clone()),
        })
    }

    /// The lane a deployment runs in, by its announced batches or the catalog.
    pub(super) async fn lane_of(
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
        for (service, env) in setup.config.known_lanes() {
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
        let state = Self::batch_state(&state, deployment, n, known.as_ref()).ok_or_else(missing)?;
        let setup = self.setup().clone();
        let Some((service, env)) = setup.config.lane_parts(&lane) else {
            return Ok(state);
        };
        let announced = Announced {
            service: &service,
            env: &env,
            lane: &lane,
            deployment,
            release_id: &state.release_id.clone(),
            batch: n,
        };
        let state = self.polled_state(&setup, &announced, state).await?;
        self.told_by_agents(&setup, &announced, state).await
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
        let setup = self.core.setup().clone();
        self.core
            .can_be_given(
                &setup,
                &service,
                &facts.env,
                &facts.release_id,
                &facts.hosts,
            )
            .await?;
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
        let env = facts.env;
        let (core, place) = (Arc::clone(&self.core), (service.clone(), env.clone()));
        self.core.ground.tasks.spawn(async move {
            let setup = core.setup().clone();
            core.look_for_bad_release(&setup, &place.0, &place.1).await;
        });
        let state = self.core.lanes.refresh(&lane).await?;
        let known = Core::batch_state(&state, &request.deployment, request.n, None)
            .ok_or_else(|| away(&"the lane lost the batch"))?;
        let announced = Announced {
            service: &service,
            env: &env,
            lane: &lane,
            deployment: &request.deployment,
            release_id: &known.release_id.clone(),
            batch: request.n,
        };
        let state = self.core.armed_state(&setup, &announced, known).await?;
        self.core.told_by_agents(&setup, &announced, state).await
    }

    async fn batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        self.core.batch_now(&deployment, n).await
    }

    async fn cancel_batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        // Orca calls this when the stage failed or was cancelled: the execution's own status, which
        // `sync` reads, says it all. Rules that were never proven watch nothing: it did not start.
        let state = self.core.batch_now(&deployment, n).await?;
        if state.status == BatchStatus::Arming {
            self.core.disarm_unproven(&deployment, n).await?;
        }
        let going = matches!(
            state.status,
            BatchStatus::Running | BatchStatus::Arming | BatchStatus::Armed
        );
        if going && let Some((lane, _)) = self.core.lane_of(&deployment).await? {
            let setup = self.core.setup().clone();
            self.core.give_up(&setup, &lane, &deployment, n).await?;
        }
        Ok(match state.status {
            BatchStatus::Running | BatchStatus::Arming | BatchStatus::Armed => BatchState {
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

    async fn hosts_back(&self, asked: Admit) -> Result<BatchState, Refusal> {
        self.core.hosts_back(&asked).await
    }

    async fn hosts_back_state(
        &self,
        incident: IncidentId,
        attempt: u32,
    ) -> Result<BatchState, Refusal> {
        self.core.hosts_back_state(&incident, attempt).await
    }

    async fn agent_desired(&self, ask: AgentAsk) -> Result<Polled, Refusal> {
        self.core.polled(&ask).await
    }

    async fn agent_records(
        &self,
        ask: AgentAsk,
        records: Vec<Record>,
    ) -> Result<Recorded, Refusal> {
        self.core.recorded(&ask, records).await
    }

    async fn agent_artifact(
        &self,
        host: Host,
        release: ReleaseId,
        what: String,
    ) -> Result<ArtifactStream, Refusal> {
        self.core.served_artifact(&host, &release, &what).await
    }

    async fn plan_rollback(&self, request: RollbackRequest) -> Result<RollbackPlan, Refusal> {
        self.core.plan_manual(&request).await
    }

    async fn apply_rollback(&self, request: ApplyRollback) -> Result<RollbackOpened, Refusal> {
        self.core.apply_manual(request).await
    }

    async fn answer_approval(&self, request: AnswerApproval) -> Result<ApprovalAnswered, Refusal> {
        self.core.answer_approval(request).await
    }

    async fn abandon(&self, request: Abandon) -> Result<Incident, Refusal> {
        let Abandon {
            incident,
            reason,
            caller,
        } = request;
        let engine = self.core.engine().ok_or_else(|| away(&"still starting"))?;
        match engine.abandon(&incident, &caller.name, &reason).await? {
            Abandonment::Abandoned | Abandonment::AlreadyAbandoned => {
                self.core.find_incident(&incident).await
            }
            Abandonment::NotOpen => {
                // 404 for one that never was.
                let found = self.core.find_incident(&incident).await?;
                Err(Refusal::Conflict {
                    code: "incident_over",
                    reason: format!("incident `{}` is over", found.id),
                })
            }
        }
    }

    async fn approvals(&self, filter: Filter) -> Result<Page<Approval>, Refusal> {
        self.core.list_approvals(&filter).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, Refusal> {
        self.core.find_approval(&id).await
    }

    async fn releases(&self, filter: Filter) -> Result<Page<ReleaseRecord>, Refusal> {
        Ok(self.core.list_releases(&filter))
    }

    async fn deployments(&self, filter: Filter) -> Result<Page<DeploymentState>, Refusal> {
        Ok(self.core.list_deployments(&filter).await)
    }

    async fn record_instances(
        &self,
        request: RecordInstances,
    ) -> Result<InstancesRecorded, Refusal> {
        self.core.record_instances(request).await
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

    async fn decisions(&self, filter: Filter) -> Result<Page<DecisionRecord>, Refusal> {
        self.core.list_decisions(&filter).await
    }

    async fn explain(&self, asked: Explain) -> Result<Explanation, Refusal> {
        match asked {
            Explain::Moment(moment, zone) => self.core.explain_moment(moment, &zone).await,
            Explain::Incident(id) => self.core.explain_incident(&id).await,
            Explain::Body(source, body) => self.core.explain_body(source, &body).await,
        }
    }

    async fn canary_rules(&self) -> Result<String, Refusal> {
        self.core.canary_rules().await
    }

    async fn targets(
        &self,
        service: Option<Service>,
        env: Option<Env>,
        port: u16,
    ) -> Vec<TargetGroup> {
        self.core
            .targets(service.as_ref(), env.as_ref(), port)
            .await
    }

    async fn info_series(&self) -> String {
        self.core.info_series().await
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
        let setup = self.core.setup().clone();
        let switches = self.core.all_switches(&setup).await;
        switches.map_err(|error| away(&error))
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
