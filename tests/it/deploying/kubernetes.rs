//! `deploy/kubernetes`: every overlay is built by kustomize, is what the API servers of the last three
//! minor releases accept, and holds together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use backstop::config::load::{self, Secrets};
use serde_json::Value;

use super::{is_understood, passes_the_check, root, run};
use crate::support::tools::{Tool, required_in_ci};

const OVERLAYS: [&str; 2] = ["staging", "production"];
/// The newest three that the checker has schemas of.
const RELEASES: [&str; 3] = ["1.35", "1.36", "1.37"];
/// Kinds that operators define; there are no schemas of them here.
const OF_OPERATORS: [&str; 2] = ["operator.victoriametrics.com/", "monitoring.coreos.com/"];

/// What kustomize makes of a folder of `deploy/kubernetes`.
fn build(folder: &str) -> Vec<Value> {
    let folder = root().join("deploy/kubernetes").join(folder);
    let mut command = Command::new(Tool::Kustomize.path().unwrap());
    let (built, text) = run(command.arg("build").arg(&folder));
    assert!(built, "{}: {text}", folder.display());
    serde_saphyr::from_multiple(&text).unwrap()
}

fn overlay(name: &str) -> Vec<Value> {
    build(&format!("overlays/{name}"))
}

fn is_of_kubernetes(resource: &Value) -> bool {
    let version = text(resource, "/apiVersion");
    !OF_OPERATORS.iter().any(|group| version.starts_with(group))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no `{pointer}` in {value:#}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn named<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = resources.iter().find(|resource| {
        text(resource, "/kind") == kind && text(resource, "/metadata/name") == name
    });
    found.unwrap_or_else(|| panic!("no {kind} `{name}`"))
}

/// Pods that anything in it makes: who makes them, and their specification.
fn pods(resources: &[Value]) -> Vec<(String, &Value)> {
    let found = resources.iter().filter_map(|resource| {
        let pod = [
            "/spec/template/spec",
            "/spec/jobTemplate/spec/template/spec",
        ]
        .into_iter()
        .find_map(|pointer| resource.pointer(pointer))?;
        Some((text(resource, "/metadata/name").to_owned(), pod))
    });
    found.collect()
}

/// Lets the checker judge resources by the API of a release.
fn check(resources: &[Value], release: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    let documents: Vec<String> = resources.iter().map(Value::to_string).collect();
    std::fs::write(&file, documents.join("\n---\n")).unwrap();
    let mut command = Command::new(Tool::KubernetesValidate.path().unwrap());
    run(command
        .args(["--strict", "--no-warn", "-k", release])
        .arg(file))
}

