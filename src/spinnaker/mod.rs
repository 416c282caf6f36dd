//! Gate as a client meets it: start a pipeline, read executions, cancel one.
//!
//! Types and calls only. What an execution's absence, or an unclear answer, means for an incident
//! is decided by [`crate::act`]. Behaviour written here was observed on a real Gate; the recorded
//! calls are in `tests/fixtures/spinnaker`.

mod answer;
mod client;
mod error;
mod execution;
mod failure;
mod order;
mod wire;

pub use client::{Gate, GateSettings, Login, Trigger};
pub use error::{GateError, TriggerError};
pub use execution::{
    Execution, ExecutionId, ExecutionStatus, ExecutionTrigger, Parameter, PipelineConfig, Stage,
    StageOwner,
};

#[cfg(test)]
mod tests;
