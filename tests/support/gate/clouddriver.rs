//! Clouddriver: server groups, what the jobs of Orca do to them, and how it shows them.
//!
//! Its answers have the shape that `ServerGroupController` and the providers' models write; no
//! recording of a real one was at hand.

use std::collections::HashMap;

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    Shared,
    engine::Outcome,
    routes::{HTTP_EXCEPTION, NETWORK_EXCEPTION, answer, error},
    world::World,
};

/// A server group, of VMs or of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; of Kubernetes without the kind.
    pub name: String,
    /// Account.
    pub account: String,
    /// Region, or namespace.
    pub region: String,
    /// `aws` or `kubernetes`.
    pub provider: String,
    /// Its cluster, or the Deployment that manages it.
    pub cluster: String,
    /// Of Kubernetes: `replicaSet` and so on.
    pub kind: String,
    /// Of Kubernetes: whether a Deployment manages it.
    pub managed: bool,
    /// Takes no traffic.
    pub disabled: bool,
    /// What it runs.
    pub image: String,
    /// Of a `ReplicaSet`.
    pub revision: Option<u32>,
    /// Instances, all up unless disabled.
    pub instances: u32,
}

impl Group {
    /// A VM server group in `prod`, `eu-west-1`, cluster `checkout-prod`.
    pub fn vm(name: &str, image: &str, disabled: bool) -> Self {
        Self {
            name: name.to_owned(),
            account: "prod".to_owned(),
            region: "eu-west-1".to_owned(),
            provider: "aws".to_owned(),
            cluster: "checkout-prod".to_owned(),
            kind: String::new(),
            managed: false,
            disabled,
            image: image.to_owned(),
            revision: None,
            instances: 3,
        }
    }

    /// A `ReplicaSet` of `deployment checkout` in `k8s-prod`, `shop`.
    pub fn replica_set(revision: u32, image: &str, instances: u32) -> Self {
        Self {
            name: format!("checkout-{revision:04x}"),
            account: "k8s-prod".to_owned(),
            region: "shop".to_owned(),
            provider: "kubernetes".to_owned(),
            cluster: "checkout".to_owned(),
            kind: "replicaSet".to_owned(),
            managed: true,
            disabled: false,
            image: image.to_owned(),
            revision: Some(revision),
            instances,
        }
    }

    /// A workload in `k8s-prod`, `shop`, which no Deployment manages.
    pub fn workload(kind: &str, name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: name.to_owned(),
            kind: kind.to_owned(),
            managed: false,
            revision: None,
            ..Self::replica_set(1, image, 3)
        }
    }

    fn document(&self) -> Value {
        let up = if self.disabled { 0 } else { self.instances };
        let counts = json!({"total": self.instances, "up": up, "down": self.instances - up,
            "outOfService": 0, "starting": 0, "unknown": 0});
        let mut document = json!({
            "accountName": self.account, "region": self.region, "cloudProvider": self.provider,
            "cluster": self.cluster, "disabled": self.disabled, "instanceCounts": counts,
            "createdTime": 1_795_380_000_000_i64, "instances": [], "application": "checkout",
        });
        let own = if self.provider == "kubernetes" {
            let manager = json!({"account": self.account, "location": self.region,
                "name": self.cluster});
            let owner = if self.managed {
                "deployment"
            } else {
                &self.kind
            };
            let cluster = format!("{owner} {}", self.cluster);
            json!({
                "name": format!("{} {}", self.kind, self.name), "displayName": self.name,
                "account": self.account, "namespace": self.region, "kind": self.kind,
                "cluster": cluster,
                "buildInfo": {"images": [self.image]}, "launchConfig": {},
                "moniker": {"app": "checkout", "cluster": cluster, "sequence": self.revision},
                "serverGroupManagers":
                    if self.managed { vec![manager] } else { Vec::new() },
            })
        } else {
            json!({
                "name": self.name, "type": self.provider,
                "image": {"imageId": format!("ami-{}", self.name), "name": self.image},
                "launchConfig": {"imageId": format!("ami-{}", self.name)}, "buildInfo": null,
                "moniker": {"app": "checkout", "cluster": self.cluster},
            })
        };
        merge(&mut document, &own);
        document
    }
}

fn merge(document: &mut Value, more: &Value) {
    let more = more.as_object().cloned().unwrap_or_default();
    document.as_object_mut().unwrap().extend(more);
}

