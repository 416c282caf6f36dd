//! Policy files: the YAML that teams review in pull requests, read into `domain::policy`.
//!
//! Everything that can be wrong with one file is found here, each with its place; what concerns
//! several files at once is [`overlaps`]. Nothing is decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::freeze::{self, RawFreeze};
use super::matcher::{BadMatcher, parse_matchers};
use super::problem::{Problem, read_yaml};
use crate::domain::alert::Labels;
use crate::domain::deployment::Phase;
use crate::domain::id::{ChannelName, Service};
use crate::domain::policy::{
    Action, Approval, BadPattern, Escalation, Expiry, Guards, Matcher, Mode, NoData, Policy, Rule,
};

/// Pause between two incidents of a lane when the file names none.
const DEFAULT_COOLDOWN: Duration = Duration::from_mins(30);

/// `rules/policy/*.yaml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    /// Services by name or glob; `["*"]` stands for every service that no other file names.
    #[schemars(with = "Vec<String>")]
    services: Spanned<Vec<Spanned<String>>>,
    /// Asked in order.
    #[schemars(with = "Vec<RawRule>")]
    rules: Spanned<Vec<RawRule>>,
    /// Limits around them.
    #[serde(default)]
    guards: RawGuards,
}

/// One rule; the first that matches an alert is taken.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRule {
    /// Its name, unique in the file.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// Alertmanager's matchers; all must hold.
    #[schemars(with = "Vec<String>")]
    matchers: Spanned<Vec<Spanned<String>>>,
    /// canary, between, full; left out: all.
    #[serde(default)]
    phase: Vec<Phase>,
    /// How long the accusation must stand. Default 0s.
    #[serde(default, rename = "for")]
    #[schemars(with = "Option<String>")]
    for_: Option<Spanned<String>>,
    /// How many accused hosts it takes. Default 0.
    #[serde(default)]
    min_hosts: u32,
    /// What it asks for.
    action: Action,
    /// The trusted expression; left out: the one of the rule in vmalert.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    verify: Option<Spanned<String>>,
    /// What no traffic means. Default hold.
    #[serde(default)]
    #[schemars(with = "Option<NoData>")]
    on_no_data: Option<Spanned<NoData>>,
    /// Left out: none is needed.
    #[serde(default)]
    approval: Option<RawApproval>,
    /// What follows when a batch was taken back and it is still bad. Default page.
    #[serde(default)]
    escalate: Escalation,
    /// Who is told; left out: `default_channels`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    channels: Vec<Spanned<String>>,
}

/// A person must agree.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawApproval {
    /// How long a person has.
    #[schemars(with = "String")]
    expires: Spanned<String>,
    /// What happens after that.
    then: Expiry,
}

/// Limits around the rules.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawGuards {
    /// off, shadow, approve, enforce. Default shadow.
    #[serde(default)]
    mode: Option<Mode>,
    /// Pause between two incidents of a lane. Default 30m.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    cooldown: Option<Spanned<String>>,
    /// Windows of as little change as possible.
    #[serde(default)]
    freeze: Vec<RawFreeze>,
    /// Share of hosts that must stay up, such as 60%.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    min_capacity: Option<Spanned<String>>,
}

/// The JSON schema of a file of `rules/policy/`.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(RawPolicy);
    schema.insert("title".to_owned(), "Policy".into());
    schema
}

/// Reads one file of `rules/policy/`.
///
/// Left out: `mode` is `shadow`, `cooldown` 30 minutes, `for` and `min_hosts` zero.
///
/// # Errors
/// Every problem of the file; a YAML error hides those after it.
pub fn load_policy(file_name: &str, text: &str) -> Result<Policy, Vec<Problem>> {
    let raw: RawPolicy = read_yaml(file_name, text)?;
    let mut reading = Reading {
        file: file_name,
        problems: Vec::new(),
    };
    let (services, service_globs) = reading.services(raw.services);
    let rules = reading.rules(raw.rules);
    let guards = reading.guards(raw.guards);
    if reading.problems.is_empty() {
        Ok(Policy {
            file: file_name.to_owned(),
            services,
            service_globs,
            rules,
            guards,
        })
    } else {
        reading.problems.sort();
        Err(reading.problems)
    }
}

