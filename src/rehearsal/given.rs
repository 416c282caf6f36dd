//! The world of a test, as `given:` writes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::offset::{Offset, Span};
use super::series::{SeriesLabels, Values};
use super::words::{RawEvidence, RawScope};
use crate::config::place::At;
use crate::domain::deployment::Strategy;
use crate::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use crate::domain::lane::Ending;
use crate::domain::policy::Mode;
use crate::domain::release::MarkKind;

/// What the gateway can know, and when. Times are relative to the start of the test.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGiven {
    /// Release documents.
    pub releases: Vec<RawRelease>,
    /// Deployments, from their start to their end: how far one is follows from the moment.
    pub deployments: Vec<RawDeployment>,
    /// What agents told of hosts.
    pub instances: Vec<RawInstance>,
    /// Marks on releases.
    pub marks: Vec<RawMark>,
    /// Earlier rollbacks, or one that is still going on.
    pub incidents: Vec<RawIncident>,
    /// Other pipeline executions that run.
    pub executions: Vec<RawExecution>,
    /// Modes people have set.
    pub modes: Vec<RawMode>,
    /// Automatic rollbacks of other services, as the budget counts them.
    pub grants: Vec<RawGrant>,
    /// When something can't be asked.
    pub outages: Vec<RawOutage>,
    /// The rule lists of vmalert: where trusted expressions come from.
    pub alert_rules: Vec<RawAlertRule>,
    /// What the metrics store answers.
    pub answers: Vec<RawAnswer>,
    /// What the metrics store would come to, in a word and without any answer.
    pub evidence: Option<RawEvidence>,
    /// How rollbacks of the test itself go.
    pub rollbacks: Option<RawRollbacks>,
}

/// A release document.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRelease {
    /// `<service>@<version>`.
    pub id: At<ReleaseId>,
    /// When it was published. Default -30days.
    #[serde(default)]
    pub created: Option<Offset>,
    /// False when going back over it breaks data. Default true.
    #[serde(default)]
    pub reversible: Option<bool>,
}

/// A deployment over its whole life.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeployment {
    /// Spinnaker's execution id.
    pub id: At<DeploymentId>,
    /// What it deploys.
    pub release: At<ReleaseId>,
    /// Where to.
    pub env: Env,
    /// canary, `blue_green` or all. Default canary.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Spinnaker's pipeline. Default `deploy-<env>`.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// When it starts.
    pub started: Offset,
    /// When its execution ends. Left out: it runs on.
    #[serde(default)]
    pub finished: Option<Offset>,
    /// How it ends. Default success.
    #[serde(default)]
    pub ends: Option<DeploymentEnd>,
    /// How long it must run at 100 % before it is full. Default 15m.
    #[serde(default)]
    pub soak: Option<Span>,
    /// Its batches in order.
    #[serde(default)]
    pub batches: Vec<RawBatch>,
    /// Every host it means to reach. Default: those of the batches.
    #[serde(default)]
    pub hosts: Vec<Host>,
    /// True when it was itself a rollback.
    #[serde(default)]
    pub rollback: bool,
}

/// How a deployment ends.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeploymentEnd {
    Success,
    Failed,
    RolledBack,
}

/// A batch.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBatch {
    /// Its members.
    pub hosts: Vec<Host>,
    /// When it starts. Left out: it never does.
    #[serde(default)]
    pub started: Option<Offset>,
}

/// What an agent told of one host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInstance {
    /// The host.
    pub host: Host,
    /// Its deployment.
    pub deployment: At<DeploymentId>,
    /// Its batch. Default 1.
    #[serde(default)]
    pub batch: Option<u32>,
    /// Since when it runs the release.
    pub from: Offset,
    /// Until when.
    #[serde(default)]
    pub to: Option<Offset>,
    /// Its address.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub ip: Option<std::net::IpAddr>,
}

