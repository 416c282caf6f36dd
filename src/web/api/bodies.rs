//! Bodies that go in and out of the routes. Their fields are promises to callers.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::alert::{AlertStatus, Fingerprint, Labels, Source};
use crate::domain::decision::{GuardVerdict, Scope};
use crate::domain::deployment::Strategy;
use crate::domain::id::{
    ApprovalId, DeploymentId, Env, ExecutionId, Host, IncidentId, ReleaseId, Service,
};
use crate::domain::lane::{Answer, Approval};
use crate::domain::policy::Mode;
use crate::explain::Moment;
use crate::web::access::Caller;

/// Alerts as they came in.
#[derive(Debug, Clone)]
pub struct AlertDelivery {
    /// Which door.
    pub source: Source,
    /// The body, within the limit, unread.
    pub body: Bytes,
    /// When its last byte came.
    pub received_at: Timestamp,
    /// When the sender should have its answer.
    pub deadline: Instant,
    /// Whose token.
    pub caller: Caller,
}

/// The answer to a delivery that is safe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// Messages delivered, by this delivery or before.
    pub delivered: u64,
    /// Messages in the outbox.
    pub pending: u64,
    /// Alerts that brought nothing new.
    pub deduplicated: u64,
    /// Alerts left out.
    pub ignored: u64,
    /// What is wrong with the first of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_because: Vec<String>,
}

/// `POST …/batches/{n}`: the facts of a batch about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartBatch {
    /// The Spinnaker execution.
    pub deployment: DeploymentId,
    /// The ordinal, from 1.
    pub n: u32,
    /// The rest.
    pub facts: BatchFacts,
}

/// The body of a batch's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchFacts {
    /// What it deploys.
    pub release_id: ReleaseId,
    /// Where.
    pub env: Env,
    /// Whose; the release's, when left out.
    #[serde(default)]
    pub service: Option<Service>,
    /// How it spreads.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// How many batches there are.
    #[serde(default)]
    pub of: Option<u32>,
    /// The members: a list, or comma-joined.
    #[serde(default, deserialize_with = "hosts")]
    #[schemars(with = "Vec<Host>")]
    pub hosts: Vec<Host>,
}

/// Where a batch is. Orca upper-cases the word and looks it up in the stage's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Announced; its canary rules are not evaluated yet.
    Arming,
    /// It may start: its rules are watched.
    Armed,
    /// Running.
    Running,
    /// Done.
    Succeeded,
    /// It failed.
    Failed,
    /// Stopped by an incident: it must not start or go on.
    Aborted,
    /// Given up by Spinnaker.
    Canceled,
    /// Taken back.
    RolledBack,
}

/// A batch, as Spinnaker polls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchState {
    /// Always a string: Orca fails on anything else.
    pub status: BatchStatus,
    /// What goes on, in words; always a string.
    pub progress: String,
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The ordinal.
    pub batch: u32,
    /// What it deploys.
    pub release_id: ReleaseId,
    /// The incident that stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<IncidentId>,
}

/// An execution that asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// The incident.
    pub incident: IncidentId,
    /// Which attempt.
    pub attempt: u32,
    /// Who asks.
    pub execution: ExecutionId,
}

/// It was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Admitted {
    /// `admitted`, for `statusJsonPath`.
    pub status: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// Which attempt.
    pub attempt: u32,
    /// Who was let in.
    pub execution_id: ExecutionId,
}

/// A rollback a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// How much: `"full"` or `{"batch": [1]}`.
    pub scope: Scope,
    /// Which deployment; the newest, when left out.
    #[serde(default)]
    pub deployment_id: Option<DeploymentId>,
    /// The release to go back to; the newest stable one, when left out.
    #[serde(default)]
    pub target: Option<ReleaseId>,
}

/// What the asker saw in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The release that runs.
    pub current: ReleaseId,
    /// The release it goes back to.
    pub target: ReleaseId,
}

/// A rollback to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRollback {
    /// What.
    pub request: RollbackRequest,
    /// Why.
    pub reason: String,
    /// What the asker saw.
    pub expect: Expect,
    /// The Idempotency-Key.
    pub key: String,
    /// Whether a hold may be overridden; a deny never is.
    pub override_hold: bool,
    /// Who.
    pub caller: Caller,
}

/// What a person says about a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalVerdict {
    /// Do it.
    Approve,
    /// Don't; binds the deployment and the rule.
    Deny,
    /// Take a denial back.
    Clear,
}

/// A person's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerApproval {
    /// The question.
    pub id: ApprovalId,
    /// What it is.
    pub verdict: ApprovalVerdict,
    /// Who, how and why.
    pub answer: Answer,
}

/// How a question stands after an answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ApprovalAnswered {
    /// The question.
    pub approval: Approval,
    /// Whether this answer made it so; false: it was so before.
    pub recorded: bool,
}

