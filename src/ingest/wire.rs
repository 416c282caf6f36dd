//! What both doors share: one alert as it is written, and what is wrong with it.
//!
//! The fast path reads each alert once; only a bad alert is read a second time, to say where.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Delivery, Ignored, MAX_ALERTS, MAX_ANNOTATION, MAX_LABEL, MAX_NAMED, Rejection};
use crate::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock;

/// A sender's clock may be ahead by this much; a later start is taken as now.
const MAX_AHEAD: Duration = Duration::from_mins(10);
/// Alertmanager's `resolve_timeout`: what a direct post without an end vouches for.
const RESOLVE_TIMEOUT: Duration = Duration::from_mins(5);

/// A string that borrows where it can.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One alert, as Alertmanager and its senders write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert<'a> {
    #[serde(borrow, default)]
    status: Option<Text<'a>>,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    annotations: Option<Labels>,
    #[serde(borrow, default)]
    starts_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    ends_at: Option<Text<'a>>,
    #[serde(borrow, default, rename = "generatorURL")]
    generator_url: Option<Text<'a>>,
}

/// The first [`MAX_ALERTS`] elements of a list, unread, and how many follow.
#[derive(Default)]
pub(super) struct RawAlerts<'a> {
    kept: Vec<&'a RawValue>,
    pub(super) beyond: u64,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawAlerts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = RawAlerts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of alerts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut alerts = RawAlerts::default();
                while alerts.kept.len() < MAX_ALERTS {
                    match list.next_element()? {
                        Some(alert) => alerts.kept.push(alert),
                        None => return Ok(alerts),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    alerts.beyond += 1;
                }
                Ok(alerts)
            }
        }
        deserializer.deserialize_seq(Keep)
    }
}

/// The body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(body).map_err(|error| Rejection {
        code: "malformed",
        pointer: String::new(),
        reason: format!("not UTF-8 at byte {}", error.valid_up_to()),
    })
}

/// Reads an object; serde's derive would take a list for one as well, by position.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if text.trim_ascii_start().starts_with('[') {
        return Err(serde::de::Error::custom("a list, not an object"));
    }
    serde_json::from_str(text)
}

/// A failure of the body as a whole.
pub(super) fn malformed(error: &serde_json::Error) -> Rejection {
    Rejection {
        code: if error.is_data() {
            "wrong_type"
        } else {
            "malformed"
        },
        pointer: String::new(),
        reason: error.to_string(),
    }
}

/// Reads the alerts, keeps the good ones and names the bad ones in `delivery`.
///
/// # Errors
/// When there are alerts and not one of them is good.
pub(super) fn alerts(
    raw: &RawAlerts<'_>,
    at: &str,
    source: Source,
    now: Timestamp,
    delivery: &mut Delivery,
) -> Result<Vec<Alert>, Rejection> {
    let mut good = Vec::with_capacity(raw.kept.len());
    for (index, text) in raw.kept.iter().enumerate() {
        let read = object::<WireAlert<'_>>(text.get())
            .map_err(|error| diagnose(text.get(), &error))
            .and_then(|wire| wire.into_alert(source, now));
        match read {
            Ok(alert) => good.push(alert),
            Err((place, reason)) => {
                delivery.ignored_count += 1;
                if delivery.ignored.len() < MAX_NAMED {
                    delivery.ignored.push(Ignored {
                        pointer: format!("{at}/{index}{place}"),
                        name: name_of(text.get()),
                        reason,
                    });
                }
            }
        }
    }
    match delivery.ignored.first() {
        Some(first) if good.is_empty() => Err(Rejection {
            code: "wrong_type",
            pointer: first.pointer.clone(),
            reason: first.reason.clone(),
        }),
        _ => Ok(good),
    }
}

/// A pointer inside one alert, and what is wrong there.
type Fault = (String, String);

