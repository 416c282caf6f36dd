//! A rollback without a pipeline: one job, every name in it absolute.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A job that Spinnaker runs as a task. It says where to end, never how far to step: run twice,
/// it ends at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// `rollbackServerGroup` with `rollbackType: EXPLICIT`.
    ServerGroup {
        /// Such as `aws`.
        cloud_provider: String,
        /// Clouddriver's account.
        credentials: String,
        /// Where.
        region: String,
        /// The server group to leave.
        rollback: String,
        /// The server group to enable again.
        restore: String,
        /// Share of it that must be healthy before the other is disabled, in percent.
        #[serde(default)]
        target_healthy_percentage: Option<u8>,
        /// What the restored group runs.
        image: String,
    },
    /// `undoRolloutManifest` to an absolute revision.
    UndoRollout {
        /// Clouddriver's account.
        account: String,
        /// The namespace.
        location: String,
        /// Kind and name, such as `deployment checkout`.
        manifest_name: String,
        /// The revision to go to, as it was right before sending.
        revision: u32,
        /// What that revision runs.
        image: String,
    },
}

impl Task {
    /// Spinnaker's `type` of the job.
    pub const fn job_type(&self) -> &'static str {
        match self {
            Self::ServerGroup { .. } => "rollbackServerGroup",
            Self::UndoRollout { .. } => "undoRolloutManifest",
        }
    }

    /// The job's fields by Spinnaker's names, nested ones with a dot: what tells this task from
    /// another one of its type.
    pub fn fields(&self) -> BTreeMap<String, String> {
        let fields: Vec<(&str, String)> = match self {
            Self::ServerGroup {
                cloud_provider,
                credentials,
                region,
                rollback,
                restore,
                target_healthy_percentage,
                image: _,
            } => {
                let mut fields = vec![
                    ("rollbackType", "EXPLICIT".to_owned()),
                    ("cloudProvider", cloud_provider.clone()),
                    ("credentials", credentials.clone()),
                    ("region", region.clone()),
                    ("rollbackContext.rollbackServerGroupName", rollback.clone()),
                    ("rollbackContext.restoreServerGroupName", restore.clone()),
                ];
                if let Some(share) = target_healthy_percentage {
                    let name = "rollbackContext.targetHealthyRollbackPercentage";
                    fields.push((name, share.to_string()));
                }
                fields
            }
            Self::UndoRollout {
                account,
                location,
                manifest_name,
                revision,
                image: _,
            } => vec![
                ("cloudProvider", "kubernetes".to_owned()),
                ("account", account.clone()),
                ("location", location.clone()),
                ("manifestName", manifest_name.clone()),
                ("revision", revision.to_string()),
            ],
        };
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