/// An incident to be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandon {
    /// Which.
    pub incident: IncidentId,
    /// Why.
    pub reason: String,
    /// Who.
    pub caller: Caller,
}

/// What a rollback would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackPlan {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The deployment it is about.
    pub deployment_id: DeploymentId,
    /// How much.
    pub scope: Scope,
    /// Which hosts that concerns.
    pub hosts: Vec<Host>,
    /// The release that runs.
    pub current: ReleaseId,
    /// The release it goes back to.
    pub target: ReleaseId,
    /// The pipeline that would run.
    pub pipeline: String,
    /// What the guards say.
    pub guards: Vec<GuardVerdict>,
    /// Whether it would be done.
    pub allowed: bool,
}

/// A rollback that is on its way, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackOpened {
    /// Its incident.
    pub incident_id: IncidentId,
    /// False: this key had opened it before.
    pub created: bool,
}

/// What is to be explained.
#[derive(Debug, Clone, PartialEq)]
pub enum Explain {
    /// What happened to a service around a moment, told in this time zone.
    Moment(Moment, TimeZone),
    /// Why an incident was opened, and what came of it.
    Incident(IncidentId),
    /// What this body would come to if it were delivered now.
    Body(Source, Bytes),
}

/// What of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of this release.
    pub release_id: Option<ReleaseId>,
    /// Of this service.
    pub service: Option<Service>,
    /// Of this environment.
    pub env: Option<Env>,
    /// Of this deployment.
    pub deployment_id: Option<DeploymentId>,
    /// On this host. Instances only.
    pub host: Option<Host>,
    /// Not before. This and what follows: decisions only.
    pub from: Option<Timestamp>,
    /// Not after.
    pub to: Option<Timestamp>,
    /// With this verdict; `rollback` stands for both of them.
    pub verdict: Option<String>,
    /// That opened or joined this incident.
    pub incident: Option<IncidentId>,
    /// Those behind this one: [`Page::next`] of the page before.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How fresh they are.
    #[schemars(with = "String")]
    pub as_of: Timestamp,
    /// Whether the source could not be read lately.
    pub stale: bool,
    /// Whether there are more than were asked for.
    pub more: bool,
    /// Where the next page begins, for lists that are read page by page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page with each item as something else.
    #[must_use]
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            as_of: self.as_of,
            stale: self.stale,
            more: self.more,
            next: self.next,
        }
    }
}

/// An alert with what it was joined to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRecord {
    /// The accused release, when it could be told.
    pub release_id: Option<ReleaseId>,
    /// The accused deployment, when it could be told.
    pub deployment_id: Option<DeploymentId>,
    /// The accused batches.
    pub batches: BTreeSet<u32>,
    /// What is measured.
    pub metric: String,
    /// Label `severity`.
    pub severity: String,
    /// When it was received.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// The rule author's words.
    pub message: String,
    /// Firing or resolved.
    pub status: AlertStatus,
    /// Since when.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
    /// Until when.
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Timestamp>,
    /// Identity.
    pub fingerprint: Fingerprint,
    /// Which door it came through.
    pub source: Source,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

/// A report's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// The record.
    Json,
    /// Markdown.
    Markdown,
    /// One self-contained page.
    Html,
}

/// A mode set by a person, above the policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeSwitch {
    /// Whose; None: everything.
    pub service: Option<Service>,
    /// Where; None: everywhere.
    pub env: Option<Env>,
    /// Which.
    pub mode: Mode,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// A mode to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMode {
    /// Whose; None: everything.
    pub service: Option<Service>,
    /// Where; None: everywhere.
    pub env: Option<Env>,
    /// Which; None: none of our own any more.
    pub mode: Option<Mode>,
    /// Why.
    pub reason: String,
    /// Who.
    pub caller: Caller,
}

/// A list of hosts, or one comma-joined text.
fn hosts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Host>, D::Error> {
    struct Hosts;
    impl<'de> serde::de::Visitor<'de> for Hosts {
        type Value = Vec<Host>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of hosts, or one comma-joined text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names
                .map(|name| Host::new(name).map_err(E::custom))
                .collect()
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(Hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_be_a_list_or_comma_joined() {
        let facts = |hosts: serde_json::Value| {
            serde_json::from_value::<BatchFacts>(serde_json::json!({
                "release_id": "checkout@1.8.0", "env": "prod", "hosts": hosts,
            }))
            .map(|facts| {
                facts
                    .hosts
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(facts(serde_json::json!(["a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(facts(serde_json::json!("a, b,")).unwrap(), ["a", "b"]);
        assert_eq!(facts(serde_json::json!(null)).unwrap(), [""; 0]);
        assert!(facts(serde_json::json!("../x")).is_err());
        assert!(facts(serde_json::json!(5)).is_err());
    }

    #[test]
    fn a_batch_status_is_always_a_string() {
        let word = serde_json::to_value(BatchStatus::RolledBack).unwrap();
        assert_eq!(word, "rolled_back");
    }
}
