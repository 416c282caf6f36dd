//! What the web room asks of the rest: one trait, and the bodies that go in and out.
//!
//! Ids are checked before they get here. Every call may be dropped by nobody: it runs on its own
//! task, so a sender that hangs up cancels nothing.

mod agent;
mod bodies;
mod instances;
mod records;
mod rules;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::agent::{Polled, Record};
use crate::domain::deployment::Instance;
use crate::domain::id::{ApprovalId, DeploymentId, Env, Host, IncidentId, ReleaseId, Service};
use crate::domain::lane::{Approval, Incident};
use crate::domain::record::DecisionRecord;
use crate::explain::Explanation;

pub use agent::{AgentAsk, ArtifactStream, Recorded};
pub use bodies::{
    Abandon, Accepted, Admit, Admitted, AlertDelivery, AlertRecord, AnswerApproval, ApplyRollback,
    ApprovalAnswered, ApprovalVerdict, BatchFacts, BatchState, BatchStatus, Expect, Explain,
    Filter, ModeSwitch, Page, ReportFormat, RollbackOpened, RollbackPlan, RollbackRequest, SetMode,
    StartBatch,
};
pub use instances::{HostRecord, InstanceFacts, InstancesRecorded, RecordInstances};
pub use records::{Progress, ReleaseRecord};
pub use rules::{DeploymentState, RulesState, RulesStatus, TargetGroup};

/// Everything behind the routes.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Takes a delivery of alerts in. Ok: all of it is safe. It should answer by
    /// `delivery.deadline`; shortly after it the sender is answered 503 and the work goes on.
    async fn alerts(&self, delivery: AlertDelivery) -> Result<Accepted, Refusal>;

    /// A batch is about to start. Idempotent: the same again answers as it stands now.
    /// [`Refusal::Conflict`] when its deployment was stopped.
    async fn start_batch(&self, request: StartBatch) -> Result<BatchState, Refusal>;
    /// How far a batch is. [`Refusal::Missing`] when nobody announced it.
    async fn batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal>;
    /// Spinnaker gave the batch up, or it failed. Idempotent.
    async fn cancel_batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal>;

    /// An execution asks to be let in. Ok for the one execution that may go on, however often it
    /// asks; [`Refusal::Conflict`] for any other.
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal>;

    /// The hosts of an admitted rollback are told to go back. Idempotent; [`Refusal::Conflict`] for
    /// any execution but the admitted one.
    async fn hosts_back(&self, asked: Admit) -> Result<BatchState, Refusal>;
    /// How far they are.
    async fn hosts_back_state(
        &self,
        incident: IncidentId,
        attempt: u32,
    ) -> Result<BatchState, Refusal>;

    /// What a host is to run.
    async fn agent_desired(&self, ask: AgentAsk) -> Result<Polled, Refusal>;
    /// Takes an agent's records in, in order; a record that is there already changes nothing.
    async fn agent_records(&self, ask: AgentAsk, records: Vec<Record>)
    -> Result<Recorded, Refusal>;
    /// A file of a release, for a host that was told to run it.
    async fn agent_artifact(
        &self,
        host: Host,
        release: ReleaseId,
        what: String,
    ) -> Result<ArtifactStream, Refusal>;

    /// What a rollback would do now, or why not.
    async fn plan_rollback(&self, request: RollbackRequest) -> Result<RollbackPlan, Refusal>;
    /// Opens a rollback. The same key again gives the same incident. [`Refusal::Conflict`] when
    /// the world is not as `expect` says, [`Refusal::Denied`] when policy refuses.
    async fn apply_rollback(&self, request: ApplyRollback) -> Result<RollbackOpened, Refusal>;

    /// Records a person's answer to a question. One that stands already in the same sense is no
    /// conflict; [`Refusal::Conflict`] when it was settled otherwise.
    async fn answer_approval(&self, request: AnswerApproval) -> Result<ApprovalAnswered, Refusal>;
    /// A person gives an open incident up: nothing more of it is sent or let in.
    async fn abandon(&self, request: Abandon) -> Result<Incident, Refusal>;
    /// Questions to people, newest first.
    async fn approvals(&self, filter: Filter) -> Result<Page<Approval>, Refusal>;
    /// One question.
    async fn approval(&self, id: ApprovalId) -> Result<Approval, Refusal>;

    /// Releases, newest first.
    async fn releases(&self, filter: Filter) -> Result<Page<ReleaseRecord>, Refusal>;
    /// Deployments, newest first.
    async fn deployments(&self, filter: Filter) -> Result<Page<DeploymentState>, Refusal>;
    /// Takes records of hosts in that are deployed on without agents. What stands already is no news.
    async fn record_instances(
        &self,
        request: RecordInstances,
    ) -> Result<InstancesRecorded, Refusal>;
    /// Instance records.
    async fn instances(&self, filter: Filter) -> Result<Page<Instance>, Refusal>;
    /// Alerts, newest first.
    async fn alert_records(&self, filter: Filter) -> Result<Page<AlertRecord>, Refusal>;
    /// Incidents, newest first.
    async fn incidents(&self, filter: Filter) -> Result<Page<Incident>, Refusal>;
    /// Decisions, newest first.
    async fn decisions(&self, filter: Filter) -> Result<Page<DecisionRecord>, Refusal>;
    /// Why something was decided, or why nothing happened. Changes nothing.
    async fn explain(&self, asked: Explain) -> Result<Explanation, Refusal>;
    /// The rules that canary vmalerts are to evaluate now, as a file; never an empty one.
    async fn canary_rules(&self) -> Result<String, Refusal>;
    /// Hosts at `port`, grouped by what they run; None fits every service and env.
    async fn targets(
        &self,
        service: Option<Service>,
        env: Option<Env>,
        port: u16,
    ) -> Vec<TargetGroup>;
    /// `deploy_batch_info` and `deploy_instance_info` in Prometheus' text format.
    async fn info_series(&self) -> String;
    /// One incident.
    async fn incident(&self, id: IncidentId) -> Result<Incident, Refusal>;
    /// The newest report of an incident.
    async fn report(&self, id: IncidentId, format: ReportFormat) -> Result<Bytes, Refusal>;
    /// A chart's PNG.
    async fn chart(&self, id: String) -> Result<Bytes, Refusal>;

    /// The switches above the policies.
    async fn modes(&self) -> Result<Vec<ModeSwitch>, Refusal>;
    /// Sets one.
    async fn set_mode(&self, change: SetMode) -> Result<Vec<ModeSwitch>, Refusal>;

    /// Whether alerts can be taken in; Err says why not. Others being down is no reason.
    fn ready(&self) -> Result<(), String>;
    /// Reads the configuration again; Err says what is wrong with it, the old one stays.
    async fn reload(&self) -> Result<(), String>;
    /// All metrics as text, gauges fresh.
    async fn metrics(&self) -> String;
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It can never be accepted (400).
    #[error("{reason}")]
    Invalid {
        /// For programs.
        code: &'static str,
        /// Where in the body.
        pointer: String,
        /// For people.
        reason: String,
    },
    /// There is no such thing (404).
    #[error("there is no {0}")]
    Missing(String),
    /// The world is not as the request thinks (409).
    #[error("{reason}")]
    Conflict {
        /// For programs.
        code: &'static str,
        /// For people.
        reason: String,
    },
    /// Policy says no (422).
    #[error("{reason}")]
    Denied {
        /// For programs.
        code: &'static str,
        /// For people.
        reason: String,
    },
    /// Not now (503).
    #[error("{reason}")]
    Unavailable {
        /// For people.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// A failure of our own (500); its cause is logged, not shown.
    #[error("internal error")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}
