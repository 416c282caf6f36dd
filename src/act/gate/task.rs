//! Tasks: which server group or revision a release is, and the job that goes back to it.
//!
//! Looked up right before sending, by what runs. Whatever can't be told for sure is an
//! [`Objection`]: a wrong name would take back the wrong thing.

use serde_json::{Map, Value, json};

use super::{USER, named_by};
use crate::act::orders::{Order, TriggerFailure};
use crate::act::seams::Objection;
use crate::config::{ServerGroupRollback, Template, UndoRollout, Way};
use crate::domain::id::{Env, ExecutionId, ReleaseId, Service};
use crate::domain::lane::Task;
use crate::spinnaker::{Gate, NewTask, ServerGroup};

/// A job's fields that Orca takes as numbers.
const NUMBERS: [&str; 2] = [
    "revision",
    "rollbackContext.targetHealthyRollbackPercentage",
];

/// What is to be taken back, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Spinnaker's application.
    pub application: &'a str,
    /// Whose.
    pub service: &'a Service,
    /// Where.
    pub env: &'a Env,
    /// The release to leave.
    pub from: &'a ReleaseId,
    /// The release to go back to.
    pub target: &'a ReleaseId,
}

impl Wish<'_> {
    /// A template with names about a release, or only about the place.
    fn fill(&self, template: &Template, release: Option<&ReleaseId>) -> Result<String, Objection> {
        let value = |field: &str| {
            Some(match field {
                "service" => self.service.to_string(),
                "env" => self.env.to_string(),
                "release_id" => release?.to_string(),
                "version" => release?.version().to_owned(),
                _ => return None,
            })
        };
        let filled = template.fill(value);
        filled.ok_or_else(|| Objection::Never("a task's template names something unknown".into()))
    }
}

/// The task that takes `wish` back; None where the way is a pipeline.
///
/// # Errors
/// When Spinnaker can't be asked, or what it shows leaves more than one answer.
pub async fn task(gate: &Gate, way: &Way, wish: &Wish<'_>) -> Result<Option<Task>, Objection> {
    let provider = match way {
        Way::Pipeline(_) => return Ok(None),
        Way::ServerGroup(group) => &group.cloud_provider,
        Way::UndoRollout(_) => "kubernetes",
    };
    let groups = gate.server_groups(wish.application, provider).await;
    let groups = groups.map_err(|error| Objection::NotNow(error.to_string()))?;
    match way {
        Way::Pipeline(_) => Ok(None),
        Way::ServerGroup(group) => server_group(group, wish, &groups).map(Some),
        Way::UndoRollout(undo) => undo_rollout(undo, wish, &groups).map(Some),
    }
}

fn server_group(
    way: &ServerGroupRollback,
    wish: &Wish<'_>,
    groups: &[ServerGroup],
) -> Result<Task, Objection> {
    let place = |template| wish.fill(template, None);
    let (credentials, region) = (place(&way.credentials)?, place(&way.region)?);
    let cluster = place(&way.cluster)?;
    let image = wish.fill(&way.image, Some(wish.target))?;
    let bad_image = wish.fill(&way.image, Some(wish.from))?;
    let here = groups.iter().filter(|group| {
        group.account == credentials && group.region == region && group.cluster == cluster
    });
    let running = |image: &str| here.clone().filter(|group| group.runs(image)).collect();
    let restore: Vec<&ServerGroup> = running(&image);
    let mut leave: Vec<&ServerGroup> = running(&bad_image);
    // Those that take no traffic are earlier tries of the same release.
    leave.retain(|group| !group.disabled);
    let restore = only(&restore, &cluster, &image)?;
    let leave = only(&leave, &cluster, &bad_image)?;
    Ok(Task::ServerGroup {
        cloud_provider: way.cloud_provider.clone(),
        credentials,
        region,
        rollback: leave.name.clone(),
        restore: restore.name.clone(),
        target_healthy_percentage: way.target_healthy_percentage,
        image,
    })
}

fn only<'a>(
    found: &[&'a ServerGroup],
    cluster: &str,
    image: &str,
) -> Result<&'a ServerGroup, Objection> {
    match found {
        [one] => Ok(one),
        [] => Err(Objection::NotNow(format!(
            "no server group of cluster `{cluster}` runs `{image}`"
        ))),
        many => {
            let names: Vec<&str> = many.iter().map(|group| group.name.as_str()).collect();
            let names = names.join(", ");
            Err(Objection::NotNow(format!(
                "more than one server group of cluster `{cluster}` runs `{image}`: {names}"
            )))
        }
    }
}

fn undo_rollout(
    way: &UndoRollout,
    wish: &Wish<'_>,
    groups: &[ServerGroup],
) -> Result<Task, Objection> {
    let place = |template| wish.fill(template, None);
    let (account, location) = (place(&way.account)?, place(&way.location)?);
    let manifest_name = place(&way.manifest_name)?;
    let image = wish.fill(&way.image, Some(wish.target))?;
    let bad_image = wish.fill(&way.image, Some(wish.from))?;
    let sets = groups.iter().filter(|group| {
        let here = group.account == account && group.region == location;
        here && group.is_of_manifest(&manifest_name)
    });
    let known = sets.filter_map(|set| Some((set.revision?, set)));
    let current = known.clone().max_by_key(|(revision, _)| *revision);
    match current {
        Some((_, set)) if set.runs(&bad_image) => {}
        Some((_, set)) if set.runs(&image) => {
            let why = format!("`{manifest_name}` runs `{image}` already");
            return Err(Objection::Never(why));
        }
        _ => {
            let why = format!("`{manifest_name}` does not run `{bad_image}` now");
            return Err(Objection::NotNow(why));
        }
    }
    let back = known.filter(|(_, set)| set.runs(&image));
    let (revision, _) = back.max_by_key(|(revision, _)| *revision).ok_or_else(|| {
        Objection::NotNow(format!(
            "no revision of `{manifest_name}` that is kept runs `{image}`"
        ))
    })?;
    Ok(Task::UndoRollout {
        account,
        location,
        manifest_name,
        revision,
        image,
    })
}

/// Sends a task.
pub(super) async fn start(
    gate: &Gate,
    order: &Order,
    task: &Task,
) -> Result<ExecutionId, TriggerFailure> {
    let plan = &order.plan;
    let new = NewTask {
        description: format!(
            "Backstop {}: {} back to {}",
            order.incident, plan.from, plan.target
        ),
        job: job(task),
        correlation_id: order.correlation_id(),
        event_id: order.correlation_id(),
        user: USER.into(),
    };
    let named = gate.start_task(&plan.application, &new).await?;
    named_by(&named).map_err(|why| TriggerFailure::Unclear(why.0))
}

/// The job as Orca takes it: numbers as numbers, names with a dot nested.
fn job(task: &Task) -> Map<String, Value> {
    let mut job = Map::new();
    job.insert("type".into(), json!(task.job_type()));
    job.insert("user".into(), json!(USER));
    for (name, text) in task.fields() {
        let number = NUMBERS.contains(&name.as_str());
        let value = match text.parse::<u32>() {
            Ok(number_read) if number => json!(number_read),
            _ => json!(text),
        };
        match name.split_once('.') {
            None => {
                job.insert(name, value);
            }
            Some((outer, inner)) => {
                let nested = job.entry(outer).or_insert_with(|| json!({}));
                if let Value::Object(nested) = nested {
                    nested.insert(inner.to_owned(), value);
                }
            }
        }
    }
    job
}
