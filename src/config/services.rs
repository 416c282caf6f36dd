//! `services:`: pipelines, parameters and the recovery question of each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::place::At;
use super::raw::{RawDeploy, RawRecovery, RawRollback, RawRollbackPipeline, RawService};
use super::validate::Checker;
use super::{
    Comparison, DeployPipeline, Recovery, Rollback, RollbackPipeline, ServiceConfig, Template,
};
use crate::domain::id::Service;

/// What a rollback parameter may name.
pub const PARAMETER_FIELDS: [&str; 9] = [
    "target.release_id",
    "target.version",
    "from.release_id",
    "from.version",
    "hosts",
    "incident.id",
    "attempt",
    "service",
    "env",
];

pub(super) fn read(
    checker: &mut Checker<'_>,
    raw: BTreeMap<String, RawService>,
) -> BTreeMap<Service, ServiceConfig> {
    let mut services = BTreeMap::new();
    for (name, raw) in raw {
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
    ServiceConfig {
        deploy: raw
            .deploy
            .iter()
            .filter_map(|raw| deploy(checker, raw))
            .collect(),
        rollback: rollback(checker, &raw.rollback),
        recovery: raw.recovery.as_ref().and_then(|raw| recovery(checker, raw)),
        application: raw.application.value,
        mode: raw.mode,
        tag_prefix: raw.tag_prefix,
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
    })
}

fn rollback(checker: &mut Checker<'_>, raw: &RawRollback) -> Rollback {
    let mut read = |raw: Option<&RawRollbackPipeline>, scope: &str| {
        let raw = raw?;
        let pipeline = rollback_pipeline(checker, raw);
        let names = |field: &str| {
            pipeline
                .parameters
                .values()
                .any(|template| template.names(field))
        };
        if !names("target.release_id") && !names("target.version") {
            checker.problem(&raw.pipeline, "no parameter names the release to go back to: {target.release_id} or {target.version}");
        }
        if scope == "batch" && !names("hosts") {
            checker.problem(
                &raw.pipeline,
                "no parameter names the hosts of the batch: {hosts}",
            );
        }
        if pipeline.admission && !(names("incident.id") && names("attempt")) {
            checker.problem(&raw.pipeline, "its admit stage needs parameters with {incident.id} and {attempt}; without that stage write `admission: false`");
        }
        Some(pipeline)
    };
    Rollback {
        batch: read(raw.batch.as_ref(), "batch"),
        full: read(raw.full.as_ref(), "full"),
    }
}

fn rollback_pipeline(checker: &mut Checker<'_>, raw: &RawRollbackPipeline) -> RollbackPipeline {
    let mut parameters = BTreeMap::new();
    for (name, at) in &raw.parameters {
        if let Some(template) = template(checker, at, |field| PARAMETER_FIELDS.contains(&field)) {
            parameters.insert(name.clone(), template);
        }
    }
    RollbackPipeline {
        pipeline: raw.pipeline.value.clone(),
        parameters,
        admission: raw.admission.unwrap_or(true),
    }
}

fn template(
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
