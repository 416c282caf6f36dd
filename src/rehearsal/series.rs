//! Series as promtool writes them: `{instance="h1:9100"}` and `0x120 0.2+0.1x10 _x3 stale`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::config::matcher::parse_matchers;
use crate::domain::alert::Labels;
use crate::domain::policy::MatchOp;

/// Most values of one series.
const LONGEST: usize = 20_000;
/// How long a value stands when none follows, as Prometheus does it.
const LOOKBACK: Duration = Duration::from_mins(5);

/// The labels of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeriesLabels(pub Labels);

/// One place in a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// A sample.
    Sample(f64),
    /// No sample here; the one before stands on for a while.
    Missing,
    /// The series ends here.
    Stale,
}

/// The values of a series in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values(pub Vec<Value>);

impl Values {
    /// The value `since` after the first, with one every `interval`.
    pub(super) fn at(&self, since: Duration, interval: Duration) -> Option<f64> {
        let step = interval.as_millis().max(1);
        let place = usize::try_from(since.as_millis() / step).ok()?;
        let back = usize::try_from(LOOKBACK.as_millis() / step).unwrap_or(usize::MAX);
        for place in (place.saturating_sub(back)..=place).rev() {
            match self.0.get(place) {
                Some(Value::Sample(value)) => return Some(*value),
                Some(Value::Stale) => return None,
                Some(Value::Missing) | None => {}
            }
        }
        None
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut values = Vec::new();
        for item in text.split_whitespace() {
            let bad = || {
                format!("`{item}` is no value, such as `0.5`, `0x10`, `1+2x3`, `_`, `_x3`, `stale`")
            };
            let more = parse_item(item).ok_or_else(bad)?;
            if values.len() + more.len() > LONGEST {
                return Err(format!("a series may hold at most {LONGEST} values"));
            }
            values.extend(more);
        }
        if values.is_empty() {
            return Err("a series without values; `[]` in place of the series is no answer".into());
        }
        Ok(Self(values))
    }
}

/// `axn` is the value and n more of it, `a+bxn` steps by b, `_xn` is n missing ones.
fn parse_item(item: &str) -> Option<Vec<Value>> {
    match item {
        "_" => return Some(vec![Value::Missing]),
        "stale" => return Some(vec![Value::Stale]),
        _ => {}
    }
    if let Ok(value) = number(item) {
        return Some(vec![Value::Sample(value)]);
    }
    let (value, times) = item.rsplit_once('x')?;
    let times: usize = times.parse().ok().filter(|times| *times <= LONGEST)?;
    if value == "_" {
        return Some(vec![Value::Missing; times]);
    }
    let (first, step) = stepped(value)?;
    let mut found = Vec::with_capacity(times + 1);
    let mut next = first;
    for _ in 0..=times {
        found.push(Value::Sample(next));
        next += step;
    }
    Some(found)
}

/// `a`, `a+b` or `a-b`; a sign behind `e` belongs to the number.
fn stepped(text: &str) -> Option<(f64, f64)> {
    if let Ok(value) = number(text) {
        return Some((value, 0.0));
    }
    let signs = text.char_indices().skip(1);
    let (place, _) = signs
        .filter(|(_, c)| matches!(c, '+' | '-'))
        .find(|(place, _)| {
            let before = text.get(..*place).unwrap_or_default();
            number(before).is_ok()
        })?;
    let (first, step) = text.split_at_checked(place)?;
    Some((number(first).ok()?, number(step).ok()?))
}

fn number(text: &str) -> Result<f64, std::num::ParseFloatError> {
    text.parse()
}

impl SeriesLabels {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, braces) = match text.find('{') {
            Some(place) => text.split_at(place),
            None => (text, ""),
        };
        let mut labels = Labels::new();
        if !name.trim().is_empty() {
            labels.insert("__name__".to_owned(), name.trim().to_owned());
        }
        let inside = braces.trim_start_matches('{').trim_end_matches('}').trim();
        if inside.is_empty() {
            return Ok(Self(labels));
        }
        for matcher in parse_matchers(braces).map_err(|error| error.to_string())? {
            if matcher.op != MatchOp::Equal {
                return Err(format!("a series has labels, not matchers: `{matcher}`"));
            }
            labels.insert(matcher.name, matcher.value);
        }
        Ok(Self(labels))
    }
}

impl<'de> Deserialize<'de> for SeriesLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(Error::custom)
    }
}

impl JsonSchema for SeriesLabels {
    fn schema_name() -> Cow<'static, str> {
        "SeriesLabels".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl JsonSchema for Values {
    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<f64> {
        let values = Values::parse(text).unwrap().0.into_iter();
        values
            .map(|value| match value {
                Value::Sample(value) => value,
                Value::Missing => -1.0,
                Value::Stale => -2.0,
            })
            .collect()
    }

    #[test]
    fn values_are_written_as_promtool_has_them() {
        assert_eq!(numbers("1 2.5 _ stale"), [1.0, 2.5, -1.0, -2.0]);
        assert_eq!(numbers("0x2"), [0.0, 0.0, 0.0]);
        assert_eq!(numbers("1+2x3"), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(numbers("1-2x2"), [1.0, -1.0, -3.0]);
        assert_eq!(numbers("1e-1+1e-1x1"), [0.1, 0.2]);
        assert_eq!(numbers("_x2"), [-1.0, -1.0]);
        for text in ["", "x", "1x", "x3", "1+x3", "1x99999999", "a+bx2", "1y2"] {
            assert!(Values::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_stands_until_the_next_and_five_minutes_at_most() {
        let minute = Duration::from_mins(1);
        let values = Values::parse("1 _ 2").unwrap();
        let at = |seconds| values.at(Duration::from_secs(seconds), minute);
        assert_eq!(at(0), Some(1.0));
        assert_eq!(at(119), Some(1.0));
        assert_eq!(at(120), Some(2.0));
        assert_eq!(at(120 + 300), Some(2.0));
        assert_eq!(at(120 + 360), None);
        let ended = Values::parse("1 stale").unwrap();
        assert_eq!(ended.at(Duration::from_mins(1), minute), None);
    }

    #[test]
    fn labels_are_written_as_a_selector_has_them() {
        let labels = |text| SeriesLabels::parse(text).unwrap().0;
        assert!(labels("{}").is_empty());
        let named = labels("up{a=\"b\", c=\"d\"}");
        assert_eq!(named["__name__"], "up");
        assert_eq!((&*named["a"], &*named["c"]), ("b", "d"));
        assert!(SeriesLabels::parse("{a=~\"b\"}").is_err());
        for other in ["{a=}", "{a='b'}"] {
            assert!(SeriesLabels::parse(other).is_err(), "{other}");
        }
    }
}
