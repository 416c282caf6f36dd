//! What a host is to run: the highest of its documents that still counts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::super::core::Core;
use super::super::setup::Setup;
use super::{artifact, by_agents};
use crate::domain::agent::{Desired, Order, Polled, Reason};
use crate::domain::id::{DeploymentId, Env, Host, LaneName, ReleaseId, Service};
use crate::domain::lane::LaneState;
use crate::store::{StoreError, keys};
use crate::web::api::{AgentAsk, BatchStatus, Refusal};

/// Links of a lane that a host's answer is sought among; older ones are long overtaken.
const MAX_WISHES: usize = 16;
/// Documents written at once.
const WRITE_AHEAD: usize = 32;

/// A link of the lane that wants something of a host.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) epoch: u64,
    pub(super) release_id: ReleaseId,
    /// The batch; None: a rollback.
    batch: Option<(DeploymentId, u32)>,
}

/// What a lane wants of its hosts, newest first.
#[derive(Debug, Default)]
pub(super) struct Wishes(HashMap<Host, Vec<Wish>>);

impl Wishes {
    pub(super) fn of(state: &LaneState) -> Self {
        let mut all: Vec<(Wish, &[Host])> = Vec::new();
        for (deployment, batches) in &state.batches {
            for (n, start) in batches {
                let wish = Wish {
                    epoch: start.seq,
                    release_id: start.release_id.clone(),
                    batch: Some((deployment.clone(), *n)),
                };
                all.push((wish, &start.hosts));
            }
        }
        for incident in state.closed.iter().chain(&state.open) {
            if let (Some(epoch), Some(plan)) = (incident.admitted_seq, &incident.plan) {
                let wish = Wish {
                    epoch,
                    release_id: plan.target.clone(),
                    batch: None,
                };
                all.push((wish, &plan.hosts));
            }
        }
        all.sort_unstable_by_key(|(wish, _)| std::cmp::Reverse(wish.epoch));
        let mut found: HashMap<Host, Vec<Wish>> = HashMap::new();
        for (wish, hosts) in all {
            for host in hosts {
                let wishes = found.entry(host.clone()).or_default();
                if wishes.len() < MAX_WISHES {
                    wishes.push(wish.clone());
                }
            }
        }
        Self(found)
    }

    pub(super) fn host(&self, host: &Host) -> &[Wish] {
        self.0.get(host).map_or(&[], Vec::as_slice)
    }
}

/// A place in a lane from which its hosts are told what to run.
#[derive(Debug)]
pub(super) struct Giving<'a> {
    pub(super) service: &'a Service,
    pub(super) env: &'a Env,
    pub(super) epoch: u64,
    pub(super) release_id: &'a ReleaseId,
    pub(super) deployment: &'a DeploymentId,
    pub(super) batch: u32,
    pub(super) incident: Option<&'a crate::domain::id::IncidentId>,
}

impl Core {
    /// What an agent's poll is answered.
    pub(in crate::app) async fn polled(&self, ask: &AgentAsk) -> Result<Polled, Refusal> {
        let setup = self.setup().clone();
        let rules = by_agents(&setup, &ask.service, &ask.env)
            .ok_or_else(|| not_by_agents(&ask.service, &ask.env))?;
        let lane = lane_of(ask)?;
        self.agents
            .seen
            .note(&lane, &ask.host, self.ground.clock.now());
        self.numbers.agent_polls.inc();
        let poll = rules.poll;
        let state = self.lane_lately(&lane).await?;
        let desired = match self.desired_of(&lane, &state, ask).await? {
            Some(desired) => Some(self.order(&setup, &desired).await?),
            None => None,
        };
        Ok(Polled { poll, desired })
    }

    /// What the lane wants of its hosts; made again when the lane has moved on.
    pub(super) fn wishes(&self, lane: &LaneName, state: &LaneState) -> Arc<Wishes> {
        let epoch = state.epoch();
        let mut known = self
            .agents
            .wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((of, wishes)) = known.get(lane)
            && *of == epoch
        {
            return Arc::clone(wishes);
        }
        let wishes = Arc::new(Wishes::of(state));
        known.insert(lane.clone(), (epoch, Arc::clone(&wishes)));
        wishes
    }

