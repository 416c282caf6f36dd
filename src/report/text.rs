//! Foreign text and numbers, made safe to keep.

use std::fmt;
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redact::{GONE, names_a_secret, redact};

/// The longest text that is kept, in characters; a log goes on for ever, a report does not.
const LONGEST: usize = 16_384;

static ANSI: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)").ok()
});

/// Text from outside, without secrets, terminal codes and control characters. Characters that
/// would reorder or hide their neighbours are written out, as `\u{202e}`. It is still data: each
/// rendering escapes it in its own way.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// The value of a label or variable; one whose name says that it is a secret is not kept.
    pub fn of_label(name: &str, value: &str) -> Self {
        if names_a_secret(name) && !value.is_empty() {
            Self(GONE.to_owned())
        } else {
            value.into()
        }
    }

    /// The text; it may have several lines.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// The text on one line, at most `most` characters of it.
    pub(super) fn line(&self, most: usize) -> String {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        let line = words.join(" ");
        if line.chars().count() <= most {
            return line;
        }
        let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let length = text.chars().count();
        if length <= LONGEST {
            return Self(redact(&visible(text)).into_owned());
        }
        let kept: String = text.chars().take(LONGEST).collect();
        let more = length - LONGEST;
        Self(format!(
            "{}… ({more} more characters)",
            redact(&visible(&kept))
        ))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn visible(text: &str) -> String {
    let text = match ANSI.as_ref() {
        Some(ansi) => ansi.replace_all(text, ""),
        None => text.into(),
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\u{200b}'..='\u{200f}'
            | '\u{061c}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => out.extend(c.escape_unicode()),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A measured number: a JSON number when finite, else `NaN`, `+Inf` or `-Inf`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Wire", into = "Wire")]
#[schemars(with = "Wire")]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

/// How a [`Number`] is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Wire {
    Finite(f64),
    Other(String),
}

impl From<Number> for Wire {
    fn from(number: Number) -> Self {
        match number.0 {
            value if value.is_finite() => Self::Finite(value),
            value if value.is_nan() => Self::Other("NaN".to_owned()),
            value if value > 0.0 => Self::Other("+Inf".to_owned()),
            _ => Self::Other("-Inf".to_owned()),
        }
    }
}

impl From<Wire> for Number {
    fn from(wire: Wire) -> Self {
        Self(match wire {
            Wire::Finite(value) => value,
            Wire::Other(text) => text.parse().unwrap_or(f64::NAN),
        })
    }
}

/// One raw point, written `["2026-11-22T14:02:05Z", 0.059]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample(
    /// When it was measured.
    #[schemars(with = "String")]
    pub Timestamp,
    /// What was measured.
    pub Number,
);

impl From<(Timestamp, f64)> for Sample {
    fn from((at, value): (Timestamp, f64)) -> Self {
        Self(at, Number(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_without_secrets_colours_and_tricks() {
        let text = Text::from("\u{1b}[31mfatal\u{1b}[0m: TOKEN=abc\r\n\u{0}user\u{202e}gpj.exe");
        assert_eq!(text.as_str(), "fatal: TOKEN=***\nuser\\u{202e}gpj.exe");
        assert_eq!(text.line(9), "fatal: T…");
        assert_eq!(Text::of_label("api_token", "abc").as_str(), "***");
        assert_eq!(Text::of_label("instance", "h1:9100").as_str(), "h1:9100");
    }

    #[test]
    fn an_endless_log_is_cut_and_counted() {
        let text = Text::from("é".repeat(LONGEST + 7));
        assert!(text.as_str().ends_with("é… (7 more characters)"));
    }

    #[test]
    fn numbers_survive_json_even_when_they_are_none() {
        for (value, json) in [
            (0.059, "0.059"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"+Inf\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ] {
            assert_eq!(serde_json::to_string(&Number(value)).unwrap(), json);
            assert_eq!(serde_json::from_str::<Number>(json).unwrap(), Number(value));
        }
    }
}