impl WireAlert<'_> {
    fn into_alert(self, source: Source, now: Timestamp) -> Result<Alert, Fault> {
        let mut labels = self.labels.unwrap_or_default();
        labels.retain(|_, value| !value.is_empty());
        if labels.is_empty() {
            return Err(("/labels".into(), "an alert needs a label".into()));
        }
        // Before values are cut: it has to equal the one the sender knows.
        let fingerprint = Fingerprint::of(&labels);
        for value in labels.values_mut() {
            cut(value, MAX_LABEL);
        }
        let mut annotations = self.annotations.unwrap_or_default();
        for value in annotations.values_mut() {
            cut(value, MAX_ANNOTATION);
        }

        let ends_at = time(self.ends_at.as_ref(), "/endsAt")?;
        let starts_at = time(self.starts_at.as_ref(), "/startsAt")?
            .or_else(|| ends_at.filter(|end| *end <= now))
            .filter(|start| *start <= clock::after(now, MAX_AHEAD))
            .unwrap_or(now);
        let ends_at = match source {
            Source::Alertmanager => ends_at,
            Source::Vmalert => ends_at.or(Some(clock::after(now, RESOLVE_TIMEOUT))),
        };
        let over = ends_at.is_some_and(|end| end <= now);
        let status = match self.status.as_ref().map(|status| status.0.as_ref()) {
            Some("resolved") => AlertStatus::Resolved,
            Some("firing") | None if over => AlertStatus::Resolved,
            Some("firing") | None => AlertStatus::Firing,
            Some(_) => {
                return Err((
                    "/status".into(),
                    "neither `firing` nor `resolved`".to_owned(),
                ));
            }
        };
        Ok(Alert {
            fingerprint,
            status,
            labels,
            annotations,
            starts_at,
            ends_at,
            generator_url: self.generator_url.map(|url| url.0.into_owned()),
            source,
        })
    }
}

/// Shortens `text` to at most `max` bytes, between two characters.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
}

/// A time; None when it is missing or Go's zero time (year 1).
fn time(text: Option<&Text<'_>>, pointer: &str) -> Result<Option<Timestamp>, Fault> {
    let Some(Text(text)) = text else {
        return Ok(None);
    };
    match text.parse::<Timestamp>() {
        // Go writes its zero time as year 1; in some zones that is the last day of year 0.
        Ok(at) if at < GO_ZERO_ENDS => Ok(None),
        Ok(at) => Ok(Some(at)),
        // The last hours of year 9999 are beyond what jiff counts.
        Err(_) if text.starts_with("9999-12-3") => Ok(Some(Timestamp::MAX)),
        Err(_) => Err((pointer.to_owned(), "not an RFC 3339 time".to_owned())),
    }
}

/// 0002-01-01T00:00:00Z
const GO_ZERO_ENDS: Timestamp = Timestamp::constant(-62_104_060_800, 0);

/// Where in one alert the fault is. The slow path: only for an alert that could not be read.
fn diagnose(text: &str, error: &serde_json::Error) -> Fault {
    let fallback = || (String::new(), error.to_string());
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return fallback();
    };
    let Value::Object(fields) = value else {
        return (String::new(), format!("{}, not an object", kind(&value)));
    };
    for key in ["status", "startsAt", "endsAt", "generatorURL"] {
        if let Some(value) = fields.get(key)
            && !(value.is_string() || value.is_null())
        {
            return (format!("/{key}"), format!("{}, not a string", kind(value)));
        }
    }
    for key in ["labels", "annotations"] {
        match fields.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(pairs)) => {
                if let Some((name, value)) = pairs.iter().find(|(_, value)| !value.is_string()) {
                    let pointer = format!("/{key}/{}", escape(name));
                    return (pointer, format!("{}, not a string", kind(value)));
                }
            }
            Some(value) => return (format!("/{key}"), format!("{}, not an object", kind(value))),
        }
    }
    fallback()
}

fn name_of(text: &str) -> Option<String> {
    let value = serde_json::from_str::<Value>(text).ok()?;
    let mut name = value.pointer("/labels/alertname")?.as_str()?.to_owned();
    cut(&mut name, 128);
    Some(name)
}

/// A key as a part of a JSON pointer (RFC 6901), at most 128 bytes of it.
fn escape(key: &str) -> String {
    let mut key = key.replace('~', "~0").replace('/', "~1");
    cut(&mut key, 128);
    key
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
