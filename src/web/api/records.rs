//! What a list knows beside the documents of releases and deployments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::deployment::{Deployment, Status};
use crate::domain::release::{Mark, Release};
use crate::domain::source::TagRecord;

/// A release with what people and the repository say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRecord {
    /// The document.
    #[serde(flatten)]
    pub release: Release,
    /// Its newest mark, unless that was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// What GitHub says of its tag, as `sync` read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TagRecord>,
}

/// How much of a deployment is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Batches that ended well.
    pub batches_done: usize,
    /// Batches that are known.
    pub batches: usize,
    /// Hosts of batches that have started.
    pub hosts_reached: usize,
    /// Hosts it means to reach, as far as they are known.
    pub hosts: usize,
}

impl Progress {
    /// Counts.
    pub fn of(deployment: &Deployment) -> Self {
        let batches = &deployment.batches;
        let done = batches.iter().filter(|one| one.status == Status::Success);
        let started = batches.iter().filter(|one| one.started_at.is_some());
        Self {
            batches_done: done.count(),
            batches: batches.len(),
            hosts_reached: started.map(|one| one.hosts.len()).sum(),
            hosts: deployment.target_hosts.len(),
        }
    }
}
