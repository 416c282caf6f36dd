//! A metrics store and a vmalert that answer what a test has written down.
//!
//! An expression is answered by the series written for it. Two things are derived, so that nobody
//! has to write them: a comparison of an answered expression with a number, and the same
//! expression about another release, version or batch. Anything else that is asked is an error
//! here and makes the test fail: silence would read as "no traffic".

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use regex::Regex;

use super::series::Values;
use crate::domain::alert::Labels;
use crate::domain::clock::{self, Clock as _, ManualClock};
use crate::domain::policy::{MatchOp, Matcher};
use crate::http::{CallError, CallErrorKind};
use crate::prometheus::expr::{self, Op};
use crate::prometheus::{Ask, Options, PromError, RuleGroup, RuleList, Sample, Series};

/// The selectors of a release's own, as an expression writes them.
static ABOUT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\b(release_id|version|batch)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*,?"#).ok()
});

/// When something can't be asked: from a moment until another.
pub(super) type Outages = Vec<(Timestamp, Timestamp)>;

/// What is answered to one expression.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The expression, spaces made alike.
    pub expr: String,
    /// When the first value stands.
    pub from: Timestamp,
    /// Between two values.
    pub interval: Duration,
    pub series: Vec<(Labels, Values)>,
}

/// The metrics store of a test.
pub(super) struct WrittenMetrics {
    pub clock: Arc<ManualClock>,
    pub answers: Vec<Answer>,
    pub outages: Outages,
    /// What was asked and is not written down.
    pub unanswered: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for WrittenMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrittenMetrics")
            .field("answers", &self.answers.len())
            .finish_non_exhaustive()
    }
}

/// The rule list of a test's vmalert.
#[derive(Debug)]
pub(super) struct WrittenRules {
    pub clock: Arc<ManualClock>,
    pub groups: Vec<RuleGroup>,
    pub outages: Outages,
}

/// How a query follows from an answer.
struct Derived<'a> {
    answer: &'a Answer,
    /// Keep only values that compare so.
    keeps: Option<(Op, f64)>,
    /// Keep only series whose labels fit.
    about: Vec<Matcher>,
}

/// Text with every run of spaces as one, and none around.
pub(super) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether one of the outages is on.
pub(super) fn is_out(outages: &Outages, now: Timestamp) -> bool {
    outages
        .iter()
        .any(|(from, until)| *from <= now && now < *until)
}

fn down(what: &str) -> PromError {
    CallError::new(
        CallErrorKind::Network,
        format!("{what} is out (in this test)"),
    )
    .into()
}

impl WrittenMetrics {
    /// What was asked and is not written down.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let asked = self.unanswered.lock();
        let asked = asked.unwrap_or_else(PoisonError::into_inner);
        asked.iter().cloned().collect()
    }

    fn find(&self, query: &str) -> Result<Derived<'_>, PromError> {
        if is_out(&self.outages, self.clock.now()) {
            return Err(down("the metrics store"));
        }
        let query = spaced(query);
        self.derive(&query).ok_or_else(|| {
            let mut unanswered = self
                .unanswered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            unanswered.insert(query.clone());
            PromError::BadAnswer(format!("this test has no answer to `{query}`"))
        })
    }

    fn derive(&self, query: &str) -> Option<Derived<'_>> {
        if let Some(found) = self.about(query) {
            return Some(found);
        }
        let (lhs, op, line) = plain_comparison(query)?;
        let found = self.about(&lhs)?;
        Some(Derived {
            keeps: Some((op, line)),
            ..found
        })
    }

    /// The answer to `query` itself, or to the same about another release, version or batch.
    fn about(&self, query: &str) -> Option<Derived<'_>> {
        if let Some(answer) = self.answers.iter().find(|answer| answer.expr == query) {
            return Some(Derived {
                answer,
                keeps: None,
                about: Vec::new(),
            });
        }
        let (bare, asked) = without_release(query)?;
        self.answers.iter().find_map(|answer| {
            let (same, own) = without_release(&answer.expr)?;
            let told =
                |matcher: &Matcher| own.iter().any(|one| one.to_string() == matcher.to_string());
            (same == bare).then(|| Derived {
                answer,
                keeps: None,
                about: asked.iter().filter(|one| !told(one)).cloned().collect(),
            })
        })
    }
}

