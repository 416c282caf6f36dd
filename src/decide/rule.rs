//! From alerts to accusations: the first matching rule per alert, then all open episodes of one
//! deployment and rule together.
//!
//! Every pass over the alerts is linear, and words are made once per accusation, so a thousand
//! alerts in one delivery cost little more than their matchers.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use crate::domain::alert::{Alert, Labels};
use crate::domain::context::{Context, Resolution};
use crate::domain::decision::RuleVerdict;
use crate::domain::deployment::Phase;
use crate::domain::id::{DeploymentId, Env, Host, Service};
use crate::domain::policy::{Policy, Rule};

/// An alert whose episode is open.
#[derive(Debug, Clone, Copy)]
pub struct OpenAlert<'a> {
    /// The alert as last delivered.
    pub alert: &'a Alert,
    /// Since when its episode is open.
    pub since: Timestamp,
}

/// An open alert and what it accuses.
#[derive(Debug, Clone, Copy)]
pub struct Accused<'a> {
    /// The alert.
    pub open: OpenAlert<'a>,
    /// The ladder's answer for it.
    pub resolution: &'a Resolution,
}

/// All open alerts of one deployment under one rule. Those that accuse no deployment stand
/// together by service, env and rule, so that people are told once.
#[derive(Debug, Clone)]
pub struct Accusation<'a> {
    /// The alerts, in the order given.
    pub alerts: Vec<OpenAlert<'a>>,
    /// Joined: batches and hosts of all of them.
    pub resolution: Resolution,
    /// Whether at least one alert could not tell its batch.
    pub batch_untold: bool,
    /// The deployment's phase, or why it can't be read; None without a deployment.
    pub phase: Option<Result<Phase, String>>,
    /// The policy that speaks about the service.
    pub policy: Option<&'a Policy>,
    /// The first rule that matches.
    pub rule: Option<&'a Rule>,
    /// Every rule that was asked, for the first of the alerts.
    pub rules: Vec<RuleVerdict>,
}

impl Accusation<'_> {
    /// The rule's name in records, `<file>: <name>`.
    pub fn rule_name(&self) -> Option<String> {
        Some(rule_name(self.policy?, self.rule?))
    }

    /// Since when all of this stands: the oldest open episode.
    pub fn since(&self) -> Option<Timestamp> {
        self.alerts.iter().map(|open| open.since).min()
    }
}

/// The policy that speaks about a service: one that names it, else the one that takes the rest.
pub fn policy_for<'a>(policies: &'a [Policy], service: &Service) -> Option<&'a Policy> {
    let covering = |fallback: bool| {
        policies
            .iter()
            .find(|policy| policy.is_fallback() == fallback && policy.covers(service))
    };
    covering(false).or_else(|| covering(true))
}

/// The first rule, in the order of the file, that speaks about `phase` and whose matchers all
/// hold. Where the phase is unknown the matchers alone count: a guard holds the action back then,
/// and people are told by the channels of the rule that was meant.
pub fn select_rule<'a>(
    policy: &'a Policy,
    labels: &Labels,
    phase: Option<Phase>,
) -> Option<&'a Rule> {
    policy
        .rules
        .iter()
        .find(|rule| speaks_about(rule, phase) && rule.matchers.iter().all(|m| m.matches(labels)))
}

/// Every rule that [`select_rule`] asks, with why it is the one or why not.
pub fn explain_rules(policy: &Policy, labels: &Labels, phase: Option<Phase>) -> Vec<RuleVerdict> {
    let mut verdicts = Vec::new();
    for rule in &policy.rules {
        let obstacle = obstacle(rule, labels, phase);
        let matched = obstacle.is_none();
        verdicts.push(RuleVerdict {
            rule: rule_name(policy, rule),
            matched,
            why: obstacle.unwrap_or_else(|| reason(rule, phase)),
        });
        if matched {
            break;
        }
    }
    verdicts
}

