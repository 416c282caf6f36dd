//! What somebody who deploys without agents tells of hosts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::deployment::{Health, Status};
use crate::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};

/// What became of hosts in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordInstances {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The rest.
    pub facts: InstanceFacts,
}

/// The body of records about hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceFacts {
    /// What is deployed on them.
    pub release_id: ReleaseId,
    /// Where.
    pub env: Env,
    /// Whose; the release's, when left out.
    #[serde(default)]
    pub service: Option<Service>,
    /// One for each host.
    pub instances: Vec<HostRecord>,
}

/// How far one host came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRecord {
    /// The host, as the batch names it.
    pub host: Host,
    /// Its batch, from 1.
    pub batch: u32,
    /// Where it stands.
    pub status: Status,
    /// What its health check said; unknown, when left out.
    #[serde(default)]
    pub health_status: Option<Health>,
    /// What went wrong.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Its address.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub ip: Option<std::net::IpAddr>,
    /// Since when it runs the release.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// Until when it did.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub to: Option<Timestamp>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstancesRecorded {
    /// Records that were news.
    pub recorded: usize,
}
