//! The record: what a report says, as data. The pages are renderings of it and add nothing.
//!
//! What is not known is absent and has a reason beside it, in the section itself and, gathered,
//! in [`Record::missing`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::{
    Commit, ExecutionLog, HostLine, JudgedLine, MessageLine, MetricSnapshot, Section,
};
use super::text::{Number, Text};
use crate::domain::alert::{AlertStatus, Fingerprint};
use crate::domain::decision::{Guard, Scope};
use crate::domain::deployment::{Phase, Strategy};
use crate::domain::id::{DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service};
use crate::domain::policy::Mode;

/// The version of the record's shape; a field is only ever added within one.
pub const FORMAT: u32 = 1;

/// One revision of an incident's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The shape's version.
    pub format: u32,
    /// What it is about and how it stands.
    pub header: Header,
    /// The whole story in one sentence.
    pub summary: Text,
    /// When what happened.
    pub clocks: Clocks,
    /// How long it took.
    pub laps: Laps,
    /// How far the accused release had spread.
    pub impact: Impact,
    /// What was decided, and every reason.
    pub decision: Judgement,
    /// The alerts behind it.
    pub alerts: Vec<AlertRow>,
    /// The bad release against the one that is gone back to.
    pub change: Change,
    /// The metrics with their raw points; the first is the one the alert is about.
    pub metrics: Section<Vec<MetricSnapshot>>,
    /// How the accused release was brought.
    pub deploy_log: Section<ExecutionLog>,
    /// How it was taken back.
    pub rollback_log: Section<ExecutionLog>,
    /// Everything that happened, oldest first.
    pub timeline: Vec<Row>,
    /// The affected hosts before and after.
    pub hosts: Section<Vec<HostLine>>,
    /// What was said to people.
    pub messages: Section<Vec<MessageLine>>,
    /// What was decided about the deployment beside the lane; the timeline tells of it.
    #[serde(default)]
    pub judged: Section<Vec<JudgedLine>>,
    /// What is done, and what people have to do.
    pub follow_ups: Vec<FollowUp>,
    /// What this revision does not know, and why.
    pub missing: Vec<Gap>,
    /// Where to go on reading.
    pub links: Vec<NamedLink>,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// The incident.
    pub incident: IncidentId,
    /// Which report of it.
    pub revision: u32,
    /// How the incident stands.
    pub standing: Standing,
    /// The worst severity of the alerts.
    pub severity: Option<Text>,
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The lane.
    pub lane: LaneName,
    /// The accused deployment.
    pub deployment: DeploymentId,
    /// How it spreads, when known.
    pub strategy: Option<Strategy>,
    /// The accused release.
    pub from: ReleaseId,
    /// The release that is gone back to.
    pub target: ReleaseId,
    /// How much is taken back.
    pub scope: Scope,
    /// The execution that takes it back.
    pub execution: Option<Text>,
    /// The incident this one escalates.
    pub supersedes: Option<IncidentId>,
    /// When the report was made.
    #[schemars(with = "String")]
    pub generated_at: Timestamp,
}

/// How an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Decided; nothing sent.
    Opened,
    /// Perhaps sent; Spinnaker named no execution yet.
    Submitting,
    /// Spinnaker is at work.
    RollingBack,
    /// Nobody can tell whether Spinnaker has it.
    Unknown,
    /// The execution succeeded; whether it helped is not known yet.
    RolledBack,
    /// The execution failed.
    RollbackFailed,
    /// Rolled back and well.
    Recovered,
    /// Rolled back; nothing could say whether it helped.
    Unverified,
    /// Rolled back and still bad.
    StillBad,
    /// Nothing was sent: a guard said no right before.
    Withdrawn,
    /// Given up by a person.
    Abandoned,
    /// An escalation took over.
    Superseded,
}

impl Standing {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Opened => "decided, nothing sent yet",
            Self::Submitting => "being sent to Spinnaker",
            Self::RollingBack => "rolling back",
            Self::Unknown => "unknown whether Spinnaker has it",
            Self::RolledBack => "rolled back",
            Self::RollbackFailed => "rollback failed",
            Self::Recovered => "rolled back and recovered",
            Self::Unverified => "rolled back, recovery unverified",
            Self::StillBad => "rolled back, still bad",
            Self::Withdrawn => "withdrawn, nothing was sent",
            Self::Abandoned => "abandoned by a person",
            Self::Superseded => "superseded by an escalation",
        }
    }
}

/// A moment: a time with its source, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// When.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Whose clock says so, or why nobody's does.
    pub note: Text,
}

/// The moments of an incident, in the order in which they should follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clocks {
    /// The first accused sample on the threshold's bad side.
    pub first_bad_sample: Clock,
    /// The alert's `startsAt`.
    pub alert_started: Clock,
    /// The gateway read the alert.
    pub received: Clock,
    /// The rollback was decided.
    pub decided: Clock,
    /// Spinnaker accepted it.
    pub accepted: Clock,
    /// Its execution ended.
    pub finished: Clock,
    /// The recovery question was answered with yes.
    pub recovered: Clock,
}

impl Clocks {
    /// Each with its name, in order.
    pub fn named(&self) -> [(&'static str, &Clock); 7] {
        [
            ("First bad sample", &self.first_bad_sample),
            ("Alert started", &self.alert_started),
            ("Alert received", &self.received),
            ("Rollback decided", &self.decided),
            ("Accepted by Spinnaker", &self.accepted),
            ("Rollback finished", &self.finished),
            ("Recovered", &self.recovered),
        ]
    }
}

/// A duration between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lap {
    /// How long, in seconds.
    pub seconds: Option<f64>,
    /// Why it can't be told, when it can't.
    pub why: Option<Text>,
}