/// A rule's name in records, `<file>: <name>`.
pub fn rule_name(policy: &Policy, rule: &Rule) -> String {
    format!("{}: {}", policy.file, rule.name)
}

fn speaks_about(rule: &Rule, phase: Option<Phase>) -> bool {
    rule.phases.is_empty() || phase.is_none_or(|phase| rule.phases.contains(&phase))
}

fn obstacle(rule: &Rule, labels: &Labels, phase: Option<Phase>) -> Option<String> {
    if let Some(matcher) = rule.matchers.iter().find(|m| !m.matches(labels)) {
        return Some(match labels.get(&matcher.name) {
            Some(value) => format!(
                "{matcher} does not match: the alert has {}={value:?}",
                matcher.name
            ),
            None => format!(
                "{matcher} does not match: the alert has no label `{}`",
                matcher.name
            ),
        });
    }
    let phase = phase.filter(|_| !speaks_about(rule, phase))?;
    Some(format!(
        "the phase is {}, the rule speaks about {}",
        phase_word(phase),
        phase_words(&rule.phases)
    ))
}

fn reason(rule: &Rule, phase: Option<Phase>) -> String {
    let matchers: Vec<String> = rule.matchers.iter().map(ToString::to_string).collect();
    let phase = match (phase, rule.phases.is_empty()) {
        (Some(phase), false) => format!("; the phase is {}", phase_word(phase)),
        (None, false) => format!(
            "; the phase is not known, the rule speaks about {}",
            phase_words(&rule.phases)
        ),
        (_, true) => String::new(),
    };
    format!("{} match{phase}", matchers.join(" and "))
}

fn phase_words(phases: &[Phase]) -> String {
    let words: Vec<&str> = phases.iter().copied().map(phase_word).collect();
    words.join(", ")
}

/// A phase as the configuration writes it.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Canary => "canary",
        Phase::Between => "between",
        Phase::Full => "full",
    }
}

/// What makes alerts one accusation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Against<'a> {
    Deployment(&'a DeploymentId),
    Nobody {
        ambiguous: bool,
        service: Option<&'a Service>,
        env: Option<&'a Env>,
    },
}

impl<'a> Against<'a> {
    fn of(resolution: &'a Resolution) -> Self {
        match resolution {
            Resolution::Found(context) => Self::Deployment(&context.deployment.id),
            Resolution::Ambiguous { service, env, .. } => Self::Nobody {
                ambiguous: true,
                service: service.as_ref(),
                env: env.as_ref(),
            },
            Resolution::Unavailable { service, env, .. } => Self::Nobody {
                ambiguous: false,
                service: service.as_ref(),
                env: env.as_ref(),
            },
        }
    }
}

/// Puts open alerts together by deployment and rule. Resolved ones accuse nobody and are left
/// out. `phase_of` is asked once per deployment; what it can't read is an `Err` in words.
pub fn accuse<'a>(
    open: &[Accused<'a>],
    policies: &'a [Policy],
    phase_of: impl Fn(&Context) -> Result<Phase, String>,
) -> Vec<Accusation<'a>> {
    let mut phases: HashMap<&DeploymentId, Result<Phase, String>> = HashMap::new();
    let mut places: HashMap<(Against<'a>, Option<*const Rule>), usize> = HashMap::new();
    let mut gathered: Vec<Gathered<'a>> = Vec::new();
    for accused in open.iter().filter(|accused| accused.open.alert.is_firing()) {
        let phase = accused.resolution.context().map(|context| {
            phases
                .entry(&context.deployment.id)
                .or_insert_with(|| phase_of(context))
                .clone()
        });
        let known = phase
            .as_ref()
            .and_then(|phase| phase.as_ref().ok().copied());
        let policy = accused
            .resolution
            .service()
            .and_then(|service| policy_for(policies, service));
        let rule = policy.and_then(|p| select_rule(p, &accused.open.alert.labels, known));
        let key = (
            Against::of(accused.resolution),
            rule.map(std::ptr::from_ref),
        );
        let place = *places.entry(key).or_insert_with(|| {
            gathered.push(Gathered::new(accused, phase, policy, rule));
            gathered.len() - 1
        });
        if let Some(gathered) = gathered.get_mut(place) {
            gathered.add(accused);
        }
    }
    gathered.into_iter().map(Gathered::finish).collect()
}