/// A service that more than one policy file speaks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The service.
    pub service: Service,
    /// The files.
    pub files: Vec<String>,
}

/// Services that more than one file claims. A file whose only glob is `*` claims what is left
/// over, so it collides only with another such file.
pub fn overlaps(policies: &[Policy], services: &[Service]) -> Vec<Overlap> {
    let mut found = BTreeMap::new();
    for service in services {
        for fallback in [false, true] {
            let files: Vec<String> = policies
                .iter()
                .filter(|policy| policy.is_fallback() == fallback && policy.covers(service))
                .map(|policy| policy.file.clone())
                .collect();
            if files.len() > 1 {
                found.entry(service).or_insert(files);
            }
        }
    }
    let overlap = |(service, files): (&Service, _)| Overlap {
        service: service.clone(),
        files,
    };
    found.into_iter().map(overlap).collect()
}

/// One file being read, and what was found wrong with it so far.
struct Reading<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn report(&mut self, place: Location, message: impl Into<String>, hint: &str) {
        let problem = Problem::at(self.file, place, message);
        self.problems.push(if hint.is_empty() {
            problem
        } else {
            problem.hint(hint)
        });
    }

    fn services(&mut self, raw: Spanned<Vec<Spanned<String>>>) -> (globset::GlobSet, Vec<String>) {
        let mut set = globset::GlobSetBuilder::new();
        let mut globs = Vec::new();
        if raw.value.is_empty() {
            self.report(
                raw.referenced,
                "`services` names no service",
                "`[\"*\"]` stands for every service that no other file names",
            );
        }
        for glob in raw.value {
            match globset::Glob::new(&glob.value) {
                Ok(compiled) if !glob.value.is_empty() => {
                    set.add(compiled);
                    globs.push(glob.value);
                }
                Ok(_) => self.report(glob.referenced, "the name of a service is empty", ""),
                Err(error) => self.report(
                    glob.referenced,
                    format!("`{}` is not a usable glob: {}", glob.value, error.kind()),
                    "",
                ),
            }
        }
        let set = set.build().unwrap_or_else(|error| {
            self.report(
                raw.referenced,
                format!("the services can't be matched together: {error}"),
                "",
            );
            globset::GlobSet::empty()
        });
        (set, globs)
    }

    fn rules(&mut self, raw: Spanned<Vec<RawRule>>) -> Vec<Rule> {
        if raw.value.is_empty() {
            self.report(raw.referenced, "`rules` holds no rule", "");
        }
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        let mut rules = Vec::new();
        for rule in raw.value {
            let place = rule.name.referenced;
            if rule.name.value.trim().is_empty() {
                self.report(place, "the name of the rule is empty", "");
            } else if let Some(line) = names.get(&rule.name.value) {
                self.report(
                    place,
                    format!("`{}` is the name of two rules", rule.name.value),
                    &format!("the other one is on line {line}"),
                );
            } else {
                names.insert(rule.name.value.clone(), place.line());
            }
            rules.push(self.rule(rule));
        }
        rules
    }

    fn rule(&mut self, raw: RawRule) -> Rule {
        let matchers = self.matchers(raw.matchers);
        if let Some(silence) = raw.on_no_data.as_ref()
            && silence.value == NoData::Rollback
        {
            self.report(
                silence.referenced,
                "`on_no_data: rollback` is refused: silence is not an anomaly and never takes a \
                 release back",
                "`hold` waits and tells people, `ignore` counts it as healthy",
            );
        }
        if let Some(verify) = raw.verify.as_ref()
            && verify.value.trim().is_empty()
        {
            self.report(verify.referenced, "the expression of `verify` is empty", "");
        }
        Rule {
            name: raw.name.value,
            matchers,
            phases: raw.phase,
            for_: self.duration(raw.for_, Duration::ZERO),
            min_hosts: raw.min_hosts,
            action: raw.action,
            verify: raw.verify.map(|verify| verify.value.trim().to_owned()),
            on_no_data: raw.on_no_data.map_or(NoData::Hold, |silence| silence.value),
            approval: raw.approval.map(|approval| self.approval(approval)),
            escalate: raw.escalate,
            channels: self.channels(raw.channels),
        }
    }

    fn approval(&mut self, raw: RawApproval) -> Approval {
        let place = raw.expires.referenced;
        let before = self.problems.len();
        let expires = self.duration(Some(raw.expires), Duration::ZERO);
        if expires.is_zero() && self.problems.len() == before {
            self.report(place, "nobody can answer within no time", "for example 15m");
        }
        Approval {
            expires,
            then: raw.then,
        }
    }

    fn matchers(&mut self, raw: Spanned<Vec<Spanned<String>>>) -> Vec<Matcher> {
        let before = self.problems.len();
        let mut matchers = Vec::new();
        for text in raw.value {
            match parse_matchers(&text.value) {
                Ok(parsed) => matchers.extend(parsed),
                Err(error) => self.report(
                    text.referenced,
                    in_one_line(&error),
                    "for example 'severity=~\"critical|page\"'",
                ),
            }
        }
        let nothing = Labels::new();
        if self.problems.len() == before && matchers.iter().all(|m| m.matches(&nothing)) {
            self.report(
                raw.referenced,
                "the rule has no condition: its matchers accept an alert without any label",
                "name at least one label, for example 'alertname=~\".+\"'",
            );
        }
        matchers
    }

    fn channels(&mut self, raw: Vec<Spanned<String>>) -> Vec<ChannelName> {
        let mut channels = Vec::new();
        for channel in raw {
            match ChannelName::new(channel.value) {
                Ok(name) => channels.push(name),
                Err(error) => self.report(channel.referenced, error.to_string(), ""),
            }
        }
        channels
    }

    fn guards(&mut self, raw: RawGuards) -> Guards {
        Guards {
            mode: raw.mode.unwrap_or(Mode::Shadow),
            cooldown: self.duration(raw.cooldown, DEFAULT_COOLDOWN),
            min_capacity: raw.min_capacity.and_then(|share| self.share(&share)),
            freeze: freeze::read(self.file, raw.freeze, &mut self.problems),
        }
    }

    fn duration(&mut self, raw: Option<Spanned<String>>, default: Duration) -> Duration {
        let Some(raw) = raw else { return default };
        humantime::parse_duration(&raw.value).unwrap_or_else(|error| {
            self.report(
                raw.referenced,
                format!("`{}` is not a duration: {error}", raw.value),
                "for example 30s, 15m, 1h30m",
            );
            default
        })
    }

    fn share(&mut self, raw: &Spanned<String>) -> Option<f64> {
        let percent = raw.value.strip_suffix('%').map(str::trim);
        match percent.and_then(|number| number.parse::<f64>().ok()) {
            Some(percent) if (0.0..=100.0).contains(&percent) => Some(percent / 100.0),
            _ => {
                self.report(
                    raw.referenced,
                    format!("`{}` is not a share between 0% and 100%", raw.value),
                    "for example 60%",
                );
                None
            }
        }
    }
}

/// The regular expression reader draws its complaint over several lines; the last one says it.
fn in_one_line(error: &BadMatcher) -> String {
    match error {
        BadMatcher::Shape { .. } => error.to_string(),
        BadMatcher::Pattern(bad) => {
            let reason = bad.reason.lines().last().unwrap_or_default();
            let pattern = bad.pattern.clone();
            let reason = reason.trim().trim_start_matches("error: ").to_owned();
            BadPattern { pattern, reason }.to_string()
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
