//! A test's world out of the file's and its own, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::given::{RawAlertRule, RawGiven};
use super::metrics::spaced;
use crate::config::{Config, DeployPipeline, Rollback, ServiceConfig, Template};
use crate::domain::deployment::Strategy;
use crate::prometheus::{AlertingRule, RuleGroup};

/// The file's world with the test's: what has an id replaces its namesake, an answer the answer to
/// the same expression, evidence and rollbacks the whole.
pub(super) fn joined(file: &RawGiven, test: &RawGiven) -> RawGiven {
    fn chained<T: Clone>(file: &[T], test: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<T> {
        let kept = file
            .iter()
            .filter(|old| !test.iter().any(|new| same(old, new)));
        kept.chain(test).cloned().collect()
    }
    let apart = |_: &_, _: &_| false;
    RawGiven {
        releases: chained(&file.releases, &test.releases, |a, b| {
            a.id.value == b.id.value
        }),
        deployments: chained(&file.deployments, &test.deployments, |a, b| {
            a.id.value == b.id.value
        }),
        instances: chained(&file.instances, &test.instances, |a, b| {
            a.deployment.value == b.deployment.value && a.host == b.host
        }),
        marks: chained(&file.marks, &test.marks, |_, _| false),
        incidents: chained(&file.incidents, &test.incidents, |_, _| false),
        executions: chained(&file.executions, &test.executions, |a, b| a.id == b.id),
        modes: chained(&file.modes, &test.modes, |_, _| false),
        grants: chained(&file.grants, &test.grants, |_, _| false),
        outages: chained(&file.outages, &test.outages, apart),
        alert_rules: chained(&file.alert_rules, &test.alert_rules, |a, b| {
            a.alert == b.alert && a.group == b.group
        }),
        answers: chained(&file.answers, &test.answers, |a, b| {
            spaced(&a.expr.value) == spaced(&b.expr.value)
        }),
        evidence: test.evidence.clone().or_else(|| file.evidence.clone()),
        rollbacks: test.rollbacks.clone().or_else(|| file.rollbacks.clone()),
    }
}

/// Services that only the test knows, so that their lanes are known as well.
pub(super) fn know_services(config: &mut Config, given: &RawGiven) {
    for deployment in &given.deployments {
        let Some(service) = deployment.release.value.service() else {
            continue;
        };
        let known = config
            .services
            .entry(service.clone())
            .or_insert_with(|| ServiceConfig {
                owner: None,
                application: service.to_string(),
                deploy: Vec::new(),
                rollback: Rollback::default(),
                recovery: None,
                canary: crate::config::ServiceCanary::default(),
                mode: None,
                harmless_pipelines: Vec::new(),
                tag_prefix: String::new(),
                repository: None,
            });
        if known
            .deploy
            .iter()
            .any(|pipeline| pipeline.env == deployment.env)
        {
            continue;
        }
        let Ok(release) = Template::parse("{parameters.release_id}") else {
            continue;
        };
        known.deploy.push(DeployPipeline {
            agents: None,
            pipeline: deployment
                .pipeline
                .clone()
                .unwrap_or_else(|| format!("deploy-{}", deployment.env)),
            env: deployment.env.clone(),
            strategy: deployment.strategy.unwrap_or(Strategy::Canary),
            soak: deployment.soak.map_or(Duration::ZERO, |soak| soak.0),
            release,
            batch: None,
            hosts: None,
        });
    }
}

/// The rule list of a vmalert.
pub(super) fn rule_groups(rules: &[RawAlertRule]) -> Vec<RuleGroup> {
    let mut groups: BTreeMap<&str, Vec<AlertingRule>> = BTreeMap::new();
    for rule in rules {
        let group = rule.group.as_deref().unwrap_or_default();
        groups.entry(group).or_default().push(AlertingRule {
            name: rule.alert.clone(),
            query: rule.expr.clone(),
            labels: rule.labels.clone(),
            for_: Duration::ZERO,
            healthy: Some(true),
            last_error: None,
            last_evaluation: None,
        });
    }
    let group = |(name, rules): (&str, _)| RuleGroup {
        name: name.to_owned(),
        file: String::new(),
        params: Vec::new(),
        has_headers: false,
        rules,
    };
    groups.into_iter().map(group).collect()
}
