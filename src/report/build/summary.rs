//! The whole story in one sentence, from facts alone.

use jiff::Timestamp;

use super::super::input::Input;
use super::super::parts::{MetricSnapshot, Role, Side};
use super::super::record::{Impact, Standing};
use super::super::text::{Sample, Text};
use super::super::words::{count, duration, measured, scope as scope_words, seconds, time};
use super::clocks::Moments;
use super::{scope, worst_severity};
use crate::domain::alert::Alert;
use crate::domain::decision::Scope;
use crate::domain::lane::{LaneEvent, Origin};

/// How much of a foreign text the sentence repeats.
const QUOTED: usize = 160;

pub(super) fn sentence(
    input: &Input,
    standing: Standing,
    moments: &Moments,
    impact: &Impact,
) -> String {
    let mut parts = vec![
        beginning(input, moments, impact),
        outcome(input, standing, moments),
    ];
    parts.extend(values(input, moments));
    format!("{}.", parts.join("; "))
}

fn beginning(input: &Input, moments: &Moments, impact: &Impact) -> String {
    let opened = &input.incident.opened;
    let at = |at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("At {}, ", time(at)));
    let place = format!("{}/{}", opened.service, opened.env);
    let version = opened.release_id.version();
    let spread = spread(scope(&input.incident), impact);
    if let Origin::Manual { by, reason, .. } = &opened.origin {
        let reason = Text::from(reason.as_str()).line(QUOTED);
        let by = Text::from(by.as_str()).line(QUOTED);
        return format!(
            "{}{by} asked to take release {version} back on {place}, {spread} (\"{reason}\")",
            at(moments.decided)
        );
    }
    let Some(first) = first_alert(&input.alerts) else {
        return format!(
            "{}the rules accused release {version} on {place}, {spread}",
            at(moments.decided)
        );
    };
    let name = Text::from(first.name()).line(QUOTED);
    let more = match input.alerts.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {}", count(more, "more alert", "more alerts")),
    };
    let severity = worst_severity(&input.alerts)
        .filter(|word| word.as_str() != "none")
        .map_or_else(String::new, |word| format!(" ({})", word.line(QUOTED)));
    format!(
        "{}{name}{severity}{more} fired on {place} for release {version}, {spread}",
        at(moments.alert.or(moments.received).or(moments.decided))
    )
}

fn first_alert(alerts: &[Alert]) -> Option<&Alert> {
    alerts.iter().min_by_key(|alert| alert.starts_at)
}

/// `batch 2 (9 of 36 hosts, 25 %)`
fn spread(scope: &Scope, impact: &Impact) -> String {
    let scope = scope_words(scope);
    let part = impact.in_scope.len();
    match impact.fleet {
        Some(fleet) if part > 0 => {
            let share = super::super::words::share(part, fleet).unwrap_or_default();
            let share = measured(share, &"ratio".into());
            format!(
                "{scope} ({part} of {}, {share})",
                count(fleet, "host", "hosts")
            )
        }
        _ if part > 0 => format!("{scope} ({})", count(part, "host", "hosts")),
        _ => scope,
    }
}

fn outcome(input: &Input, standing: Standing, moments: &Moments) -> String {
    let incident = &input.incident;
    let target = incident
        .plan
        .as_ref()
        .map_or(&incident.opened.target, |plan| &plan.target)
        .version();
    let what = scope_words(scope(incident));
    let goes = if what.starts_with("batches") {
        "were"
    } else {
        "was"
    };
    let took = |from: Option<Timestamp>, to: Option<Timestamp>, word: &str| {
        let lap = from.zip(to).map(|(from, to)| seconds(from, to));
        lap.filter(|lap| *lap >= 0.0)
            .map_or_else(String::new, |lap| format!(" {word} {}", duration(lap)))
    };
    let rolled = format!(
        "{what} {goes} rolled back to {target}{}",
        took(moments.accepted, moments.finished, "in")
    );
    match standing {
        Standing::Opened => format!("the rollback to {target} is decided and nothing is sent yet"),
        Standing::Submitting => format!("the rollback to {target} is being sent to Spinnaker"),
        Standing::Unknown => {
            format!("nobody can tell yet whether Spinnaker has the rollback to {target}")
        }
        Standing::RollingBack => format!(
            "Spinnaker accepted the rollback to {target}{} and is at work",
            took(moments.decided, moments.accepted, "within")
        ),
        Standing::RolledBack => format!("{rolled}; whether it helped is not known yet"),
        Standing::Recovered => format!(
            "{rolled} and the service recovered{}",
            took(moments.finished, moments.recovered, "after")
        ),
        Standing::Unverified => format!("{rolled}; nothing could say whether it helped"),
        Standing::StillBad => format!("{rolled}, and the metrics are still bad"),
        Standing::RollbackFailed => format!(
            "the rollback to {target} FAILED{}{}: a person must act",
            took(moments.accepted, moments.finished, "after"),
            failure(input)
        ),
        Standing::Withdrawn => {
            format!("the rollback to {target} was withdrawn before anything was sent")
        }
        Standing::Abandoned => format!("the rollback to {target} was given up{}", abandoned(input)),
        Standing::Superseded => {
            format!("the rollback to {target} gave way to a wider one")
        }
    }
}

