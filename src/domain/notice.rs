//! What a message must say, before any channel words it.
//!
//! A notice holds facts. Label text in it is data: each channel escapes it in its own way.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::{AlertStatus, Fingerprint, Labels};
use super::decision::Code;
use super::deployment::Phase;
use super::id::{ChannelName, DeploymentId, Env, Host, IncidentId, ReleaseId, Service};

/// What a message is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Alerts began, ended or are told again.
    Alert,
    /// A hold waits for a person.
    HoldPage,
    /// A person must agree before something is taken back.
    ApprovalWanted,
    /// The question was answered, or nobody answered it.
    ApprovalSettled,
    /// Spinnaker accepted a rollback.
    RollbackStarted,
    /// Its execution ended.
    RollbackFinished,
    /// The metrics are, or are not, well again.
    Recovery,
    /// The report is ready.
    Report,
    /// Something of our own is broken: a channel, Gate, the store.
    OwnTrouble,
    /// Many messages as one, because the channel is at its limit. Never stored.
    Digest,
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertLine {
    /// Identity.
    pub fingerprint: Fingerprint,
    /// `alertname`.
    pub name: String,
    /// Label `severity`.
    pub severity: String,
    /// Firing or resolved.
    pub status: AlertStatus,
    /// Since when.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
    /// The rule author's words.
    pub message: String,
    /// Its labels.
    pub labels: Labels,
}

/// The abnormal metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// What is measured, as an expression.
    pub expr: String,
    /// Its value now, when the metrics store answered.
    pub value: Option<f64>,
    /// The line it crossed, when the expression tells one.
    pub threshold: Option<f64>,
    /// `ratio`, `seconds`, `bytes` or empty: how to write values.
    pub unit: String,
}

/// A drawn chart, kept in the store under `charts/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChartRef {
    /// Its id; the PNG is at `charts/<id>.png`.
    pub id: String,
    /// The picture in words, for readers who can't see it.
    pub alt: String,
    /// A signed address a chat client can fetch, when `web.external_url` is set.
    pub url: Option<String>,
}

/// A link with the words it stands behind. Only our own and configured hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The words.
    pub text: String,
    /// The address.
    pub url: String,
}

impl Link {
    /// The words of the link to an incident's page.
    pub const INCIDENT: &str = "Incident";
    /// The words of the link to a question's page.
    pub const APPROVE: &str = "Approve or deny";
}

/// A decision as a message tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// `notify`, `hold`, `rollback_batch`, `rollback_full`.
    pub verdict: String,
    /// In mode `shadow` nothing is done.
    pub shadow: bool,
    /// `batch 1`, `full`.
    pub scope: Option<String>,
    /// The rule.
    pub rule: Option<String>,
    /// One sentence: why.
    pub why: String,
    /// The same as a code, where a guard decided.
    #[serde(default)]
    pub code: Code,
    /// The release to go back to.
    pub target: Option<ReleaseId>,
    /// Other deployments that may be what went wrong, in words.
    #[serde(default)]
    pub suspects: Vec<String>,
}

/// A rollback execution as a follow-up tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Execution {
    /// Spinnaker's id.
    pub id: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Its status, in Spinnaker's word, when known.
    pub status: Option<String>,
    /// What else is to say: a failure's text, what recovery saw.
    pub detail: Option<String>,
}

/// What happened to an incident, so that each channel says it in its language. The detail beside
/// it has the numbers and names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// Spinnaker took this attempt.
    Attempt(u32),
    /// This revision of the report is ready.
    Revision(u32),
    /// The metrics are well again.
    Recovered,
    /// They are not.
    StillBad,
    /// Nothing can say whether they are.
    Unverified,
    /// The accused execution does not stop, so nothing can be sent.
    CantStop,
    /// Spinnaker can't be asked, or lacks the pipeline.
    Spinnaker,
    /// Nobody can tell whether Spinnaker has the rollback.
    Unknown,
    /// Guards have held it for long.
    Held,
    /// A guard or the budget withdrew it.
    Withdrawn,
    /// Spinnaker refuses it, or every attempt came to nothing.
    NotSent,
    /// Its execution runs unusually long.
    StillRunning,
    /// Its execution goes no further by itself.
    Waits,
    /// Its execution ended well, and nobody can tell whether it did anything.
    Unchecked,
    /// Its execution failed.
    Failed,
    /// Rolled back, and still bad, or nobody can tell.
    NotRecovered,
    /// A person must answer.
    Asked {
        /// The question's id.
        question: String,
        /// Until when.
        #[schemars(with = "String")]
        until: Timestamp,
        /// Whether silence is taken for a yes.
        then_done: bool,
    },
}

