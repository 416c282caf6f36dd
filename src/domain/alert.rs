//! Alerts as they arrive, whoever sent them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Label or annotation names and values. Data from outside: never a template, link or key.
pub type Labels = BTreeMap<String, String>;

/// Severities as the field ranks them, worst first.
const SEVERITIES: [&str; 7] = [
    "page", "critical", "error", "high", "warning", "info", "none",
];

/// How pressing a severity is: the less, the more. Unknown words rank below all known ones.
pub fn severity_rank(word: &str) -> usize {
    let mut known = SEVERITIES.iter();
    let rank = known.position(|known| known.eq_ignore_ascii_case(word));
    rank.unwrap_or(SEVERITIES.len())
}

/// Alertmanager's identity of a label set: FNV-1a 64 over sorted `name 0xff value 0xff`,
/// written as 16 hex digits (prometheus/common `model.LabelSet.Fingerprint`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The fingerprint of `labels`, equal to the one Alertmanager sends for them.
    pub fn of(labels: &Labels) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = OFFSET;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        };
        for (name, value) in labels {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// Firing or resolved.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// The condition holds, as far as the sender knows.
    Firing,
    /// It ended.
    Resolved,
}

/// Which door an alert came through.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `POST /api/v1/webhook`, body version 4.
    Alertmanager,
    /// `POST /api/v2/alerts`, as vmalert and Prometheus send it.
    Vmalert,
}

/// One alert of one delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Identity of the label set.
    pub fingerprint: Fingerprint,
    /// Firing or resolved.
    pub status: AlertStatus,
    /// Labels, empty values removed.
    pub labels: Labels,
    /// Annotations; they explain and draw, they decide nothing.
    pub annotations: Labels,
    /// When the sender saw it start. vmalert's changes with its restarts.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
    /// When it ended, or, while it fires, until when the sender vouches for it. None: no lease.
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Timestamp>,
    /// The sender's link, as text; its host is never asked.
    pub generator_url: Option<String>,
    /// Which door it came through.
    pub source: Source,
}

impl Alert {
    /// A label's value; None when absent.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// `alertname`, or `(no alertname)`.
    pub fn name(&self) -> &str {
        self.label("alertname").unwrap_or("(no alertname)")
    }

    /// The label `severity`, or `none`.
    pub fn severity(&self) -> &str {
        self.label("severity").unwrap_or("none")
    }

    /// What the rule's author wrote for people: `summary`, else `description`, else `message`.
    pub fn message(&self) -> &str {
        ["summary", "description", "message"]
            .iter()
            .find_map(|key| self.annotations.get(*key))
            .map_or("", String::as_str)
    }

    /// Whether it is firing.
    pub fn is_firing(&self) -> bool {
        self.status == AlertStatus::Firing
    }
}

/// One delivery: the alerts a sender put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertGroup {
    /// Which door it came through.
    pub source: Source,
    /// Alertmanager's `groupKey`; for a direct post `vmalert/<alertgroup>/<alertname>`.
    pub key: String,
    /// Alertmanager's receiver; empty for a direct post.
    pub receiver: String,
    /// Labels the group was made by.
    pub group_labels: Labels,
    /// Labels an operator put on the route (Alertmanager ≥ 0.34), for routing only.
    pub route_labels: Labels,
    /// The alerts, in the sender's order.
    pub alerts: Vec<Alert>,
    /// Alerts the sender cut (`max_alerts`) plus those over our own limit. Not zero: never act
    /// automatically on this group.
    pub truncated: u64,
    /// The sender's own address, for a link.
    pub external_url: Option<String>,
    /// When we read it.
    #[schemars(with = "String")]
    pub received_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn fingerprints_equal_those_a_real_alertmanager_sent() {
        let body: serde_json::Value = serde_json::from_str(include_str!(
            "../../tests/fixtures/alertmanager/alertmanager-0.25_webhook_firing_3alerts.json"
        ))
        .unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            let labels: Labels = serde_json::from_value(alert["labels"].clone()).unwrap();
            assert_eq!(
                Fingerprint::of(&labels).to_string(),
                alert["fingerprint"].as_str().unwrap()
            );
        }
    }

    #[test]
    fn a_fingerprint_survives_its_text() {
        let fingerprint = Fingerprint::of(&labels(&[("a", "b")]));
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
}
