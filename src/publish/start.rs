//! Starts a pipeline with a release, once for each of the two: publishing again starts nothing new.

use std::collections::BTreeMap;

use crate::domain::id::ReleaseId;
use crate::domain::release::Release;
use crate::spinnaker::{
    Artifact, ExecutionId, ExecutionStatus, Gate, GateError, Trigger, TriggerError,
};

/// Executions of the pipeline among which an earlier start is looked for.
const LOOKED_THROUGH: u32 = 200;

/// What is to be started.
#[derive(Debug)]
pub struct Order<'a> {
    /// Spinnaker's application.
    pub application: &'a str,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Its parameters, the release's among them.
    pub parameters: BTreeMap<String, String>,
    /// The release.
    pub release: &'a Release,
    /// Who or what publishes it.
    pub by: &'a str,
}

/// The execution that runs with the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It was started now.
    Now(ExecutionId),
    /// An earlier publication started it, and so it stands.
    Before(ExecutionId, ExecutionStatus),
}

/// A pipeline that was not started, or of which nobody can tell.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Gate can't be asked.
    #[error("Spinnaker can't be asked: {0}")]
    Gate(#[from] GateError),
    /// There is none of that name.
    #[error("application `{application}` has no pipeline `{pipeline}`")]
    NoPipeline {
        /// Spinnaker's application.
        application: String,
        /// The pipeline.
        pipeline: String,
    },
    /// Gate did not start it, or did not say so.
    #[error("pipeline `{pipeline}` was not started, or nobody can tell: {source}")]
    Trigger {
        /// The pipeline.
        pipeline: String,
        /// Why.
        #[source]
        source: TriggerError,
    },
}

/// Starts the pipeline, unless an execution with this release's name was started before.
///
/// # Errors
/// See [`StartError`]; asking again is safe.
pub async fn start(gate: &Gate, order: &Order<'_>) -> Result<Started, StartError> {
    let name = event(&order.release.id, order.pipeline);
    let configs = gate.pipeline_configs(order.application).await?;
    let config = configs.iter().find(|one| one.name == order.pipeline);
    let config = config.ok_or_else(|| StartError::NoPipeline {
        application: order.application.to_owned(),
        pipeline: order.pipeline.to_owned(),
    })?;
    let known = gate
        .executions_of(&[&config.id], LOOKED_THROUGH, &[])
        .await?;
    let ours = known.into_iter();
    let mut ours = ours.filter(|one| one.trigger.event_id.as_deref() == Some(name.as_str()));
    if let Some(execution) = ours.next() {
        return Ok(Started::Before(execution.id, execution.status));
    }
    let trigger = Trigger {
        correlation_id: name.clone(),
        event_id: name,
        user: order.by.to_owned(),
        parameters: order.parameters.clone(),
    };
    let artifacts = artifacts(order.release);
    let started = gate
        .trigger_with(order.application, order.pipeline, &trigger, &artifacts)
        .await;
    let id = started.map_err(|source| StartError::Trigger {
        pipeline: order.pipeline.to_owned(),
        source,
    })?;
    Ok(Started::Now(id))
}

/// The same for every publication of a release, so that one of them counts.
fn event(release: &ReleaseId, pipeline: &str) -> String {
    format!("bs-publish-{release}-{pipeline}")
}

/// Its files, as Spinnaker's pipelines expect them.
fn artifacts(release: &Release) -> Vec<Artifact> {
    let config = release.config.as_ref().map(|config| config.url.as_str());
    let urls = std::iter::once(release.artifact_url.as_str()).chain(config);
    urls.map(|url| Artifact {
        kind: if url.starts_with("s3://") {
            "s3/object"
        } else {
            "http/file"
        },
        name: url.to_owned(),
        reference: url.to_owned(),
        version: release.version.clone(),
    })
    .collect()
}
