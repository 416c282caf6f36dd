//! Deployments, their batches, and the hosts that ran a release.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clock;
use super::id::{DeploymentId, Env, Host, ReleaseId, Service};

/// How a deployment spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In batches; shares are cumulative.
    Canary,
    /// A second full set, then a switch: one batch.
    BlueGreen,
    /// Everything at once: one batch.
    All,
}

/// Where a deployment, batch or instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not started.
    Pending,
    /// In flight.
    Running,
    /// Reached its end.
    Success,
    /// Ended without reaching it.
    Failed,
    /// Taken back.
    RolledBack,
}

/// How far a deployment is, as the rules see it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the last batch starts.
    Canary,
    /// From then until it has soaked.
    Between,
    /// Soaked at 100 %.
    Full,
}

/// A batch: an ordinal in a deployment with its member hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batch {
    /// From 1.
    pub n: u32,
    /// Its members (not those of earlier batches).
    pub hosts: Vec<Host>,
    /// Where it stands.
    pub status: Status,
    /// When its stage started.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When its stage ended.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
}

/// A run of a deploy pipeline, as `sync` and batch posts tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// The Spinnaker execution id.
    pub id: DeploymentId,
    /// What it deploys.
    pub release_id: ReleaseId,
    /// Whose.
    pub service: Service,
    /// Where to.
    pub env: Env,
    /// How it spreads.
    pub strategy: Strategy,
    /// Every host it means to reach.
    pub target_hosts: Vec<Host>,
    /// Its batches in order; started and planned ones.
    pub batches: Vec<Batch>,
    /// Where it stands.
    pub status: Status,
    /// When it started.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When its execution ended.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// How long it must run at 100 % before it counts as full.
    #[serde(with = "super::duration")]
    #[schemars(with = "String")]
    pub soak: Duration,
    /// Spinnaker application and pipeline it ran in.
    pub application: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// True when this run was itself a rollback.
    #[serde(default)]
    pub is_rollback: bool,
}

impl Deployment {
    /// Its phase at `now`: canary until the last batch starts, then between, until its successful
    /// end is `soak` ago. A batch whose successors are unknown is not the last one while the
    /// execution runs.
    pub fn phase(&self, now: Timestamp) -> Phase {
        if self.status == Status::Success {
            let end = self.finished_at.or(self.started_at).unwrap_or(now);
            return if clock::since(now, end) >= self.soak {
                Phase::Full
            } else {
                Phase::Between
            };
        }
        match self.strategy {
            Strategy::All | Strategy::BlueGreen => Phase::Between,
            Strategy::Canary if self.last_batch_started() => Phase::Between,
            Strategy::Canary => Phase::Canary,
        }
    }

    fn last_batch_started(&self) -> bool {
        let members: BTreeSet<&Host> = self
            .batches
            .iter()
            .filter(|batch| batch.started_at.is_some())
            .flat_map(|batch| &batch.hosts)
            .collect();
        let all_started = self.batches.iter().all(|batch| batch.started_at.is_some());
        if self.target_hosts.is_empty() {
            // Pods that nobody named: the batches are all there is to go by.
            return all_started && !self.batches.is_empty();
        }
        all_started && self.target_hosts.iter().all(|host| members.contains(host))
    }

    /// Whether it ran to its successful end and has soaked.
    pub fn is_soaked(&self, now: Timestamp) -> bool {
        self.phase(now) == Phase::Full
    }

    /// Hosts of the batches in `numbers`, in batch order.
    pub fn hosts_of(&self, numbers: &BTreeSet<u32>) -> Vec<Host> {
        self.batches
            .iter()
            .filter(|batch| numbers.contains(&batch.n))
            .flat_map(|batch| batch.hosts.iter().cloned())
            .collect()
    }

    /// The batch that holds `host`.
    pub fn batch_of(&self, host: &Host) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.hosts.contains(host))
    }

    /// Whether its execution may still change hosts.
    pub fn is_active(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Running)
    }
}

/// What an instance's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Passed.
    Healthy,
    /// Failed.
    Unhealthy,
    /// Nobody asked.
    Unknown,
}