fn failure(input: &Input) -> String {
    let Some(end) = &input.incident.finished else {
        return String::new();
    };
    let status = Text::from(end.status.as_str()).line(QUOTED);
    let detail = Text::from(end.detail.as_str()).line(QUOTED);
    if detail.is_empty() {
        format!(" ({status})")
    } else {
        format!(" ({status}: {detail})")
    }
}

fn abandoned(input: &Input) -> String {
    let who = input
        .incident
        .events
        .iter()
        .find_map(|entry| match &entry.event {
            LaneEvent::Abandoned { by, why, .. } => Some((by, why)),
            _ => None,
        });
    who.map_or_else(String::new, |(by, why)| {
        let (by, why) = (Text::from(by.as_str()), Text::from(why.as_str()));
        format!(" by {} (\"{}\")", by.line(QUOTED), why.line(QUOTED))
    })
}

/// `error ratio 5.9 % → 0.2 %`: the worst accused value last seen before the decision, and the
/// last one after the end. Series of a release that was taken away stop where they were bad: such
/// a value says nothing about afterwards.
fn values(input: &Input, moments: &Moments) -> Option<String> {
    let metric = input.metrics.value()?.first()?;
    let bad = worst_up_to(metric, moments.first_bad, moments.decided?)?;
    let title = metric.title.line(QUOTED);
    let before = measured(bad, &metric.unit);
    let is_bad = |value: f64| metric.threshold.is_some_and(|line| line.is_bad(value));
    let after = moments.finished.and_then(|end| worst_after(metric, end));
    let after = after.filter(|after| !is_bad(*after));
    Some(match after {
        Some(after) => format!("{title} {before} → {}", measured(after, &metric.unit)),
        None => format!("{title} {before} at the decision"),
    })
}

fn accused(metric: &MetricSnapshot) -> impl Iterator<Item = &[Sample]> {
    metric
        .series
        .iter()
        .filter(|series| series.role == Role::Accused)
        .map(|series| series.points.as_slice())
}

fn worst(metric: &MetricSnapshot, values: impl Iterator<Item = f64>) -> Option<f64> {
    let side = metric.threshold.map_or(Side::Above, |line| line.bad);
    values
        .filter(|value| value.is_finite())
        .reduce(|a, b| match side {
            Side::Above => a.max(b),
            Side::Below => a.min(b),
        })
}

fn worst_up_to(metric: &MetricSnapshot, from: Option<Timestamp>, to: Timestamp) -> Option<f64> {
    let within = |at: Timestamp| at <= to && from.is_none_or(|from| at >= from);
    let last = |points: &[Sample]| {
        let inside = points.iter().rev().find(|Sample(at, _)| within(*at));
        inside.map(|Sample(_, value)| value.0)
    };
    worst(metric, accused(metric).filter_map(last))
}

fn worst_after(metric: &MetricSnapshot, end: Timestamp) -> Option<f64> {
    let last = |points: &[Sample]| {
        let last = points.last().filter(|Sample(at, _)| *at >= end);
        last.map(|Sample(_, value)| value.0)
    };
    worst(metric, accused(metric).filter_map(last))
}
