//! What this revision does not know, and why.

use super::super::parts::Section;
use super::super::record::{Asked, Change, Gap, Record, ReleaseFacts};
use super::super::text::Text;

pub(super) fn list(record: &Record) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (name, clock) in record.clocks.named() {
        if clock.at.is_none() {
            gaps.push(gap(name, &clock.note));
        }
    }
    if let Some(note) = &record.impact.note {
        gaps.push(gap("Impact", note));
    }
    if record.decision.evidence.is_empty() && record.decision.asked == Asked::Rules {
        gaps.push(gap(
            "Evidence",
            &"none was recorded with the decision".into(),
        ));
    }
    if record.alerts.is_empty() && record.decision.asked == Asked::Rules {
        gaps.push(gap("Alerts", &"they are not at hand".into()));
    }
    releases(&record.change, &mut gaps);
    section("Commits", &record.change.commits, &mut gaps);
    section("Metrics", &record.metrics, &mut gaps);
    charts(record, &mut gaps);
    section("Deployment log", &record.deploy_log, &mut gaps);
    section("Rollback log", &record.rollback_log, &mut gaps);
    section("Hosts", &record.hosts, &mut gaps);
    section("Messages", &record.messages, &mut gaps);
    section("Decisions and holds", &record.judged, &mut gaps);
    gaps
}

fn gap(what: &str, why: &Text) -> Gap {
    Gap {
        what: what.into(),
        why: why.clone(),
    }
}

fn section<T>(what: &str, section: &Section<T>, gaps: &mut Vec<Gap>) {
    gaps.extend(section.why().map(|why| gap(what, why)));
}

fn releases(change: &Change, gaps: &mut Vec<Gap>) {
    for release in [&change.from, &change.target] {
        if !is_known(release) {
            gaps.push(gap(
                &format!("Release {}", release.id),
                &"no document of it was published".into(),
            ));
        }
    }
}

fn is_known(release: &ReleaseFacts) -> bool {
    release.reversible.is_some()
}

fn charts(record: &Record, gaps: &mut Vec<Gap>) {
    for metric in record.metrics.value().into_iter().flatten() {
        if metric.chart.is_none() {
            gaps.push(gap(
                &format!("Chart of {}", metric.title.line(80)),
                &"not drawn in time; the raw points are in the record".into(),
            ));
        }
    }
}
