//! Which facts a message tells, in which order and words.

use serde::Serialize;

use super::value::{line, local, measured, shorten};
use super::view::{is_full, kind_word};
use super::words::Words;
use super::{ChartPlace, Voice, happened, why};
use crate::domain::deployment::Phase;
use crate::domain::notice::{Digest, Notice, NoticeKind, Told};

/// Instances a line of a digest names before it counts.
const NAMED_INSTANCES: usize = 5;

/// A labelled fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is.
    pub label: String,
    /// What it says.
    pub value: String,
    /// An identifier or expression: shown as code.
    pub code: bool,
}

struct Rows(Vec<Row>);

impl Rows {
    fn text(&mut self, label: &str, value: impl AsRef<str>) {
        self.push(label, value.as_ref(), false);
    }

    fn code(&mut self, label: &str, value: impl AsRef<str>) {
        self.push(label, value.as_ref(), true);
    }

    fn push(&mut self, label: &str, value: &str, code: bool) {
        let value = line(value);
        if !value.is_empty() {
            let label = label.to_owned();
            self.0.push(Row { label, value, code });
        }
    }
}

pub(super) fn of(
    notice: &Notice,
    voice: &Voice,
    w: &Words,
    chart: &ChartPlace,
    hosts: usize,
) -> Vec<Row> {
    let mut rows = Rows(Vec::with_capacity(16));
    if let Some(digest) = &notice.digest {
        merged(&mut rows, digest, w);
        return rows.0;
    }
    if is_full(notice.kind) {
        // Why somebody is needed comes before what it is about.
        execution(&mut rows, notice, voice, w);
        what(&mut rows, notice, voice, w);
        place(&mut rows, notice, w, hosts);
        how_bad(&mut rows, notice, w, chart);
    } else {
        if let Some(release) = &notice.release_id {
            rows.code(w.release, release.as_str());
        }
        execution(&mut rows, notice, voice, w);
        if notice.kind == NoticeKind::Recovery {
            value(&mut rows, notice, w);
        }
        if let Some(trouble) = &notice.context_missing {
            rows.text(w.detail, trouble);
        }
    }
    if let Some(told) = &notice.decision {
        decision(&mut rows, told, notice, voice, w);
    }
    if let Some(incident) = &notice.incident {
        rows.code(w.incident, incident.as_str());
    }
    rows.0
}

/// A line each: what, how often, where.
fn merged(rows: &mut Rows, digest: &Digest, w: &Words) {
    rows.text(w.merged, format!("{} ({})", digest.messages, w.at_limit));
    for it in &digest.lines {
        let mut label = kind_word(it.kind, it.status, w).to_owned();
        // Follow-ups have no severity of their own.
        if it.kind == NoticeKind::Alert {
            label = format!("{label} {}", it.severity);
        }
        let mut value = it.name.clone();
        if it.count > 1 {
            value = format!("{value} ×{}", it.count);
        }
        if !it.place.is_empty() {
            value = format!("{value} ({})", it.place);
        }
        if !it.instances.is_empty() {
            let named = it.instances.iter().take(NAMED_INSTANCES);
            let named: Vec<&str> = named.map(String::as_str).collect();
            value = format!("{value}: {}", named.join(", "));
            let rest = it.count.saturating_sub(named.len() as u64);
            if rest > 0 {
                value = format!("{value}, +{rest}");
            }
        }
        rows.text(&shorten(&line(&label), 60), shorten(&line(&value), 240));
    }
}

fn what(rows: &mut Rows, notice: &Notice, voice: &Voice, w: &Words) {
    // A page about a hold has none of its own.
    if notice.severity != "none" {
        rows.text(w.severity, &notice.severity);
    }
    let about_an_alert = notice.kind == NoticeKind::Alert;
    let unknown = || match &notice.context_missing {
        Some(why) => format!("{}: {why}", w.unknown),
        None => w.unknown.to_owned(),
    };
    let release = match (&notice.release_id, &notice.version) {
        // An id ends in the version; another one is said.
        (Some(id), Some(version)) if version != id.version() => {
            format!("{id} ({} {version})", w.version)
        }
        (Some(id), _) => id.to_string(),
        (None, _) if about_an_alert => unknown(),
        (None, _) => String::new(),
    };
    rows.text(w.release, release);
    if let Some(why) = &notice.context_missing
        && (notice.release_id.is_some() || !about_an_alert)
    {
        rows.text(w.detail, why);
    }
    if let Some(deployment) = &notice.deployment {
        rows.code(w.deployment, deployment.as_str());
    }
    if let Some(as_of) = notice.stale_as_of {
        let at = local(as_of, &voice.time_zone);
        rows.text(
            w.stale,
            format!("{} {}", w.as_of, at.as_deref().unwrap_or(w.unknown)),
        );
    }
}

