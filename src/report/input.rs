//! What a report is made from: plain facts that the app gathered.

use jiff::Timestamp;

use super::parts::{
    Commit, ExecutionLog, HostLine, JudgedLine, MessageLine, MetricSnapshot, Section,
};
use crate::domain::alert::Alert;
use crate::domain::deployment::Deployment;
use crate::domain::lane::Incident;
use crate::domain::notice::Link;
use crate::domain::release::{Mark, Release};

/// Everything known about one incident at one moment. What could not be had in time is a
/// [`Section::Partial`] with the reason: it holds nothing up.
#[derive(Debug, Clone)]
pub struct Input {
    /// The incident, folded from its lane, with its events.
    pub incident: Incident,
    /// The accused release's document.
    pub from: Option<Release>,
    /// The document of the release that is gone back to.
    pub target: Option<Release>,
    /// The newest mark of the accused release.
    pub mark: Option<Mark>,
    /// The accused deployment.
    pub deployment: Option<Deployment>,
    /// The alerts behind the decision.
    pub alerts: Vec<Alert>,
    /// When the gateway read the first of them.
    pub received_at: Option<Timestamp>,
    /// What lies between the two releases, newest first.
    pub commits: Section<Vec<Commit>>,
    /// Where a browser shows all of that, when a repository is configured.
    pub compare: Option<Link>,
    /// The execution that brought the accused release.
    pub deploy_log: Section<ExecutionLog>,
    /// The execution that took it back.
    pub rollback_log: Section<ExecutionLog>,
    /// The metrics; the first is the one the alert is about.
    pub metrics: Section<Vec<MetricSnapshot>>,
    /// What was said to people.
    pub messages: Section<Vec<MessageLine>>,
    /// What was decided about the deployment beside the lane.
    pub judged: Section<Vec<JudgedLine>>,
    /// The affected hosts.
    pub hosts: Section<Vec<HostLine>>,
    /// 1 when Spinnaker accepted the rollback, 2 at its end, 3 at recovery or 15 min later.
    pub revision: u32,
    /// When this report is made.
    pub now: Timestamp,
    /// Links, most useful first; only our own and configured hosts.
    pub links: Vec<Link>,
}
