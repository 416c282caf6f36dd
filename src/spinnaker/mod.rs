//! Gate as a client meets it: start a pipeline or a task, read executions and server groups, cancel.
//!
//! Types and calls only. What an execution's absence, or an unclear answer, means for an incident
//! is decided by [`crate::act`]. Behaviour written here was observed on a real Gate; the recorded
//! calls are in `tests/fixtures/spinnaker`.

mod admission;
mod answer;
mod client;
mod cluster;
mod error;
mod execution;
mod failure;
mod order;
mod place;
mod task;
mod wire;

pub use admission::is_admit_url;
pub use client::{Artifact, Gate, GateSettings, Login, Trigger};
pub use cluster::ServerGroup;
pub use error::{GateError, TriggerError};
pub use execution::{
    Execution, ExecutionId, ExecutionStatus, ExecutionTrigger, Parameter, PipelineConfig, Stage,
    StageOwner,
};

pub use place::Place;
pub use task::NewTask;

#[cfg(test)]
mod tests;