/// `GET /applications/{application}/serverGroups`
pub(super) async fn server_groups(
    State(shared): State<Shared>,
    Path(_): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let world = shared.world.lock().unwrap();
    if world.clouddriver_down {
        drop(world);
        let message = "java.net.ConnectException: Failed to connect to /127.0.0.1:18082";
        let code = StatusCode::INTERNAL_SERVER_ERROR;
        return error(&shared, code, Some(NETWORK_EXCEPTION), message);
    }
    if query.get("expand").map(String::as_str) != Some("true") {
        drop(world);
        let code = StatusCode::NOT_IMPLEMENTED;
        return error(&shared, code, Some(HTTP_EXCEPTION), "only expand=true here");
    }
    let wanted = |group: &&Group| {
        let provider = query.get("cloudProvider");
        provider.is_none_or(|provider| *provider == group.provider)
    };
    let shown = world.shown_groups().iter().filter(wanted);
    let documents: Vec<Value> = shown.map(Group::document).collect();
    drop(world);
    answer(StatusCode::OK, &json!(documents))
}

/// Runs a job that needs Clouddriver; None where it is none.
pub(super) fn run(
    shared: &Shared,
    id: &str,
    kind: &str,
    context: &Map<String, Value>,
) -> Option<Outcome> {
    let known = [
        "rollbackServerGroup",
        "rollbackCluster",
        "undoRolloutManifest",
        "deployManifest",
        "deleteManifest",
    ];
    if !known.contains(&kind) {
        return None;
    }
    let done = shared.update(|world| match kind {
        "rollbackServerGroup" => explicit(world, id, context),
        "rollbackCluster" => cluster(world, context),
        "undoRolloutManifest" => undo(world, context),
        "deleteManifest" => delete(world, context),
        _ => deploy(world, context),
    });
    Some(match done {
        Ok(outputs) => Outcome {
            outputs,
            ..Outcome::of("SUCCEEDED")
        },
        Err((exception, error)) => Outcome::exception(exception, &error),
    })
}

