//! What was decided beside what was expected, in words a person can act on.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::file::{RawExpected, RawMoment};
use super::offset::Offset;
use super::script::Test;
use crate::config::place::At;
use crate::domain::decision::{Decision, Guard};
use crate::domain::id::ChannelName;

/// The word for "there is none".
const NONE: &str = "none";

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// Where.
    pub line: u64,
    /// What is not as expected; empty: it passed.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The file.
    pub file: String,
    /// Where the expectation stands.
    pub line: u64,
    /// Its column.
    pub column: u64,
    /// The moment; None: about the whole test.
    pub eval_time: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Field by field.
    pub differences: Vec<Difference>,
    /// What was decided, in a sentence; None where nothing was.
    pub decided: Option<String>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key in the file.
    pub field: &'static str,
    /// As expected.
    pub expected: String,
    /// As decided.
    pub got: String,
}

impl Failure {
    /// A failure of a whole test.
    pub(super) fn of_test(test: &Test, message: String) -> Self {
        Self {
            file: test.file.clone(),
            line: test.line,
            column: 0,
            eval_time: None,
            message,
            differences: Vec::new(),
            decided: None,
        }
    }

    fn at<T>(test: &Test, moment: &RawMoment, place: &At<T>, message: String) -> Self {
        Self {
            line: place.place.line(),
            column: place.place.column(),
            eval_time: Some(moment.eval_time.value.to_string()),
            ..Self::of_test(test, message)
        }
    }
}

/// As a diff: `-` expected, `+` decided.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        match &self.eval_time {
            Some(time) => write!(f, ": at {time}: {}", self.message)?,
            None => write!(f, ": {}", self.message)?,
        }
        for Difference {
            field,
            expected,
            got,
        } in &self.differences
        {
            write!(f, "\n  - {field}: {expected}\n  + {field}: {got}")?;
        }
        match &self.decided {
            Some(decided) => write!(f, "\n    decided: {decided}"),
            None => Ok(()),
        }
    }
}

/// A decision that stands.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub decision: Decision,
    pub channels: Vec<ChannelName>,
    /// Since when it is decided so.
    pub since: Timestamp,
}

impl Told {
    pub(super) fn obstacle(&self) -> Option<Guard> {
        self.decision.deciding_guard().map(|one| one.guard)
    }

    fn in_a_sentence(&self) -> String {
        let decision = &self.decision;
        let shadow = if decision.shadow { " (shadow)" } else { "" };
        format!("{}{shadow}, {}", decision.verdict.as_str(), decision.why())
    }

