//! When what happened, and how long it took.

use jiff::Timestamp;

use super::super::input::Input;
use super::super::parts::{MetricSnapshot, Role};
use super::super::record::{Clock, Clocks, Lap, Laps, Standing};
use super::super::text::Sample;
use super::super::words::{duration, known, seconds};
use super::{execution, log_of};
use crate::domain::lane::{Ending, Incident, LaneEvent, Origin};

/// The moments that are known.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// When the accused release reached its first host.
    pub exposed: Option<Timestamp>,
    pub first_bad: Option<Timestamp>,
    pub alert: Option<Timestamp>,
    pub received: Option<Timestamp>,
    pub decided: Option<Timestamp>,
    pub accepted: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Whether Spinnaker's own clock says when it finished.
    finished_by_spinnaker: bool,
    pub recovered: Option<Timestamp>,
}

impl Moments {
    pub(super) fn of(input: &Input) -> Self {
        let incident = &input.incident;
        let opened = &incident.opened;
        let exposed = exposed(input);
        let decided = known(match opened.origin {
            Origin::Automatic => opened.decision.at,
            Origin::Manual { .. } => incident.opened_at,
        });
        let metric = input.metrics.value().and_then(|metrics| metrics.first());
        let by_spinnaker = execution(incident)
            .and_then(|id| log_of(&input.rollback_log, id.as_str()))
            .and_then(|log| log.finished)
            .and_then(known);
        let seen = incident.finished.as_ref().and_then(|end| known(end.at));
        Self {
            exposed,
            first_bad: metric.and_then(|metric| first_bad(metric, exposed)),
            alert: input
                .alerts
                .iter()
                .filter_map(|alert| known(alert.starts_at))
                .min(),
            received: input.received_at.and_then(known),
            decided,
            accepted: incident.submitted_at.and_then(known),
            finished: seen.map(|seen| by_spinnaker.unwrap_or(seen)),
            finished_by_spinnaker: by_spinnaker.is_some(),
            recovered: recovered(incident),
        }
    }

    pub(super) fn clocks(&self, input: &Input, standing: Standing) -> Clocks {
        let manual = matches!(input.incident.opened.origin, Origin::Manual { .. });
        let no_alert = if manual && input.alerts.is_empty() {
            "none: a person asked"
        } else if input.alerts.is_empty() {
            "the alert is not at hand"
        } else {
            "its sender gave no time"
        };
        let finished_by = if self.finished_by_spinnaker {
            "Spinnaker's clock"
        } else {
            "when the gateway saw it"
        };
        Clocks {
            first_bad_sample: clock(self.first_bad, "the metric's samples", no_bad_sample(input)),
            alert_started: clock(self.alert, "the alert's startsAt", no_alert),
            received: clock(
                self.received,
                "the gateway's clock",
                if manual {
                    "none: a person asked"
                } else {
                    "not recorded"
                },
            ),
            decided: clock(self.decided, "the gateway's clock", "not recorded"),
            accepted: clock(
                self.accepted,
                "the gateway's clock, at Spinnaker's answer",
                not_accepted(standing),
            ),
            finished: clock(self.finished, finished_by, not_finished(standing)),
            recovered: clock(
                self.recovered,
                "the gateway's clock, at the metrics store's answer",
                not_recovered(standing),
            ),
        }
    }

    pub(super) fn laps(clocks: &Clocks) -> Laps {
        let lap = |from: &Clock, to: &Clock| match (from.at, to.at) {
            (Some(from), Some(to)) => between(from, to),
            (None, _) => no_lap(from.note.as_str()),
            (_, None) => no_lap(to.note.as_str()),
        };
        Laps {
            detect: lap(&clocks.first_bad_sample, &clocks.received),
            decide: lap(&clocks.received, &clocks.decided),
            accept: lap(&clocks.decided, &clocks.accepted),
            roll_back: lap(&clocks.accepted, &clocks.finished),
            recover: lap(&clocks.finished, &clocks.recovered),
            total: lap(&clocks.first_bad_sample, &clocks.recovered),
        }
    }
}

fn clock(at: Option<Timestamp>, source: &str, missing: &str) -> Clock {
    Clock {
        at,
        note: if at.is_some() { source } else { missing }.into(),
    }
}

/// Clocks of two machines may disagree; a negative duration is not shown as one.
fn between(from: Timestamp, to: Timestamp) -> Lap {
    let seconds = seconds(from, to);
    if seconds < 0.0 {
        let by = duration(-seconds);
        return no_lap(&format!("the clocks put its end {by} before its start"));
    }
    Lap {
        seconds: Some(seconds),
        why: None,
    }
}

fn no_lap(why: &str) -> Lap {
    Lap {
        seconds: None,
        why: Some(why.into()),
    }
}

fn exposed(input: &Input) -> Option<Timestamp> {
    let deployment = input.deployment.as_ref()?;
    deployment
        .batches
        .iter()
        .filter_map(|batch| batch.started_at)
        .min()
        .or(deployment.started_at)
        .and_then(known)
}

/// The first accused sample on the bad side, since the accused release runs.
fn first_bad(metric: &MetricSnapshot, since: Option<Timestamp>) -> Option<Timestamp> {
    let threshold = metric.threshold?;
    metric
        .series
        .iter()
        .filter(|series| series.role == Role::Accused)
        .flat_map(|series| &series.points)
        .filter(|Sample(at, value)| {
            since.is_none_or(|since| *at >= since) && threshold.is_bad(value.0)
        })
        .map(|Sample(at, _)| *at)
        .min()
        .and_then(known)
}

fn no_bad_sample(input: &Input) -> &'static str {
    match input.metrics.value().and_then(|metrics| metrics.first()) {
        None => "the metrics are not at hand",
        Some(metric) if metric.threshold.is_none() => "the rule tells no threshold",
        Some(_) => "no accused sample crosses the threshold in the window",
    }
}

fn recovered(incident: &Incident) -> Option<Timestamp> {
    incident.events.iter().find_map(|entry| match &entry.event {
        LaneEvent::Recovery { ending, .. } if *ending == Ending::Recovered => known(entry.at),
        _ => None,
    })
}

fn not_accepted(standing: Standing) -> &'static str {
    match standing {
        Standing::Opened | Standing::Submitting => "not yet",
        Standing::Unknown => "nobody can tell whether Spinnaker has it",
        Standing::Withdrawn => "never sent",
        Standing::Abandoned | Standing::Superseded => "Spinnaker named no execution",
        _ => "not recorded",
    }
}

fn not_finished(standing: Standing) -> &'static str {
    match standing {
        Standing::Opened | Standing::Submitting => "not accepted yet",
        Standing::RollingBack => "not yet: the rollback is running",
        Standing::Unknown => "nobody can tell whether it runs",
        Standing::Withdrawn => "never sent",
        _ => "no end was seen",
    }
}

fn not_recovered(standing: Standing) -> &'static str {
    match standing {
        Standing::Opened | Standing::Submitting | Standing::RollingBack | Standing::Unknown => {
            "not known before the rollback ends"
        }
        Standing::RolledBack => "not known yet: the recovery question is being asked",
        Standing::RollbackFailed => "not asked: the rollback failed",
        Standing::Unverified => "nothing could say whether it helped",
        Standing::StillBad => "not recovered: the metrics are still bad",
        Standing::Withdrawn => "never sent",
        Standing::Abandoned | Standing::Superseded => "not asked any more",
        Standing::Recovered => "when is not recorded",
    }
}
