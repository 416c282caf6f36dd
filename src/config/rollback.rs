//! `services.NAME.rollback`: how a batch, and everything, is taken back: by a pipeline, which asks
//! for admission, or by a task, which can't.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Template;
use super::place::At;
use super::services::template;
use super::validate::Checker;

/// What a pipeline's parameter may name.
pub const PARAMETER_FIELDS: [&str; 10] = [
    "target.release_id",
    "target.version",
    "from.release_id",
    "from.version",
    "hosts",
    "batches",
    "incident.id",
    "attempt",
    "service",
    "env",
];
/// What the place of a task may name.
pub const PLACE_FIELDS: [&str; 2] = ["service", "env"];
/// What the image of a release may name.
pub const IMAGE_FIELDS: [&str; 4] = ["release_id", "version", "service", "env"];

/// A service's ways back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRollback {
    /// Takes batches back.
    pub batch: Option<At<RawWay>>,
    /// Takes everything back.
    pub full: Option<At<RawWay>>,
}

/// One way back: `pipeline`, `server_group` or `undo_rollout`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWay {
    /// A pipeline's name.
    #[serde(default)]
    pub pipeline: Option<At<String>>,
    /// Its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, At<String>>,
    /// Whether its first stage asks for admission. Default true.
    #[serde(default)]
    pub admission: Option<At<bool>>,
    /// A task `rollbackServerGroup`.
    #[serde(default)]
    pub server_group: Option<RawServerGroup>,
    /// A task `undoRolloutManifest`.
    #[serde(default)]
    pub undo_rollout: Option<RawUndoRollout>,
}

/// A task `rollbackServerGroup` with `rollbackType: EXPLICIT`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawServerGroup {
    /// Such as `aws`.
    pub cloud_provider: At<String>,
    /// Clouddriver's account.
    pub credentials: At<String>,
    /// Where.
    pub region: At<String>,
    /// The cluster whose server groups it is about.
    pub cluster: At<String>,
    /// What a release's server group runs, such as `checkout-{version}`.
    pub image: At<String>,
    /// Percent that must be healthy before the bad group is disabled. Default: Orca's own.
    #[serde(default)]
    pub target_healthy_percentage: Option<At<u8>>,
}

/// A task `undoRolloutManifest`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUndoRollout {
    /// Clouddriver's account.
    pub account: At<String>,
    /// The namespace.
    pub location: At<String>,
    /// The Deployment, such as `deployment checkout`.
    pub manifest_name: At<String>,
    /// What a release's pods run, such as `registry.example.com/checkout:{version}`.
    pub image: At<String>,
}

/// A service's ways back.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    /// Takes batches back. None: not possible.
    pub batch: Option<Way>,
    /// Takes everything back. None: not possible.
    pub full: Option<Way>,
}

impl Rollback {
    /// Its pipelines.
    pub fn pipelines(&self) -> impl Iterator<Item = &RollbackPipeline> {
        let both = [&self.batch, &self.full];
        both.into_iter().flatten().filter_map(Way::pipeline)
    }
}

/// One way back.
#[derive(Debug, Clone)]
pub enum Way {
    /// By a saved pipeline.
    Pipeline(RollbackPipeline),
    /// By a task `rollbackServerGroup`.
    ServerGroup(ServerGroupRollback),
    /// By a task `undoRolloutManifest`.
    UndoRollout(UndoRollout),
}

impl Way {
    /// The pipeline, where it is one.
    pub const fn pipeline(&self) -> Option<&RollbackPipeline> {
        match self {
            Self::Pipeline(pipeline) => Some(pipeline),
            Self::ServerGroup(_) | Self::UndoRollout(_) => None,
        }
    }

    /// The pipeline's name, or the job's type.
    pub fn name(&self) -> &str {
        match self {
            Self::Pipeline(pipeline) => &pipeline.pipeline,
            Self::ServerGroup(_) => "rollbackServerGroup",
            Self::UndoRollout(_) => "undoRolloutManifest",
        }
    }
}

/// One rollback pipeline.
#[derive(Debug, Clone)]
pub struct RollbackPipeline {
    /// Its name in Spinnaker.
    pub pipeline: String,
    /// Its parameters: templates over [`PARAMETER_FIELDS`].
    pub parameters: BTreeMap<String, Template>,
    /// Whether its first stage asks for admission; without it at-most-once is weaker.
    pub admission: bool,
}

/// Enables the server group of the target and disables that of the accused release. Both are
/// found by what they run.
#[derive(Debug, Clone)]
pub struct ServerGroupRollback {
    /// Such as `aws`.
    pub cloud_provider: String,
    /// Clouddriver's account: a template over [`PLACE_FIELDS`], as `region` and `cluster` are.
    pub credentials: Template,
    /// Where.
    pub region: Template,
    /// The cluster whose server groups it is about.
    pub cluster: Template,
    /// What a release's server group runs: a template over [`IMAGE_FIELDS`].
    pub image: Template,
    /// Percent that must be healthy before the bad group is disabled.
    pub target_healthy_percentage: Option<u8>,
}

/// Takes a Deployment back to the revision that runs the target.
#[derive(Debug, Clone)]
pub struct UndoRollout {
    /// Clouddriver's account: a template over [`PLACE_FIELDS`], as the next two are.
    pub account: Template,
    /// The namespace.
    pub location: Template,
    /// Kind and name.
    pub manifest_name: Template,
    /// What a release's pods run: a template over [`IMAGE_FIELDS`].
    pub image: Template,
}

