//! A service's templates, filled in for one batch.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{Group, Rule, duration};
use super::lint;
use crate::config::canary::{CanaryFile, CanaryRule};
use crate::config::place::At;
use crate::config::problem::{Problem, closest};
use crate::config::{Config, ServiceCanary};
use crate::domain::id::{DeploymentId, Env, ReleaseId, Service};

/// Labels that say what the rules are about; no rule may say otherwise.
const OURS: [&str; 8] = [
    "alertname",
    "service",
    "env",
    "release_id",
    "batch",
    "deployment_id",
    "phase",
    "stable_release_id",
];
/// Names that every template knows, beside its values.
const NAMES: [&str; 9] = [
    "canary",
    "release",
    "stable",
    "by",
    "service",
    "env",
    "release_id",
    "batch",
    "stable_release_id",
];

/// What the rules are to watch.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Whose.
    pub service: &'a Service,
    /// Where.
    pub env: &'a Env,
    /// In which deployment.
    pub deployment: &'a DeploymentId,
    /// What is watched.
    pub release_id: &'a ReleaseId,
    /// Where it is watched.
    pub batch: u32,
    /// What it is compared with; None: whatever else runs.
    pub stable: Option<&'a ReleaseId>,
}

impl Subject<'_> {
    fn names(&self) -> BTreeMap<&'static str, String> {
        let place = format!("service=\"{}\",env=\"{}\"", self.service, self.env);
        let release = format!("{place},release_id=\"{}\"", self.release_id);
        let stable = match self.stable {
            Some(stable) => format!("{place},release_id=\"{stable}\""),
            None => format!("{place},release_id!=\"{}\"", self.release_id),
        };
        BTreeMap::from([
            ("canary", format!("{release},batch=\"{}\"", self.batch)),
            ("release", release),
            ("stable", stable),
            ("by", "service, env, release_id, batch".to_owned()),
            ("service", self.service.to_string()),
            ("env", self.env.to_string()),
            ("release_id", self.release_id.to_string()),
            ("batch", self.batch.to_string()),
            (
                "stable_release_id",
                self.stable.map_or_else(String::new, ToString::to_string),
            ),
        ])
    }

    fn group_name(&self) -> String {
        let Self {
            service,
            env,
            deployment,
            release_id,
            batch,
            ..
        } = self;
        format!("canary/{service}/{env}/{release_id}/{deployment}/batch-{batch}")
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("service", self.service.to_string()),
            ("env", self.env.to_string()),
            ("release_id", self.release_id.to_string()),
            ("batch", self.batch.to_string()),
            ("deployment_id", self.deployment.to_string()),
            ("phase", "canary".to_owned()),
        ]);
        if let Some(stable) = self.stable {
            labels.insert("stable_release_id", stable.to_string());
        }
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        labels.into_iter().map(owned).collect()
    }
}

