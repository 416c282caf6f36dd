//! Lanes: the chain of events in which deployments and rollbacks of one service and env collide.
//!
//! A lane is `lanes/<lane>/<seq>.json`; winning a number is appending. Its state is folded from
//! its events, never stored. Which event is legal when is decided here and nowhere else, so that
//! a lost append is followed by reading again and asking again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::decision::{Decision, Scope};
use super::id::{
    ApprovalId, DeploymentId, Env, ExecutionId, Host, IncidentId, LaneName, ReleaseId, ReplicaId,
    Service,
};

mod approval;
mod fold;
mod illegal;
mod incident;
mod task;
#[cfg(test)]
mod tests;

pub use approval::{Answer, Approval, Asked, Outcome as Settled, Via, newest as newest_approval};
pub use illegal::Illegal;
pub use task::Task;

/// How often an incident may be sent to Spinnaker, all attempts that came to nothing included.
pub const MAX_ATTEMPTS: u32 = 3;

/// One link of a lane's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LaneEntry {
    /// When its writer wrote it, by the writer's clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who wrote it.
    pub by: ReplicaId,
    /// What happened.
    pub event: LaneEvent,
}

/// What is sent to Spinnaker: final once it stands in `submitting`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Spinnaker's application.
    pub application: String,
    /// The rollback pipeline's name; of a task its job's type.
    pub pipeline: String,
    /// How much is taken back.
    pub scope: Scope,
    /// The hosts that concerns.
    pub hosts: Vec<Host>,
    /// The release to leave.
    pub from: ReleaseId,
    /// The release to go back to.
    pub target: ReleaseId,
    /// The pipeline's parameters, mapped; of a task its job's fields.
    pub parameters: BTreeMap<String, String>,
    /// Whether the pipeline's first stage asks for admission. Without it nothing keeps a second
    /// execution of an attempt from touching hosts.
    #[serde(default = "asks")]
    pub admission: bool,
    /// The job, where no pipeline is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Box<Task>>,
}

fn asks() -> bool {
    true
}

/// Who asked for an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The rules.
    Automatic,
    /// A person, through the API or the command line.
    Manual {
        /// The token's name.
        by: String,
        /// Why.
        reason: String,
        /// The Idempotency-Key of the request.
        key: String,
    },
}

/// What opens an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The deployment it is about.
    pub deployment: DeploymentId,
    /// The accused release.
    pub release_id: ReleaseId,
    /// How much is taken back, as decided.
    pub scope: Scope,
    /// The hosts that concerns.
    pub hosts: Vec<Host>,
    /// The release to go back to.
    pub target: ReleaseId,
    /// Who asked.
    pub origin: Origin,
    /// The decision with its evidence.
    pub decision: Decision,
    /// Where follow-ups go: the thread (group key) and channels of the first message.
    pub thread: String,
    /// The channels that were told.
    pub channels: Vec<super::id::ChannelName>,
    /// The alerts behind it as last delivered, the first few of many: what the report shows after
    /// they ended.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// The incident this one escalates; the same append closes it.
    pub supersedes: Option<IncidentId>,
    /// The consent it was opened on, where one was needed.
    #[serde(default)]
    pub approval: Option<ApprovalId>,
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Rolled back, and well again.
    Recovered,
    /// Rolled back; nothing could say whether it helped.
    Unverified,
    /// Rolled back, and still bad.
    StillBad,
    /// The execution failed: a person must act.
    RollbackFailed,
    /// A guard said no right before sending, before anything was sent.
    Withdrawn,
    /// Given up by a person.
    Abandoned,
    /// An escalation took over.
    Superseded,
}