fn place(rows: &mut Rows, notice: &Notice, w: &Words, hosts: usize) {
    // What an alert does not tell is said; a page tells what there is.
    let about_an_alert = notice.kind == NoticeKind::Alert;
    if notice.release_id.is_some() && (about_an_alert || !notice.batches.is_empty()) {
        let batches: Vec<String> = notice.batches.iter().map(ToString::to_string).collect();
        let batches = if batches.is_empty() {
            w.unknown.to_owned()
        } else {
            batches.join(", ")
        };
        rows.text(w.batch, batches);
    }
    match notice.phase {
        Some(phase) => rows.text(w.phase, phase_word(phase, w)),
        None if about_an_alert && notice.release_id.is_some() => rows.text(w.phase, w.unknown),
        None => {}
    }
    if notice.hosts.is_empty() {
        if about_an_alert {
            rows.text(w.hosts, w.unknown);
        }
        return;
    }
    let named: Vec<&str> = notice.hosts.iter().take(hosts).map(AsRef::as_ref).collect();
    let mut value = named.join(", ");
    if notice.hosts.len() > 1 {
        value = format!("{}: {value}", notice.hosts.len());
    }
    let rest = notice.hosts.len().saturating_sub(named.len());
    if rest > 0 {
        value = format!("{value}, +{rest} {}", w.more);
    }
    rows.text(w.hosts, value);
}

fn phase_word<'a>(phase: Phase, w: &Words) -> &'a str {
    match phase {
        Phase::Canary => w.canary,
        Phase::Between => w.between,
        Phase::Full => w.full,
    }
}

fn how_bad(rows: &mut Rows, notice: &Notice, w: &Words, chart: &ChartPlace) {
    match &notice.metric {
        Some(metric) => {
            rows.code(w.metric, &metric.expr);
            value(rows, notice, w);
        }
        None if notice.kind == NoticeKind::Alert => rows.text(w.metric, w.unknown),
        None => {}
    }
    let alt = notice.chart.as_ref().map(|chart| chart.alt.as_str());
    let not_shown = |why: &str| format!("{}: {why}", w.no_chart);
    match chart {
        ChartPlace::Beside => rows.text(w.chart, alt.unwrap_or(w.chart_follows)),
        ChartPlace::NoUrl => rows.text(w.chart, not_shown(w.chart_no_url)),
        ChartPlace::Late => rows.text(w.chart, not_shown(w.chart_late)),
        ChartPlace::Refused(why) => rows.text(w.chart, not_shown(why)),
        ChartPlace::Nowhere => {
            if let Some(why) = &notice.chart_missing {
                rows.text(w.chart, not_shown(why));
            }
        }
    }
}

fn value(rows: &mut Rows, notice: &Notice, w: &Words) {
    let Some(metric) = &notice.metric else { return };
    let write = |value: Option<f64>| {
        value.map_or_else(
            || w.unknown.to_owned(),
            |value| measured(value, &metric.unit),
        )
    };
    let mut now = write(metric.value);
    if metric.threshold.is_some() {
        now = format!("{now} ({}: {})", w.threshold, write(metric.threshold));
    }
    rows.text(w.value_now, now);
}

fn decision(rows: &mut Rows, told: &Told, notice: &Notice, voice: &Voice, w: &Words) {
    let verdict = match told.verdict.as_str() {
        "notify" => w.notify,
        "hold" => w.hold,
        "rollback_batch" => w.rollback_batch,
        "rollback_full" => w.rollback_full,
        other => other,
    };
    let scope = told.scope.as_deref().map(|scope| scope_words(scope, w));
    let scope = scope.map_or_else(String::new, |scope| format!(" ({scope})"));
    let verdict = if told.shadow {
        format!("{}: {verdict}{scope}", w.shadow)
    } else {
        format!("{verdict}{scope}")
    };
    rows.text(w.decision, verdict);
    if is_full(notice.kind) || notice.execution.is_none() {
        // A rule that is followed is its own reason.
        let by_rule = told.rule.as_ref().map(|rule| format!("rule {rule}"));
        if by_rule.as_ref() != Some(&told.why) {
            rows.text(w.why, why::told(voice.locale, told));
        }
        if let Some(rule) = &told.rule {
            rows.text(w.rule, rule);
        }
    }
    if let Some(target) = &told.target {
        rows.code(w.target, target.as_str());
    }
    if is_full(notice.kind) {
        rows.text(w.suspects, told.suspects.join(", "));
    }
}

/// `batch 1+2` or `full` in the channel's language.
fn scope_words(scope: &str, w: &Words) -> String {
    match (scope, scope.strip_prefix("batch ")) {
        ("full", _) => w.full.to_owned(),
        (_, Some(batches)) => format!("{} {batches}", w.batch_scope),
        (other, None) => other.to_owned(),
    }
}

fn execution(rows: &mut Rows, notice: &Notice, voice: &Voice, w: &Words) {
    let execution = notice.execution.as_ref();
    if let Some(execution) = execution {
        let ran = format!("{} {}", execution.pipeline, execution.id);
        rows.text(w.execution, ran);
        rows.text(w.status, execution.status.as_deref().unwrap_or_default());
    }
    let detail = execution.and_then(|execution| execution.detail.as_deref());
    let detail = detail.filter(|detail| !detail.is_empty());
    let said = match (&notice.happened, detail) {
        (Some(happened), Some(detail)) => {
            w.with_detail(&happened::told(happened, voice, w), detail)
        }
        (Some(happened), None) => happened::told(happened, voice, w),
        (None, detail) => detail.unwrap_or_default().to_owned(),
    };
    rows.text(w.detail, said);
}
