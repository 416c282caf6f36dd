//! A batch, or a rollback, as Spinnaker polls it.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::super::arming::Announced;
use super::super::core::Core;
use super::super::setup::Setup;
use super::judge::{HostFacts, judge};
use super::order::{Giving, not_by_agents};
use super::{Verdict, artifact, by_agents};
use crate::config::ByAgents;
use crate::domain::id::{DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service};
use crate::domain::lane::Incident;
use crate::store::keys;
use crate::web::api::{Admit, BatchState, BatchStatus, Refusal};

/// Hosts asked about at once.
const READ_AHEAD: usize = 32;

impl Core {
    /// Whether a batch may be announced at all where agents deploy: it names hosts, and they can
    /// fetch the release.
    ///
    /// # Errors
    /// Why not; nothing was written.
    pub(in crate::app) async fn can_be_given(
        &self,
        setup: &Setup,
        service: &Service,
        env: &Env,
        release_id: &ReleaseId,
        hosts: &[Host],
    ) -> Result<(), Refusal> {
        if by_agents(setup, service, env).is_none() {
            return Ok(());
        }
        if hosts.is_empty() {
            return Err(Refusal::Invalid {
                code: "invalid_batch",
                pointer: "/hosts".to_owned(),
                reason: "agents deploy to named hosts, and there are none".to_owned(),
            });
        }
        let release = self.release_of(release_id).await?;
        artifact::of(setup.artifacts.as_ref(), &release)
            .await
            .map(drop)
    }

    /// A batch that may run, told to its hosts and judged by what they say.
    ///
    /// # Errors
    /// When the store can't be used; Spinnaker then asks again.
    pub(in crate::app) async fn told_by_agents(
        &self,
        setup: &Setup,
        batch: &Announced<'_>,
        state: BatchState,
    ) -> Result<BatchState, Refusal> {
        let Some(rules) = by_agents(setup, batch.service, batch.env) else {
            return Ok(state);
        };
        let (deployment, n) = (batch.deployment, batch.batch);
        // What stopped it stands above what its hosts said before.
        if matches!(state.status, BatchStatus::Aborted | BatchStatus::RolledBack) {
            return Ok(state);
        }
        if let Some(verdict) = self.verdict_of(batch.lane, deployment, n).await? {
            return Ok(settled(state, &verdict));
        }
        if !matches!(state.status, BatchStatus::Running | BatchStatus::Armed) {
            return Ok(state);
        }
        let lane = self.lanes.as_read(batch.lane).await;
        let starts = lane.batches.get(deployment);
        let Some(start) = starts.and_then(|starts| starts.get(&n)) else {
            return Ok(state);
        };
        let giving = Giving {
            service: batch.service,
            env: batch.env,
            epoch: start.seq,
            release_id: &start.release_id,
            deployment,
            batch: n,
            incident: None,
        };
        self.give(&giving, &start.hosts).await?;
        let hosts = self
            .facts(batch.lane, &giving, &start.hosts, start.at)
            .await?;
        let now = self.ground.clock.now();
        let (status, progress) = judge(&hosts, rules, start.at, now);
        if let BatchStatus::Succeeded | BatchStatus::Failed = status {
            let verdict = Verdict {
                status,
                why: progress,
                at: now,
            };
            let verdict = self
                .write_verdict(batch.lane, deployment, n, verdict)
                .await?;
            return Ok(settled(state, &verdict));
        }
        Ok(BatchState {
            status,
            progress,
            ..state
        })
    }

    /// Spinnaker gave a batch up: hosts that have not switched stay where they are.
    ///
    /// # Errors
    /// When the store can't be used.
    pub(in crate::app) async fn give_up(
        &self,
        setup: &Setup,
        lane: &LaneName,
        deployment: &DeploymentId,
        n: u32,
    ) -> Result<(), Refusal> {
        let parts = setup.config.lane_parts(lane);
        let is_ours =
            parts.is_some_and(|(service, env)| by_agents(setup, &service, &env).is_some());
        if is_ours {
            let verdict = Verdict {
                status: BatchStatus::Canceled,
                why: "Spinnaker gave the batch up".to_owned(),
                at: self.ground.clock.now(),
            };
            self.write_verdict(lane, deployment, n, verdict).await?;
        }
        Ok(())
    }

    async fn write_verdict(
        &self,
        lane: &LaneName,
        deployment: &DeploymentId,
        n: u32,
        verdict: Verdict,
    ) -> Result<std::sync::Arc<Verdict>, Refusal> {
        let key = keys::verdict(lane, deployment, n);
        Ok(self.agents.verdicts.create(&key, verdict).await?)
    }

