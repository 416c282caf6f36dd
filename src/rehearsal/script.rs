//! From what a test file says to what is played: every problem is reported, with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::file::{RawAlert, RawExpected, RawFile, RawMoment, RawTest};
use super::given::RawGiven;
use super::join::{joined, know_services, rule_groups};
use super::metrics::{Answer, spaced};
use super::offset::{Offset, Span};
use crate::config::Config;
use crate::config::load;
use crate::config::place::At;
use crate::config::policy::load_policy;
use crate::config::problem::{Problem, closest, read_yaml};
use crate::domain::decision::{Code, Guard};
use crate::domain::policy::{Mode, Policy};
use crate::prometheus::RuleGroup;

/// The moment every test starts at: nothing in a test may hang on the day it is run.
const START: &str = "2026-01-05T10:00:00Z";
/// Time between two values when the file does not say.
const INTERVAL: Duration = Duration::from_mins(1);
/// When the first value stands when an answer does not say.
const FIRST: Offset = Offset::hours_before(2);

/// A test, ready to be played.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// The file it stands in, as the person named it.
    pub file: String,
    /// Where.
    pub line: u64,
    pub(super) config: Config,
    pub(super) start: Timestamp,
    pub(super) given: RawGiven,
    pub(super) answers: Vec<Answer>,
    pub(super) rule_groups: Vec<RuleGroup>,
    pub(super) alerts: Vec<RawAlert>,
    /// In the order of time.
    pub(super) moments: Vec<RawMoment>,
}

/// Reads a file of tests.
///
/// # Errors
/// Every problem of the file; a YAML error hides those after it.
pub fn read(file: &str, text: &str, config: &Config) -> Result<Vec<Test>, Vec<Problem>> {
    let raw: RawFile = read_yaml(file, text)?;
    let mut reading = Reading::of(file);
    let mut config = config.clone();
    if !raw.rule_files.is_empty() {
        config.policies = reading.policies(&raw.rule_files, &config.root);
    }
    let mut names = BTreeMap::new();
    if raw.tests.value.is_empty() {
        reading.report(&raw.tests, "`tests` holds no test", "");
    }
    let mut tests = Vec::new();
    for test in &raw.tests.value {
        if test.name.value.trim().is_empty() {
            reading.report(&test.name, "the name of the test is empty", "");
        } else if let Some(line) = names.insert(&test.name.value, test.name.place.line()) {
            let message = format!("`{}` is the name of two tests", test.name.value);
            reading.report(
                &test.name,
                message,
                &format!("the other one is on line {line}"),
            );
        }
        tests.extend(reading.test(&raw, test, &config));
    }
    reading.done(tests)
}

