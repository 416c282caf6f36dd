//! How much is taken back: by the rule's action, the phase and the deployment's strategy.

use std::collections::BTreeSet;

use crate::domain::context::Context;
use crate::domain::decision::Scope;
use crate::domain::deployment::{Deployment, Phase, Strategy};
use crate::domain::id::Host;
use crate::domain::policy::Action;

/// The scope of an accusation.
///
/// Canary: the accused batches. Between: all of them together, everything when one can't be told.
/// Full: everything. A deployment of one batch (`all`, `blue_green`) goes back as a whole.
/// `rollback_batch` and `rollback_full` overrule the phase, and need none.
///
/// # Errors
/// In words, when the phase is needed and can't be told, when only batches may be taken back and
/// they can't be told, or when the action takes nothing back.
pub fn scope_of(
    action: Action,
    phase: &Result<Phase, String>,
    context: &Context,
    batch_untold: bool,
) -> Result<Scope, String> {
    let one_batch = match context.deployment.strategy {
        Strategy::All | Strategy::BlueGreen => true,
        Strategy::Canary => false,
    };
    let untold = batch_untold || context.batches.is_empty();
    let everything = match action {
        Action::Hold | Action::Notify => return Err("the rule takes nothing back".to_owned()),
        Action::RollbackFull => true,
        Action::RollbackBatch => one_batch,
        Action::Rollback => match phase.as_ref().map_err(Clone::clone)? {
            Phase::Full => true,
            Phase::Between => one_batch || untold,
            Phase::Canary => one_batch,
        },
    };
    if everything {
        Ok(Scope::Full)
    } else if context.batches.is_empty() {
        Err("which batch is accused can't be told, and only accused batches may go back".to_owned())
    } else {
        Ok(Scope::Batch(context.batches.clone()))
    }
}

/// The hosts a scope concerns, as the deployment knows them: members of the batches, or all it
/// means to reach together with all it has reached.
pub fn hosts_in(scope: &Scope, deployment: &Deployment) -> Vec<Host> {
    match scope {
        Scope::Batch(numbers) => deployment.hosts_of(numbers),
        Scope::Full => {
            let mut seen = BTreeSet::new();
            let reached = deployment.batches.iter().flat_map(|batch| &batch.hosts);
            let hosts = deployment.target_hosts.iter().chain(reached);
            hosts.filter(|host| seen.insert(*host)).cloned().collect()
        }
    }
}
