//! Gathers what a report says; what is late comes as a part that says why.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::compose;
use super::core::Core;
use super::seams::SECTION_DEADLINE;
use super::setup::Setup;
use crate::domain::alert::Alert;
use crate::domain::clock;
use crate::domain::deployment::Health;
use crate::domain::id::Host;
use crate::domain::lane::Incident;
use crate::domain::notice::NoticeKind;
use crate::enrich::catalog::View;
use crate::enrich::chart::{ChartSource, Role};
use crate::report::{
    self, ExecutionLog, HostLine, HostState, Input, MessageLine, MetricSnapshot, Number, Png,
    Section, Series, Side, StageLine, Threshold, keep,
};
use crate::spinnaker::{Execution, ExecutionId, Stage};

/// What a snapshot shows before the anomaly and after the moment.
const BEFORE: Duration = Duration::from_mins(30);
const STEP: Duration = Duration::from_secs(15);

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
        let now = self.ground.clock.now();
        let view = self.view_with(setup, [incident.lane.clone()]).await;
        let alerts = opened.alerts.clone();
        let deployment = view.lane(&opened.service, &opened.env).and_then(|lane| {
            lane.deployment(&opened.deployment)
                .map(|one| (**one).clone())
        });
        let deploy_log = self.log(setup, Some(opened.deployment.as_str()));
        let rollback_log = self.log(setup, incident.execution.as_ref().map(AsRef::as_ref));
        let metrics = self.snapshots(setup, incident, &alerts, &view, now);
        let messages = self.messages(setup, incident);
        let (deploy_log, rollback_log, metrics, messages) =
            tokio::join!(deploy_log, rollback_log, metrics, messages);
        Input {
            from: view
                .release(&opened.release_id)
                .map(|release| (**release).clone()),
            target: view
                .release(&opened.target)
                .map(|release| (**release).clone()),
            mark: view.mark(&opened.release_id).map(|mark| (**mark).clone()),
            deployment,
            received_at: Some(self.first_heard(incident, messages.value())),
            alerts,
            commits: Section::missing("commits between the two releases are not read yet"),
            deploy_log,
            rollback_log,
            metrics,
            messages,
            hosts: hosts(incident, &view, now),
            revision,
            now,
            links: Self::links(setup, Some(&incident.id), None),
            incident: incident.clone(),
        }
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

    async fn log(&self, setup: &Setup, id: Option<&str>) -> Section<ExecutionLog> {
        let (Some(gate), Some(id)) = (&setup.gate, id) else {
            return Section::missing("there is no execution yet");
        };
        let id = ExecutionId::new(id);
        match tokio::time::timeout(SECTION_DEADLINE, gate.execution(&id)).await {
            Ok(Ok(Some(execution))) => Section::Whole(log_of(&execution)),
            Ok(Ok(None)) => Section::missing("Spinnaker has forgotten the execution"),
            Ok(Err(error)) => Section::missing(format!("Spinnaker can't be asked: {error}")),
            Err(_) => Section::missing("Spinnaker did not answer in time"),
        }
    }

    async fn snapshots(
        &self,
        setup: &Setup,
        incident: &Incident,
        alerts: &[Alert],
        view: &View,
        now: Timestamp,
    ) -> Section<Vec<MetricSnapshot>> {
        let mut sources: BTreeMap<String, (ChartSource, &Alert)> = BTreeMap::new();
        for alert in alerts {
            if let Some(source) = setup.prober.chart_source(alert).await {
                sources
                    .entry(source.drawn.clone())
                    .or_insert((source, alert));
            }
        }
        if sources.is_empty() {
            return Section::missing("the alerts' expressions are not known");
        }
        let taken = sources
            .into_values()
            .map(|(source, alert)| self.snapshot(setup, incident, alert, source, view, now));
        let taken = tokio::time::timeout(SECTION_DEADLINE, join_all(taken)).await;
        let Ok(taken) = taken else {
            return Section::missing("the metrics store did not answer in time");
        };
        let (good, bad): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_ok);
        let good: Vec<MetricSnapshot> = good.into_iter().flatten().collect();
        match bad.into_iter().find_map(Result::err) {
            None => Section::Whole(good),
            Some(why) => Section::partial(why, good),
        }
    }

    async fn snapshot(
        &self,
        setup: &Setup,
        incident: &Incident,
        alert: &Alert,
        source: ChartSource,
        view: &View,
        now: Timestamp,
    ) -> Result<MetricSnapshot, String> {
        let resolution = crate::enrich::ladder::resolve(alert, view, &setup.config.services);
        let context = resolution
            .context()
            .filter(|context| context.deployment.id == incident.opened.deployment);
        let from = clock::before(alert.starts_at.min(incident.opened_at), BEFORE);
        let data = setup
            .prober
            .chart(&source, context.map(|context| (context, view)), from, now)
            .await;
        let data = data.map_err(|error| error.to_string())?;
        let labelled = |line: &crate::enrich::chart::ChartLine| {
            let labels = BTreeMap::from([("series".to_owned(), line.label.clone())]);
            let role = if line.role == Role::Accused {
                report::Role::Accused
            } else {
                report::Role::Rest
            };
            Series::new(&labels, role, line.points.iter().copied())
        };
        let series = data.lines.iter().map(labelled).collect();
        let threshold = source.threshold.map(|(op, value)| Threshold {
            value: Number(value),
            bad: if op.bad_is_low() {
                Side::Below
            } else {
                Side::Above
            },
        });
        let chart_png = self
            .report_chart(alert, context, &source, data, (from, now))
            .await;
        Ok(MetricSnapshot {
            title: alert.name().into(),
            query: source.drawn.as_str().into(),
            source: setup
                .config
                .metrics
                .as_ref()
                .map_or(String::new(), |metrics| metrics.url.to_string())
                .into(),
            unit: compose::unit(&source.expr).into(),
            threshold,
            from,
            to: now,
            step: STEP.max(clock::since(now, from) / 240),
            series,
            chart: None,
            chart_png: chart_png.map(Png),
        })
    }

    /// What was said in the incident's thread, as the ledger stands.
    async fn messages(&self, setup: &Setup, incident: &Incident) -> Section<Vec<MessageLine>> {
        let opened = &incident.opened;
        let channels = Self::audience(setup, &opened.channels);
        let told = channels.iter().map(|channel| {
            setup
                .notify
                .history(channel, &opened.thread, incident.opened_at)
        });
        match tokio::time::timeout(SECTION_DEADLINE, join_all(told)).await {
            Err(_) => Section::missing("the ledger did not answer in time"),
            Ok(told) => {
                let mut lines: Vec<MessageLine> = told
                    .into_iter()
                    .flatten()
                    .map(|told| MessageLine {
                        channel: told.channel,
                        at: told.at,
                        status: told.outcome.into(),
                        kind: told.kind,
                    })
                    .collect();
                lines.sort_by_key(|line| line.at);
                Section::Whole(lines)
            }
        }
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

/// The affected hosts, when the incident opened and now.
fn hosts(incident: &Incident, view: &View, now: Timestamp) -> Section<Vec<HostLine>> {
    let opened = &incident.opened;
    let Some(lane) = view.lane(&opened.service, &opened.env) else {
        return Section::missing("the catalog does not know the lane");
    };
    let members = incident
        .plan
        .as_ref()
        .map_or(&opened.hosts, |plan| &plan.hosts);
    let state = |host: &Host, at: Timestamp| {
        lane.membership(host, at).map(|stay| HostState {
            release_id: Some(stay.deployment.release_id.clone()),
            status: Some(stay.deployment.status),
            health: Health::Unknown,
            error: None,
        })
    };
    let line = |host: &Host| HostLine {
        host: host.clone(),
        batch: lane
            .membership(host, incident.opened_at)
            .map(|stay| stay.batch),
        before: state(host, incident.opened_at),
        after: state(host, now),
    };
    Section::Whole(members.iter().map(line).collect())
}