/// A mark on a release.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMark {
    /// The release.
    pub release: ReleaseId,
    /// stable, bad or clear.
    pub kind: MarkKind,
    /// When. Default -1h.
    #[serde(default)]
    pub at: Option<Offset>,
}

/// A rollback that is not the test's own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIncident {
    /// The deployment it takes back.
    pub deployment: At<DeploymentId>,
    /// `full`, or `batch 1` or `batch 1+2`.
    pub scope: RawScope,
    /// When it opened.
    pub opened: Offset,
    /// When it was over. Left out: it is still going on.
    #[serde(default)]
    pub closed: Option<Offset>,
    /// How it ended. Default recovered.
    #[serde(default)]
    pub ending: Option<Ending>,
    /// The release it goes back to. Default: some other one.
    #[serde(default)]
    pub target: Option<ReleaseId>,
}

/// A running execution.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExecution {
    /// Spinnaker's id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// `service` or `untold`: whether it is known to touch the service. Default service.
    #[serde(default)]
    pub touches: Option<RawTouches>,
    /// When it runs. Default: all the time.
    #[serde(default)]
    pub from: Option<Offset>,
    /// Until when.
    #[serde(default)]
    pub until: Option<Offset>,
}

/// What an execution touches.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawTouches {
    /// The service in the environment.
    Service,
    /// Nobody can tell.
    Untold,
}

/// A mode people have set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMode {
    /// off, shadow, approve or enforce.
    pub mode: Mode,
    /// Whose. Left out: everybody's.
    #[serde(default)]
    pub service: Option<Service>,
    /// Where. Left out: everywhere.
    #[serde(default)]
    pub env: Option<Env>,
    /// Since when. Default: before the test.
    #[serde(default)]
    pub from: Option<Offset>,
    /// Until when.
    #[serde(default)]
    pub until: Option<Offset>,
}

/// An automatic rollback that counts against the budget.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrant {
    /// Whose.
    pub service: Service,
    /// When.
    pub at: Offset,
}

/// Something that can't be asked for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutage {
    /// metrics, vmalert, spinnaker, store or sync.
    pub of: Outage,
    /// Since when. Default: before the test.
    #[serde(default)]
    pub from: Option<Offset>,
    /// Until when. Left out: it lasts.
    #[serde(default)]
    pub until: Option<Offset>,
}

/// What can be out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outage {
    /// The metrics store does not answer.
    Metrics,
    /// The vmalerts do not answer.
    Vmalert,
    /// Gate does not answer.
    Spinnaker,
    /// Lanes, modes and budget can't be read, and the catalog grows old.
    Store,
    /// The catalog grows old.
    Catalog,
}

/// An alerting rule as a configured vmalert lists it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlertRule {
    /// Its name.
    pub alert: String,
    /// Its expression.
    pub expr: String,
    /// Its group. Left out: the alerts carry none either.
    #[serde(default)]
    pub group: Option<String>,
    /// Labels it puts on its alerts.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What the metrics store answers to one expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnswer {
    /// The expression. A comparison with a number is derived from the answer to its left side, and
    /// so is the same expression about another release, version or batch.
    pub expr: At<String>,
    /// When the first value stands. Default -2h.
    #[serde(default)]
    pub from: Option<Offset>,
    /// Time between two values, in place of the file's.
    #[serde(default)]
    pub interval: Option<Span>,
    /// Its series; an empty list is an empty answer.
    pub series: Vec<RawSeries>,
}

/// One series of an answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSeries {
    /// Its labels, `{instance="h1:9100"}`.
    pub series: SeriesLabels,
    /// Its values in promtool's notation, `0x120 0.2x30`.
    pub values: Values,
}

/// How rollbacks of the test itself go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRollbacks {
    /// From the decision to the end. Default 1m.
    #[serde(default)]
    pub take: Option<Span>,
    /// How they end. Default recovered.
    #[serde(default)]
    pub ending: Option<Ending>,
}
