//! Everything that happened, from every source, in one order.

use jiff::Timestamp;

use super::super::input::Input;
use super::super::parts::{ExecutionLog, JudgedLine, Judging};
use super::super::record::Row;
use super::super::text::Text;
use super::super::words::{self, count, duration, known, scope as scope_words, seconds};
use super::clocks::Moments;
use super::{ended, source};
use crate::domain::deployment::Deployment;
use crate::domain::lane::{Answer, Ending, LaneEntry, LaneEvent, Opened, Origin, Via};

const GATEWAY: &str = "Backstop";
const SPINNAKER: &str = "Spinnaker";
/// How much of a log message a row repeats; the log has all of it.
const QUOTED: usize = 300;

/// Rows are added in the order of causes, so that a stable sort keeps a cause before its effect
/// when both carry the same time.
pub(super) fn rows(input: &Input, moments: &Moments) -> Vec<Row> {
    let mut rows = Rows::default();
    if let Some(release) = &input.from {
        let by = Text::from(release.created_by.as_str()).line(QUOTED);
        rows.add(
            release.created_at,
            "Releases",
            format!("{} was published by {by}", release.id),
        );
    }
    rows.batches(input.deployment.as_ref());
    match input.deploy_log.value() {
        Some(log) => rows.execution(log, "deployment"),
        None => rows.deployment(input.deployment.as_ref()),
    }
    rows.add_known(
        moments.first_bad,
        "Metrics",
        "first bad sample of the accused".to_owned(),
    );
    rows.alerts(input);
    rows.add_known(
        moments.received,
        GATEWAY,
        "the alert was received".to_owned(),
    );
    for line in input.judged.value().into_iter().flatten() {
        rows.add(line.at, GATEWAY, judged(line));
    }
    for entry in &input.incident.events {
        rows.lane(entry);
    }
    if let Some(log) = input.rollback_log.value() {
        rows.execution(log, "rollback");
    }
    for message in input.messages.value().into_iter().flatten() {
        let text = format!(
            "{} told through {}: {}",
            words::notice(message.kind),
            message.channel,
            message.status.line(QUOTED)
        );
        rows.add(message.at, "Channels", text);
    }
    rows.0.sort_by_key(|row| row.at);
    rows.0
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, at: Timestamp, source: &str, text: String) {
        self.add_known(known(at), source, text);
    }

    fn add_known(&mut self, at: Option<Timestamp>, source: &str, text: String) {
        self.0.extend(at.map(|at| Row {
            at,
            source: source.into(),
            text: text.into(),
        }));
    }

    fn deployment(&mut self, deployment: Option<&Deployment>) {
        let Some(deployment) = deployment else { return };
        let started = deployment.started_at.and_then(known);
        let text = format!(
            "deployment {} of {} started",
            deployment.id, deployment.release_id
        );
        self.add_known(started, SPINNAKER, text);
    }

    fn batches(&mut self, deployment: Option<&Deployment>) {
        for batch in deployment.iter().flat_map(|deployment| &deployment.batches) {
            let hosts = count(batch.hosts.len(), "host", "hosts");
            let started = batch.started_at.and_then(known);
            self.add_known(
                started,
                SPINNAKER,
                format!("batch {} started on {hosts}", batch.n),
            );
            let finished = batch.finished_at.and_then(known);
            let status = words::status(batch.status);
            self.add_known(
                finished,
                SPINNAKER,
                format!("batch {} ended: {status}", batch.n),
            );
        }
    }

    fn alerts(&mut self, input: &Input) {
        for alert in &input.alerts {
            let name = Text::from(alert.name()).line(QUOTED);
            let from = source(alert.source);
            self.add(alert.starts_at, from, format!("{name} started firing"));
            self.add_known(ended(alert), from, format!("{name} was resolved"));
        }
    }

    /// Starts and ends of an execution; each stage is one row, at its start.
    fn execution(&mut self, log: &ExecutionLog, what: &str) {
        let name = format!("{what} execution {} ({})", log.execution, log.pipeline);
        let started = log.started.and_then(known);
        self.add_known(started, SPINNAKER, format!("{name} started"));
        for stage in &log.stages {
            let took = stage.started.zip(stage.finished);
            let took = took
                .map(|(from, to)| seconds(from, to))
                .filter(|took| *took >= 0.0);
            let took = took.map_or_else(String::new, |took| format!(", took {}", duration(took)));
            let said = stage.message.as_ref().filter(|text| !text.is_empty());
            let said = said.map_or_else(String::new, |text| format!(": {}", text.line(QUOTED)));
            let text = format!(
                "{what} stage \"{}\": {}{took}{said}",
                stage.name, stage.status
            );
            self.add_known(stage.started.and_then(known), SPINNAKER, text);
        }
        let finished = log.finished.and_then(known);
        self.add_known(finished, SPINNAKER, format!("{name} ended: {}", log.status));
    }

    fn lane(&mut self, entry: &LaneEntry) {
        let text = match &entry.event {
            LaneEvent::Batch {
                deployment,
                release_id,
                n,
                hosts,
                ..
            } => format!(
                "batch {n} of deployment {deployment} ({release_id}) was let through to {}",
                count(hosts.len(), "host", "hosts")
            ),
            LaneEvent::Opened(opened) => self::opened(opened),
            event => progress(event),
        };
        self.add(entry.at, GATEWAY, text);
    }
}

