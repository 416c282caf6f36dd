//! `services:`: pipelines, parameters and the recovery question of each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::by_agents;
use super::place::At;
use super::raw::{RawDeploy, RawRecovery, RawService};
use super::rollback::rollback;
use super::validate::Checker;
use super::{
    Comparison, DeployPipeline, Recovery, SELF_TEST_SERVICE, ServiceCanary, ServiceConfig, Template,
};
use crate::domain::id::Service;

pub(super) fn read(
    checker: &mut Checker<'_>,
    raw: BTreeMap<String, RawService>,
) -> BTreeMap<Service, ServiceConfig> {
    let mut services = BTreeMap::new();
    for (name, raw) in raw {
        if name == SELF_TEST_SERVICE {
            let message = format!("`{name}` is the self-test's own service; name yours otherwise");
            checker.problem(&raw.application, message);
        }
        match Service::new(&name) {
            Ok(id) => {
                let service = service(checker, raw);
                services.insert(id, service);
            }
            Err(error) => checker.problem(&raw.application, error.to_string()),
        }
    }
    services
}

fn service(checker: &mut Checker<'_>, raw: RawService) -> ServiceConfig {
    let deploy: Vec<DeployPipeline> = raw
        .deploy
        .iter()
        .filter_map(|raw| deploy(checker, raw))
        .collect();
    let rollback = rollback(checker, &raw.rollback);
    for name in &raw.harmless_pipelines {
        let deploys = deploy.iter().any(|one| one.pipeline == name.value);
        if deploys || rollback.pipelines().any(|one| one.pipeline == name.value) {
            checker.problem(name, "it is configured to change this service");
        }
    }
    ServiceConfig {
        deploy,
        rollback,
        harmless_pipelines: raw
            .harmless_pipelines
            .into_iter()
            .map(|at| at.value)
            .collect(),
        recovery: raw.recovery.as_ref().and_then(|raw| recovery(checker, raw)),
        application: raw.application.value,
        canary: ServiceCanary {
            off: raw.canary.off,
            values: raw.canary.values,
        },
        mode: raw.mode,
        tag_prefix: raw.tag_prefix,
        owner: raw.owner,
        repository: raw.repository.as_ref().and_then(|at| checker.url(at)),
    }
}

fn deploy(checker: &mut Checker<'_>, raw: &RawDeploy) -> Option<DeployPipeline> {
    let source =
        |field: &str| field.starts_with("parameters.") || field.starts_with("stage.context.");
    Some(DeployPipeline {
        pipeline: raw.pipeline.value.clone(),
        env: checker.parse(&raw.env)?,
        strategy: raw.strategy,
        soak: checker.duration_or(raw.soak.as_ref(), Duration::from_mins(15)),
        release: template(checker, &raw.release, |field| {
            field.starts_with("parameters.")
        })?,
        batch: raw
            .batch
            .as_ref()
            .and_then(|at| template(checker, at, source)),
        hosts: raw
            .hosts
            .as_ref()
            .and_then(|at| template(checker, at, source)),
        agents: raw.agents.as_ref().map(|raw| by_agents::read(checker, raw)),
    })
}

pub(super) fn template(
    checker: &mut Checker<'_>,
    at: &At<String>,
    known: impl Fn(&str) -> bool,
) -> Option<Template> {
    let template = checker.with(at, |text| Template::parse(text))?;
    let unknown: Vec<String> = template
        .fields()
        .filter(|field| !known(field))
        .map(|field| format!("{{{field}}}"))
        .collect();
    if unknown.is_empty() {
        return Some(template);
    }
    checker.problem(
        at,
        format!("nothing is known here as {}", unknown.join(", ")),
    );
    None
}

fn recovery(checker: &mut Checker<'_>, raw: &RawRecovery) -> Option<Recovery> {
    let op = checker.with(&raw.op, |text| match text.as_str() {
        "<" => Ok(Comparison::Less),
        "<=" => Ok(Comparison::LessOrEqual),
        ">" => Ok(Comparison::Greater),
        ">=" => Ok(Comparison::GreaterOrEqual),
        _ => Err(format!("`{text}` is no comparison: <, <=, > or >=")),
    })?;
    if raw.expr.value.trim().is_empty() {
        checker.problem(&raw.expr, "the recovery question is empty");
    }
    let (for_, within) = (checker.duration(&raw.for_)?, checker.duration(&raw.within)?);
    if within < for_ {
        checker.problem(
            &raw.within,
            "`within` is shorter than `for`: it could never be answered",
        );
    }
    Some(Recovery {
        expr: raw.expr.value.clone(),
        op,
        value: raw.value,
        for_,
        within,
    })
}