/// One file being read, and what was found wrong with it so far.
pub(super) struct Reading<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(file: &'a str) -> Self {
        Self {
            file,
            problems: Vec::new(),
        }
    }

    /// What was read, when nothing is wrong with it.
    pub(super) fn done<T>(mut self, read: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(read);
        }
        self.problems.sort();
        Err(self.problems)
    }

    fn report<T>(&mut self, at: &At<T>, message: impl Into<String>, hint: &str) {
        let problem = Problem::at(self.file, at.place, message);
        self.problems.push(if hint.is_empty() {
            problem
        } else {
            problem.hint(hint)
        });
    }

    /// The policies under test. Records name them as a checkout does.
    pub(super) fn policies(&mut self, files: &[At<String>], root: &Path) -> Vec<Policy> {
        let folder = Path::new(self.file).parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for named in files {
            let path = plain(&folder.join(&named.value));
            let text = match load::read(&path) {
                Ok(text) => text,
                Err(problems) => {
                    let why: Vec<String> = problems.into_iter().map(|one| one.message).collect();
                    let message = format!("`{}`: {}", path.display(), why.join("; "));
                    self.report(
                        named,
                        message,
                        "paths are relative to the file of the tests",
                    );
                    continue;
                }
            };
            let name = path.display().to_string();
            match load_policy(&name, &text) {
                Ok(mut policy) => {
                    if let Ok(inside) = path.strip_prefix(plain(root)) {
                        policy.file = inside.display().to_string();
                    }
                    found.push(policy);
                }
                Err(mut problems) => self.problems.append(&mut problems),
            }
        }
        found
    }

    fn test(&mut self, raw: &RawFile, test: &RawTest, config: &Config) -> Option<Test> {
        let before = self.problems.len();
        self.alerts(test);
        let moments = self.moments(test);
        let mode = test.policy_mode.or(raw.policy_mode);
        let usual = START.parse().ok()?;
        let start = test.start.or(raw.start).unwrap_or(usual);
        let world = self.world((&raw.given, &test.given), mode, start, raw.interval, config);
        (self.problems.len() == before).then(|| Test {
            name: test.name.value.clone(),
            line: test.name.place.line(),
            alerts: test.alerts.clone(),
            moments,
            ..world
        })
    }

    /// A world in which nothing is delivered yet.
    pub(super) fn world(
        &mut self,
        (shared, own): (&RawGiven, &RawGiven),
        mode: Option<Mode>,
        start: Timestamp,
        interval: Option<Span>,
        config: &Config,
    ) -> Test {
        let given = joined(shared, own);
        self.references(&given);
        let interval = interval.map_or(INTERVAL, |interval| interval.0);
        let answers = self.answers(&given, interval, start);
        let mut config = config.clone();
        if let Some(mode) = mode {
            for policy in &mut config.policies {
                policy.guards.mode = mode;
            }
        }
        know_services(&mut config, &given);
        Test {
            name: String::new(),
            file: self.file.to_owned(),
            line: 0,
            config,
            start,
            answers,
            rule_groups: rule_groups(&given.alert_rules),
            given,
            alerts: Vec::new(),
            moments: Vec::new(),
        }
    }

    /// What names a deployment names one that is there, and every release names its service.
    fn references(&mut self, given: &RawGiven) {
        for release in &given.releases {
            if release.id.value.service().is_none() {
                self.report(&release.id, "a release's id is `<service>@<version>`", "");
            }
        }
        for deployment in &given.deployments {
            if deployment.release.value.service().is_none() {
                self.report(
                    &deployment.release,
                    "a release's id is `<service>@<version>`",
                    "",
                );
            }
        }
        let incidents = given.incidents.iter().map(|one| &one.deployment);
        let instances = given.instances.iter().map(|one| &one.deployment);
        for named in incidents.chain(instances) {
            let mut all = given.deployments.iter();
            if !all.any(|deployment| deployment.id.value == named.value) {
                let message = format!("there is no deployment `{}`", named.value);
                self.report(named, message, "`deployments` lists those of the test");
            }
        }
    }

    fn alerts(&mut self, test: &RawTest) {
        if test.alerts.is_empty() {
            self.report(
                &test.name,
                "the test has no alert, so nothing is decided",
                "",
            );
        }
        for alert in &test.alerts {
            if !alert.labels.value.contains_key("alertname") {
                self.report(&alert.labels, "the label `alertname` is missing", "");
            }
            let from = alert.from.unwrap_or(Offset::START);
            if from < Offset::START {
                self.report(&alert.labels, "an alert fires before the test starts", "");
            }
            if alert.until.is_some_and(|until| until <= from) {
                self.report(&alert.labels, "the alert is over before it fires", "");
            }
        }
    }

    fn moments(&mut self, test: &RawTest) -> Vec<RawMoment> {
        if test.decision_test.value.is_empty() {
            self.report(
                &test.decision_test,
                "the test expects nothing",
                "`{eval_time: 0s, exp_decisions: []}` expects that nothing stands",
            );
        }
        for moment in &test.decision_test.value {
            if moment.eval_time.value < Offset::START {
                self.report(
                    &moment.eval_time,
                    "nothing is decided before the test starts",
                    "",
                );
            }
            for expected in &moment.exp_decisions {
                self.words(&expected.value);
            }
        }
        let mut moments = test.decision_test.value.clone();
        moments.sort_by_key(|moment| moment.eval_time.value);
        moments
    }

    /// A guard or code that does not exist would never be met, and the test would say so late.
    fn words(&mut self, expected: &RawExpected) {
        let guards = Guard::ALL.map(Guard::as_str);
        self.known("guard", expected.obstacle.as_ref(), &guards);
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        self.known("code", expected.code.as_ref(), &codes);
    }

    fn known(&mut self, what: &str, word: Option<&At<String>>, all: &[&str]) {
        let Some(word) = word else { return };
        if word.value == "none" || all.contains(&&*word.value) {
            return;
        }
        let hint = match closest(&word.value, all) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}, none", all.join(", ")),
        };
        self.report(word, format!("there is no {what} `{}`", word.value), &hint);
    }

    fn answers(&mut self, given: &RawGiven, usual: Duration, start: Timestamp) -> Vec<Answer> {
        let mut seen = BTreeSet::new();
        let mut answers = Vec::new();
        for raw in &given.answers {
            let expr = spaced(&raw.expr.value);
            if !seen.insert(expr.clone()) {
                self.report(&raw.expr, "this expression is answered twice", "");
            }
            let interval = raw.interval.map_or(usual, |interval| interval.0);
            if interval.is_zero() {
                self.report(&raw.expr, "there is no time between two values", "");
            }
            let series = raw.series.iter();
            answers.push(Answer {
                expr,
                from: raw.from.unwrap_or(FIRST).after(start),
                interval,
                series: series
                    .map(|one| (one.series.0.clone(), one.values.clone()))
                    .collect(),
            });
        }
        answers
    }
}

/// A path without `.` and, where that can be told, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
