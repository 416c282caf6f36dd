//! Guards that look at other changes: the lane with its incidents and executions, and the budget.

use jiff::Timestamp;

use super::super::facts::{LaneView, Limit};
use super::super::words::{ago, left, span};
use super::{Case, Finding, NOBODY};
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::decision::Scope;
use crate::domain::lane::{Ending, Incident};

/// Nothing else moves in the lane, and what moved before allows another incident.
pub(super) fn lane(case: &Case<'_>) -> Finding {
    let Some(context) = case.context else {
        return Finding::hold(NOBODY);
    };
    let lane = match case.facts.lane {
        Ok(lane) => lane,
        Err(reason) => return Finding::hold(format!("the lane can't be read: {reason}")),
    };
    open_incident(case, context, lane)
        .or_else(|| earlier_incident(case, context, lane))
        .or_else(|| cooldown(case, context, lane))
        .or_else(|| other_execution(case, context))
        .unwrap_or_else(|| {
            Finding::pass("no other incident or execution on this service and environment")
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
    Some(if case.handled_by().is_some() {
        Finding::deny(format!(
            "already being handled by incident {id}, which takes back {doing}"
        ))
    } else if open.opened.deployment == context.deployment.id {
        Finding::hold(format!(
            "incident {id} takes back {doing} of this deployment; more waits until it is over"
        ))
    } else {
        Finding::hold(format!(
            "incident {id} about deployment {} is not over",
            open.opened.deployment
        ))
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
            return Some(Finding::hold_for_person(format!(
                "the rollback of incident {id} failed: a person must act"
            )));
        }
        Some(Ending::Abandoned) => {
            return Some(Finding::deny(format!(
                "a person gave up incident {id}; that binds this deployment"
            )));
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
    Some(Finding::deny(format!(
        "incident {} already took back {} of this deployment: a person must look",
        done.id,
        taken(done)
    )))
}

/// The pause after an admitted rollback; an escalation of the same deployment is outside it.
fn cooldown(case: &Case<'_>, context: &Context, lane: LaneView<'_>) -> Option<Finding> {
    let pause = case.policy.guards.cooldown;
    let last = lane
        .closed
        .iter()
        .filter(|i| i.admitted.is_some() && i.opened.deployment != context.deployment.id)
        .filter_map(|incident| Some((incident.closed_at?, &incident.id)))
        .max()?;
    let (closed_at, id) = last;
    let until = clock::after(closed_at, pause);
    (case.now() < until).then(|| {
        Finding::hold_until(
            until,
            format!(
                "incident {id} ended {} ago; the cooldown of {} lasts {} more",
                ago(case.now(), closed_at),
                span(pause),
                left(case.now(), until)
            ),
        )
    })
}

fn other_execution(case: &Case<'_>, context: &Context) -> Option<Finding> {
    let active = match case.facts.active {
        Ok(active) => active,
        Err(reason) => {
            return Some(Finding::hold(format!(
                "the running executions can't be read: {reason}"
            )));
        }
    };
    let other = active
        .iter()
        .find(|execution| execution.id != context.deployment.id.as_str())?;
    Some(Finding::hold(format!(
        "execution {} of pipeline {} is running here too",
        other.id, other.pipeline
    )))
}

/// Few enough automatic rollbacks lately. Beyond it only a person releases the hold.
pub(super) fn budget(case: &Case<'_>) -> Finding {
    let budget = match case.facts.budget {
        Ok(budget) => budget,
        Err(reason) => return Finding::hold(format!("the budget can't be read: {reason}")),
    };
    let now = case.now();
    let all = used(budget.overall_grants, budget.overall, now);
    let mine = used(budget.service_grants, budget.per_service, now);
    if all >= budget.overall.count {
        return Finding::hold_for_person(format!(
            "{all} automatic rollbacks of all services in {}, the limit is {}: only a person may \
             go on",
            span(budget.overall.window),
            budget.overall.count
        ));
    }
    let escalates = escalates(case);
    if mine >= budget.per_service.count && !escalates {
        return Finding::hold_for_person(format!(
            "{mine} automatic rollbacks of this service in {}, the limit is {}: only a person may \
             go on",
            span(budget.per_service.window),
            budget.per_service.count
        ));
    }
    let outside = if escalates {
        " (an escalation of the same deployment does not count for the service)"
    } else {
        ""
    };
    Finding::pass(format!(
        "{mine} of {} for the service in {}, {all} of {} over all in {}{outside}",
        budget.per_service.count,
        span(budget.per_service.window),
        budget.overall.count,
        span(budget.overall.window)
    ))
}

/// Whether an incident of the same deployment has already used the budget.
fn escalates(case: &Case<'_>) -> bool {
    let (Some(context), Ok(lane)) = (case.context, case.facts.lane) else {
        return false;
    };
    lane.closed
        .iter()
        .any(|i| i.admitted.is_some() && i.opened.deployment == context.deployment.id)
}

/// Grants within the window; one from a clock that runs ahead counts.
fn used(grants: &[Timestamp], limit: Limit, now: Timestamp) -> usize {
    let from = clock::before(now, limit.window);
    grants.iter().filter(|at| **at > from).count()
}
