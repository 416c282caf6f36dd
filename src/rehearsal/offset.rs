//! Times of a test, relative to its start.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::domain::clock;

/// Farthest from the start that a time may lie.
const FARTHEST: Duration = Duration::from_hours(400 * 24);

/// A moment relative to the start of the test: `0s`, `10m`, `-2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offset {
    /// Milliseconds.
    millis: i64,
}

/// A length of time: `30s`, `15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub Duration);

impl Offset {
    /// The start.
    pub(super) const START: Self = Self { millis: 0 };

    /// So many hours before the start.
    pub(super) const fn hours_before(hours: i64) -> Self {
        Self {
            millis: -hours * 3_600_000,
        }
    }

    /// The moment in a test that starts at `start`.
    pub(super) fn after(self, start: Timestamp) -> Timestamp {
        let by = Duration::from_millis(self.millis.unsigned_abs());
        if self.millis < 0 {
            clock::before(start, by)
        } else {
            clock::after(start, by)
        }
    }

    /// Where `at` lies in a test that starts at `start`.
    pub(super) fn of(at: Timestamp, start: Timestamp) -> Self {
        Self {
            millis: at.as_millisecond().saturating_sub(start.as_millisecond()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (sign, length) = match text.strip_prefix('-') {
            Some(length) => (-1, length),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let length = parse_span(length).map_err(|why| {
            format!("`{text}` is not a time relative to the start, such as 30s or -10m: {why}")
        })?;
        let millis = i64::try_from(length.as_millis()).map_err(|error| error.to_string())?;
        Ok(Self {
            millis: sign * millis,
        })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.millis < 0 { "-" } else { "" };
        let length = Duration::from_millis(self.millis.unsigned_abs());
        write!(f, "{sign}{}", humantime::format_duration(length))
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if length > FARTHEST {
        return Err("that is more than a year".to_owned());
    }
    Ok(length)
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = parse_span(&text)
            .map_err(|why| format!("`{text}` is not a length of time, such as 30s or 15m: {why}"));
        length.map(Self).map_err(Error::custom)
    }
}

/// A schema of its own name for what is written as a text of a certain pattern.
macro_rules! text_schema {
    ($name:ty, $title:literal, $pattern:literal) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

text_schema!(Offset, "Offset", "^[-+]?[0-9]");
text_schema!(Span, "Span", "^[0-9]");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_lie_before_the_start() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        for (text, seconds) in [("0s", 0), ("-2h", -7200), ("1m 30s", 90), ("+5m", 300)] {
            let offset = Offset::parse(text).unwrap();
            assert_eq!(
                offset.after(start).as_second(),
                1_000_000 + seconds,
                "{text}"
            );
            assert_eq!(Offset::of(offset.after(start), start), offset);
        }
        for text in ["", "-", "ten", "5", "99999999999999y", "--5s"] {
            assert!(Offset::parse(text).is_err(), "{text}");
        }
    }
}