fn judged(line: &JudgedLine) -> String {
    let why = line.why.line(QUOTED);
    match &line.what {
        Judging::Decided { verdict, shadow } => {
            let verdict = verdict.replace('_', " ");
            let shadow = if *shadow { " (shadow: not done)" } else { "" };
            format!("judged the accusation: {verdict}{shadow}: {why}")
        }
        Judging::Paged => format!("people were paged about the hold: {why}"),
        Judging::HoldEnded => format!("the hold ended: {why}"),
    }
}

fn opened(opened: &Opened) -> String {
    let by = match &opened.origin {
        Origin::Automatic => opened.decision.rule.as_ref().map_or_else(
            || "by the rules".to_owned(),
            |rule| format!("by rule {rule}"),
        ),
        Origin::Manual { by, reason, .. } => format!("by {by} (\"{reason}\")"),
    };
    let escalates = opened
        .supersedes
        .as_ref()
        .map_or_else(String::new, |old| format!("; it escalates {old}"));
    format!(
        "decided {by}: take {} back to {}; deployment {} gets no further batch{escalates}",
        scope_words(&opened.scope),
        opened.target,
        opened.deployment
    )
}

fn progress(event: &LaneEvent) -> String {
    match event {
        LaneEvent::Batch { .. } | LaneEvent::Opened(_) => String::new(),
        LaneEvent::Asked(asked) => format!(
            "people were asked whether to take {} back to {}",
            scope_words(&asked.scope),
            asked.target
        ),
        LaneEvent::Approved { answer, .. } => answered("approved it", answer),
        LaneEvent::Denied { answer, .. } => answered("said no", answer),
        LaneEvent::Cleared { answer, .. } => answered("took the no back", answer),
        LaneEvent::Expired { .. } => "nobody answered in time".to_owned(),
        LaneEvent::Lapsed { why, .. } => format!("the question fell away: {why}"),
        LaneEvent::Claimed { owner, .. } => format!("replica {owner} took the incident in hand"),
        LaneEvent::Submitting { attempt, plan, .. } => format!(
            "asking Spinnaker to run {}/{} (attempt {attempt})",
            plan.application, plan.pipeline
        ),
        LaneEvent::Submitted {
            attempt, execution, ..
        } => {
            format!("Spinnaker accepted attempt {attempt} as execution {execution}")
        }
        LaneEvent::Admitted { execution, .. } => {
            format!("execution {execution} was admitted: no other one may touch hosts")
        }
        LaneEvent::Voided { attempt, why, .. } => {
            format!("attempt {attempt} came to nothing: {why}")
        }
        LaneEvent::Unknown { attempt, why, .. } => {
            format!("whether Spinnaker has attempt {attempt} can't be told: {why}")
        }
        LaneEvent::Finished {
            execution,
            status,
            succeeded,
            detail,
            ..
        } => {
            let verdict = if *succeeded {
                "it did what it was for"
            } else {
                "it FAILED"
            };
            format!(
                "execution {execution} was seen to end {status}: {verdict}{}",
                tail(detail)
            )
        }
        LaneEvent::Recovery { ending, detail, .. } => {
            format!("recovery: {}{}", self::ending(ending), tail(detail))
        }
        LaneEvent::Reported { revision, .. } => {
            format!("revision {revision} of the report was kept")
        }
        LaneEvent::Abandoned { by, why, .. } => format!("{by} gave the incident up: {why}"),
        LaneEvent::Closed { ending, why, .. } => {
            format!("closed as {}{}", self::ending(ending), tail(why))
        }
    }
}

fn answered(what: &str, answer: &Answer) -> String {
    let via = match &answer.via {
        Via::Token => String::new(),
        Via::Link { channel, .. } => format!(" by the link sent to {channel}"),
    };
    format!("{} {what}{via}: \"{}\"", answer.by, answer.reason)
}

fn tail(detail: &str) -> String {
    if detail.trim().is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    }
}

fn ending(ending: &Ending) -> &'static str {
    match ending {
        Ending::Recovered => "recovered",
        Ending::Unverified => "unverified",
        Ending::StillBad => "still bad",
        Ending::RollbackFailed => "rollback failed",
        Ending::Withdrawn => "withdrawn",
        Ending::Abandoned => "abandoned",
        Ending::Superseded => "superseded",
    }
}
