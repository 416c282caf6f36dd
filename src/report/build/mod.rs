//! From facts to the record. Pure: the same input gives the same record.

mod clocks;
mod decision;
mod follow_ups;
mod gaps;
mod impact;
mod release;
mod summary;
mod timeline;

use jiff::Timestamp;
use url::Url;

use super::input::Input;
use super::parts::Section;
use super::record::{AlertRow, FORMAT, Header, NamedLink, Record, Standing};
use super::text::Text;
use super::words::known;
use crate::domain::alert::{Alert, AlertStatus, Source, severity_rank};
use crate::domain::decision::Scope;
use crate::domain::lane::{Ending, Incident, LaneEvent, Stage};
use crate::domain::notice::Link;

/// Makes the record of one revision.
pub fn record(mut input: Input) -> Record {
    name_charts(&mut input);
    let moments = clocks::Moments::of(&input);
    let standing = standing(&input.incident);
    let clocks = moments.clocks(&input, standing);
    let laps = clocks::Moments::laps(&clocks);
    let impact = impact::impact(&input, &moments);
    let summary = summary::sentence(&input, standing, &moments, &impact);
    let change = release::change(&input);
    let timeline = timeline::rows(&input, &moments);
    let follow_ups = follow_ups::list(&input, standing, &impact);
    let mut record = Record {
        format: FORMAT,
        header: header(&input, standing),
        summary: summary.into(),
        clocks,
        laps,
        impact,
        decision: decision::judgement(&input.incident),
        alerts: input.alerts.iter().map(alert_row).collect(),
        change,
        metrics: input.metrics,
        deploy_log: input.deploy_log,
        rollback_log: input.rollback_log,
        timeline,
        hosts: input.hosts,
        messages: input.messages,
        judged: input.judged,
        follow_ups,
        missing: Vec::new(),
        links: input.links.iter().filter_map(link).collect(),
    };
    record.missing = gaps::list(&record);
    record
}

/// Charts become files beside the record, numbered like their metrics.
fn name_charts(input: &mut Input) {
    let metrics = input.metrics.value_mut().into_iter().flatten();
    for (n, metric) in (1..).zip(metrics) {
        metric.chart = metric.chart_png.is_some().then(|| format!("chart-{n}.png"));
    }
}

fn header(input: &Input, standing: Standing) -> Header {
    let incident = &input.incident;
    let opened = &incident.opened;
    Header {
        incident: incident.id.clone(),
        revision: input.revision,
        standing,
        severity: worst_severity(&input.alerts),
        service: opened.service.clone(),
        env: opened.env.clone(),
        lane: incident.lane.clone(),
        deployment: opened.deployment.clone(),
        strategy: input
            .deployment
            .as_ref()
            .map(|deployment| deployment.strategy),
        from: opened.release_id.clone(),
        target: incident
            .plan
            .as_ref()
            .map_or(&opened.target, |plan| &plan.target)
            .clone(),
        scope: scope(incident).clone(),
        execution: execution(incident).map(|id| id.as_str().into()),
        supersedes: opened.supersedes.clone(),
        generated_at: input.now,
    }
}

/// What is taken back: as sent, or as decided while nothing was sent.
fn scope(incident: &Incident) -> &Scope {
    incident
        .plan
        .as_ref()
        .map_or(&incident.opened.scope, |plan| &plan.scope)
}

/// The execution that counts.
fn execution(incident: &Incident) -> Option<&crate::domain::id::ExecutionId> {
    incident.admitted.as_ref().or(incident.execution.as_ref())
}

fn standing(incident: &Incident) -> Standing {
    let ending = incident
        .ending
        .clone()
        .or_else(|| incident.recovery.as_ref().map(|(ending, _)| ending.clone()));
    if let Some(ending) = ending {
        return match ending {
            Ending::Recovered => Standing::Recovered,
            Ending::Unverified => Standing::Unverified,
            Ending::StillBad => Standing::StillBad,
            Ending::RollbackFailed => Standing::RollbackFailed,
            Ending::Withdrawn => Standing::Withdrawn,
            Ending::Abandoned => Standing::Abandoned,
            Ending::Superseded => Standing::Superseded,
        };
    }
    let abandoned = |event: &LaneEvent| matches!(event, LaneEvent::Abandoned { .. });
    match (&incident.finished, &incident.stage) {
        (Some(end), _) if end.succeeded => Standing::RolledBack,
        (Some(_), _) => Standing::RollbackFailed,
        (None, _) if incident.events.iter().any(|entry| abandoned(&entry.event)) => {
            Standing::Abandoned
        }
        (None, Stage::Opened | Stage::Claimed { .. }) => Standing::Opened,
        (None, Stage::Submitting) => Standing::Submitting,
        (None, Stage::Submitted | Stage::Admitted) => Standing::RollingBack,
        (None, Stage::Unknown | Stage::Finished | Stage::Answered | Stage::Closed) => {
            Standing::Unknown
        }
    }
}

fn worst_severity(alerts: &[Alert]) -> Option<Text> {
    alerts
        .iter()
        .map(Alert::severity)
        .min_by_key(|word| severity_rank(word))
        .map(Text::from)
}

fn alert_row(alert: &Alert) -> AlertRow {
    AlertRow {
        fingerprint: alert.fingerprint,
        name: alert.name().into(),
        severity: alert.severity().into(),
        status: alert.status,
        started: known(alert.starts_at),
        ended: ended(alert),
        source: source(alert.source).into(),
        message: alert.message().into(),
        labels: alert
            .labels
            .iter()
            .map(|(name, value)| (Text::from(name.as_str()), Text::of_label(name, value)))
            .collect(),
    }
}

/// While an alert fires, `endsAt` is a lease and no end.
fn ended(alert: &Alert) -> Option<Timestamp> {
    let resolved = alert.status == AlertStatus::Resolved;
    alert.ends_at.filter(|_| resolved).and_then(known)
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Alertmanager => "Alertmanager",
        Source::Vmalert => "vmalert",
    }
}

fn link(link: &Link) -> Option<NamedLink> {
    Some(NamedLink {
        text: link.text.as_str().into(),
        url: address(&link.url)?,
    })
}

/// Only addresses a browser may open, and none that carry credentials.
fn address(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(Text::from(url.as_str()).to_string())
}

/// The log of an execution, when it is the one of this incident.
fn log_of<'a>(
    log: &'a Section<super::parts::ExecutionLog>,
    execution: &str,
) -> Option<&'a super::parts::ExecutionLog> {
    log.value()
        .filter(|log| log.execution.as_str() == execution)
}
