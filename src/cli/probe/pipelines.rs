//! Whether the pipelines that a configuration names are in Spinnaker as they must be.

use futures::future::join_all;
use serde_json::Value;

use super::{Probe, Verdict, call_verdict, gate};
use crate::config::{Config, RollbackPipeline, ServiceConfig, Spinnaker};
use crate::spinnaker::PipelineConfig;

/// Whether each configured pipeline is there, and each rollback pipeline takes what it is sent and
/// really asks for admission before anything else. Where Gate can't be asked, the login's answer
/// says so.
pub(super) async fn ask(config: &Config, settings: &Spinnaker) -> Vec<Probe> {
    let Ok(gate) = gate(settings) else {
        return Vec::new();
    };
    let asked = config.services.iter().map(async |(name, service)| {
        let probe = format!("pipelines of {name}");
        match gate.pipeline_configs(&service.application).await {
            Ok(saved) => judge(probe, service, &saved),
            Err(error) => Probe::new(probe, call_verdict(error.kind()), error.to_string()),
        }
    });
    join_all(asked).await
}

fn judge(probe: String, service: &ServiceConfig, saved: &[PipelineConfig]) -> Probe {
    let find = |name: &str| {
        let found = saved.iter().find(|one| one.name == name);
        let found = found.ok_or_else(|| format!("`{name}` is not there"))?;
        if found.disabled {
            return Err(format!("`{name}` is disabled"));
        }
        Ok(found)
    };
    let mut wrong: Vec<String> = Vec::new();
    for deploy in &service.deploy {
        wrong.extend(find(&deploy.pipeline).err());
    }
    for rollback in service.rollback.pipelines() {
        match find(&rollback.pipeline) {
            Ok(found) => wrong.extend(faults(rollback, found)),
            Err(why) => wrong.push(why),
        }
    }
    wrong.dedup();
    if wrong.is_empty() {
        let text = "there, and rollbacks take their parameters and ask for admission first";
        return Probe::new(probe, Verdict::Ok, text);
    }
    let application = &service.application;
    Probe::new(probe, Verdict::Fail, wrong.join("; ")).hint(format!(
        "compare names and `parameters` with the pipelines of `{application}` in Spinnaker; \
         deploy/spinnaker has some to start from"
    ))
}

/// What makes a rollback pipeline useless or unsafe.
fn faults(rollback: &RollbackPipeline, saved: &PipelineConfig) -> Vec<String> {
    let name = &rollback.pipeline;
    let gap = saved.admission_gap().filter(|_| rollback.admission);
    let sent = rollback.parameters.keys();
    let ignored = sent.filter(|sent| !takes(saved, sent));
    let ignored =
        ignored.map(|sent| format!("`{name}` has no parameter `{sent}`, which it is sent"));
    let wanted = saved.parameters.iter().filter(|one| {
        one.required && one.default.is_none() && !rollback.parameters.contains_key(&one.name)
    });
    let wanted = wanted.map(|one| {
        let wanted = &one.name;
        format!(
            "`{name}` requires a parameter `{wanted}`, which it is not sent: it would not start"
        )
    });
    let gap = gap.map(|gap| format!("`{name}`: {gap}"));
    gap.into_iter().chain(ignored).chain(wanted).collect()
}

/// Whether a pipeline declares the parameter, or at least reads it.
fn takes(saved: &PipelineConfig, parameter: &str) -> bool {
    let declared = saved.parameters.iter().any(|one| one.name == parameter);
    declared || saved.stages.iter().any(|stage| reads(stage, parameter))
}

fn reads(value: &Value, parameter: &str) -> bool {
    match value {
        Value::String(text) => text.match_indices("parameters").any(|(at, word)| {
            let rest = text.get(at + word.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches(['?', '.', '[', '\'', '"']);
            let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            let after = rest.strip_prefix(parameter);
            after.is_some_and(|after| !after.starts_with(goes_on))
        }),
        Value::Array(items) => items.iter().any(|item| reads(item, parameter)),
        Value::Object(fields) => fields.values().any(|field| reads(field, parameter)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_is_read_in_every_way_of_writing_it_and_no_longer_name_is_it() {
        for text in [
            "${parameters.hosts}",
            "${ parameters['hosts'] }",
            "${parameters[\"hosts\"].split(',')}",
            "a ${trigger.parameters?.hosts} b",
        ] {
            assert!(reads(&json!([{"x": text}]), "hosts"), "{text}");
        }
        for text in ["${parameters.hosts_old}", "${parameters.host}", "hosts"] {
            assert!(!reads(&json!({"x": [text]}), "hosts"), "{text}");
        }
    }
}