#[test]
fn the_manifests_are_what_the_last_three_releases_accept() {
    if ![Tool::Kustomize, Tool::KubernetesValidate]
        .into_iter()
        .all(required_in_ci)
    {
        return;
    }
    for name in OVERLAYS {
        let mut resources = overlay(name);
        resources.retain(is_of_kubernetes);
        assert!(resources.len() > 9, "{name}");
        for release in RELEASES {
            let (valid, said) = check(&resources, release);
            assert!(valid, "{name} on {release}: {said}");
            let passed = said.matches(" passed ").count();
            assert_eq!(passed, resources.len(), "{name} on {release}: {said}");
        }
    }
    // A mistake is seen.
    let mut wrong = overlay("production");
    wrong.retain(|resource| text(resource, "/kind") == "Deployment");
    wrong[0]["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = Value::Null;
    assert!(!check(&wrong, RELEASES[2]).0);
}

#[test]
fn every_pod_runs_without_rights_and_within_limits() {
    if !required_in_ci(Tool::Kustomize) {
        return;
    }
    for name in OVERLAYS {
        let resources = overlay(name);
        let pods = pods(&resources);
        assert_eq!(pods.len(), 3, "{name}");
        for (owner, pod) in pods {
            let of = format!("{name}: {owner}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{of}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{of}");
            assert_ne!(pod["securityContext"]["runAsUser"], 0, "{of}");
            let profile = text(pod, "/securityContext/seccompProfile/type");
            assert_eq!(profile, "RuntimeDefault", "{of}");
            for container in list(pod, "/containers") {
                let rights = &container["securityContext"];
                assert_eq!(rights["readOnlyRootFilesystem"], true, "{of}");
                assert_eq!(rights["allowPrivilegeEscalation"], false, "{of}");
                assert_eq!(rights["capabilities"]["drop"][0], "ALL", "{of}");
                for what in ["cpu", "memory"] {
                    text(container, &format!("/resources/limits/{what}"));
                    text(container, &format!("/resources/requests/{what}"));
                }
                let image = text(container, "/image");
                assert!(image.contains(':') && !image.ends_with(":latest"), "{of}");
            }
        }
    }
}

#[test]
fn the_gateway_is_rolled_one_by_one_and_never_has_one_more() {
    if !required_in_ci(Tool::Kustomize) {
        return;
    }
    let resources = overlay("production");
    let gateway = named(&resources, "Deployment", "backstop");
    assert_eq!(gateway["spec"]["replicas"], 2);
    assert_eq!(gateway["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 0);
    let budget = named(&resources, "PodDisruptionBudget", "backstop");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let labels = &gateway["spec"]["template"]["metadata"]["labels"];
    let service = named(&resources, "Service", "backstop");
    for selector in [
        &gateway["spec"]["selector"]["matchLabels"],
        &budget["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
    ] {
        let selector = selector.as_object().unwrap();
        assert!(selector.len() >= 2);
        for (label, value) in selector {
            assert_eq!(&labels[label], value);
        }
    }
    let container = &list(gateway, "/spec/template/spec/containers")[0];
    for (probe, path) in [
        ("startupProbe", "/-/healthy"),
        ("livenessProbe", "/-/healthy"),
        ("readinessProbe", "/-/ready"),
    ] {
        assert_eq!(text(container, &format!("/{probe}/httpGet/path")), path);
    }
    let grace = &gateway["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let drain = backstop::config::Timing::default().drain;
    assert!(grace.as_u64().unwrap() > drain.as_secs());
}

#[test]
fn every_command_line_is_understood() {
    if !required_in_ci(Tool::Kustomize) {
        return;
    }
    let mut seen = BTreeSet::new();
    for name in OVERLAYS {
        let resources = overlay(name);
        for (_, pod) in pods(&resources) {
            for container in list(pod, "/containers") {
                let arguments = list(container, "/args").iter();
                let arguments: Vec<String> = arguments
                    .map(|argument| argument.as_str().unwrap().to_owned())
                    .collect();
                if text(container, "/image").contains("/backstop:") {
                    is_understood(&arguments);
                    seen.insert(arguments);
                } else if required_in_ci(Tool::NewVmalert) {
                    let folder = tempfile::tempdir().unwrap();
                    let rules = root().join("deploy/vmalert/rules.yml");
                    std::fs::copy(rules, folder.path().join("rules.yaml")).unwrap();
                    let here = format!("-rule={}/", folder.path().display());
                    let flags: Vec<String> = arguments
                        .iter()
                        .map(|flag| flag.replace("-rule=/rules/", &here))
                        .collect();
                    crate::support::vmalert::check_flags(Tool::NewVmalert, &flags).unwrap();
                }
            }
        }
    }
    // The gateway, sync as a process and as a job, canary pull.
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// Lays the files of a pod's projected volumes out as the pod sees them below `/etc/backstop`.
fn lay_out(resources: &[Value], pod: &Value, to: &Path) {
    for volume in list(pod, "/volumes") {
        for source in list(volume, "/projected/sources") {
            let from = named(resources, "ConfigMap", text(source, "/configMap/name"));
            for item in list(source, "/configMap/items") {
                let content = &from["data"][text(item, "/key")];
                let content = content.as_str();
                let content = content.unwrap_or_else(|| panic!("nobody has {item}"));
                let file = to.join(text(item, "/path"));
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, content).unwrap();
            }
        }
    }
}

/// Keys of the Secret that the page tells to make.
fn told_secrets() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("deploy/kubernetes/README.md")).unwrap();
    let key = regex::Regex::new(r"--from-(?:file|literal)=([a-z-]+)=").unwrap();
    key.captures_iter(&page)
        .map(|found| found[1].to_owned())
        .collect()
}

#[test]
fn what_the_pods_mount_is_a_whole_configuration() {
    if !required_in_ci(Tool::Kustomize) {
        return;
    }
    let secret = regex::Regex::new(r"/run/secrets/backstop/([a-z-]+)").unwrap();
    for name in OVERLAYS {
        let resources = overlay(name);
        let mut asked = BTreeSet::new();
        for (owner, pod) in pods(&resources) {
            for item in list(pod, "/volumes")
                .iter()
                .flat_map(|it| list(it, "/secret/items"))
            {
                asked.insert(text(item, "/key").to_owned());
            }
            let folder = tempfile::tempdir().unwrap();
            lay_out(&resources, pod, folder.path());
            if owner == "vmalert-canary" {
                continue;
            }
            passes_the_check(folder.path());
            let main = folder.path().join("backstop.yaml");
            let config = load::load(Some(&main), Secrets::Unread).unwrap();
            assert!(!config.channels.is_empty());
            for file in ["backstop.yaml", "channels/ops-slack.yaml"] {
                let content = std::fs::read_to_string(folder.path().join(file)).unwrap();
                asked.extend(secret.captures_iter(&content).map(|it| it[1].to_owned()));
            }
            if owner == "backstop" {
                let gateway = named(&resources, "Deployment", "backstop");
                let replicas = gateway["spec"]["replicas"].as_u64().unwrap();
                let told: Value =
                    serde_saphyr::from_str(&std::fs::read_to_string(&main).unwrap()).unwrap();
                assert_eq!(told["replicas"].as_u64(), Some(replicas), "{name}");
                let canaries = list(&told, "/vmalert").iter();
                let canaries = canaries.filter(|vmalert| vmalert["canary"] == true).count();
                let vmalert = named(&resources, "StatefulSet", "vmalert-canary");
                assert_eq!(vmalert["spec"]["replicas"], canaries, "{name}");
            }
        }
        assert_eq!(asked, told_secrets(), "{name}");
    }
}

#[test]
fn every_file_is_part_of_something() {
    let folder = root().join("deploy/kubernetes");
    let mut mentioned: BTreeMap<String, usize> = BTreeMap::new();
    let mut pending = vec![folder.clone()];
    let (mut files, mut kustomizations) = (Vec::new(), String::new());
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.ends_with("kustomization.yaml") {
                kustomizations += &std::fs::read_to_string(&path).unwrap();
            } else if path.extension().is_some_and(|it| it == "yaml") {
                files.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    for file in files {
        *mentioned.entry(file.clone()).or_default() += kustomizations.matches(&file).count();
    }
    let unused: Vec<&String> = mentioned
        .iter()
        .filter(|(_, times)| **times == 0)
        .map(|(file, _)| file)
        .collect();
    assert!(unused.is_empty() && mentioned.len() > 8, "{mentioned:?}");
}

#[test]
fn components_that_no_overlay_takes_can_be_built_too() {
    if !required_in_ci(Tool::Kustomize) {
        return;
    }
    let folder = tempfile::tempdir_in(root().join("target/tmp")).unwrap();
    // kustomize takes no absolute paths.
    let deploy = "../../../deploy/kubernetes";
    let all = format!(
        "resources: [{deploy}/base]\ncomponents: [{deploy}/components/prometheus-operator]\n"
    );
    std::fs::write(folder.path().join("kustomization.yaml"), all).unwrap();
    let built = build(&folder.path().display().to_string());
    let kinds: BTreeSet<&str> = built.iter().map(|it| text(it, "/kind")).collect();
    assert!(kinds.contains("ServiceMonitor") && kinds.contains("ScrapeConfig"));
}
