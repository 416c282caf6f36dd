//! Alertmanager's webhook body, version 4 (its `notify/webhook/webhook.go:Message`).
//!
//! The group is kept as it came. `status` and the common labels of the body are never read:
//! Alertmanager works them out over the list it has already cut.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::wire::{self, RawAlerts};
use super::{Delivery, Rejection};
use crate::domain::alert::{AlertGroup, Labels, Source};

/// The only version there is.
const VERSION: &str = "4";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow, default)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    group_key: Option<Cow<'a, str>>,
    #[serde(default)]
    truncated_alerts: Option<u64>,
    #[serde(borrow, default)]
    receiver: Option<Cow<'a, str>>,
    #[serde(default)]
    group_labels: Option<Labels>,
    #[serde(default)]
    route_labels: Option<Labels>,
    #[serde(borrow, default, rename = "externalURL")]
    external_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    alerts: Option<RawAlerts<'a>>,
}

/// Reads one webhook body.
///
/// # Errors
/// When it is no such body, its version is another, or none of its alerts can be read.
pub fn read(body: &[u8], now: Timestamp) -> Result<Delivery, Rejection> {
    let text = wire::text(body)?;
    let message: Message<'_> = wire::object(text).map_err(|error| diagnose(text, &error))?;
    if let Some(version) = message.version.filter(|version| version != VERSION) {
        let shown: String = version.chars().take(16).collect();
        return Err(Rejection {
            code: "unsupported_version",
            pointer: "/version".into(),
            reason: format!("`{shown}` is not version {VERSION}"),
        });
    }
    let Some(raw) = message.alerts else {
        return Err(Rejection {
            code: "wrong_type",
            pointer: "/alerts".into(),
            reason: "there are none; is `payload` set on the receiver?".into(),
        });
    };
    let mut delivery = Delivery::default();
    let alerts = wire::alerts(&raw, "/alerts", Source::Alertmanager, now, &mut delivery)?;
    let group_labels = message.group_labels.unwrap_or_default();
    let key = match message.group_key {
        Some(key) if !key.is_empty() => key.into_owned(),
        _ => format!("{{}}:{group_labels:?}"),
    };
    delivery.groups.push(AlertGroup {
        source: Source::Alertmanager,
        key,
        receiver: unquote(message.receiver.as_deref().unwrap_or_default()),
        group_labels,
        route_labels: message.route_labels.unwrap_or_default(),
        alerts,
        truncated: message
            .truncated_alerts
            .unwrap_or_default()
            .saturating_add(raw.beyond),
        external_url: message.external_url.map(Cow::into_owned),
        received_at: now,
    });
    Ok(delivery)
}

/// Takes back the regexp quoting Alertmanager puts on a receiver's name (`a\.b` for `a.b`).
fn unquote(receiver: &str) -> String {
    let mut plain = String::with_capacity(receiver.len());
    let mut letters = receiver.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        });
    }
    plain
}

/// Where the envelope is wrong. The slow path: only for a body that could not be read.
fn diagnose(text: &str, error: &serde_json::Error) -> Rejection {
    let fallback = wire::malformed(error);
    // Alerts are read one by one, so they stay raw: their depth and number do not matter here.
    let Ok(fields) =
        serde_json::from_str::<BTreeMap<Cow<'_, str>, &serde_json::value::RawValue>>(text)
    else {
        return fallback;
    };
    let field = |key: &str| {
        let raw = fields.get(key)?.get();
        // Only the first letter is needed to tell a list from anything else.
        if key == "alerts" && raw.starts_with('[') {
            return None;
        }
        serde_json::from_str::<Value>(raw).ok()
    };
    let wrong = |pointer: String, value: &Value, expected: &str| Rejection {
        code: "wrong_type",
        pointer,
        reason: format!("{}, not {expected}", wire::kind(value)),
    };
    for key in ["version", "groupKey", "receiver", "externalURL"] {
        if let Some(value) = field(key).filter(|value| !(value.is_string() || value.is_null())) {
            return wrong(format!("/{key}"), &value, "a string");
        }
    }
    if let Some(value) =
        field("truncatedAlerts").filter(|value| !(value.is_u64() || value.is_null()))
    {
        return wrong("/truncatedAlerts".into(), &value, "a count");
    }
    for key in ["groupLabels", "routeLabels"] {
        match field(key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(pairs)) => {
                if let Some((name, value)) = pairs.iter().find(|(_, value)| !value.is_string()) {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    return wrong(format!("/{key}/{name}"), value, "a string");
                }
            }
            Some(value) => return wrong(format!("/{key}"), &value, "an object"),
        }
    }
    if let Some(value) = field("alerts").filter(|value| !value.is_null()) {
        return wrong("/alerts".into(), &value, "a list");
    }
    fallback
}

#[cfg(test)]
#[path = "alertmanager_tests.rs"]
mod tests;
