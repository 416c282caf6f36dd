//! The pipelines in `deploy/spinnaker` hold together: graphs, parameters, and the two calls that
//! make a rollback happen once.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

const NAMES: [&str; 3] = ["deploy-prod", "rollback-batch", "rollback-full"];

fn pipeline(name: &str) -> (String, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/spinnaker");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn stages(pipeline: &Value) -> &Vec<Value> {
    pipeline["stages"].as_array().unwrap()
}

fn declared(pipeline: &Value) -> BTreeSet<&str> {
    let parameters = pipeline["parameterConfig"].as_array().unwrap();
    parameters
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect()
}

#[test]
fn every_stage_waits_only_for_stages_written_before_it() {
    for name in NAMES {
        let (_, pipeline) = pipeline(name);
        let mut before = BTreeSet::new();
        for stage in stages(&pipeline) {
            for required in stage["requisiteStageRefIds"].as_array().unwrap() {
                assert!(
                    before.contains(required.as_str().unwrap()),
                    "{name}: {stage}"
                );
            }
            assert!(before.insert(stage["refId"].as_str().unwrap()), "{name}");
        }
    }
}

#[test]
fn every_parameter_that_is_used_is_declared_and_explained_and_the_other_way_round() {
    let used = Regex::new(r"\$\{parameters\.([a-z0-9_]+)\}").unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/spinnaker/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for name in NAMES {
        let (text, pipeline) = pipeline(name);
        let used: BTreeSet<&str> = used
            .captures_iter(&text)
            .map(|found| found.get(1).unwrap().as_str())
            .collect();
        assert_eq!(used, declared(&pipeline), "{name}");
        for parameter in used {
            assert!(
                readme.contains(&format!("`{parameter}`")),
                "{name}: {parameter}"
            );
        }
    }
}

#[test]
fn a_rollback_asks_for_admission_before_it_touches_a_host() {
    for name in ["rollback-batch", "rollback-full"] {
        let (_, pipeline) = pipeline(name);
        let first = &stages(&pipeline)[0];
        assert_eq!(first["type"], "webhook", "{name}");
        let url = first["url"].as_str().unwrap();
        let path = "/api/v1/incidents/${parameters.incident}/attempts/${parameters.attempt}/admit";
        assert!(url.ends_with(path), "{name}: {url}");
        assert_eq!(first["payload"]["execution"], "${execution.id}", "{name}");
        for later in &stages(&pipeline)[1..] {
            let required = later["requisiteStageRefIds"].as_array().unwrap();
            assert!(!required.is_empty(), "{name}: {later}");
        }
    }
}

#[test]
fn every_batch_is_announced_with_its_hosts_before_it_is_deployed() {
    let (_, pipeline) = pipeline("deploy-prod");
    let of_kind = |kind: &str| -> Vec<Value> {
        let of_kind = stages(&pipeline)
            .iter()
            .filter(|stage| stage["type"] == kind);
        of_kind.cloned().collect()
    };
    let (announced, deployed) = (of_kind("webhook"), of_kind("deployHosts"));
    assert_eq!(announced.len(), deployed.len());
    for (announce, deploy) in announced.iter().zip(&deployed) {
        let batch = deploy["batch"].as_str().unwrap();
        let url = announce["url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/deployments/${{execution.id}}/batches/{batch}")));
        assert_eq!(announce["payload"]["hosts"], deploy["hosts"]);
        assert_eq!(announce["payload"]["of"], announced.len());
        assert_eq!(deploy["requisiteStageRefIds"][0], announce["refId"]);
        // Without success words Orca fails on the first poll; and it must wait while rules are armed.
        let ends: Vec<&str> = ["successStatuses", "terminalStatuses", "canceledStatuses"]
            .iter()
            .flat_map(|list| announce[*list].as_str().unwrap().split(','))
            .collect();
        assert!(ends.contains(&"armed") && !ends.contains(&"arming"));
        assert_eq!(announce["waitForCompletion"], true);
        assert_eq!(announce["statusJsonPath"], "$.status");
    }
}
