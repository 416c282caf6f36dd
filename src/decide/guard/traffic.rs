//! Guards that look at what else moves: the lane with its incidents, and other executions.

use super::super::facts::{ActiveExecution, LaneView, Touches};
use super::{Case, Code, Finding};
use crate::domain::context::Context;
use crate::domain::decision::Scope;
use crate::domain::id::DeploymentId;
use crate::domain::lane::{Ending, Incident};

/// No incident of the lane handles it already or stands in the way.
pub(super) fn lane(case: &Case<'_>) -> Finding {
    let (context, lane) = match case.accused_lane() {
        Ok(known) => known,
        Err(finding) => return finding,
    };
    open_incident(case, context, lane)
        .or_else(|| earlier_incident(case, context, lane))
        .unwrap_or_else(|| match lane.open {
            Some(open) => Finding::pass(format!(
                "the execution of incident {} has ended: this takes over from it",
                open.id
            )),
            None => Finding::pass("no incident here stands in the way"),
        })
}

/// How much an incident takes back: as sent, and before that as decided.
pub(super) fn taken(incident: &Incident) -> &Scope {
    let plan = incident.plan.as_ref();
    plan.map_or(&incident.opened.scope, |plan| &plan.scope)
}

fn open_incident(case: &Case<'_>, context: &Context, lane: LaneView<'_>) -> Option<Finding> {
    let open = lane.open?;
    let (id, doing) = (&open.id, taken(open));
    if case.scope.as_ref().is_ok_and(|scope| {
        open.opened.deployment == context.deployment.id && open.may_yield_to(scope)
    }) {
        return None;
    }
    Some(if case.handled_by().is_some() {
        Finding::deny(
            Code::AlreadyHandled,
            format!("already being handled by incident {id}, which takes back {doing}"),
        )
    } else if open.opened.deployment == context.deployment.id {
        Finding::hold(
            Code::WiderThanIncident,
            format!(
                "incident {id} takes back {doing} of this deployment; more waits until it is over"
            ),
        )
    } else {
        Finding::hold(
            Code::OtherIncident,
            format!(
                "incident {id} about deployment {} is not over",
                open.opened.deployment
            ),
        )
    })
}

/// What earlier incidents of the same deployment leave room for. One that was withdrawn or that
/// an escalation took over says nothing.
fn earlier_incident(case: &Case<'_>, context: &Context, lane: LaneView<'_>) -> Option<Finding> {
    let mut mine = lane
        .closed
        .iter()
        .rev()
        .filter(|incident| incident.opened.deployment == context.deployment.id)
        .filter(|incident| {
            !matches!(
                incident.ending,
                Some(Ending::Withdrawn | Ending::Superseded) | None
            )
        })
        .peekable();
    let newest = mine.peek()?;
    let id = &newest.id;
    match newest.ending {
        Some(Ending::RollbackFailed) => {
            return Some(Finding::hold_for_person(
                Code::RollbackFailed,
                format!("the rollback of incident {id} failed: a person must act"),
            ));
        }
        Some(Ending::Abandoned) => {
            return Some(Finding::deny(
                Code::GivenUp,
                format!("a person gave up incident {id}; that binds this deployment"),
            ));
        }
        _ => {}
    }
    let wanted = case.scope.as_ref().ok()?;
    let done = mine.find(|incident| {
        let went = matches!(
            incident.ending,
            Some(Ending::Recovered | Ending::Unverified | Ending::StillBad)
        );
        went && taken(incident).covers(wanted)
    })?;
    Some(Finding::deny(
        Code::AlreadyTakenBack,
        format!(
            "incident {} already took back {} of this deployment: a person must look",
            done.id,
            taken(done)
        ),
    ))
}

/// Nothing but the accused execution runs on the service and environment, or may.
pub(in super::super) fn other_executions(
    active: Result<&[ActiveExecution], &str>,
    accused: &DeploymentId,
) -> Finding {
    let active = match active {
        Ok(active) => active,
        Err(reason) => {
            return Finding::hold(
                Code::Unreadable,
                format!("the running executions can't be read: {reason}"),
            );
        }
    };
    let others = active
        .iter()
        .filter(|execution| execution.id != accused.as_str());
    // The surest one is named, whatever the order.
    let Some(other) = others.min_by_key(|other| (&other.touches, &other.id)) else {
        return Finding::pass("no other execution runs on this service and environment");
    };
    let words = &other.words;
    match &other.touches {
        Touches::Service => {
            Finding::hold(Code::OtherExecution, format!("{words} is running here too"))
        }
        Touches::Place(place) => Finding::hold(
            Code::OtherExecution,
            format!("{words} is running and touches {place}"),
        ),
        Touches::Untold(why) => {
            Finding::hold(Code::MayTouch, format!("{words} is running, and {why}"))
        }
    }
}
