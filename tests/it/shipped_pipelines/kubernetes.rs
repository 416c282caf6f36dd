//! What the manifests in the pipelines must keep to, so that a batch is that batch, and a rollback
//! deploys what ran before.

use std::collections::BTreeSet;

use super::typed::{DeployManifest, Kind, Manifest, Pipeline, Stage};
use super::{FILES, is_rollback, pipeline, text};

fn deploys(pipeline: &Pipeline) -> impl Iterator<Item = (&DeployManifest, &Manifest)> {
    pipeline.stages.iter().filter_map(|stage| {
        let Stage::DeployManifest(deploy) = stage else {
            return None;
        };
        let [manifest] = deploy.manifests.as_slice() else {
            panic!("one manifest a stage: {}", deploy.name);
        };
        Some((deploy, manifest))
    })
}

fn on_kubernetes() -> impl Iterator<Item = &'static str> {
    FILES
        .into_iter()
        .filter(|file| file.starts_with("kubernetes-"))
}

#[test]
fn a_workload_selects_its_own_pods_and_its_series_name_release_and_batch() {
    for file in on_kubernetes() {
        let pipeline = pipeline(file);
        for (deploy, manifest) in deploys(&pipeline) {
            let name = &deploy.name;
            assert_eq!(manifest.api_version, "apps/v1", "{file}: {name}");
            assert_eq!(
                (&*deploy.cloud_provider, &*deploy.source),
                ("kubernetes", "text")
            );
            assert!(!deploy.skip_expression_evaluation, "{file}: {name}");
            let labels = &manifest.spec.template.metadata.labels;
            for (label, value) in &manifest.spec.selector.match_labels {
                assert_eq!(labels.get(label), Some(value), "{file}: {name}: {label}");
            }
            // A selector can't be changed, and a release must not need another one.
            let fixed = manifest.spec.selector.match_labels.values();
            assert!(
                fixed.clone().all(|value| !value.contains("${")),
                "{file}: {name}"
            );
            // `deploy/vmagent/kubernetes.yml` reads these.
            assert!(
                labels["release_id"].contains(".replace('@', '_')}"),
                "{file}: {name}"
            );
            assert_eq!(
                labels["app.kubernetes.io/name"], pipeline.application,
                "{file}"
            );
            let of_pod = manifest
                .spec
                .template
                .metadata
                .annotations
                .get("prometheus.io/scrape");
            assert_eq!(of_pod.map(String::as_str), Some("true"), "{file}: {name}");
            // A batch that were in the template of a StatefulSet would restart its pods each time.
            let wanted = (manifest.kind != Kind::StatefulSet).then(|| match &deploy.batch {
                Some(batch) => batch.clone(),
                None => labels["batch"].clone(),
            });
            assert_eq!(labels.get("batch"), wanted.as_ref(), "{file}: {name}");
        }
    }
}

#[test]
fn the_canary_and_the_stable_deployment_share_no_pod() {
    let canary = pipeline("kubernetes-canary/deploy-prod");
    let tracks: Vec<(&str, &str)> = deploys(&canary)
        .map(|(_, manifest)| {
            let name = manifest.metadata.name.as_deref().unwrap();
            (name, manifest.spec.selector.match_labels["track"].as_str())
        })
        .collect();
    assert_eq!(
        tracks,
        [("checkout-canary", "canary"), ("checkout", "stable")]
    );
    // Its size is the autoscaler's: a rollback must not shrink it.
    let sizes: Vec<Option<u32>> = deploys(&canary).map(|(_, one)| one.spec.replicas).collect();
    assert_eq!(sizes, [Some(1), None]);
    for file in ["deploy-prod", "rollback-batch", "rollback-full"] {
        let pipeline = pipeline(&format!("kubernetes-canary/{file}"));
        let removed = pipeline.stages.iter().find_map(|stage| match stage {
            Stage::DeleteManifest(one) => Some(one),
            _ => None,
        });
        let removed = removed.unwrap();
        assert_eq!(
            removed.manifest_name, "deployment checkout-canary",
            "{file}"
        );
        // Else its pods would stay.
        assert!(removed.options.cascading, "{file}");
        assert_eq!(removed.mode, "static", "{file}");
    }
}

#[test]
fn partitions_go_down_to_zero_over_the_pods_that_are_announced() {
    let pipeline = pipeline("kubernetes-statefulset/deploy-prod");
    let mut pods = BTreeSet::new();
    let mut before = None;
    for (deploy, manifest) in deploys(&pipeline) {
        let update = manifest.spec.update_strategy.as_ref().unwrap();
        let partition = update.rolling_update.partition.unwrap();
        let replicas = manifest.spec.replicas.unwrap();
        let added: Vec<String> = (partition..before.unwrap_or(replicas))
            .map(|ordinal| format!("checkout-{ordinal}"))
            .collect();
        assert_eq!(deploy.hosts.as_deref(), Some(added.join(",").as_str()));
        pods.extend(added);
        before = Some(partition);
        // One broken pod would hold a rollback up for ever, were the pods waited for in order.
        let policy = manifest.spec.pod_management_policy.as_deref();
        assert_eq!(policy, Some("Parallel"));
    }
    assert_eq!(before, Some(0));
    assert_eq!(pods.len(), 3);
}

#[test]
fn a_second_set_takes_the_traffic_over_and_keeps_the_one_before() {
    for file in ["deploy-prod", "rollback-full"] {
        let pipeline = pipeline(&format!("kubernetes-blue-green/{file}"));
        for (deploy, manifest) in deploys(&pipeline) {
            assert_eq!(manifest.kind, Kind::ReplicaSet);
            let traffic = deploy.traffic_management.as_ref().unwrap();
            assert!(traffic.enabled && traffic.options.enable_traffic);
            assert_eq!(traffic.options.strategy, "bluegreen");
            assert_eq!(traffic.options.services, ["service checkout"]);
            let kept = &manifest.metadata.annotations["strategy.spinnaker.io/max-version-history"];
            assert!(kept.parse::<u32>().unwrap() >= 2);
        }
    }
}

/// A manifest applied again with the same content restarts nothing, and is the version it was.
#[test]
fn a_rollback_deploys_the_manifest_that_the_stable_release_was_deployed_with() {
    for file in on_kubernetes().filter(|file| is_rollback(file)) {
        let folder = file.split('/').next().unwrap();
        let manifests = |file: &str| -> Vec<serde_json::Value> {
            let text = text(file).replace("parameters.release_id", "parameters.release");
            let saved: serde_json::Value = serde_json::from_str(&text).unwrap();
            let stages = saved["stages"].as_array().unwrap().clone();
            let found = stages
                .into_iter()
                .filter(|one| one["type"] == "deployManifest");
            found.map(|mut one| one["manifests"][0].take()).collect()
        };
        let deployed = manifests(&format!("{folder}/deploy-prod"));
        let back = manifests(file);
        assert_eq!(back.len(), 1, "{file}");
        // The last batch is the whole: of a StatefulSet the one without a partition.
        assert_eq!(Some(&back[0]), deployed.last(), "{file}");
    }
}
