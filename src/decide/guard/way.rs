//! Guards that look at what would be done: the phase with its scope, and the release to go to.

use super::super::rule::phase_word;
use super::{Case, Finding};

/// The phase could be read, and how much goes back could be told from it.
pub(super) fn phase(case: &Case<'_>) -> Finding {
    match (&case.phase, &case.scope) {
        (Err(reason), _) => Finding::hold(format!("the phase can't be told: {reason}")),
        (Ok(phase), Err(reason)) => {
            Finding::hold(format!("the phase is {}: {reason}", phase_word(*phase)))
        }
        (Ok(phase), Ok(scope)) => Finding::pass(format!(
            "the phase is {}: {scope} goes back",
            phase_word(*phase)
        )),
    }
}

/// There is a stable release that differs, and going back to it breaks nothing.
pub(super) fn target(case: &Case<'_>) -> Finding {
    if let Some(context) = case.context {
        if context.deployment.is_rollback {
            return Finding::deny(format!(
                "deployment {} was itself a rollback; going back once more is for a person",
                context.deployment.id
            ));
        }
        if let Some(release) = context.release.as_ref().filter(|r| !r.reversible) {
            return Finding::deny(format!(
                "{} is published as not reversible: going back over it would break data",
                release.id
            ));
        }
    }
    match &case.target {
        Ok(target) => Finding::pass(format!("{target} is the last stable release")),
        Err(reason) => Finding::hold(reason.clone()),
    }
}
