//! What an execution that ended well has done. Its status only says that its stages ended well: a
//! `rollbackCluster` that found nothing to do succeeds too. So its outputs are read, and what they
//! claim is compared with what Clouddriver shows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{asks_for_admission, rollback_context};
use crate::act::orders::{CantAsk, Order, Outcome};
use crate::domain::lane::Task;
use crate::spinnaker::{Execution, ExecutionStatus, Gate, ServerGroup, Stage};

/// Something that must be so now if the execution did what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// One server group takes the traffic, the other none.
    Restored {
        account: String,
        region: String,
        restore: String,
        rollback: String,
        image: Option<String>,
    },
    /// A manifest runs these images.
    Runs {
        account: String,
        location: String,
        manifest: String,
        images: Vec<String>,
    },
}

/// Reads the outputs of `execution`, and the cluster where they name something in it.
pub(super) async fn outcome(
    gate: &Gate,
    order: &Order,
    execution: &Execution,
) -> Result<Outcome, CantAsk> {
    if let Some(why) = nothing_done(execution) {
        return Ok(Outcome::Nothing(why));
    }
    let passed_over = passed_over(execution);
    let mut shown = Vec::new();
    for (provider, claims) in claims(order, execution) {
        let groups = gate.server_groups(&order.plan.application, &provider);
        let groups = groups.await?;
        for claim in claims {
            match claim.holds(&groups) {
                Ok(words) => shown.push(words),
                Err(why) => return Ok(Outcome::Contradicted(why)),
            }
        }
    }
    let silent = shown.is_empty();
    shown.extend(passed_over);
    let words = shown.join("; ");
    Ok(if silent {
        Outcome::Silent(words)
    } else {
        Outcome::Shown(words)
    })
}

/// Why it did not do what it is for, by its own outputs.
fn nothing_done(execution: &Execution) -> Option<String> {
    let worked = |stage: &&Stage| {
        stage.start_time.is_some()
            && stage.status != ExecutionStatus::Skipped
            && !asks_for_admission(stage)
    };
    if !execution.stages.iter().any(|stage| worked(&stage)) {
        return Some("it did nothing: no stage behind its admit stage ran".to_owned());
    }
    let stopped = |stage: &&Stage| stage.status == ExecutionStatus::Stopped;
    if let Some(stage) = execution.stages.iter().find(stopped) {
        let why = stage.failure().unwrap_or_default();
        let name = &stage.name;
        return Some(format!(
            "stage `{name}` failed and its branch was stopped: {why}"
        ));
    }
    let clusters = execution.stages.iter();
    let mut clusters = clusters.filter(|stage| stage.kind == "rollbackCluster" && worked(stage));
    clusters.find_map(skipped_regions)
}

/// A `rollbackCluster` leaves out each region that has fewer than two server groups, or none that
/// is enabled, and succeeds.
fn skipped_regions(stage: &Stage) -> Option<String> {
    let done = stage.outputs.get("rollbackTypes");
    let done = done.and_then(Value::as_object);
    let is_done = |region: &str| done.is_some_and(|done| done.contains_key(region));
    let wanted = stage.context.get("regions").and_then(Value::as_array);
    let wanted = wanted.into_iter().flatten().filter_map(Value::as_str);
    let skipped: Vec<&str> = wanted.filter(|region| !is_done(region)).collect();
    let name = &stage.name;
    if done.is_none_or(serde_json::Map::is_empty) {
        return Some(format!("stage `{name}` rolled nothing back in any region"));
    }
    (!skipped.is_empty()).then(|| format!("stage `{name}` skipped {}", skipped.join(", ")))
}

/// Stages that failed while the execution went on.
fn passed_over(execution: &Execution) -> Vec<String> {
    let failed = |stage: &&Stage| stage.status == ExecutionStatus::FailedContinue;
    let failed = execution.stages.iter().filter(failed);
    failed
        .map(|stage| {
            let why = stage
                .failure()
                .unwrap_or_else(|| format!("stage `{}`", stage.name));
            format!("failed, and was passed over: {why}")
        })
        .collect()
}

/// What must be so, by cloud provider.
fn claims(order: &Order, execution: &Execution) -> BTreeMap<String, Vec<Claim>> {
    let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
    let done = execution.stages.iter();
    for stage in done.filter(|stage| stage.status == ExecutionStatus::Succeeded) {
        let found = match stage.kind.as_str() {
            "rollbackServerGroup" => restored(order, stage).into_iter().collect(),
            "undoRolloutManifest" => undone(order, stage).into_iter().collect(),
            "deployManifest" => deployed(stage),
            _ => Vec::new(),
        };
        if !found.is_empty() {
            // Orca's own default; see `CloudProviderAware`.
            let provider = text(&stage.context, "cloudProvider").unwrap_or("aws");
            claims.entry(provider.to_owned()).or_default().extend(found);
        }
    }
    claims
}

