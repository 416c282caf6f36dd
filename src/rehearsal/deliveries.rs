//! Which alerts a test sends when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::file::RawAlert;
use super::offset::Offset;
use super::play::MOST_MOMENTS;
use super::script::Test;
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock;

/// When which groups are delivered: when an alert fires, is over, or is repeated.
pub(super) fn deliveries(test: &Test) -> BTreeMap<Timestamp, BTreeSet<String>> {
    let mut found: BTreeMap<Timestamp, BTreeSet<String>> = BTreeMap::new();
    let end = test.moments.last().map(|moment| moment.eval_time.value);
    let end = end.unwrap_or(Offset::START).after(test.start);
    for alert in &test.alerts {
        let (from, until) = life(test, alert);
        let mut add = |at| found.entry(at).or_default().insert(alert.group.clone());
        let mut at = from;
        let last = until.map_or(end, |until| until.min(end));
        add(from);
        if let Some(until) = until {
            add(until);
        }
        let Some(every) = alert.repeat.filter(|every| !every.0.is_zero()) else {
            continue;
        };
        let mut count = 0;
        while at < last && count < MOST_MOMENTS {
            at = clock::after(at, every.0);
            count += 1;
            if at < last {
                add(at);
            }
        }
    }
    found
}

fn life(test: &Test, alert: &RawAlert) -> (Timestamp, Option<Timestamp>) {
    let from = alert.from.unwrap_or(Offset::START).after(test.start);
    (from, alert.until.map(|until| until.after(test.start)))
}

/// A group as its sender delivers it at `at`: what fires, and what is just over.
pub(super) fn group(test: &Test, name: &str, at: Timestamp) -> AlertGroup {
    let members = test.alerts.iter().filter(|alert| alert.group == name);
    let known = members.filter(|alert| {
        let (from, until) = life(test, alert);
        from <= at && until.is_none_or(|until| at <= until)
    });
    let known: Vec<&RawAlert> = known.collect();
    let source = known.iter().find_map(|alert| alert.source);
    let source = source.unwrap_or(Source::Alertmanager);
    let alert = |raw: &&RawAlert| {
        let (from, until) = life(test, raw);
        let over = until.filter(|until| *until <= at);
        let labels: Labels = raw.labels.value.clone();
        Alert {
            fingerprint: Fingerprint::of(&labels),
            status: match over {
                Some(_) => AlertStatus::Resolved,
                None => AlertStatus::Firing,
            },
            labels,
            annotations: Labels::new(),
            starts_at: from,
            ends_at: over,
            generator_url: None,
            source,
        }
    };
    AlertGroup {
        source,
        key: format!("this test/{name}"),
        receiver: String::new(),
        group_labels: Labels::new(),
        route_labels: Labels::new(),
        alerts: known.iter().map(alert).collect(),
        truncated: known.iter().map(|alert| alert.truncated).max().unwrap_or(0),
        external_url: None,
        received_at: at,
    }
}