/// What many messages say, in a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Digest {
    /// How many messages it stands for.
    pub messages: u64,
    /// Firing alerts in them, named or counted.
    pub firing: u64,
    /// Ended alerts in them.
    pub resolved: u64,
    /// What is named, most pressing first.
    pub lines: Vec<DigestLine>,
}

/// Alerts that differ in where they fire only, or one message about something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestLine {
    /// What kind of message said it.
    pub kind: NoticeKind,
    /// Firing or resolved.
    pub status: AlertStatus,
    /// Its severity.
    pub severity: String,
    /// The alert's name, or what happened.
    pub name: String,
    /// Service and environment, as far as known.
    pub place: String,
    /// How many.
    pub count: u64,
    /// Where they fire: values of `instance`.
    pub instances: Vec<String>,
}

/// The facts of one message to one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// Which messages belong together: the group's key, or the incident's first group.
    pub thread: String,
    /// When the facts were gathered.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The headline's subject: an alert name, or what happened; without state words.
    pub subject: String,
    /// Firing while anything fires.
    pub status: AlertStatus,
    /// The worst severity.
    pub severity: String,
    /// Whose.
    pub service: Option<Service>,
    /// Where.
    pub env: Option<Env>,
    /// The accused release.
    pub release_id: Option<ReleaseId>,
    /// Its version.
    pub version: Option<String>,
    /// The deployment.
    pub deployment: Option<DeploymentId>,
    /// The accused batches.
    pub batches: BTreeSet<u32>,
    /// Its phase.
    pub phase: Option<Phase>,
    /// Why release, batch or hosts are missing, when they are.
    pub context_missing: Option<String>,
    /// The catalog's answer is old: `as of` this time.
    #[schemars(with = "Option<String>")]
    pub stale_as_of: Option<Timestamp>,
    /// Affected hosts, all of them; a channel caps the list and counts the rest.
    pub hosts: Vec<Host>,
    /// The alerts.
    pub alerts: Vec<AlertLine>,
    /// Alerts that were cut before they reached us, or by our limit.
    pub truncated: u64,
    /// Labels an operator put on Alertmanager's route (`routeLabels`).
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub route_labels: Labels,
    /// How bad.
    pub metric: Option<Metric>,
    /// The chart, when it was drawn in time.
    pub chart: Option<ChartRef>,
    /// Why there is no chart, when there is none.
    pub chart_missing: Option<String>,
    /// What was decided.
    pub decision: Option<Told>,
    /// The incident.
    pub incident: Option<IncidentId>,
    /// The rollback's execution.
    pub execution: Option<Execution>,
    /// What happened, where the kind alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened: Option<Happened>,
    /// Links, most useful first.
    pub links: Vec<Link>,
    /// What a digest tells instead of alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Notice {
    /// A notice that says nothing yet.
    pub fn blank(kind: NoticeKind, thread: &str, subject: &str, at: Timestamp) -> Self {
        Self {
            kind,
            thread: thread.to_owned(),
            at,
            subject: subject.to_owned(),
            status: AlertStatus::Firing,
            severity: "none".to_owned(),
            service: None,
            env: None,
            release_id: None,
            version: None,
            deployment: None,
            batches: BTreeSet::new(),
            phase: None,
            context_missing: None,
            stale_as_of: None,
            hosts: Vec::new(),
            alerts: Vec::new(),
            truncated: 0,
            route_labels: Labels::new(),
            metric: None,
            chart: None,
            chart_missing: None,
            decision: None,
            incident: None,
            execution: None,
            happened: None,
            links: Vec::new(),
            digest: None,
        }
    }
}

/// A message to one channel: the notice and what of it is new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// To whom.
    pub channel: ChannelName,
    /// The facts.
    pub notice: Notice,
    /// Names of the facts it tells, such as `<fingerprint>@<startsAt>/firing/0` or
    /// `<incident>/started`: what the ledger compares so that nothing is told twice.
    pub covers: BTreeSet<String>,
}
