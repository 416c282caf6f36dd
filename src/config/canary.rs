//! `canary:` and `rules/canary/`: the alert rules that watch one batch of one release.
//!
//! Read here, with places; what they become for a batch, and whether that is sound, is
//! [`crate::canary`]'s to say.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::place::At;
use super::problem::{Problem, read_yaml};
use super::raw::RawCanary;
use super::validate::{CanaryText, Checker, Files};
use crate::domain::id::Service;

macro_rules! shipped {
    ($name:literal) => {
        (
            concat!("(shipped) rules/canary/", $name, ".yaml"),
            include_str!(concat!("../../rules/canary/", $name, ".yaml")),
        )
    };
}

/// The templates that apply where a team has written none.
pub const SHIPPED_TEMPLATES: [(&str, &str); 6] = [
    shipped!("cpu"),
    shipped!("error-ratio"),
    shipped!("latency"),
    shipped!("memory"),
    shipped!("no-data"),
    shipped!("restarts"),
];

/// How canary rules are made, and from what.
#[derive(Debug, Clone)]
pub struct Canary {
    /// How often vmalert evaluates an armed group.
    pub interval: Duration,
    /// Armed rules outlive their arming at most by this.
    pub ttl: Duration,
    /// vmalert's `eval_delay` of armed groups. None: not written, since 1.79 refuses the field.
    pub eval_delay: Option<Duration>,
    /// `rules/canary/*.yaml`; the shipped ones where there is none.
    pub shared: Vec<CanaryFile>,
    /// `rules/canary/<service>/*.yaml`: what that service has instead.
    pub own: BTreeMap<Service, Vec<CanaryFile>>,
}

impl Canary {
    /// The templates of a service.
    pub fn files(&self, service: &Service) -> &[CanaryFile] {
        self.own.get(service).unwrap_or(&self.shared)
    }
}

/// What a service says about its canary rules.
#[derive(Debug, Clone, Default)]
pub struct ServiceCanary {
    /// No rules are armed for it.
    pub off: bool,
    /// Its own values of the templates' names.
    pub values: BTreeMap<String, At<String>>,
}

/// One file of templates.
#[derive(Debug, Clone)]
pub struct CanaryFile {
    /// As the person named it.
    pub file: String,
    /// What the names in it stand for.
    pub values: BTreeMap<String, At<String>>,
    /// Its rules.
    pub rules: Vec<CanaryRule>,
}

/// One alerting rule, before its names are filled in.
#[derive(Debug, Clone)]
pub struct CanaryRule {
    /// The alert's name.
    pub alert: At<String>,
    /// The expression, with `${names}`.
    pub expr: At<String>,
    /// How long it must hold.
    pub for_: Duration,
    /// Labels put on its alerts.
    pub labels: BTreeMap<String, At<String>>,
    /// Text for people.
    pub annotations: BTreeMap<String, At<String>>,
}

/// A file of `rules/canary/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawFile {
    /// What `${name}` stands for in this file; a service may set its own.
    #[serde(default)]
    values: BTreeMap<String, At<String>>,
    /// The rules.
    rules: Vec<RawRule>,
}

/// One alerting rule, in the words of vmalert 1.79 and Prometheus alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRule {
    /// The alert's name.
    alert: At<String>,
    /// A MetricsQL expression with `${canary}`, `${stable}`, `${by}` and the values' names.
    expr: At<String>,
    /// How long it must hold. Default 0s.
    #[serde(default, rename = "for")]
    for_: Option<At<String>>,
    /// Labels put on its alerts, beside those of the batch.
    #[serde(default)]
    labels: BTreeMap<String, At<String>>,
    /// Text for people.
    #[serde(default)]
    annotations: BTreeMap<String, At<String>>,
}

/// The JSON schema of a file of `rules/canary/`.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(RawFile);
    schema.insert("title".to_owned(), "Canary rules".into());
    schema
}

/// Reads one file of templates.
///
/// # Errors
/// Every problem of the file; a YAML error hides those after it.
pub fn load_file(file: &str, text: &str) -> Result<CanaryFile, Vec<Problem>> {
    let raw: RawFile = read_yaml(file, text)?;
    let mut problems = Vec::new();
    let rules = raw.rules.into_iter();
    let rules = rules.map(|raw| rule(file, raw, &mut problems)).collect();
    if problems.is_empty() {
        Ok(CanaryFile {
            file: file.to_owned(),
            values: raw.values,
            rules,
        })
    } else {
        Err(problems)
    }
}

fn rule(file: &str, raw: RawRule, problems: &mut Vec<Problem>) -> CanaryRule {
    if raw.alert.value.trim().is_empty() {
        problems.push(Problem::at(
            file,
            raw.alert.place,
            "the name of the rule is empty",
        ));
    }
    let for_ = raw.for_.map_or(Ok(Duration::ZERO), |at| {
        humantime::parse_duration(&at.value).map_err(|_| {
            let text = format!("`{}` is not a duration such as 30s or 15m", at.value);
            problems.push(Problem::at(file, at.place, text));
        })
    });
    CanaryRule {
        alert: raw.alert,
        expr: raw.expr,
        for_: for_.unwrap_or_default(),
        labels: raw.labels,
        annotations: raw.annotations,
    }
}

/// `canary:` of the main file, with the templates beside it.
pub(super) fn read(checker: &mut Checker<'_>, raw: &RawCanary, files: &Files) -> Canary {
    let interval = checker.duration_or(raw.interval.as_ref(), Duration::from_secs(5));
    if let Some(at) = raw.interval.as_ref().filter(|_| interval.as_secs() == 0) {
        checker.problem(at, "rules are evaluated every second at most");
    }
    let ttl = checker.duration_or(raw.ttl.as_ref(), Duration::from_hours(24));
    if let Some(at) = raw.ttl.as_ref().filter(|_| ttl.is_zero()) {
        checker.problem(at, "rules that live for no time watch nothing");
    }
    let eval_delay = raw.eval_delay.as_ref().and_then(|at| checker.duration(at));
    let mut canary = Canary {
        interval,
        ttl,
        eval_delay,
        shared: Vec::new(),
        own: BTreeMap::new(),
    };
    for CanaryText {
        service,
        name,
        text,
    } in &files.canary
    {
        let place = match service.as_deref().map(Service::new) {
            None => &mut canary.shared,
            Some(Ok(service)) => canary.own.entry(service).or_default(),
            Some(Err(error)) => {
                checker
                    .problems
                    .push(Problem::of_file(name, error.to_string()));
                continue;
            }
        };
        match load_file(name, text) {
            Ok(file) => place.push(file),
            Err(mut problems) => checker.problems.append(&mut problems),
        }
    }
    canary
}