    /// The highest document of a host. A batch that was stopped, failed or was given up counts no
    /// more: whoever has not switched by then stays where it is.
    async fn desired_of(
        &self,
        lane: &LaneName,
        state: &LaneState,
        ask: &AgentAsk,
    ) -> Result<Option<Arc<Desired>>, StoreError> {
        let wishes = self.wishes(lane, state);
        for wish in wishes.host(&ask.host) {
            if let Some((deployment, n)) = &wish.batch {
                if state.stopped.contains(deployment) {
                    continue;
                }
                let verdict = self.verdict_of(lane, deployment, *n).await?;
                if verdict.is_some_and(|verdict| verdict.status != BatchStatus::Succeeded) {
                    continue;
                }
            }
            let key = keys::desired(&ask.env, &ask.service, &ask.host, wish.epoch);
            if let Some(found) = self.agents.orders.get(&key).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The order that a document makes, with where its files are fetched from.
    pub(super) async fn order(&self, setup: &Setup, desired: &Desired) -> Result<Order, Refusal> {
        let release = self.release_of(&desired.release_id).await?;
        let (artifact, config) = artifact::of(setup.artifacts.as_ref(), &release).await?;
        Ok(Order {
            desired: desired.clone(),
            version: release.version.clone(),
            artifact,
            config,
        })
    }

    /// Writes down what `hosts` are to run; what is there already stays.
    pub(super) async fn give(&self, giving: &Giving<'_>, hosts: &[Host]) -> Result<(), StoreError> {
        let documents = hosts.iter().map(|host| Desired {
            epoch: giving.epoch,
            host: host.clone(),
            service: giving.service.clone(),
            env: giving.env.clone(),
            release_id: giving.release_id.clone(),
            deployment_id: giving.deployment.clone(),
            batch: giving.batch,
            reason: match giving.incident {
                Some(_) => Reason::Rollback,
                None => Reason::Deploy,
            },
            incident_id: giving.incident.cloned(),
        });
        let writes = documents.map(|desired| async move {
            let key = keys::desired(&desired.env, &desired.service, &desired.host, desired.epoch);
            self.agents.orders.create(&key, desired).await.map(drop)
        });
        let writes: Vec<_> = writes.collect();
        stream::iter(writes)
            .buffer_unordered(WRITE_AHEAD)
            .try_collect()
            .await
    }
}

pub(super) fn lane_of(ask: &AgentAsk) -> Result<LaneName, Refusal> {
    LaneName::of(&ask.service, &ask.env).map_err(|error| Refusal::Invalid {
        code: "invalid_id",
        pointer: String::new(),
        reason: error.to_string(),
    })
}

pub(super) fn not_by_agents(service: &Service, env: &Env) -> Refusal {
    Refusal::Conflict {
        code: "not_by_agents",
        reason: format!(
            "`{service}` in `{env}` is not deployed by agents: no `deploy` entry of it has `agents`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::ReplicaId;
    use crate::domain::lane::{LaneEntry, LaneEvent};

    fn started(state: &mut LaneState, deployment: &str, version: &str, n: u32, hosts: &[&str]) {
        let host = |name: &&str| Host::new(*name).unwrap();
        let event = LaneEvent::Batch {
            deployment: DeploymentId::new(deployment).unwrap(),
            release_id: ReleaseId::new(format!("s@{version}")).unwrap(),
            n,
            of: None,
            hosts: hosts.iter().map(host).collect(),
        };
        let entry = LaneEntry {
            at: jiff::Timestamp::UNIX_EPOCH,
            by: ReplicaId::new("r").unwrap(),
            event,
        };
        state.apply(state.next_seq, &entry).unwrap();
    }

    #[test]
    fn the_newest_wish_of_a_host_comes_first() {
        let mut state = LaneState::default();
        started(&mut state, "D1", "1", 1, &["a", "b"]);
        started(&mut state, "D2", "2", 1, &["a"]);
        let wishes = Wishes::of(&state);
        let epochs = |host: &str| {
            let wishes = wishes.host(&Host::new(host).unwrap()).iter();
            wishes.map(|wish| wish.epoch).collect::<Vec<_>>()
        };
        assert_eq!(epochs("a"), [2, 1]);
        assert_eq!(epochs("b"), [1]);
        assert_eq!(epochs("c"), [0_u64; 0]);
    }
}