pub(super) fn rollback(checker: &mut Checker<'_>, raw: &RawRollback) -> Rollback {
    let name = |way: Option<&At<RawWay>>| Some(way?.value.pipeline.as_ref()?.value.clone());
    // One that takes everything back need not be told which part.
    let names_part = name(raw.batch.as_ref()) != name(raw.full.as_ref());
    let mut read = |raw: Option<&At<RawWay>>, part| raw.and_then(|raw| way(checker, raw, part));
    Rollback {
        batch: read(raw.batch.as_ref(), names_part),
        full: read(raw.full.as_ref(), false),
    }
}

fn way(checker: &mut Checker<'_>, at: &At<RawWay>, names_part: bool) -> Option<Way> {
    let raw = &at.value;
    match (&raw.pipeline, &raw.server_group, &raw.undo_rollout) {
        (Some(name), None, None) => Some(Way::Pipeline(pipeline(checker, name, raw, names_part))),
        (None, Some(group), None) => {
            pipelines_own_keys(checker, raw);
            server_group(checker, group).map(Way::ServerGroup)
        }
        (None, None, Some(undo)) => {
            pipelines_own_keys(checker, raw);
            undo_rollout(checker, undo).map(Way::UndoRollout)
        }
        _ => {
            checker.problem(
                at,
                "a way back is one of `pipeline`, `server_group` and `undo_rollout`",
            );
            None
        }
    }
}

/// A task has no parameters, and nothing in it can ask for admission.
fn pipelines_own_keys(checker: &mut Checker<'_>, raw: &RawWay) {
    if let Some(parameter) = raw.parameters.values().next() {
        checker.problem(parameter, "`parameters` belong to a `pipeline`");
    }
    if let Some(admission) = &raw.admission {
        checker.problem(
            admission,
            "`admission` belongs to a `pipeline`: a task never asks for it",
        );
    }
}

fn pipeline(
    checker: &mut Checker<'_>,
    name: &At<String>,
    raw: &RawWay,
    names_part: bool,
) -> RollbackPipeline {
    let mut parameters = BTreeMap::new();
    for (name, at) in &raw.parameters {
        if let Some(template) = template(checker, at, |field| PARAMETER_FIELDS.contains(&field)) {
            parameters.insert(name.clone(), template);
        }
    }
    let names = |field: &str| {
        parameters
            .values()
            .any(|template: &Template| template.names(field))
    };
    let admission = raw.admission.as_ref().is_none_or(|at| at.value);
    if !names("target.release_id") && !names("target.version") {
        checker.problem(
            name,
            "no parameter names the release to go back to: {target.release_id} or {target.version}",
        );
    }
    if names_part && !names("hosts") && !names("batches") {
        checker.problem(
            name,
            "no parameter names what to take back: {hosts}, or {batches} where hosts are not known",
        );
    }
    if admission && !(names("incident.id") && names("attempt")) {
        checker.problem(name, "its admit stage needs parameters with {incident.id} and {attempt}; without that stage write `admission: false`");
    }
    RollbackPipeline {
        pipeline: name.value.clone(),
        parameters,
        admission,
    }
}

fn server_group(checker: &mut Checker<'_>, raw: &RawServerGroup) -> Option<ServerGroupRollback> {
    if let Some(share) = &raw.target_healthy_percentage
        && !(1..=100).contains(&share.value)
    {
        checker.problem(share, "a share is from 1 to 100 percent");
    }
    if raw.cloud_provider.value == "kubernetes" {
        checker.problem(
            &raw.cloud_provider,
            "Kubernetes has no server group rollback: use `undo_rollout`",
        );
    }
    let (credentials, region) = (
        place(checker, &raw.credentials),
        place(checker, &raw.region),
    );
    let (cluster, image) = (place(checker, &raw.cluster), image(checker, &raw.image));
    Some(ServerGroupRollback {
        cloud_provider: raw.cloud_provider.value.clone(),
        credentials: credentials?,
        region: region?,
        cluster: cluster?,
        image: image?,
        target_healthy_percentage: raw.target_healthy_percentage.as_ref().map(|at| at.value),
    })
}

fn undo_rollout(checker: &mut Checker<'_>, raw: &RawUndoRollout) -> Option<UndoRollout> {
    let kind = raw.manifest_name.value.split_once(' ');
    if kind.is_none_or(|(kind, name)| kind != "deployment" || name.trim().is_empty()) {
        checker.problem(
            &raw.manifest_name,
            "only a Deployment can be undone: `deployment NAME`",
        );
    }
    let (account, location) = (place(checker, &raw.account), place(checker, &raw.location));
    let (manifest_name, image) = (
        place(checker, &raw.manifest_name),
        image(checker, &raw.image),
    );
    Some(UndoRollout {
        account: account?,
        location: location?,
        manifest_name: manifest_name?,
        image: image?,
    })
}

fn place(checker: &mut Checker<'_>, at: &At<String>) -> Option<Template> {
    if at.value.trim().is_empty() {
        checker.problem(at, "this may not be empty");
    }
    template(checker, at, |field| PLACE_FIELDS.contains(&field))
}

/// An image that names no release would be that of every release.
fn image(checker: &mut Checker<'_>, at: &At<String>) -> Option<Template> {
    let image = template(checker, at, |field| IMAGE_FIELDS.contains(&field))?;
    if !image.names("version") && !image.names("release_id") {
        checker.problem(
            at,
            "it does not tell releases apart: name {version} or {release_id}",
        );
    }
    Some(image)
}
