//! The pipelines in `deploy/spinnaker` hold together: every field is one that Spinnaker or Kubernetes
//! knows, the graphs and expressions are sound, and the two calls that make a rollback happen once
//! are where they must be.

mod kubernetes;
mod run;
mod typed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use backstop::spinnaker::PipelineConfig;
use regex::Regex;
use serde_json::Value;

use typed::{Payload, Pipeline, Stage, Webhook};

/// The shipped files, below `deploy/spinnaker`.
const FILES: [&str; 12] = [
    "deploy-prod",
    "rollback-batch",
    "rollback-full",
    "kubernetes-canary/deploy-prod",
    "kubernetes-canary/rollback-batch",
    "kubernetes-canary/rollback-full",
    "kubernetes-blue-green/deploy-prod",
    "kubernetes-blue-green/rollback-full",
    "kubernetes-statefulset/deploy-prod",
    "kubernetes-statefulset/rollback",
    "kubernetes-daemonset/deploy-prod",
    "kubernetes-daemonset/rollback-full",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/spinnaker")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap()
}

fn pipeline(file: &str) -> Pipeline {
    serde_json::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn is_rollback(file: &str) -> bool {
    file.contains("rollback")
}

fn webhooks(pipeline: &Pipeline) -> impl Iterator<Item = &Webhook> {
    pipeline.stages.iter().filter_map(|stage| match stage {
        Stage::Webhook(webhook) => Some(webhook),
        _ => None,
    })
}

#[test]
fn every_file_is_looked_at_and_named_like_its_pipeline() {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "json") {
                let below = path.strip_prefix(folder()).unwrap().with_extension("");
                found.insert(below.to_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, FILES.map(str::to_owned).into());
    for file in FILES {
        assert_eq!(file.rsplit('/').next(), Some(pipeline(file).name.as_str()));
    }
}

/// Where every key in `value` is that a reader must know: what lies below labels and headers is data.
fn keys(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    const DATA: [&str; 4] = ["customHeaders", "labels", "annotations", "matchLabels"];
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                found.push((at.to_owned(), key.clone()));
                if !DATA.contains(&key.as_str()) {
                    keys(field, &format!("{at}/{key}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                keys(item, &format!("{at}/{place}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_misspelt_field_is_refused_wherever_it_is() {
    for file in FILES {
        let whole: Value = serde_json::from_str(&text(file)).unwrap();
        let mut found = Vec::new();
        keys(&whole, "", &mut found);
        assert!(found.len() > 30, "{file}: {found:?}");
        for (place, key) in found {
            let mut wrong = whole.clone();
            let fields = wrong.pointer_mut(&place).unwrap().as_object_mut().unwrap();
            let field = fields.remove(&key).unwrap();
            fields.insert(format!("{key}X"), field);
            let read = serde_json::from_value::<Pipeline>(wrong);
            assert!(read.is_err(), "{file}: {place}/{key}X is taken");
        }
    }
}

#[test]
fn every_stage_waits_only_for_stages_written_before_it() {
    for file in FILES {
        let mut before = BTreeSet::new();
        for stage in &pipeline(file).stages {
            let (id, name, requisites) = stage.place();
            for required in requisites {
                assert!(before.contains(required), "{file}: {name}");
            }
            assert!(
                requisites.is_empty() == before.is_empty(),
                "{file}: only the first stage waits for nothing: {name}"
            );
            assert!(before.insert(id.to_owned()), "{file}: {id} twice");
        }
    }
}

/// Every expression of a pipeline; all braces that open one close it.
fn expressions(file: &str) -> Vec<String> {
    let text = text(file);
    let inside = Regex::new(r#"\$\{([^${}"]+)\}"#).unwrap();
    let found: Vec<String> = inside
        .captures_iter(&text)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(found.len(), text.matches("${").count(), "{file}");
    let bare = pipeline(file).stages.into_iter().filter_map(|stage| {
        let Stage::DeployManifest(deploy) = stage else {
            return None;
        };
        let enabled = deploy.stage_enabled?;
        assert_eq!(enabled.kind, "expression", "{file}");
        Some(enabled.expression)
    });
    found.iter().cloned().chain(bare).collect()
}

#[test]
fn expressions_name_parameters_that_are_declared_used_and_explained_and_nothing_unknown() {
    let shape = Regex::new(
        r"^(execution\.(id|application)|parameters\.([a-z0-9_]+)(\.split\('@'\)\[1\]|\.replace\('@', '_'\)| != '1')?)$",
    )
    .unwrap();
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for file in FILES {
        let mut used = BTreeSet::new();
        for expression in expressions(file) {
            let found = shape.captures(&expression);
            let found = found.unwrap_or_else(|| panic!("{file}: {expression}"));
            used.extend(found.get(3).map(|name| name.as_str().to_owned()));
        }
        let pipeline = pipeline(file);
        let declared: BTreeSet<String> = pipeline
            .parameter_config
            .iter()
            .map(|one| one.name.clone())
            .collect();
        assert_eq!(used, declared, "{file}");
        for parameter in &pipeline.parameter_config {
            let name = &parameter.name;
            assert!(readme.contains(&format!("`{name}`")), "{file}: {name}");
            assert_eq!(parameter.required, parameter.default.is_none(), "{name}");
            assert_eq!(parameter.label, *name, "{file}");
            assert!(parameter.description.len() > 10, "{file}: {name}");
        }
    }
}

#[test]
fn a_rollback_asks_for_admission_before_it_touches_anything() {
    for file in FILES.into_iter().filter(|file| is_rollback(file)) {
        let saved: Value = serde_json::from_str(&text(file)).unwrap();
        let config = PipelineConfig {
            id: file.to_owned(),
            name: file.to_owned(),
            disabled: false,
            stages: saved["stages"].as_array().unwrap().clone(),
            parameters: Vec::new(),
        };
        assert_eq!(config.admission_gap(), None, "{file}");
        let pipeline = pipeline(file);
        let admit = webhooks(&pipeline).next().unwrap();
        let path = "/api/v1/incidents/${parameters.incident}/attempts/${parameters.attempt}/admit";
        assert!(admit.url.ends_with(path), "{file}: {}", admit.url);
        assert!(!admit.wait_for_completion, "{file}");
        // A second incident must not wait behind an execution that hangs.
        assert!(!pipeline.limit_concurrent, "{file}");
    }
}

#[test]
fn every_batch_is_announced_before_it_is_deployed_and_soaks_afterwards() {
    for file in FILES.into_iter().filter(|file| !is_rollback(file)) {
        let pipeline = pipeline(file);
        assert!(pipeline.limit_concurrent, "{file}");
        let announced: Vec<&Webhook> = webhooks(&pipeline).collect();
        let deployed: Vec<(&str, Option<&str>, &[String])> = pipeline
            .stages
            .iter()
            .filter_map(|stage| match stage {
                Stage::DeployHosts(one) => Some((
                    one.batch.as_deref()?,
                    Some(&*one.hosts),
                    &*one.requisite_stage_ref_ids,
                )),
                Stage::DeployManifest(one) => Some((
                    one.batch.as_deref()?,
                    one.hosts.as_deref(),
                    &*one.requisite_stage_ref_ids,
                )),
                _ => None,
            })
            .collect();
        assert_eq!(announced.len(), deployed.len(), "{file}");
        let soaks = pipeline
            .stages
            .iter()
            .filter(|stage| matches!(stage, Stage::Wait(_)));
        assert_eq!(soaks.count(), deployed.len(), "{file}");
        for (n, (announce, (batch, hosts, requisites))) in
            announced.iter().zip(&deployed).enumerate()
        {
            assert_eq!(*batch, (n + 1).to_string(), "{file}");
            let path = format!("/deployments/${{execution.id}}/batches/{batch}");
            assert!(announce.url.ends_with(&path), "{file}: {}", announce.url);
            let cancel = announce.cancel_endpoint.as_deref().unwrap();
            assert_eq!(cancel, format!("{}/cancel", announce.url), "{file}");
            let Payload::Announce(told) = &announce.payload else {
                panic!("{file}: {:?}", announce.payload);
            };
            assert_eq!(told.hosts.as_deref(), *hosts, "{file}");
            assert_eq!(usize::try_from(told.of), Ok(announced.len()), "{file}");
            assert!(requisites.contains(&announce.ref_id), "{file}");
            waits_while_rules_are_armed(file, announce);
        }
    }
}

/// Without success words Orca fails on the first poll.
fn waits_while_rules_are_armed(file: &str, announce: &Webhook) {
    let lists = [
        &announce.success_statuses,
        &announce.terminal_statuses,
        &announce.canceled_statuses,
    ];
    let ends: Vec<&str> = lists
        .into_iter()
        .flat_map(|list| list.as_deref().unwrap().split(','))
        .collect();
    assert!(
        ends.contains(&"armed") && !ends.contains(&"arming"),
        "{file}"
    );
    assert!(announce.wait_for_completion, "{file}");
    assert_eq!(
        announce.status_json_path.as_deref(),
        Some("$.status"),
        "{file}"
    );
    assert_eq!(announce.status_url_resolution.as_deref(), Some("getMethod"));
    // A 404 while it polls would end the stage.
    assert!(announce.retry_status_codes.contains(&404), "{file}");
}