    /// What is known of each host.
    async fn facts(
        &self,
        lane: &LaneName,
        giving: &Giving<'_>,
        hosts: &[Host],
        started: Timestamp,
    ) -> Result<Vec<HostFacts>, Refusal> {
        let heard = self.agents.seen.of(lane).await?;
        // Before that nobody could have been heard here.
        let earliest = started.max(self.started_at);
        let (agents, deployment) = (&self.agents, giving.deployment);
        let reads: Vec<_> = hosts
            .iter()
            .map(|host| async move {
                let newest = agents
                    .chains
                    .newest(giving.service, giving.env, deployment, host);
                Ok::<_, Refusal>((host, newest.await?))
            })
            .collect();
        let read: Vec<_> = stream::iter(reads)
            .buffered(READ_AHEAD)
            .try_collect()
            .await?;
        let facts = read.into_iter().map(|(host, newest)| HostFacts {
            host: host.clone(),
            heard: heard.get(host).copied().unwrap_or(earliest).max(earliest),
            newest,
        });
        Ok(facts.collect())
    }

    /// The hosts of an admitted rollback, told to go back.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] for any execution but the admitted one.
    pub(in crate::app) async fn hosts_back(&self, asked: &Admit) -> Result<BatchState, Refusal> {
        let (lane, incident) = self.incident_in(&asked.incident).await?;
        let not_admitted = |reason: String| Refusal::Conflict {
            code: "not_admitted",
            reason,
        };
        if incident.admitted.as_ref() != Some(&asked.execution) || incident.attempt != asked.attempt
        {
            let text = format!(
                "execution `{}` was not admitted for attempt {} of `{}`",
                asked.execution, asked.attempt, asked.incident
            );
            return Err(not_admitted(text));
        }
        if incident.has_ended() {
            let text = format!("the execution of `{}` has ended already", incident.id);
            return Err(not_admitted(text));
        }
        self.told_back(&lane, &incident, true).await
    }

    /// How far the hosts of a rollback are.
    ///
    /// # Errors
    /// [`Refusal::Missing`] when none was admitted.
    pub(in crate::app) async fn hosts_back_state(
        &self,
        incident: &IncidentId,
        attempt: u32,
    ) -> Result<BatchState, Refusal> {
        let (lane, found) = self.incident_in(incident).await?;
        if found.attempt != attempt {
            return Err(Refusal::Missing(format!(
                "attempt {attempt} of `{incident}`"
            )));
        }
        self.told_back(&lane, &found, false).await
    }

    async fn incident_in(&self, id: &IncidentId) -> Result<(LaneName, Incident), Refusal> {
        let missing = || Refusal::Missing(format!("incident `{id}`"));
        let (lane, _) = id.parts().ok_or_else(missing)?;
        let state = self.lanes.refresh(&lane).await?;
        let incident = state.incident(id).cloned().ok_or_else(missing)?;
        Ok((lane, incident))
    }

    async fn told_back(
        &self,
        lane: &LaneName,
        incident: &Incident,
        give: bool,
    ) -> Result<BatchState, Refusal> {
        let missing = || Refusal::Missing(format!("admitted execution of `{}`", incident.id));
        let (service, env) = (&incident.opened.service, &incident.opened.env);
        let setup = self.setup().clone();
        let rules = by_agents(&setup, service, env).ok_or_else(|| not_by_agents(service, env))?;
        let admitted = incident.admitted.as_ref().zip(incident.admitted_seq);
        let (execution, epoch) = admitted.ok_or_else(missing)?;
        let plan = incident.plan.as_ref().ok_or_else(missing)?;
        let deployment = DeploymentId::new(execution.as_str()).map_err(|_| missing())?;
        let giving = Giving {
            service,
            env,
            epoch,
            release_id: &plan.target,
            deployment: &deployment,
            batch: 1,
            incident: Some(&incident.id),
        };
        if give {
            let release = self.release_of(&plan.target).await?;
            artifact::of(setup.artifacts.as_ref(), &release).await?;
            self.give(&giving, &plan.hosts).await?;
        }
        let admitted_at = incident.admitted_at().unwrap_or(incident.opened_at);
        let (status, progress) = self
            .judged_back(lane, rules, &giving, &plan.hosts, admitted_at)
            .await?;
        Ok(BatchState {
            status,
            progress,
            deployment_id: deployment.clone(),
            batch: 1,
            release_id: plan.target.clone(),
            incident_id: Some(incident.id.clone()),
        })
    }

    async fn judged_back(
        &self,
        lane: &LaneName,
        rules: &ByAgents,
        giving: &Giving<'_>,
        hosts: &[Host],
        since: Timestamp,
    ) -> Result<(BatchStatus, String), Refusal> {
        let facts = self.facts(lane, giving, hosts, since).await?;
        Ok(judge(&facts, rules, since, self.ground.clock.now()))
    }
}

fn settled(state: BatchState, verdict: &Verdict) -> BatchState {
    BatchState {
        status: verdict.status,
        progress: verdict.why.clone(),
        ..state
    }
}