    /// Every field of `expected` that is not as it was decided.
    fn differences(&self, expected: &RawExpected, start: Timestamp) -> Vec<Difference> {
        let decision = &self.decision;
        let mut found = Differences(Vec::new());
        let wanted = expected.verdict.map(|verdict| verdict.as_str().to_owned());
        found.same("verdict", wanted, decision.verdict.as_str());
        found.same(
            "shadow",
            text(expected.shadow),
            &decision.shadow.to_string(),
        );
        let wanted = expected.mode.map(|mode| mode.as_str().to_owned());
        found.same("mode", wanted, decision.mode.as_str());
        found.rule(expected.rule.as_deref(), decision.rule.as_deref());
        let obstacle = decision.deciding_guard();
        let guard = obstacle.map_or(NONE, |one| one.guard.as_str());
        let word = |word: &At<String>| word.value.clone();
        found.same("obstacle", expected.obstacle.as_ref().map(word), guard);
        let code = obstacle.map_or(NONE, |one| one.code.as_str());
        found.same("code", expected.code.as_ref().map(word), code);
        let reason = obstacle.map_or(NONE, |one| one.outcome.reason());
        found.holds("reason", expected.reason.as_deref(), reason);
        let scope = decision.scope.as_ref();
        let wanted = expected.scope.as_ref().map(|scope| scope.0.to_string());
        found.same("scope", wanted, &shown(scope));
        let hosts = decision.hosts.iter().map(ToString::to_string).collect();
        found.set("hosts", expected.hosts.clone(), hosts);
        found.same(
            "target",
            expected.target.clone(),
            &shown(decision.target.as_ref()),
        );
        let names = |channels: &[ChannelName]| channels.iter().map(ToString::to_string).collect();
        let wanted = expected.channels.as_deref().map(names);
        found.set("channels", wanted, names(&self.channels));
        let deployment = shown(decision.deployment.as_ref());
        found.same("deployment", expected.deployment.clone(), &deployment);
        let phase = decision
            .phase
            .map(|phase| format!("{phase:?}").to_lowercase());
        let wanted = expected
            .phase
            .map(|phase| format!("{phase:?}").to_lowercase());
        found.same("phase", wanted, &shown(phase.as_ref()));
        found.same(
            "service",
            expected.service.clone(),
            &shown(decision.service.as_ref()),
        );
        found.same("env", expected.env.clone(), &shown(decision.env.as_ref()));
        let decided = Offset::of(self.since, start);
        found.same("decided", text(expected.decided), &decided.to_string());
        found.0
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn shown(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), ToString::to_string)
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, field: &'static str, expected: String, got: String) {
        self.0.push(Difference {
            field,
            expected,
            got,
        });
    }

    fn same(&mut self, field: &'static str, expected: Option<String>, got: &str) {
        if let Some(expected) = expected.filter(|expected| expected != got) {
            self.add(field, expected, got.to_owned());
        }
    }

    fn holds(&mut self, field: &'static str, expected: Option<&str>, got: &str) {
        if let Some(expected) = expected.filter(|expected| !got.contains(expected)) {
            self.add(field, format!("…{expected}…"), got.to_owned());
        }
    }

    fn set(&mut self, field: &'static str, expected: Option<Vec<String>>, mut got: Vec<String>) {
        let Some(mut expected) = expected else { return };
        expected.sort();
        got.sort();
        if expected != got {
            let list = |items: &[String]| format!("[{}]", items.join(", "));
            self.add(field, list(&expected), list(&got));
        }
    }

    /// A rule may be named with its file or without.
    fn rule(&mut self, expected: Option<&str>, got: Option<&str>) {
        let Some(expected) = expected else { return };
        let got = got.unwrap_or(NONE);
        let bare = got.split_once(": ").map_or(got, |(_, name)| name);
        if expected != got && expected != bare {
            self.add("rule", expected.to_owned(), got.to_owned());
        }
    }
}

/// Compares what stands with what one moment expects. Each expectation is held against the
/// decision that differs least from it.
pub(super) fn compare(test: &Test, moment: &RawMoment, standing: &[Arc<Told>]) -> Vec<Failure> {
    let mut left: Vec<&Arc<Told>> = standing.iter().collect();
    let mut failures = Vec::new();
    let count = moment.exp_decisions.len();
    let mut pairs: Vec<(usize, Vec<Difference>, &Arc<Told>)> = Vec::new();
    let mut open: Vec<usize> = (0..count).collect();
    // The best pair first, so that one wrong expectation does not shift all that follow.
    while !open.is_empty() && !left.is_empty() {
        let scored = open.iter().flat_map(|place| {
            let expected = moment.exp_decisions.get(*place);
            let scored = left.iter().enumerate().filter_map(move |(nth, told)| {
                let differences = told.differences(&expected?.value, test.start);
                Some((differences.len(), *place, nth, differences))
            });
            scored.collect::<Vec<_>>()
        });
        let best = scored.min_by_key(|(score, place, nth, _)| (*score, *place, *nth));
        let Some((_, place, nth, differences)) = best else {
            break;
        };
        open.retain(|one| *one != place);
        pairs.push((place, differences, left.remove(nth)));
    }
    pairs.sort_by_key(|(place, ..)| *place);
    for (place, differences, told) in pairs {
        let Some(expected) = moment
            .exp_decisions
            .get(place)
            .filter(|_| !differences.is_empty())
        else {
            continue;
        };
        let message = format!("decision {} of {count} is not as expected", place + 1);
        failures.push(Failure {
            differences,
            decided: Some(told.in_a_sentence()),
            ..Failure::at(test, moment, expected, message)
        });
    }
    for place in open {
        if let Some(expected) = moment.exp_decisions.get(place) {
            let message = format!(
                "decision {} of {count} is expected, and nothing stands",
                place + 1
            );
            failures.push(Failure::at(test, moment, expected, message));
        }
    }
    for told in left {
        failures.push(Failure {
            decided: Some(told.in_a_sentence()),
            ..Failure::at(
                test,
                moment,
                &moment.eval_time,
                "a decision stands that is not expected".to_owned(),
            )
        });
    }
    failures
}