/// What can happen in a lane. `attempt` counts from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneEvent {
    /// A batch starts.
    Batch {
        /// The deployment.
        deployment: DeploymentId,
        /// What it deploys.
        release_id: ReleaseId,
        /// Its ordinal, from 1.
        n: u32,
        /// How many batches the deployment has, when known.
        of: Option<u32>,
        /// Its members.
        hosts: Vec<Host>,
    },
    /// People are asked whether to roll back; the question's id is this lane and this entry's
    /// number. One about the same deployment and rule that stands open is replaced.
    Asked(Box<Asked>),
    /// A person says yes.
    Approved {
        /// The question.
        approval: ApprovalId,
        /// Who, how and why.
        answer: Answer,
    },
    /// A person says no; binds the question's deployment and rule until it is cleared.
    Denied {
        /// The question.
        approval: ApprovalId,
        /// Who, how and why.
        answer: Answer,
    },
    /// A person takes a no back.
    Cleared {
        /// The question that was denied.
        approval: ApprovalId,
        /// Who, how and why.
        answer: Answer,
    },
    /// Nobody answered in time.
    Expired {
        /// The question.
        approval: ApprovalId,
    },
    /// Nothing is left to ask: its alerts are over, or something else took it up.
    Lapsed {
        /// The question.
        approval: ApprovalId,
        /// What happened.
        why: String,
    },
    /// An incident opens; its id is this lane and this entry's number. It is also the stop: later
    /// batches of its deployment are refused.
    Opened(Box<Opened>),
    /// A replica takes it in hand until `until`.
    Claimed {
        /// The incident.
        incident: IncidentId,
        /// Who.
        owner: ReplicaId,
        /// Until when, by the owner's clock.
        #[schemars(with = "String")]
        until: Timestamp,
    },
    /// The request to Spinnaker is about to be sent.
    Submitting {
        /// The incident.
        incident: IncidentId,
        /// Which attempt.
        attempt: u32,
        /// What is sent.
        plan: Plan,
    },
    /// Spinnaker named an execution.
    Submitted {
        /// The incident.
        incident: IncidentId,
        /// Which attempt.
        attempt: u32,
        /// The execution.
        execution: ExecutionId,
    },
    /// The execution asked to be let in, and was. At most one per incident stands un-voided.
    Admitted {
        /// The incident.
        incident: IncidentId,
        /// Which attempt.
        attempt: u32,
        /// The execution.
        execution: ExecutionId,
    },
    /// An attempt came to nothing: its execution ended before its admit stage passed, or it is
    /// proven that none was started. The next attempt may follow.
    Voided {
        /// The incident.
        incident: IncidentId,
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// Whether an execution exists can't be told now.
    Unknown {
        /// The incident.
        incident: IncidentId,
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// The execution reached a terminal status.
    Finished {
        /// The incident.
        incident: IncidentId,
        /// The execution.
        execution: ExecutionId,
        /// Spinnaker's word.
        status: String,
        /// Whether it did what it was for.
        succeeded: bool,
        /// The failure's text, or what was checked.
        detail: String,
    },
    /// The recovery question was answered.
    Recovery {
        /// The incident.
        incident: IncidentId,
        /// Recovered, unverified or still bad.
        ending: Ending,
        /// What was asked and answered.
        detail: String,
    },
    /// A revision of the report is in the store, and people were told of it. Comes beside the others,
    /// after the end too.
    Reported {
        /// The incident.
        incident: IncidentId,
        /// Which.
        revision: u32,
    },
    /// A person gave it up.
    Abandoned {
        /// The incident.
        incident: IncidentId,
        /// The token's name.
        by: String,
        /// Why.
        why: String,
    },
    /// Nothing more will happen in it.
    Closed {
        /// The incident.
        incident: IncidentId,
        /// How it ended.
        ending: Ending,
        /// In words.
        why: String,
    },
}

/// How far an incident is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// Nothing sent.
    Opened,
    /// In a replica's hands.
    Claimed {
        /// Whose.
        owner: ReplicaId,
        /// Until when.
        #[schemars(with = "String")]
        until: Timestamp,
    },
    /// Perhaps sent.
    Submitting,
    /// Spinnaker has it.
    Submitted,
    /// Past admission.
    Admitted,
    /// Nobody can tell whether Spinnaker has it.
    Unknown,
    /// The execution ended.
    Finished,
    /// The recovery question was answered.
    Answered,
    /// Over.
    Closed,
}

/// An incident folded from its lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Lane and opening number.
    pub id: IncidentId,
    /// Its lane.
    pub lane: LaneName,
    /// What opened it.
    pub opened: Opened,
    /// When.
    #[schemars(with = "String")]
    pub opened_at: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
    /// What was sent last.
    pub plan: Option<Plan>,
    /// When the last sending began, by its writer's clock.
    #[schemars(with = "Option<String>")]
    pub submitting_at: Option<Timestamp>,
    /// The execution of the newest attempt.
    pub execution: Option<ExecutionId>,
    /// When Spinnaker named it.
    #[schemars(with = "Option<String>")]
    pub submitted_at: Option<Timestamp>,
    /// The execution that was let in.
    pub admitted: Option<ExecutionId>,
    /// The number of the link that let it in: the epoch its hosts obey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_seq: Option<u64>,
    /// When it ended, its status and text.
    pub finished: Option<FinishedExecution>,
    /// The answer of the recovery question, when there is one.
    pub recovery: Option<(Ending, String)>,
    /// The newest report revision.
    pub revision: u32,
    /// Who gave it up, and why.
    pub abandoned: Option<(String, String)>,
    /// How and when it ended.
    pub ending: Option<Ending>,
    /// When it closed.
    #[schemars(with = "Option<String>")]
    pub closed_at: Option<Timestamp>,
    /// Every event of it, for the timeline.
    pub events: Vec<LaneEntry>,
}

/// The end of an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FinishedExecution {
    /// When it was seen.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Spinnaker's word.
    pub status: String,
    /// Whether it did what it was for.
    pub succeeded: bool,
    /// The failure's text, or what was checked.
    pub detail: String,
}

/// A batch start, as the lane knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStart {
    /// Its number in the lane: the epoch its hosts obey.
    pub seq: u64,
    /// When it was appended.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What it deploys.
    pub release_id: ReleaseId,
    /// How many batches the deployment has, when known.
    pub of: Option<u32>,
    /// Its members.
    pub hosts: Vec<Host>,
}

/// A lane folded from its events.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneState {
    /// The number the next append must win; the epoch is one less.
    pub next_seq: u64,
    /// Batch starts by deployment and ordinal.
    pub batches: BTreeMap<DeploymentId, BTreeMap<u32, BatchStart>>,
    /// Questions to people, oldest first.
    pub approvals: Vec<Approval>,
    /// The unfinished incident; at most one.
    pub open: Option<Incident>,
    /// Finished incidents, oldest first.
    pub closed: Vec<Incident>,
    /// Deployments an incident has stopped: no batch of theirs may start any more.
    pub stopped: BTreeSet<DeploymentId>,
    /// Links without effect: not legal where they stand, or not of this version's vocabulary.
    pub skipped: u64,
}
