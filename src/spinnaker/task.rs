//! Ad-hoc tasks: jobs that Orca runs without a saved pipeline.
//!
//! Orca checks nothing of a job when it takes it: a missing or wrong field shows as a `TERMINAL`
//! task later. Nothing asks for admission, so nothing but the correlation id, which holds only
//! while a task runs, keeps a second one from running.

use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::client::unsent_or_unclear;
use super::wire::{Started, TaskBody};
use super::{Execution, ExecutionId, ExecutionStatus, Gate, GateError, TriggerError};

/// One task to start.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Shown in Spinnaker as its name.
    pub description: String,
    /// The stage to run: `type` and its fields.
    pub job: Map<String, Value>,
    /// De-duplicates while the task runs, over all of Spinnaker. One per attempt.
    pub correlation_id: String,
    /// Our own id, kept in the task.
    pub event_id: String,
    /// Shown in Spinnaker as the starter.
    pub user: String,
}

/// Body of `POST /applications/{application}/tasks`.
#[derive(Serialize)]
struct NewTaskBody<'a> {
    application: &'a str,
    description: &'a str,
    job: [&'a Map<String, Value>; 1],
    trigger: TaskTrigger<'a>,
}

/// All of it becomes `execution.trigger`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskTrigger<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user: &'a str,
    correlation_id: &'a str,
    event_id: &'a str,
}

impl Gate {
    /// Starts a task and returns the id Gate names. That can be an older one's, or a pipeline
    /// execution's, when its correlation id is still in use: compare before adopting.
    pub async fn start_task(
        &self,
        application: &str,
        task: &NewTask,
    ) -> Result<ExecutionId, TriggerError> {
        let url = self
            .url(&["applications", application, "tasks"])
            .map_err(TriggerError::NotSent)?;
        let request = self.request(Method::POST, url).json(&NewTaskBody {
            application,
            description: &task.description,
            job: [&task.job],
            trigger: TaskTrigger {
                kind: "manual",
                user: &task.user,
                correlation_id: &task.correlation_id,
                event_id: &task.event_id,
            },
        });
        let response = request.send().await.map_err(unsent_or_unclear)?;
        let answer = Answer::read(response)
            .await
            .map_err(TriggerError::Unclear)?;
        answer.started(Started::Task)
    }

    /// Reads a task; `None` when Orca has none of that id.
    pub async fn task(&self, id: &ExecutionId) -> Result<Option<Execution>, GateError> {
        let url = self.url(&["tasks", id.as_str()])?;
        let answer = self.call(Method::GET, url).await?;
        if answer.is_orcas_not_found() {
            return Ok(None);
        }
        Ok(Some(answer.json::<TaskBody>()?.into()))
    }

    /// Lists an application's tasks with everything in them, newest first, at most `limit`. Orca
    /// shows those of the last two weeks. An empty `statuses` means all.
    pub async fn tasks_of(
        &self,
        application: &str,
        limit: u32,
        statuses: &[ExecutionStatus],
    ) -> Result<Vec<Execution>, GateError> {
        let mut url = self.url(&["applications", application, "tasks"])?;
        url.query_pairs_mut()
            .append_pair("page", "1")
            .append_pair("limit", &limit.to_string());
        self.list::<TaskBody>(url, statuses).await
    }

    /// Asks for a cancel of a task. Gate 6 answers 500 to one that worked, because it can't read
    /// the empty answer of Orca: that counts as asked for. Read the task back.
    pub async fn cancel_task(&self, id: &ExecutionId) -> Result<(), GateError> {
        let url = self.url(&["tasks", id.as_str(), "cancel"])?;
        let answer = self.call(Method::PUT, url).await?;
        if answer.is_unreadable_emptiness() {
            return Ok(());
        }
        if answer.is_orcas_not_found() {
            return Err(GateError::UnknownExecution(id.as_str().to_owned()));
        }
        answer.accepted()?;
        Ok(())
    }
}