/// The rule group for `subject`. A service that has no templates has an empty group.
///
/// # Errors
/// Every problem of the templates, with its place.
pub fn render(config: &Config, subject: &Subject<'_>) -> Result<Group, Vec<Problem>> {
    let nothing = ServiceCanary::default();
    let service = config.services.get(subject.service);
    let own = service.map_or(&nothing, |service| &service.canary);
    let names = subject.names();
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for file in config.canary.files(subject.service) {
        for template in &file.rules {
            let mut filling = Filling {
                file,
                own,
                names: &names,
                problems: &mut problems,
            };
            let rule = filling.rule(template);
            if rules.iter().any(|other| other.alert == rule.alert) {
                let text = format!("`{}` is the name of two rules", rule.alert);
                problems.push(Problem::at(&file.file, template.alert.place, text));
            }
            for fault in lint::rule(&rule, subject.release_id.as_str()) {
                let problem = Problem::at(&file.file, template.expr.place, fault.what);
                problems.push(problem.hint(fault.hint));
            }
            rules.push(rule);
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let canary = &config.canary;
    // A rule evaluated in the past sees nothing new; VictoriaMetrics hides the last 30 s otherwise.
    let fresh = config
        .metrics
        .as_ref()
        .is_some_and(|metrics| metrics.latency_offset);
    let params = fresh.then(|| ("latency_offset".to_owned(), vec!["1ms".to_owned()]));
    Ok(Group {
        name: subject.group_name(),
        interval: duration(canary.interval),
        eval_delay: canary.eval_delay.map(duration),
        params: params.into_iter().collect(),
        labels: subject.labels(),
        rules,
    })
}

/// What is wrong with the templates of `config`, whose main file is `main`: each service's are
/// filled in for a batch that could be.
pub fn check(config: &Config, main: &str) -> Vec<Problem> {
    let mut found = BTreeSet::new();
    let invented = Service::new("service").ok();
    let services = config.services.keys().chain(&invented);
    for service in services {
        let release = ReleaseId::of(service, "2");
        let stable = ReleaseId::of(service, "1");
        let (Ok(release), Ok(stable)) = (release, stable) else {
            continue;
        };
        let (Ok(env), Ok(deployment)) = (Env::new("prod"), DeploymentId::new("01X")) else {
            continue;
        };
        for stable in [Some(&stable), None] {
            let subject = Subject {
                service,
                env: &env,
                deployment: &deployment,
                release_id: &release,
                batch: 1,
                stable,
            };
            found.extend(render(config, &subject).err().into_iter().flatten());
        }
        found.extend(unused_values(config, service, main));
    }
    found.into_iter().collect()
}

/// A service's values that none of its templates has a name for.
fn unused_values(config: &Config, service: &Service, main: &str) -> Vec<Problem> {
    let Some(own) = config.services.get(service) else {
        return Vec::new();
    };
    let files = config.canary.files(service);
    let known: Vec<&str> = files
        .iter()
        .flat_map(|file| file.values.keys().map(String::as_str))
        .collect();
    let unknown = own.canary.values.iter();
    unknown
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, at)| {
            let text = format!("no canary template of `{service}` has a value `{name}`");
            let problem = Problem::at(main, at.place, text);
            match closest(name, &known) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            }
        })
        .collect()
}

/// One file being filled in.
struct Filling<'a> {
    file: &'a CanaryFile,
    own: &'a ServiceCanary,
    names: &'a BTreeMap<&'static str, String>,
    problems: &'a mut Vec<Problem>,
}

impl Filling<'_> {
    fn rule(&mut self, template: &CanaryRule) -> Rule {
        let mut labels = BTreeMap::new();
        for (name, at) in &template.labels {
            if OURS.contains(&name.as_str()) {
                let text = format!("the label `{name}` is put on by Backstop");
                self.problem(at, text, "leave it out");
            }
            let value = self.fill(at);
            if value.contains("$value") {
                let text = format!("the label `{name}` holds the value");
                self.problem(at, text, "a label that changes starts the alert anew");
            }
            labels.insert(name.clone(), value);
        }
        if !labels.contains_key("severity") {
            let text = format!("`{}` has no label `severity`", template.alert.value);
            self.problem(&template.alert, text, "policies match it");
        }
        let annotations = template.annotations.iter();
        let annotations = annotations
            .map(|(name, at)| (name.clone(), self.fill(at)))
            .collect();
        Rule {
            alert: template.alert.value.clone(),
            expr: self.fill(&template.expr).trim().to_owned(),
            for_: duration(template.for_),
            labels,
            annotations,
        }
    }

    fn problem<T>(&mut self, at: &At<T>, text: String, hint: &str) {
        let problem = Problem::at(&self.file.file, at.place, text);
        self.problems.push(problem.hint(hint));
    }

    /// The text with each `${name}` replaced, once: a value that looks like a name stays as it is.
    fn fill(&mut self, at: &At<String>) -> String {
        let mut out = String::with_capacity(at.value.len());
        let mut rest = at.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                self.problem(at, "a `${` without its `}`".to_owned(), "write `${name}`");
                return out;
            };
            match self.value(name) {
                Some(value) => out.push_str(value),
                None => self.unknown(at, name),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn value(&self, name: &str) -> Option<&str> {
        if let Some(ours) = self.names.get(name) {
            return Some(ours);
        }
        let default = self.file.values.get(name)?;
        Some(&self.own.values.get(name).unwrap_or(default).value)
    }

    fn unknown(&mut self, at: &At<String>, name: &str) {
        let values = self.file.values.keys().map(String::as_str);
        let known: Vec<&str> = NAMES.into_iter().chain(values).collect();
        let hint = match closest(name, &known) {
            Some(near) => format!("did you mean `${{{near}}}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        self.problem(at, format!("nothing is known here as `${{{name}}}`"), &hint);
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