/// The durations that matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Laps {
    /// From the first bad sample to the alert's arrival.
    pub detect: Lap,
    /// From the alert's arrival to the decision.
    pub decide: Lap,
    /// From the decision until Spinnaker had it.
    pub accept: Lap,
    /// From then to the end of the execution.
    pub roll_back: Lap,
    /// From then to recovery.
    pub recover: Lap,
    /// From the first bad sample to recovery.
    pub total: Lap,
}

impl Laps {
    /// Each with its name and meaning, in order.
    pub fn named(&self) -> [(&'static str, &'static str, &Lap); 6] {
        [
            ("Detect", "first bad sample → alert received", &self.detect),
            ("Decide", "alert received → decided", &self.decide),
            ("Accept", "decided → accepted by Spinnaker", &self.accept),
            ("Roll back", "accepted → finished", &self.roll_back),
            ("Recover", "finished → recovered", &self.recover),
            ("Total", "first bad sample → recovered", &self.total),
        ]
    }
}

/// How far the accused release had spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// Hosts that ran it.
    pub exposed: Option<usize>,
    /// Hosts it was meant for.
    pub fleet: Option<usize>,
    /// The one as a share of the other, from 0 to 1.
    pub share: Option<f64>,
    /// Hosts in the rollback's scope.
    pub in_scope: Vec<Host>,
    /// Since when it ran there.
    #[schemars(with = "Option<String>")]
    pub exposed_since: Option<Timestamp>,
    /// How long it did, in seconds; up to the report when it still does.
    pub exposed_seconds: Option<f64>,
    /// Whether it did no longer when the report was made.
    pub over: bool,
    /// Why something is absent, when it is.
    pub note: Option<Text>,
}

/// Who asked for the rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The rules.
    Rules,
    /// A person.
    Person {
        /// The token's name.
        by: Text,
        /// Why.
        reason: Text,
    },
}

/// A yes, not now, or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Speaks for acting.
    Pass,
    /// Not known, or not now.
    Hold,
    /// Speaks against it.
    Deny,
}

impl Answer {
    /// `pass`, `hold` or `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// A rule that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleRow {
    /// `<file>: <name>`.
    pub rule: Text,
    /// Whether it was the one.
    pub matched: bool,
    /// Why, or why not.
    pub why: Text,
}

/// A guard that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardRow {
    /// Which.
    pub guard: Guard,
    /// What it said.
    pub answer: Answer,
    /// What it saw.
    pub why: Text,
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRow {
    /// What was asked.
    pub question: Text,
    /// What it speaks for.
    pub answer: Answer,
    /// The answer in words.
    pub detail: Text,
    /// The exact expression, where one was evaluated.
    pub query: Option<Text>,
    /// The value measured.
    pub value: Option<Number>,
}

/// The decision, explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// When.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Who asked.
    pub asked: Asked,
    /// `rollback_batch`, `rollback_full`, …
    pub verdict: String,
    /// In one sentence: why.
    pub why: Text,
    /// The mode that applied.
    pub mode: Mode,
    /// The deployment's phase then.
    pub phase: Option<Phase>,
    /// What was decided to be taken back.
    pub scope: Scope,
    /// The rule that matched.
    pub rule: Option<Text>,
    /// Every rule that was asked.
    pub rules: Vec<RuleRow>,
    /// Every guard, in order.
    pub guards: Vec<GuardRow>,
    /// When evidence was gathered.
    #[schemars(with = "Option<String>")]
    pub evidence_at: Option<Timestamp>,
    /// What the sources said.
    pub evidence: Vec<EvidenceRow>,
}

/// An alert behind the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRow {
    /// Identity.
    pub fingerprint: Fingerprint,
    /// `alertname`.
    pub name: Text,
    /// Label `severity`.
    pub severity: Text,
    /// Firing or resolved.
    pub status: AlertStatus,
    /// Since when, when its sender said so.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended, when it did.
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// Who sent it.
    pub source: Text,
    /// The rule author's words.
    pub message: Text,
    /// Its labels.
    pub labels: BTreeMap<Text, Text>,
}

/// A release as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFacts {
    /// `<service>@<version>`.
    pub id: ReleaseId,
    /// The version.
    pub version: Text,
    /// The git tag.
    pub tag: Option<Text>,
    /// The commit.
    pub commit: Option<Text>,
    /// SHA-256 of the binary.
    pub checksum: Option<Text>,
    /// Where the binary is.
    pub artifact_url: Option<Text>,
    /// SHA-256 of the configuration that goes with it.
    pub config_checksum: Option<Text>,
    /// Whether going back over it is safe.
    pub reversible: Option<bool>,
    /// When it was published.
    #[schemars(with = "Option<String>")]
    pub created_at: Option<Timestamp>,
    /// Who or what published it.
    pub created_by: Option<Text>,
}

/// The bad release against the one that is gone back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The accused release.
    pub from: ReleaseFacts,
    /// The release that is gone back to.
    pub target: ReleaseFacts,
    /// What lies between them, newest first.
    pub commits: Section<Vec<Commit>>,
    /// Where a browser shows all of that.
    #[serde(default)]
    pub compare: Option<NamedLink>,
}

/// A row of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who says so.
    pub source: Text,
    /// What happened.
    pub text: Text,
}

/// Something done, or to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FollowUp {
    /// Whether it is done.
    pub done: bool,
    /// What.
    pub text: Text,
}

/// Something this revision does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// What.
    pub what: Text,
    /// Why.
    pub why: Text,
}

/// A link with the words it stands behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedLink {
    /// The words.
    pub text: Text,
    /// The address: http or https, without credentials.
    pub url: String,
}