type Done = Result<Map<String, Value>, (&'static str, String)>;

fn reachable(world: &World) -> Result<(), (&'static str, String)> {
    if world.clouddriver_down {
        let error = "Failed to connect to /127.0.0.1:18082".to_owned();
        return Err(("SpinnakerNetworkException", error));
    }
    Ok(())
}

fn explicit(world: &mut World, id: &str, context: &Map<String, Value>) -> Done {
    match context.get("rollbackType").and_then(Value::as_str) {
        None => {
            let error = format!("Missing `rollbackType` (execution: {id})");
            return Err(("IllegalStateException", error));
        }
        Some("EXPLICIT") => {}
        Some(other) => {
            let error = format!("Unable to map context to class for `{other}`");
            return Err(("IllegalArgumentException", error));
        }
    }
    reachable(world)?;
    let names = &context["rollbackContext"];
    let name = |key: &str| names[key].as_str().unwrap_or_default().to_owned();
    let (restore, rollback) = (
        name("restoreServerGroupName"),
        name("rollbackServerGroupName"),
    );
    enable(world, context, &restore, false)?;
    enable(world, context, &rollback, true)?;
    Ok(Map::new())
}

fn enable(
    world: &mut World,
    context: &Map<String, Value>,
    name: &str,
    disabled: bool,
) -> Result<(), (&'static str, String)> {
    let is = |group: &Group| {
        group.name == name
            && context["credentials"] == *group.account
            && context["region"] == *group.region
    };
    let group = world.groups.iter_mut().find(|group| is(group));
    let missing = || {
        (
            "SpinnakerHttpException",
            format!("Server group not found: {name}"),
        )
    };
    group.ok_or_else(missing)?.disabled = disabled;
    Ok(())
}

/// A region with fewer than two server groups is left out, and the stage succeeds.
fn cluster(world: &mut World, context: &Map<String, Value>) -> Done {
    reachable(world)?;
    let regions = context["regions"].as_array().cloned().unwrap_or_default();
    let (mut types, mut contexts) = (Map::new(), Map::new());
    for region in regions.iter().filter_map(Value::as_str) {
        let here = world.groups.iter().filter(|group| group.region == region);
        let mut names: Vec<(bool, String)> = here
            .map(|group| (group.disabled, group.name.clone()))
            .collect();
        names.sort();
        if names.len() < 2 || names[0].0 {
            continue;
        }
        let (bad, good) = (names[0].1.clone(), names[1].1.clone());
        types.insert(region.to_owned(), json!("EXPLICIT"));
        contexts.insert(
            region.to_owned(),
            json!({"rollbackServerGroupName": bad, "restoreServerGroupName": good}),
        );
        for group in &mut world.groups {
            if group.name == bad || group.name == good {
                group.disabled = group.name == bad;
            }
        }
    }
    Ok(Map::from_iter([
        ("rollbackTypes".to_owned(), Value::Object(types)),
        ("rollbackContexts".to_owned(), Value::Object(contexts)),
    ]))
}

/// The revision that is gone back to becomes the newest, as Kubernetes does it.
fn undo(world: &mut World, context: &Map<String, Value>) -> Done {
    reachable(world)?;
    if context.contains_key("numRevisionsBack") {
        let error = "relative, and so never sent by a client here".to_owned();
        return Err(("IllegalArgumentException", error));
    }
    let name = context["manifestName"].as_str().unwrap_or_default();
    let name = name.strip_prefix("deployment ").unwrap_or(name);
    let newest = world.groups.iter().filter(|group| group.cluster == name);
    let newest = newest.filter_map(|group| group.revision).max();
    let wanted = context.get("revision").and_then(Value::as_u64);
    let is = |group: &&mut Group| {
        group.cluster == name && group.revision.map(u64::from) == wanted && wanted.is_some()
    };
    let group = world.groups.iter_mut().find(is);
    let missing = || {
        (
            "IllegalArgumentException",
            "Could not find the revision".to_owned(),
        )
    };
    let group = group.ok_or_else(missing)?;
    group.revision = newest.map(|newest| newest + 1);
    group.instances = 3;
    Ok(Map::new())
}

/// What is not there can be deleted, as with kubectl's `--ignore-not-found`.
fn delete(world: &mut World, context: &Map<String, Value>) -> Done {
    reachable(world)?;
    let wanted = context.get("manifestName").and_then(Value::as_str);
    let wanted = wanted.and_then(|name| name.strip_prefix("deployment "));
    let name = wanted.ok_or_else(|| {
        let error = "only a deployment can be deleted here".to_owned();
        ("IllegalArgumentException", error)
    })?;
    let gone = |group: &Group| group.managed && group.cluster == name;
    world.groups.retain(|group| !gone(group));
    Ok(Map::new())
}

fn deploy(world: &mut World, context: &Map<String, Value>) -> Done {
    reachable(world)?;
    let mut manifests = context.get("manifests").cloned().unwrap_or_default();
    for manifest in manifests.as_array_mut().into_iter().flatten() {
        let image = &manifest["spec"]["template"]["spec"]["containers"][0]["image"];
        let Some(image) = image.as_str().map(str::to_owned) else {
            continue;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&manifest["metadata"]["name"]);
        match text(&manifest["kind"]).as_str() {
            "ReplicaSet" => {
                let own = second_set(
                    world,
                    &name,
                    &image,
                    context.get("trafficManagement").unwrap_or(&Value::Null),
                );
                manifest["metadata"]["name"] = json!(own);
            }
            "StatefulSet" => {
                let update = &manifest["spec"]["updateStrategy"]["rollingUpdate"];
                let partition = update["partition"].as_u64().unwrap_or_default();
                for ordinal in partition..manifest["spec"]["replicas"].as_u64().unwrap_or(1) {
                    let pod = format!("{name}-{ordinal}");
                    world.pods.insert(pod, image.clone());
                }
                in_place(world, "statefulSet", &name, &image);
            }
            "DaemonSet" => in_place(world, "daemonSet", &name, &image),
            _ => rolled(world, &name, &image),
        }
    }
    Ok(Map::from_iter([(
        "outputs.manifests".to_owned(),
        manifests,
    )]))
}

/// A Deployment's next revision, unless the newest runs the image: then nothing is rolled.
fn rolled(world: &mut World, name: &str, image: &str) {
    let sets = world.groups.iter().filter(|group| group.cluster == name);
    let newest = sets.max_by_key(|group| group.revision);
    if newest.is_some_and(|newest| newest.image == image) {
        return;
    }
    let revision = newest
        .and_then(|newest| newest.revision)
        .unwrap_or_default();
    let mut group = Group::replica_set(revision + 1, image, 3);
    name.clone_into(&mut group.cluster);
    world.groups.push(group);
}

/// A workload that has no versions: what it runs is what was applied last.
fn in_place(world: &mut World, kind: &str, name: &str, image: &str) {
    let is = |group: &&mut Group| group.kind == kind && group.name == name;
    match world.groups.iter_mut().find(is) {
        Some(group) => image.clone_into(&mut group.image),
        None => world.groups.push(Group::workload(kind, name, image)),
    }
}

/// A versioned `ReplicaSet`: the same content is the same version. With traffic management the others are
/// taken out of it. Gives its name.
fn second_set(world: &mut World, name: &str, image: &str, traffic: &Value) -> String {
    let ours =
        |group: &Group| group.kind == "replicaSet" && !group.managed && group.cluster == name;
    let sets = world.groups.iter().filter(|group| ours(group)).count();
    let mut known = world.groups.iter();
    let known = known.find(|group| ours(group) && group.image == image);
    let own = known.map_or_else(|| format!("{name}-v{sets:03}"), |one| one.name.clone());
    if known.is_none() {
        world.groups.push(Group {
            cluster: name.to_owned(),
            ..Group::workload("replicaSet", &own, image)
        });
    }
    let switches = traffic["enabled"] == true && traffic["options"]["strategy"] == "bluegreen";
    for group in world.groups.iter_mut().filter(|group| ours(group)) {
        if group.name == own {
            group.disabled = false;
        } else if switches {
            group.disabled = true;
        }
    }
    own
}
