//! Gathers what a report says, all sources at once; what is late comes as a part that says why.
//!
//! One moment ends the waiting for all of them, so that a report is as old as the slowest source
//! that answered in time, and no older than [`SECTION_DEADLINE`].

mod change;
mod logs;
mod metrics;
mod past;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::core::Core;
use super::setup::Setup;
use crate::domain::lane::Incident;
use crate::domain::notice::NoticeKind;
use crate::enrich::catalog::View;
use crate::report::{self, Input, MessageLine, Section, keep};

/// How long a report waits for its sources.
const SECTION_DEADLINE: Duration = Duration::from_secs(2);

/// A section, or that its source did not answer in time.
async fn by<T>(
    deadline: Instant,
    source: &str,
    section: impl Future<Output = Section<T>>,
) -> Section<T> {
    tokio::time::timeout_at(deadline, section)
        .await
        .unwrap_or_else(|_| Section::missing(format!("{source} did not answer in time")))
}

impl Core {
    /// Writes one revision of an incident's report.
    pub(super) async fn write_report(
        &self,
        setup: &Setup,
        incident: &Incident,
        revision: u32,
    ) -> Result<(), String> {
        let input = self.report_input(setup, incident, revision).await;
        let record = report::record(input);
        keep::write(&self.ground.store, &record)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    async fn report_input(&self, setup: &Setup, incident: &Incident, revision: u32) -> Input {
        let opened = &incident.opened;
        let deadline = Instant::now() + SECTION_DEADLINE;
        let now = self.ground.clock.now();
        let view = self.view_by(deadline, setup, incident).await;
        let deployment = view.lane(&opened.service, &opened.env).and_then(|lane| {
            lane.deployment(&opened.deployment)
                .map(|one| (**one).clone())
        });
        let deploy = logs::read(setup, Some(opened.deployment.as_str()));
        let rollback = logs::read(setup, incident.execution.as_ref().map(AsRef::as_ref));
        let commits = Box::pin(change::commits(&self.ground.store, setup, incident, &view));
        let (deploy_log, rollback_log, metrics, messages, judged, commits) = tokio::join!(
            by(deadline, "Spinnaker", deploy),
            by(deadline, "Spinnaker", rollback),
            self.snapshots(setup, incident, &view, now, deadline),
            by(deadline, "the ledger", self.messages(setup, incident)),
            by(deadline, "the store", self.judged(incident, now)),
            by(deadline, "the store", commits),
        );
        let compare = change::compare(setup, incident, &view);
        Input {
            from: view
                .release(&opened.release_id)
                .map(|release| (**release).clone()),
            target: view
                .release(change::target(incident))
                .map(|release| (**release).clone()),
            mark: view.mark(&opened.release_id).map(|mark| (**mark).clone()),
            deployment,
            received_at: Some(self.first_heard(incident, messages.value())),
            alerts: opened.alerts.clone(),
            commits,
            compare,
            deploy_log,
            rollback_log,
            metrics,
            messages,
            judged,
            hosts: change::hosts(incident, &view, now),
            revision,
            now,
            links: Self::links(setup, Some(&incident.id), None),
            incident: incident.clone(),
        }
    }

    /// The catalog with what the lane knows before `sync` does, if the store answers in time.
    async fn view_by(&self, deadline: Instant, setup: &Setup, incident: &Incident) -> View {
        let view = self.view_with(setup, [incident.lane.clone()]);
        // Half of the time is for those who need it.
        let half = deadline - SECTION_DEADLINE / 2;
        let view = tokio::time::timeout_at(half, view).await;
        view.unwrap_or_else(|_| self.catalog.view())
    }

    /// When the accused alerts first came: before the decision, which waits for the rule's `for`.
    /// Once they have ended, the first message about them is the closest that is kept.
    fn first_heard(&self, incident: &Incident, messages: Option<&Vec<MessageLine>>) -> Timestamp {
        let decision = &incident.opened.decision;
        let open = self.book.open_alerts().into_iter();
        let open = open.filter(|open| decision.alerts.contains(&open.alert.fingerprint));
        let told = messages.into_iter().flatten();
        let told = told.filter(|message| message.kind == NoticeKind::Alert);
        open.map(|open| open.began)
            .chain(told.map(|message| message.at))
            .fold(decision.at, Timestamp::min)
    }
}
