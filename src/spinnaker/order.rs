//! Puts stages in run order. Orca lists them as its storage likes: synthetic ones come reversed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Stage, StageOwner};

/// Sorts stages by start time, each followed by its synthetic children (those that run before its
/// own tasks, then those that run after), stages not started last among their siblings.
///
/// A parent comes first because Orca marks it started before its children. A stage whose parent
/// is missing counts as top-level; nothing is lost, whatever the links say.
pub(super) fn in_run_order(stages: Vec<Stage>) -> Vec<Stage> {
    let ids: BTreeSet<String> = stages.iter().map(|stage| stage.id.clone()).collect();
    let mut children: BTreeMap<Option<String>, Vec<Stage>> = BTreeMap::new();
    for stage in stages {
        let parent = stage.parent.clone().filter(|parent| ids.contains(parent));
        children.entry(parent).or_default().push(stage);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|stage| {
            let after = stage.owner == Some(StageOwner::After);
            (after, stage.start_time.is_none(), stage.start_time)
        });
    }
    let mut ordered = Vec::new();
    let mut stack = reversed(children.remove(&None));
    while let Some(stage) = stack.pop() {
        stack.extend(reversed(children.remove(&Some(stage.id.clone()))));
        ordered.push(stage);
    }
    // Only links that form a ring leave anything here.
    ordered.extend(children.into_values().flatten());
    ordered
}

fn reversed(siblings: Option<Vec<Stage>>) -> Vec<Stage> {
    let mut siblings = siblings.unwrap_or_default();
    siblings.reverse();
    siblings
}
