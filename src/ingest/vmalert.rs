//! `POST /api/v2/alerts`: what vmalert and Prometheus send to an Alertmanager.
//!
//! A list of alerts without status, group or fingerprint; `endsAt` is the lease. vmalert posts one
//! rule at a time, Prometheus mixes rules, so the alerts are grouped by (alertgroup, alertname).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::wire::{self, RawAlerts};
use super::{Delivery, Rejection};
use crate::domain::alert::{AlertGroup, Labels, Source};

/// Reads one post.
///
/// # Errors
/// When it is no list, or none of its alerts can be read.
pub fn read(body: &[u8], now: Timestamp) -> Result<Delivery, Rejection> {
    let text = wire::text(body)?;
    let raw: RawAlerts<'_> = serde_json::from_str(text).map_err(|error| wire::malformed(&error))?;
    let mut delivery = Delivery::default();
    let alerts = wire::alerts(&raw, "", Source::Vmalert, now, &mut delivery)?;
    let mut places = BTreeMap::<String, usize>::new();
    for alert in alerts {
        let group = alert.label("alertgroup").unwrap_or_default();
        let key = format!("vmalert/{group}/{}", alert.name());
        let place = *places.entry(key.clone()).or_insert(delivery.groups.len());
        if place == delivery.groups.len() {
            delivery.groups.push(AlertGroup {
                source: Source::Vmalert,
                key,
                receiver: String::new(),
                group_labels: labels_of(&alert.labels),
                route_labels: Labels::new(),
                alerts: Vec::new(),
                // Nobody knows whose the cut ones were.
                truncated: raw.beyond,
                external_url: None,
                received_at: now,
            });
        }
        if let Some(group) = delivery.groups.get_mut(place) {
            group.alerts.push(alert);
        }
    }
    Ok(delivery)
}

fn labels_of(labels: &Labels) -> Labels {
    ["alertgroup", "alertname"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), labels.get(*name)?.clone())))
        .collect()
}

#[cfg(test)]
#[path = "vmalert_tests.rs"]
mod tests;
