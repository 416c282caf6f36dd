//! Guards that look at what would be done: the phase with its scope, the release to go to, and
//! whether the accused one may be left at all.

use super::super::rule::phase_word;
use super::{Case, Code, Finding};
use crate::domain::release::Release;

/// The phase could be read, and how much goes back could be told from it.
pub(super) fn phase(case: &Case<'_>) -> Finding {
    match (&case.phase, &case.scope) {
        (Err(reason), _) => Finding::hold(
            Code::Unreadable,
            format!("the phase can't be told: {reason}"),
        ),
        (Ok(phase), Err(reason)) => Finding::hold(
            Code::ScopeUntold,
            format!("the phase is {}: {reason}", phase_word(*phase)),
        ),
        (Ok(phase), Ok(scope)) => Finding::pass(format!(
            "the phase is {}: {scope} goes back",
            phase_word(*phase)
        )),
    }
}

/// There is a stable release that differs.
pub(super) fn target(case: &Case<'_>) -> Finding {
    match (&case.target, case.context, case.facts.candidates) {
        (Ok(target), ..) => Finding::pass(format!("{target} is the last stable release")),
        (Err(_), None, _) => Finding::nobody(),
        (Err(reason), _, Err(_)) => Finding::hold(Code::Unreadable, reason.clone()),
        (Err(reason), _, Ok(_)) => Finding::hold(Code::NoStableRelease, reason.clone()),
    }
}

/// What would be left is not itself what was gone back to: a fault that is not the release's
/// would walk the service back through all it ever ran. Only a person goes back once more.
pub(super) fn rollback_of_rollback(case: &Case<'_>) -> Finding {
    let (context, lane) = match case.accused_lane() {
        Ok(known) => known,
        Err(finding) => return finding,
    };
    if context.deployment.is_rollback {
        return Finding::hold_for_person(
            Code::WasRollback,
            format!(
                "deployment {} was itself a rollback: going back once more is for a person",
                context.deployment.id
            ),
        );
    }
    let went_there = lane
        .closed
        .iter()
        .rev()
        .filter(|incident| incident.may_have_taken_effect())
        .find(|incident| incident.opened.target == context.release_id);
    match went_there {
        Some(incident) => Finding::hold_for_person(
            Code::WasTarget,
            format!(
                "incident {} went back to {}: going back once more is for a person",
                incident.id, context.release_id
            ),
        ),
        None => Finding::pass(format!("no rollback went to {}", context.release_id)),
    }
}

/// The release may be left: one that changed data for good must be repaired forward, or gone back
/// over by a person who knows.
pub(in super::super) fn irreversible(release: Option<&Release>) -> Finding {
    match release {
        Some(release) if !release.reversible => Finding::hold_for_person(
            Code::NotReversible,
            format!(
                "{} is published as not reversible: going back over it may break data, and is for \
                 a person",
                release.id
            ),
        ),
        Some(_) | None => Finding::pass("the release is not marked as irreversible"),
    }
}