/// The record of one host in one deployment, over the interval `[from, to)` it ran the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// The host or pod.
    pub host: Host,
    /// Its address, when known.
    #[schemars(with = "Option<String>")]
    pub ip: Option<std::net::IpAddr>,
    /// Where it stands.
    pub status: Status,
    /// When the release arrived.
    #[schemars(with = "Option<String>")]
    pub deployed_at: Option<Timestamp>,
    /// What its health check says.
    pub health_status: Health,
    /// What went wrong, in the deployer's words.
    pub error_message: Option<String>,
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The release.
    pub release_id: ReleaseId,
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// Its batch.
    pub batch: u32,
    /// Since when it runs the release.
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// Until when; None while it does.
    #[schemars(with = "Option<String>")]
    pub to: Option<Timestamp>,
}

/// The records of all hosts of one deployment, in one document: a million documents of one record
/// each would take minutes to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instances {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The release.
    pub release_id: ReleaseId,
    /// One for each host.
    pub hosts: Vec<HostRecord>,
}

/// What a deployment's [`Instances`] say of one host; fields are those of [`Instance`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRecord {
    /// The host or pod.
    pub host: Host,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ip: Option<std::net::IpAddr>,
    /// Where it stands.
    pub status: Status,
    /// When the release arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deployed_at: Option<Timestamp>,
    /// What its health check says.
    pub health_status: Health,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Its batch.
    pub batch: u32,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// Until when; None while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub to: Option<Timestamp>,
}

impl Instances {
    /// One record each.
    pub fn records(self) -> impl Iterator<Item = Instance> {
        let Self {
            service,
            env,
            deployment_id,
            release_id,
            hosts,
        } = self;
        hosts.into_iter().map(move |one| Instance {
            host: one.host,
            ip: one.ip,
            status: one.status,
            deployed_at: one.deployed_at,
            health_status: one.health_status,
            error_message: one.error_message,
            deployment_id: deployment_id.clone(),
            release_id: release_id.clone(),
            service: service.clone(),
            env: env.clone(),
            batch: one.batch,
            from: one.from,
            to: one.to,
        })
    }
}

impl From<Instance> for HostRecord {
    fn from(one: Instance) -> Self {
        Self {
            host: one.host,
            ip: one.ip,
            status: one.status,
            deployed_at: one.deployed_at,
            health_status: one.health_status,
            error_message: one.error_message,
            batch: one.batch,
            from: one.from,
            to: one.to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> Host {
        Host::new(format!("h{n}")).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn canary() -> Deployment {
        let batch = |n, started| Batch {
            n,
            hosts: vec![host(n)],
            status: Status::Pending,
            started_at: started,
            finished_at: None,
        };
        Deployment {
            id: DeploymentId::new("01X").unwrap(),
            release_id: ReleaseId::new("s@2").unwrap(),
            service: Service::new("s").unwrap(),
            env: Env::new("prod").unwrap(),
            strategy: Strategy::Canary,
            target_hosts: vec![host(1), host(2)],
            batches: vec![batch(1, Some(at(0))), batch(2, None)],
            status: Status::Running,
            started_at: Some(at(0)),
            finished_at: None,
            soak: Duration::from_mins(15),
            application: "s".into(),
            pipeline: "deploy-prod".into(),
            is_rollback: false,
        }
    }

    #[test]
    fn a_canary_is_over_when_its_last_batch_starts_and_full_when_it_has_soaked() {
        let mut deployment = canary();
        assert_eq!(deployment.phase(at(10)), Phase::Canary);
        deployment.batches[1].started_at = Some(at(20));
        assert_eq!(deployment.phase(at(20)), Phase::Between);
        deployment.status = Status::Success;
        deployment.finished_at = Some(at(100));
        assert_eq!(deployment.phase(at(999)), Phase::Between);
        assert_eq!(deployment.phase(at(1000)), Phase::Full);
    }

    #[test]
    fn a_canary_of_unnamed_pods_is_over_when_its_last_batch_starts() {
        let mut deployment = canary();
        deployment.target_hosts.clear();
        for batch in &mut deployment.batches {
            batch.hosts.clear();
        }
        assert_eq!(deployment.phase(at(10)), Phase::Canary);
        deployment.batches[1].started_at = Some(at(20));
        assert_eq!(deployment.phase(at(20)), Phase::Between);
    }

    #[test]
    fn a_canary_whose_later_batches_are_unknown_is_still_a_canary() {
        let mut deployment = canary();
        deployment.batches.pop();
        assert_eq!(deployment.phase(at(10)), Phase::Canary);
    }
}
