//! Whether a saved pipeline asks for admission before it touches anything.

use std::collections::BTreeSet;

use serde_json::Value;

use super::PipelineConfig;

/// Whether a webhook's address is one that lets an execution in: `…/incidents/…/admit`.
pub fn is_admit_url(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.contains("/incidents/") && path.ends_with("/admit")
}

impl PipelineConfig {
    /// How an execution of it could touch something without having been let in, in words; None
    /// where it can't.
    pub fn admission_gap(&self) -> Option<String> {
        let asks =
            |stage: &&Value| text(stage, "type") == "webhook" && is_admit_url(text(stage, "url"));
        let Some(admit) = self.stages.iter().find(asks) else {
            return Some("no stage asks for admission".to_owned());
        };
        let name = text(admit, "name");
        if requisites(admit).next().is_some() {
            return Some(format!("stage `{name}` asks for admission, but not first"));
        }
        if admit
            .get("stageEnabled")
            .is_some_and(|when| !when.is_null())
        {
            return Some(format!("stage `{name}` asks for admission on a condition"));
        }
        if admit.get("continuePipeline").and_then(Value::as_bool) == Some(true) {
            return Some(format!("it goes on when stage `{name}` is refused"));
        }
        let told = admit.pointer("/payload/execution").and_then(Value::as_str);
        if !told
            .is_some_and(|told| told.contains("execution.id") || told.contains("execution['id']"))
        {
            return Some(format!(
                "stage `{name}` does not name its `${{execution.id}}`"
            ));
        }
        let admit = text(admit, "refId");
        let mut others = self.stages.iter().filter(|one| text(one, "refId") != admit);
        let free = others.find(|stage| !self.waits_for(stage, admit))?;
        let free = text(free, "name");
        Some(format!("stage `{free}` does not wait for admission"))
    }

    /// Whether a stage starts only after the stage `wanted`. Orca starts one when all that it
    /// requires are complete, so one way back to `wanted` is enough.
    fn waits_for(&self, stage: &Value, wanted: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = requisites(stage).collect();
        while let Some(required) = open.pop() {
            if required == wanted {
                return true;
            }
            if seen.insert(required) {
                let known = self
                    .stages
                    .iter()
                    .filter(|one| text(one, "refId") == required);
                open.extend(known.flat_map(requisites));
            }
        }
        false
    }
}

fn text<'a>(stage: &'a Value, key: &str) -> &'a str {
    stage.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn requisites(stage: &Value) -> impl Iterator<Item = &str> {
    let listed = stage.get("requisiteStageRefIds").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(stages: Value) -> PipelineConfig {
        let stages = match stages {
            Value::Array(stages) => stages,
            other => vec![other],
        };
        PipelineConfig {
            id: "p".into(),
            name: "rollback-full".into(),
            disabled: false,
            stages,
            parameters: Vec::new(),
        }
    }

    /// The admit stage, then one that waits for it, then one that waits for that.
    fn whole() -> Value {
        json!([
            {"refId": "1", "type": "webhook", "name": "Admit", "requisiteStageRefIds": [],
             "url": "https://b/api/v1/incidents/${parameters.incident}/attempts/1/admit",
             "payload": {"execution": "${execution.id}"}},
            {"refId": "2", "type": "deployHosts", "name": "Deploy", "requisiteStageRefIds": ["1"]},
            {"refId": "3", "type": "wait", "name": "Wait", "requisiteStageRefIds": ["2"]}
        ])
    }

    #[test]
    fn a_pipeline_in_which_all_waits_for_admission_has_no_gap() {
        assert_eq!(pipeline(whole()).admission_gap(), None);
    }

    #[test]
    fn every_way_around_admission_is_named() {
        let with = |stage: usize, key: &str, value: Value| {
            let mut stages = whole();
            stages[stage][key] = value;
            pipeline(stages).admission_gap().unwrap_or_default()
        };
        let cases = [
            (with(0, "url", json!("https://b/admit")), "no stage asks"),
            (
                with(0, "requisiteStageRefIds", json!(["2"])),
                "but not first",
            ),
            (
                with(0, "stageEnabled", json!({"type": "expression"})),
                "on a condition",
            ),
            (with(0, "continuePipeline", json!(true)), "goes on when"),
            (
                with(0, "payload", json!({"execution": "x"})),
                "does not name",
            ),
            (
                with(1, "requisiteStageRefIds", json!([])),
                "`Deploy` does not wait",
            ),
            (
                with(2, "requisiteStageRefIds", json!(["3"])),
                "`Wait` does not wait",
            ),
        ];
        for (gap, expected) in cases {
            assert!(gap.contains(expected), "{expected}: {gap}");
        }
    }
}
