//! Notices: the facts of a message, put together from alerts, context and decision.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::core::Core;
use super::holds::Held;
use super::setup::Setup;
use crate::domain::alert::{Alert, AlertStatus};
use crate::domain::context::Resolution;
use crate::domain::decision::Decision;
use crate::domain::evidence::Verify;
use crate::domain::id::IncidentId;
use crate::domain::lane::Incident;
use crate::domain::notice::{AlertLine, Execution, Link, Metric, Notice, NoticeKind, Told};
use crate::domain::release::Release;

/// Severities, worst first; an unknown one stands behind them.
const SEVERITIES: [&str; 5] = ["page", "critical", "error", "warning", "info"];

/// A notice that says nothing yet.
pub(super) fn blank(kind: NoticeKind, thread: &str, subject: &str, at: Timestamp) -> Notice {
    Notice {
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
        metric: None,
        chart: None,
        chart_missing: None,
        decision: None,
        incident: None,
        execution: None,
        links: Vec::new(),
    }
}

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
    let rank = |severity: &str| {
        SEVERITIES
            .iter()
            .position(|known| *known == severity)
            .unwrap_or(SEVERITIES.len())
    };
    if let Some(worst) = notice.alerts.iter().min_by_key(|line| rank(&line.severity)) {
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
        Resolution::Ambiguous { candidates, .. } => {
            notice.context_missing = Some(format!(
                "more than one release fits: {}",
                candidates.join(", ")
            ));
        }
        Resolution::Unavailable { reason, .. } => notice.context_missing = Some(reason.clone()),
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
        target: decision.target.clone(),
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
/// names, a ratio where one rate is divided by another.
pub(super) fn unit(expr: &str) -> &'static str {
    if expr.contains("_seconds")
        && !expr.contains("cpu_seconds")
        && !expr.contains("_seconds_count")
    {
        "seconds"
    } else if expr.contains("_bytes") {
        "bytes"
    } else if expr.contains('/') {
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

impl Core {
    /// Links a message offers: the incident or the start page, and Spinnaker's.
    pub(super) fn links(
        setup: &Setup,
        incident: Option<&IncidentId>,
        execution: Option<(&str, &str)>,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        let mut add = |base: &url::Url, path: &str, text: &str| {
            let url = format!("{}/{path}", base.as_str().trim_end_matches('/'));
            links.push(Link {
                text: text.to_owned(),
                url,
            });
        };
        if let Some(base) = &setup.config.web.external_url {
            match incident {
                Some(id) => add(base, &format!("incidents/{id}"), "Incident"),
                None => add(base, "", "Backstop"),
            }
        }
        let deck = setup
            .config
            .spinnaker
            .as_ref()
            .and_then(|spinnaker| spinnaker.deck.as_ref());
        if let (Some(deck), Some((application, id))) = (deck, execution) {
            add(
                deck,
                &format!("#/applications/{application}/executions/details/{id}"),
                "Spinnaker",
            );
        }
        links
    }

    /// What a hold says to people.
    pub(super) fn hold_notice(&self, setup: &Setup, held: &Held, subject: &str) -> Notice {
        let decision = &held.decision;
        let mut notice = blank(
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
        subject: &str,
    ) -> Notice {
        let opened = &incident.opened;
        let mut notice = blank(kind, &opened.thread, subject, self.ground.clock.now());
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
            status: incident
                .finished
                .as_ref()
                .map(|finished| finished.status.clone()),
            detail: None,
        });
        let spinnaker = plan
            .zip(execution)
            .map(|(plan, id)| (plan.application.as_str(), id.as_str()));
        notice.links = Self::links(setup, Some(&incident.id), spinnaker);
        notice
    }
}
