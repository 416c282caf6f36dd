//! Rules as teams write them, checked and compiled.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Labels;
use super::deployment::Phase;
use super::freeze::Freeze;
use super::id::{ChannelName, Service};

/// What automatic action may do; of all that apply the strictest wins (the order here).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is decided.
    Off,
    /// Decided, told and recorded, never done.
    Shadow,
    /// Done after a person says yes.
    Approve,
    /// Done.
    Enforce,
}

impl Mode {
    /// The word in configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
        }
    }
}

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Batch in a canary, union in between, everything when full.
    Rollback,
    /// Only the accused batches, whatever the phase.
    RollbackBatch,
    /// Everything, whatever the phase.
    RollbackFull,
    /// Wait for a person.
    Hold,
    /// Tell people.
    Notify,
}

impl Action {
    /// Whether it asks to take a release back.
    pub fn is_rollback(self) -> bool {
        matches!(
            self,
            Self::Rollback | Self::RollbackBatch | Self::RollbackFull
        )
    }
}

/// What a rule or guard does when there is no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// Hold and say so.
    #[default]
    Hold,
    /// Treat as the anomaly.
    Rollback,
    /// Treat as if the condition did not hold.
    Ignore,
}

/// Alertmanager's four matcher operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, fully anchored.
    Regex,
    /// `!~`, fully anchored.
    NotRegex,
}

/// One matcher on one label; an absent label counts as the empty string.
#[derive(Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// The operator.
    pub op: MatchOp,
    /// The text or pattern as written.
    pub value: String,
    pattern: Option<regex::Regex>,
}

/// A matcher that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the pattern `{pattern}` is not a usable regular expression: {reason}")]
pub struct BadPattern {
    /// The pattern as written.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

/// Compiled patterns above this are refused: a hostile one would stall the decision
/// (normal patterns stay under 64 KiB).
const PATTERN_SIZE_LIMIT: usize = 256 * 1024;

impl Matcher {
    /// Compiles a matcher.
    ///
    /// # Errors
    /// When a pattern is no regular expression or too large.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, BadPattern> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(
                regex::RegexBuilder::new(&format!("^(?:{value})$"))
                    .size_limit(PATTERN_SIZE_LIMIT)
                    .dot_matches_new_line(true)
                    .build()
                    .map_err(|error| BadPattern {
                        pattern: value.clone(),
                        reason: error.to_string(),
                    })?,
            ),
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            pattern,
        })
    }

    /// Whether `labels` satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        let by_pattern = || {
            self.pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(value))
        };
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => by_pattern(),
            MatchOp::NotRegex => !by_pattern(),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A person must agree within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// How long the question stands.
    pub expires: Duration,
    /// What happens when nobody answers.
    pub then: Expiry,
}

/// What an unanswered approval turns into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// Stays held, people are paged.
    Hold,
    /// Is done all the same.
    Rollback,
}

/// What follows when a batch was taken back and it is still bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Escalation {
    /// People are paged.
    #[default]
    Page,
    /// Everything goes back.
    Full,
}

/// One rule of a policy file.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the file.
    pub name: String,
    /// All must match the alert's labels.
    pub matchers: Vec<Matcher>,
    /// The phases it speaks about; empty: all.
    pub phases: Vec<Phase>,
    /// How long the accusation must stand.
    pub for_: Duration,
    /// How many accused hosts it takes.
    pub min_hosts: u32,
    /// What it asks for.
    pub action: Action,
    /// The trusted expression, when the rule brings its own.
    pub verify: Option<String>,
    /// What no traffic means for it.
    pub on_no_data: NoData,
    /// Whether a person must agree; None: no.
    pub approval: Option<Approval>,
    /// What follows when a batch was taken back and it is still bad.
    pub escalate: Escalation,
    /// Who is told; empty: `default_channels`.
    pub channels: Vec<ChannelName>,
}

/// Limits around a policy's rules.
#[derive(Debug, Clone)]
pub struct Guards {
    /// What automatic action may do here.
    pub mode: Mode,
    /// Pause between two incidents of a lane.
    pub cooldown: Duration,
    /// Share of the service's hosts that must stay up, 0–1.
    pub min_capacity: Option<f64>,
    /// Windows of as little change as possible.
    pub freeze: Vec<Freeze>,
}

/// One file of `rules/policy/`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The file's name, for messages and records.
    pub file: String,
    /// Which services it speaks about.
    pub services: globset::GlobSet,
    /// The globs as written.
    pub service_globs: Vec<String>,
    /// Its rules; the first that matches an alert wins.
    pub rules: Vec<Rule>,
    /// Its limits.
    pub guards: Guards,
}

impl Policy {
    /// Whether it speaks about `service`.
    pub fn covers(&self, service: &Service) -> bool {
        self.services.is_match(service.as_str())
    }

    /// Whether it speaks only about services that no other file names: its one glob is `*`.
    pub fn is_fallback(&self) -> bool {
        matches!(self.service_globs.as_slice(), [glob] if glob == "*")
    }
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
    fn patterns_are_anchored_and_absent_labels_are_empty() {
        let matcher = Matcher::new("severity", MatchOp::Regex, "critical|page").unwrap();
        assert!(matcher.matches(&labels(&[("severity", "page")])));
        assert!(!matcher.matches(&labels(&[("severity", "pager")])));
        assert!(
            Matcher::new("x", MatchOp::Equal, "")
                .unwrap()
                .matches(&labels(&[]))
        );
        assert!(
            Matcher::new("x", MatchOp::NotRegex, ".+")
                .unwrap()
                .matches(&labels(&[]))
        );
    }

    #[test]
    fn a_pattern_that_would_stall_the_decision_is_refused() {
        assert!(Matcher::new("x", MatchOp::Regex, "a{5}{5}{5}{5}{5}{5}").is_err());
    }

    #[test]
    fn the_strictest_mode_is_the_smallest() {
        assert_eq!(
            [Mode::Enforce, Mode::Shadow].into_iter().min(),
            Some(Mode::Shadow)
        );
    }
}