fn restored(order: &Order, stage: &Stage) -> Option<Claim> {
    let context = rollback_context(stage)?;
    let name = |key: &str| Some(context.get(key)?.as_str()?.to_owned());
    Some(Claim::Restored {
        account: text(&stage.context, "credentials")?.to_owned(),
        region: text(&stage.context, "region")?.to_owned(),
        restore: name("restoreServerGroupName")?,
        rollback: name("rollbackServerGroupName")?,
        image: match order.plan.task.as_deref() {
            Some(Task::ServerGroup { image, .. }) => Some(image.clone()),
            _ => None,
        },
    })
}

/// Only a task of ours says what the revision is to run.
fn undone(order: &Order, stage: &Stage) -> Option<Claim> {
    let Some(Task::UndoRollout { image, .. }) = order.plan.task.as_deref() else {
        return None;
    };
    let text = |key| text(&stage.context, key).map(str::to_owned);
    Some(Claim::Runs {
        account: text("account")?,
        location: text("location")?,
        manifest: text("manifestName")?,
        images: vec![image.clone()],
    })
}

/// The keys of a `deployManifest` hold a dot: `outputs.manifests` is what was applied, while
/// `manifests` is what was asked for.
fn deployed(stage: &Stage) -> Vec<Claim> {
    let Some(account) = text(&stage.context, "account") else {
        return Vec::new();
    };
    let manifests = stage.outputs.get("outputs.manifests");
    let manifests = manifests.and_then(Value::as_array).into_iter().flatten();
    manifests
        .filter_map(|manifest| {
            let kind = text(manifest, "kind")?;
            if !["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&kind) {
                return None;
            }
            let metadata = manifest.get("metadata")?;
            let containers = manifest.pointer("/spec/template/spec/containers")?;
            let containers = containers.as_array()?.iter();
            Some(Claim::Runs {
                account: account.to_owned(),
                location: text(metadata, "namespace")?.to_owned(),
                manifest: format!("{kind} {}", text(metadata, "name")?),
                images: containers
                    .filter_map(|container| text(container, "image"))
                    .map(str::to_owned)
                    .collect(),
            })
        })
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

impl Claim {
    /// The words of what is seen, or of what contradicts it.
    fn holds(&self, groups: &[ServerGroup]) -> Result<String, String> {
        match self {
            Self::Restored {
                account,
                region,
                restore,
                rollback,
                image,
            } => {
                let here = |name: &str| {
                    let same = |group: &&ServerGroup| {
                        (&group.account, &group.region) == (account, region) && group.name == name
                    };
                    groups.iter().find(same)
                };
                let back = here(restore)
                    .ok_or_else(|| format!("server group `{restore}` is not there"))?;
                if back.disabled {
                    return Err(format!("server group `{restore}` is disabled"));
                }
                if here(rollback).is_some_and(|group| !group.disabled) {
                    return Err(format!("server group `{rollback}` is still enabled"));
                }
                runs(back, image.iter())?;
                let up = up(back)?;
                Ok(format!(
                    "server group `{restore}` is enabled{up}, `{rollback}` is not"
                ))
            }
            Self::Runs {
                account,
                location,
                manifest,
                images,
            } => {
                let sets = groups.iter().filter(|group| {
                    let here = (&group.account, &group.region) == (account, location);
                    here && group.is_of_manifest(manifest)
                });
                let newest = sets.max_by_key(|set| set.revision);
                let newest = newest.ok_or_else(|| format!("`{manifest}` is not there"))?;
                runs(newest, images.iter())?;
                let up = up(newest)?;
                Ok(format!("`{manifest}` runs `{}`{up}", images.join("`, `")))
            }
        }
    }
}

fn runs<'a>(
    group: &ServerGroup,
    mut images: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let Some(missing) = images.find(|image| !group.runs(image)) else {
        return Ok(());
    };
    let runs: Vec<&str> = group.images.iter().map(String::as_str).collect();
    let runs = runs.join("`, `");
    Err(format!("`{}` runs `{runs}`, not `{missing}`", group.name))
}

fn up(group: &ServerGroup) -> Result<String, String> {
    match group.up {
        None => Ok(String::new()),
        Some((0, all)) => Err(format!("`{}` has 0 of {all} instances up", group.name)),
        Some((up, all)) => Ok(format!(" with {up} of {all} instances up")),
    }
}
