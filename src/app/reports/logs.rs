//! An execution as a report shows it: stage by stage, with hosts.

use crate::app::setup::Setup;
use crate::domain::id::Host;
use crate::report::{ExecutionLog, Section, StageLine};
use crate::spinnaker::{Execution, ExecutionId, Stage};

/// The log of an execution as Gate has it now.
pub(super) async fn read(setup: &Setup, id: Option<&str>) -> Section<ExecutionLog> {
    let (Some(gate), Some(id)) = (&setup.gate, id) else {
        return Section::missing("there is no execution yet");
    };
    match gate.execution(&ExecutionId::new(id)).await {
        Ok(Some(execution)) => Section::Whole(log_of(&execution)),
        Ok(None) => Section::missing("Spinnaker has forgotten the execution"),
        Err(error) => Section::missing(format!("Spinnaker can't be asked: {error}")),
    }
}

fn log_of(execution: &Execution) -> ExecutionLog {
    ExecutionLog {
        execution: execution.id.to_string().into(),
        pipeline: execution.name.as_str().into(),
        status: execution.status.as_str().into(),
        started: execution.start_time.or(execution.build_time),
        finished: execution.end_time,
        stages: execution.stages.iter().map(stage_of).collect(),
    }
}

fn stage_of(stage: &Stage) -> StageLine {
    let hosts = match stage.context.get("hosts") {
        Some(serde_json::Value::String(joined)) => joined.split(',').map(str::to_owned).collect(),
        Some(serde_json::Value::Array(list)) => list
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    StageLine {
        name: stage.name.as_str().into(),
        kind: stage.kind.as_str().into(),
        status: stage.status.as_str().into(),
        started: stage.start_time,
        finished: stage.end_time,
        message: stage.failure().map(Into::into),
        hosts: hosts
            .into_iter()
            .filter_map(|name| Host::new(name.trim()).ok())
            .collect(),
    }
}