/// `lhs op number`, and nothing else.
fn plain_comparison(query: &str) -> Option<(String, Op, f64)> {
    let (lhs, op, line) = expr::split_threshold(query)?;
    let lhs = spaced(&lhs);
    let rest = query.strip_prefix(&lhs)?.trim_start();
    let rest = rest.strip_prefix(op.as_str())?.trim();
    // What follows may not be more than the number.
    (rest.parse::<f64>().ok() == Some(line)).then_some((lhs, op, line))
}

/// An expression without the selectors of a release's own, and those selectors.
fn without_release(text: &str) -> Option<(String, Vec<Matcher>)> {
    let pattern = ABOUT.as_ref()?;
    let mut matchers = Vec::new();
    for found in pattern.captures_iter(text) {
        let op = match found.get(2)?.as_str() {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            _ => MatchOp::NotRegex,
        };
        matchers.push(Matcher::new(found.get(1)?.as_str(), op, found.get(3)?.as_str()).ok()?);
    }
    let bare = pattern.replace_all(text, "");
    let bare = bare.replace(' ', "").replace(",}", "}");
    (!matchers.is_empty()).then_some((bare, matchers))
}

impl Derived<'_> {
    fn at(&self, moment: Timestamp) -> Vec<(Labels, f64)> {
        let answer = self.answer;
        if moment < answer.from {
            return Vec::new();
        }
        let since = clock::since(moment, answer.from);
        let series = answer
            .series
            .iter()
            .filter(|(labels, _)| self.is_about(labels));
        series
            .filter_map(|(labels, values)| {
                let value = values.at(since, answer.interval)?;
                self.keeps(value).then(|| (labels.clone(), value))
            })
            .collect()
    }

    fn keeps(&self, value: f64) -> bool {
        #[expect(clippy::float_cmp, reason = "the language compares exactly, too")]
        match self.keeps {
            None => true,
            Some((Op::Less, line)) => value < line,
            Some((Op::LessOrEqual, line)) => value <= line,
            Some((Op::Greater, line)) => value > line,
            Some((Op::GreaterOrEqual, line)) => value >= line,
            Some((Op::Equal, line)) => value == line,
            Some((Op::NotEqual, line)) => value != line,
        }
    }

    /// A series that says nothing of its release can't be told to be another one's.
    fn is_about(&self, labels: &Labels) -> bool {
        self.about.iter().all(|matcher| {
            let tells = matcher.op != MatchOp::NotEqual || labels.contains_key(&matcher.name);
            tells && matcher.matches(labels)
        })
    }
}

#[async_trait]
impl Ask for WrittenMetrics {
    async fn instant(
        &self,
        query: &str,
        at: Option<Timestamp>,
        _: &Options,
    ) -> Result<Vec<Sample>, PromError> {
        let at = at.unwrap_or_else(|| self.clock.now());
        let found = self.find(query)?.at(at).into_iter();
        let sample = |(labels, value)| Sample { labels, at, value };
        Ok(found.map(sample).collect())
    }

    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        _: &Options,
    ) -> Result<Vec<Series>, PromError> {
        let found = self.find(query)?;
        let mut series: std::collections::BTreeMap<Labels, Vec<(Timestamp, f64)>> =
            std::collections::BTreeMap::new();
        let mut at = start;
        let step = step.max(Duration::from_secs(1));
        while at <= end {
            for (labels, value) in found.at(at) {
                series.entry(labels).or_default().push((at, value));
            }
            at = clock::after(at, step);
        }
        let one = |(labels, points)| Series { labels, points };
        Ok(series.into_iter().map(one).collect())
    }
}

#[async_trait]
impl RuleList for WrittenRules {
    fn name(&self) -> String {
        "vmalert (in this test)".to_owned()
    }

    async fn rules(&self) -> Result<Vec<RuleGroup>, PromError> {
        if is_out(&self.outages, self.clock.now()) {
            return Err(down("vmalert"));
        }
        Ok(self.groups.clone())
    }
}
