//! Notices: the facts of a message, put together from alerts, context and decision.

use jiff::Timestamp;

use super::core::Core;
use super::holds::Held;
use super::setup::Setup;
use crate::config::Config;
use crate::domain::alert::{Alert, AlertStatus, severity_rank};
use crate::domain::context::Resolution;
use crate::domain::decision::{Code, Decision};
use crate::domain::evidence::Verify;
use crate::domain::id::{ExecutionId, IncidentId};
use crate::domain::lane::{FinishedExecution, Incident, Plan};
use crate::domain::notice::{AlertLine, Execution, Link, Metric, Notice, NoticeKind, Told};
use crate::domain::release::Release;

/// One alert's line.
pub(super) fn line(alert: &Alert) -> AlertLine {
    AlertLine {
        fingerprint: alert.fingerprint,
        name: alert.name().to_owned(),
        severity: alert.severity().to_owned(),
        status: alert.status,
        starts_at: alert.starts_at,
        message: alert.message().to_owned(),
        labels: alert.labels.clone(),
    }
}

/// Adds alerts: subject, status and severity follow from them.
pub(super) fn with_alerts<'a>(notice: &mut Notice, alerts: impl IntoIterator<Item = &'a Alert>) {
    notice.alerts = alerts.into_iter().map(line).collect();
    let firing = notice.alerts.iter().any(AlertLine::is_firing);
    notice.status = if firing {
        AlertStatus::Firing
    } else {
        AlertStatus::Resolved
    };
    let lines = notice.alerts.iter();
    if let Some(worst) = lines.min_by_key(|line| severity_rank(&line.severity)) {
        notice.severity.clone_from(&worst.severity);
    }
    let mut names: Vec<&str> = notice
        .alerts
        .iter()
        .map(|line| line.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    notice.subject = match names.as_slice() {
        [] => notice.subject.clone(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    };
}

/// Adds release, batch and hosts, or says why they are missing.
pub(super) fn with_resolution(notice: &mut Notice, resolution: &Resolution, now: Timestamp) {
    notice.service = resolution.service().cloned();
    notice.env = resolution.env().cloned();
    match resolution {
        Resolution::Found(context) => {
            notice.release_id = Some(context.release_id.clone());
            notice.version = Some(version(&context.release_id, context.release.as_ref()));
            notice.deployment = Some(context.deployment.id.clone());
            notice.batches.clone_from(&context.batches);
            notice.phase = Some(context.deployment.phase(now));
            notice.hosts.clone_from(&context.hosts);
            notice.stale_as_of = context.freshness.stale.then_some(context.freshness.as_of);
        }
        Resolution::Ambiguous { .. } | Resolution::Unavailable { .. } => {
            notice.context_missing = Some(resolution.words());
        }
    }
}

/// Adds what was decided.
pub(super) fn with_decision(notice: &mut Notice, decision: &Decision) {
    notice.decision = Some(Told {
        verdict: decision.verdict.as_str().to_owned(),
        shadow: decision.shadow,
        scope: decision.scope.as_ref().map(ToString::to_string),
        rule: decision.rule.clone(),
        why: decision.why(),
        code: decision
            .deciding_guard()
            .map_or(Code::Unstated, |guard| guard.code),
        target: decision.target.clone(),
        suspects: decision
            .suspects
            .iter()
            .map(|one| format!("{} ({})", one.release_id, one.deployment))
            .collect(),
    });
    notice.incident.clone_from(&decision.incident);
    if decision.phase.is_some() {
        notice.phase = decision.phase;
    }
    if let (Some(metric), Some(Verify::Holds(measured))) = (
        &mut notice.metric,
        decision.evidence.as_ref().map(|evidence| &evidence.verify),
    ) {
        metric.value = Some(measured.value);
    }
}

/// The version people know a release by.
pub(super) fn version(id: &crate::domain::id::ReleaseId, release: Option<&Release>) -> String {
    release.map_or_else(
        || id.version().to_owned(),
        |release| release.version.clone(),
    )
}

/// How values of an expression are written: seconds and bytes by the unit suffix of its metric
/// names, a ratio where one rate is divided by another, or the name says so.
pub(super) fn unit(expr: &str) -> &'static str {
    if expr.contains("_seconds")
        && !expr.contains("cpu_seconds")
        && !expr.contains("_seconds_count")
    {
        "seconds"
    } else if expr.contains("_bytes") {
        "bytes"
    } else if expr.contains('/') || expr.contains("_ratio") {
        "ratio"
    } else {
        ""
    }
}

/// A metric without a value yet.
pub(super) fn metric(expr: &str, threshold: Option<f64>, value: Option<f64>) -> Metric {
    Metric {
        expr: expr.to_owned(),
        value,
        threshold,
        unit: unit(expr).to_owned(),
    }
}

impl AlertLine {
    fn is_firing(&self) -> bool {
        self.status == AlertStatus::Firing
    }
}

/// Links a message offers: the incident or the start page, and Spinnaker's.
pub(super) fn links(
    config: &Config,
    incident: Option<&IncidentId>,
    execution: Option<(&Plan, &ExecutionId)>,
) -> Vec<Link> {
    let mut links = Vec::new();
    let mut add = |base: &url::Url, path: &str, text: &str| {
        let url = format!("{}/{path}", base.as_str().trim_end_matches('/'));
        links.push(Link {
            text: text.to_owned(),
            url,
        });
    };
    if let Some(base) = &config.web.external_url {
        match incident {
            Some(id) => add(base, &format!("incidents/{id}"), Link::INCIDENT),
            None => add(base, "", "Backstop"),
        }
    }
    let deck = config
        .spinnaker
        .as_ref()
        .and_then(|spinnaker| spinnaker.deck.as_ref());
    if let (Some(deck), Some((plan, id))) = (deck, execution) {
        let place = match plan.task {
            Some(_) => "tasks",
            None => "executions/details",
        };
        let path = format!("#/applications/{}/{place}/{id}", plan.application);
        add(deck, &path, "Spinnaker");
    }
    links
}

impl Core {
    /// Links a message offers: the incident or the start page, and Spinnaker's.
    pub(super) fn links(
        setup: &Setup,
        incident: Option<&IncidentId>,
        execution: Option<(&Plan, &ExecutionId)>,
    ) -> Vec<Link> {
        links(&setup.config, incident, execution)
    }

    /// What a hold says to people.
    pub(super) fn hold_notice(&self, setup: &Setup, held: &Held, subject: &str) -> Notice {
        let decision = &held.decision;
        let mut notice = Notice::blank(
            NoticeKind::HoldPage,
            &held.thread,
            subject,
            self.ground.clock.now(),
        );
        notice.service.clone_from(&decision.service);
        notice.env.clone_from(&decision.env);
        notice.release_id.clone_from(&decision.release_id);
        notice.version = decision.release_id.as_ref().map(|id| version(id, None));
        notice.deployment.clone_from(&decision.deployment);
        notice.hosts.clone_from(&decision.hosts);
        with_decision(&mut notice, decision);
        notice.links = Self::links(setup, decision.incident.as_ref(), None);
        notice
    }

    /// What an incident says to people; the caller adds what happened.
    pub(super) fn incident_notice(
        &self,
        setup: &Setup,
        incident: &Incident,
        kind: NoticeKind,
    ) -> Notice {
        let opened = &incident.opened;
        let subject = opened.release_id.as_str();
        let mut notice = Notice::blank(kind, &opened.thread, subject, self.ground.clock.now());
        notice.service = Some(opened.service.clone());
        notice.env = Some(opened.env.clone());
        notice.release_id = Some(opened.release_id.clone());
        notice.version = Some(version(&opened.release_id, None));
        notice.deployment = Some(opened.deployment.clone());
        if let crate::domain::decision::Scope::Batch(batches) = incident.scope() {
            notice.batches.clone_from(batches);
        }
        let plan = incident.plan.as_ref();
        notice.hosts = plan.map_or_else(|| opened.hosts.clone(), |plan| plan.hosts.clone());
        with_decision(&mut notice, &opened.decision);
        if let Some(told) = &mut notice.decision {
            told.target =
                Some(plan.map_or_else(|| opened.target.clone(), |plan| plan.target.clone()));
            told.scope = Some(incident.scope().to_string());
        }
        notice.incident = Some(incident.id.clone());
        let execution = incident.execution.as_ref();
        notice.execution = execution.map(|id| Execution {
            id: id.to_string(),
            pipeline: plan.map(|plan| plan.pipeline.clone()).unwrap_or_default(),
            status: incident.finished.as_ref().map(status),
            detail: None,
        });
        notice.links = Self::links(setup, Some(&incident.id), plan.zip(execution));
        notice
    }
}

/// Spinnaker's word; where the cluster does not bear it out, that is said.
fn status(finished: &FinishedExecution) -> String {
    if !finished.succeeded && finished.status == "SUCCEEDED" {
        return format!("{}, not believed", finished.status);
    }
    finished.status.clone()
}
