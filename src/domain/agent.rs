//! What a host is to run, and what became of it: the words between the gateway and its agents.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deployment::{Health, Instance, Status};
use super::id::{DeploymentId, Env, Host, IncidentId, ReleaseId, Service};

/// Why a host is to run a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its batch was started.
    Deploy,
    /// Its batch is taken back: a lower version is right.
    Rollback,
}

/// What one host is to run: the document `desired/<env>/<service>/<host>/<epoch>`, written once.
/// Of several the highest epoch counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Desired {
    /// The number of the lane's link that it rests on.
    pub epoch: u64,
    /// The host.
    pub host: Host,
    /// Whose release.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// Which release.
    pub release_id: ReleaseId,
    /// The execution that wants it there.
    pub deployment_id: DeploymentId,
    /// The batch; of a rollback 1.
    pub batch: u32,
    /// Why.
    pub reason: Reason,
    /// The incident of a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<IncidentId>,
}

/// A file that an agent fetches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fetch {
    /// A whole address that needs no login, or a path of the gateway.
    pub url: String,
    /// Its file name.
    pub name: String,
    /// Lower-case hex SHA-256 of its bytes.
    pub checksum: String,
}

/// What an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// What the host is to run.
    #[serde(flatten)]
    pub desired: Desired,
    /// The release's version, as its health check tells it.
    pub version: String,
    /// The release.
    pub artifact: Fetch,
    /// The configuration that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Fetch>,
}

/// What an agent's poll is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Polled {
    /// When to ask again, give or take a fifth.
    #[serde(with = "super::duration")]
    #[schemars(with = "String")]
    pub poll: Duration,
    /// What to do; none while nothing was ever wanted of the host.
    pub desired: Option<Order>,
}

/// How far an agent came with an order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The artifact is here.
    Downloaded,
    /// Its SHA-256 is the release's.
    Verified,
    /// It is unpacked beside what runs.
    Staged,
    /// `current` leads to it.
    Switched,
    /// The service was started anew.
    Restarted,
    /// It passed its health check for long enough.
    Healthy,
    /// It passed, and does not any more; nothing was changed for that.
    Unhealthy,
    /// It was not well: the release before runs again.
    Reverted,
    /// It was given up; what ran before still runs, unless the error says otherwise.
    Failed,
}

impl Step {
    /// Its word in progress and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downloaded => "downloaded",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Switched => "switched",
            Self::Restarted => "restarted",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
        }
    }

    /// Where an instance stands at this step.
    pub fn status(self) -> Status {
        match self {
            Self::Downloaded | Self::Verified | Self::Staged | Self::Switched | Self::Restarted => {
                Status::Running
            }
            Self::Healthy | Self::Unhealthy => Status::Success,
            Self::Reverted => Status::RolledBack,
            Self::Failed => Status::Failed,
        }
    }

    /// What is known of its health at this step.
    pub fn health(self) -> Health {
        match self {
            Self::Healthy => Health::Healthy,
            Self::Unhealthy | Self::Reverted => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }
}

/// What an agent tells of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Its own name: the same record sent again is known by it.
    pub id: String,
    /// The order it is about.
    pub epoch: u64,
    /// How far it came.
    pub step: Step,
    /// When, by the host's clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The host's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ip: Option<std::net::IpAddr>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when the host runs the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// Until when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub to: Option<Timestamp>,
}

/// A record as it is kept: the instance as readers of the catalog know it, and what the agent said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceRecord {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// The agent's name for the record.
    pub id: String,
    /// The order it is about.
    pub epoch: u64,
    /// How far it came.
    pub step: Step,
    /// When, by the host's clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// When the gateway had it.
    #[schemars(with = "String")]
    pub received_at: Timestamp,
}

impl InstanceRecord {
    /// What `record` says of `desired`, which it is about.
    pub fn of(desired: &Desired, record: Record, received_at: Timestamp) -> Self {
        let instance = Instance {
            host: desired.host.clone(),
            ip: record.ip,
            status: record.step.status(),
            deployed_at: record.from,
            health_status: record.step.health(),
            error_message: record.error,
            deployment_id: desired.deployment_id.clone(),
            release_id: desired.release_id.clone(),
            service: desired.service.clone(),
            env: desired.env.clone(),
            batch: desired.batch,
            from: record.from,
            to: record.to,
        };
        Self {
            instance,
            id: record.id,
            epoch: record.epoch,
            step: record.step,
            at: record.at,
            received_at,
        }
    }
}