/// An accusation while its alerts are still coming in.
struct Gathered<'a> {
    alerts: Vec<OpenAlert<'a>>,
    first: &'a Resolution,
    last: Option<&'a Context>,
    batches: BTreeSet<u32>,
    batch_of: Option<HashMap<&'a Host, u32>>,
    hosts: Vec<&'a Host>,
    seen: HashSet<&'a Host>,
    batch_untold: bool,
    phase: Option<Result<Phase, String>>,
    policy: Option<&'a Policy>,
    rule: Option<&'a Rule>,
}

impl<'a> Gathered<'a> {
    fn new(
        accused: &Accused<'a>,
        phase: Option<Result<Phase, String>>,
        policy: Option<&'a Policy>,
        rule: Option<&'a Rule>,
    ) -> Self {
        Self {
            alerts: Vec::new(),
            first: accused.resolution,
            last: None,
            batches: BTreeSet::new(),
            batch_of: None,
            hosts: Vec::new(),
            seen: HashSet::new(),
            batch_untold: false,
            phase,
            policy,
            rule,
        }
    }

    fn add(&mut self, accused: &Accused<'a>) {
        self.alerts.push(accused.open);
        let Some(context) = accused.resolution.context() else {
            return;
        };
        // Alerts of a whole release share one answer, and it may name thousands of hosts.
        let known = self.last.is_some_and(|last| {
            std::ptr::eq(last, context)
                || (last.batches == context.batches && last.hosts == context.hosts)
        });
        if known {
            return;
        }
        let fresh = context.hosts.iter().filter(|host| self.seen.insert(host));
        self.hosts.extend(fresh);
        let told = self.told_batches(context);
        self.batch_untold |= told.is_empty();
        self.batches.extend(told);
        self.last = Some(context);
    }

    /// The accused batches: those the ladder named, else those its hosts are in. A number the
    /// deployment does not have, or a host in no batch, tells nothing.
    fn told_batches(&mut self, context: &'a Context) -> BTreeSet<u32> {
        if !context.batches.is_empty() {
            let exists = |n: &u32| context.deployment.batches.iter().any(|batch| batch.n == *n);
            return if context.batches.iter().all(exists) {
                context.batches.clone()
            } else {
                BTreeSet::new()
            };
        }
        let batch_of = self.batch_of.get_or_insert_with(|| {
            let mut index = HashMap::new();
            for batch in &context.deployment.batches {
                for host in &batch.hosts {
                    index.entry(host).or_insert(batch.n);
                }
            }
            index
        });
        let told: Option<BTreeSet<u32>> = context
            .hosts
            .iter()
            .map(|host| batch_of.get(host).copied())
            .collect();
        told.unwrap_or_default()
    }

    fn finish(self) -> Accusation<'a> {
        let mut resolution = self.first.clone();
        if let Resolution::Found(context) = &mut resolution {
            context.batches = self.batches;
            context.hosts = self.hosts.into_iter().cloned().collect();
        }
        let known = self
            .phase
            .as_ref()
            .and_then(|phase| phase.as_ref().ok().copied());
        let rules = match (self.policy, self.alerts.first()) {
            (Some(policy), Some(open)) => explain_rules(policy, &open.alert.labels, known),
            _ => Vec::new(),
        };
        Accusation {
            alerts: self.alerts,
            resolution,
            batch_untold: self.batch_untold,
            phase: self.phase,
            policy: self.policy,
            rule: self.rule,
            rules,
        }
    }
}
