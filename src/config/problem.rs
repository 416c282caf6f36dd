//! What is wrong with a configuration file, and where.
//!
//! Every loader answers with all the problems it can find, each with a place an editor can jump
//! to. The words never repeat a secret: loaders quote keys and patterns, not secret values.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location};

/// One thing a person must change in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as the person named it.
    pub file: String,
    /// From 1; 0 when the place is the file as a whole.
    pub line: u64,
    /// From 1, in characters; 0 when the place is the file as a whole.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to write instead, when that can be told.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn at(file: &str, place: Location, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: place.line(),
            column: place.column(),
            message: message.into(),
            hint: None,
        }
    }

    /// A problem of the whole file.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self::at(file, Location::UNKNOWN, message)
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the YAML reader complains about, in our words, with the closest key as a hint.
    pub fn of_yaml(file: &str, error: &Error) -> Self {
        let error = error.without_snippet();
        let place = error.location().unwrap_or(Location::UNKNOWN);
        match error {
            Error::SerdeUnknownField {
                field, expected, ..
            } => Self::at(file, place, format!("unknown key `{field}`"))
                .hint(suggestion(field, expected)),
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } if variant == "~" || variant.is_empty() => {
                Self::at(file, place, "the value is missing")
                    .hint(format!("one of: {}", expected.join(", ")))
            }
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } => Self::at(file, place, format!("unknown word `{variant}`"))
                .hint(suggestion(variant, expected)),
            Error::SerdeMissingField { field, .. } => {
                Self::at(file, place, format!("the key `{field}` is missing"))
            }
            Error::DuplicateMappingKey { key, .. } => Self::at(
                file,
                place,
                format!(
                    "the key `{}` is written twice",
                    key.as_deref().unwrap_or("?")
                ),
            ),
            Error::Eof { .. } => Self::at(file, place, "the file is empty or ends too early"),
            Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
                Self::at(file, place, "one word is expected here")
            }
            Error::Unexpected { expected, .. } => Self::at(
                file,
                place,
                match *expected {
                    "sequence start" => "a list is expected here".to_owned(),
                    "mapping start" => "keys with values are expected here".to_owned(),
                    "string scalar" => "a text is expected here".to_owned(),
                    other => format!("expected {other}"),
                },
            ),
            Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => {
                Self::at(file, place, "not a whole number that fits here")
            }
            other => Self::at(file, place, bare_message(other)),
        }
    }
}

/// Problems as a terminal shows them, one after the other.
pub fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            let Self {
                file,
                line,
                column,
                message,
                ..
            } = self;
            write!(f, "{file}:{line}:{column}: {message}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Reads one YAML document; unknown keys, duplicate keys and wrong types are problems.
///
/// # Errors
/// The reader stops at its first problem, so there is exactly one.
pub fn read_yaml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Vec<Problem>> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // Far above any real file; aliases that multiply are stopped in milliseconds.
        budget: serde_saphyr::budget! {
            max_nodes: 50_000,
            max_aliases: 1_000,
            max_depth: 64,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| vec![Problem::of_yaml(file, &error)])
}

/// The candidate nearest to `word`, when it is near enough to be a slip of the hand.
pub fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

fn suggestion(word: &str, expected: &[&str]) -> String {
    match closest(word, expected) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("one of: {}", expected.join(", ")),
    }
}

/// The reader's message without the place, which stands before it anyway.
fn bare_message(error: &Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = match first.find(" at line ") {
        Some(end) => first.get(..end).unwrap_or(first),
        None => first,
    };
    first
        .trim()
        .trim_start_matches("error: ")
        .trim_end_matches('.')
        .to_owned()
}

/// Edits (insert, delete, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (pair, to) in row.windows(2).zip(&b) {
            let &[diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or(i + 1);
            let replaced = diagonal + usize::from(from != *to);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its key matters")]
        matchers: Vec<String>,
        #[expect(dead_code, reason = "only its key matters")]
        count: Option<u32>,
    }

    fn problem(text: &str) -> String {
        read_yaml::<Sample>("a.yaml", text).unwrap_err()[0].to_string()
    }

    #[test]
    fn a_slip_of_the_hand_is_named_with_its_place() {
        assert_eq!(
            problem("matchers: []\nmatcher: []\n"),
            "a.yaml:2:1: unknown key `matcher`\n  hint: did you mean `matchers`?"
        );
        assert_eq!(
            problem("matchers: []\nzzz: 1\n"),
            "a.yaml:2:1: unknown key `zzz`\n  hint: one of: matchers, count"
        );
    }

    #[test]
    fn missing_doubled_and_mistyped_keys_say_so() {
        assert!(problem("count: 1\n").contains("the key `matchers` is missing"));
        assert_eq!(
            problem("count: 1\ncount: 2\nmatchers: []\n"),
            "a.yaml:2:1: the key `count` is written twice"
        );
        let mistyped = problem("matchers: []\ncount: many\n");
        assert!(mistyped.starts_with("a.yaml:2:8: "), "{mistyped}");
        assert!(!mistyped.contains('\n'), "{mistyped}");
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = String::from("matchers: [");
        let lists = (1..10).map(|n| {
            let previous = vec![format!("*a{}", n - 1); 9].join(",");
            format!("&a{n} [{previous}]")
        });
        let lists: Vec<String> = std::iter::once("&a0 [x]".to_owned()).chain(lists).collect();
        text.push_str(&lists.join(","));
        text.push(']');
        assert_eq!(
            read_yaml::<Vec<Vec<String>>>("a.yaml", &text)
                .unwrap_err()
                .len(),
            1
        );
        assert!(problem(&text).starts_with("a.yaml:1:"));
    }

    #[test]
    fn only_near_words_are_offered() {
        assert_eq!(closest("cooldwn", &["mode", "cooldown"]), Some("cooldown"));
        assert_eq!(closest("freez", &["mode", "freeze"]), Some("freeze"));
        assert_eq!(closest("banana", &["mode", "freeze"]), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
