//! Guards that limit how often and when: freeze windows, the cooldown, the budget, and
//! how much must stay up.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::facts::Limit;
use super::super::scope::hosts_in;
use super::super::words::{ago, count, left, span};
use super::{Case, Code, Finding};
use crate::domain::clock;
use crate::domain::decision::Scope;
use crate::domain::freeze::{Freeze, Rollbacks};
use crate::domain::id::Host;

/// No freeze window holds rollbacks now. One that lets them pass is named all the same.
pub(in super::super) fn freeze(windows: &[Freeze], now: Timestamp) -> Finding {
    let open: Vec<_> = windows
        .iter()
        .filter_map(|freeze| Some((freeze, freeze.open_until(now)?)))
        .collect();
    let holding = open
        .iter()
        .filter(|(freeze, _)| freeze.rollbacks == Rollbacks::Hold)
        .max_by_key(|(_, until)| *until);
    if let Some((freeze, until)) = holding {
        return Finding::hold_until(
            *until,
            Code::Frozen,
            format!(
                "the freeze window `{}` holds rollbacks until {}",
                freeze.name,
                freeze.local(*until)
            ),
        );
    }
    match open.first() {
        Some((freeze, until)) => Finding::pass_as(
            Code::RollbacksPass,
            format!(
                "the freeze window `{}` is open until {} and lets rollbacks pass",
                freeze.name,
                freeze.local(*until)
            ),
        ),
        None => Finding::pass("no freeze window is open"),
    }
}

/// The pause after a rollback; an escalation of the same deployment is outside it.
pub(super) fn cooldown(case: &Case<'_>) -> Finding {
    let (context, lane) = match case.accused_lane() {
        Ok(known) => known,
        Err(finding) => return finding,
    };
    let pause = case.policy.guards.cooldown;
    let last = lane
        .closed
        .iter()
        .filter(|i| i.may_have_taken_effect() && i.opened.deployment != context.deployment.id)
        .filter_map(|incident| Some((incident.closed_at?, &incident.id)))
        .max();
    let Some((closed_at, id)) = last else {
        return Finding::pass("no rollback of another deployment is known here");
    };
    let until = clock::after(closed_at, pause);
    if case.now() >= until {
        return Finding::pass(format!(
            "incident {id} ended {} ago, the cooldown is {}",
            ago(case.now(), closed_at),
            span(pause)
        ));
    }
    Finding::hold_until(
        until,
        Code::CoolingDown,
        format!(
            "incident {id} ended {} ago; the cooldown of {} lasts {} more",
            ago(case.now(), closed_at),
            span(pause),
            left(case.now(), until)
        ),
    )
}

/// Few enough automatic rollbacks lately. Beyond it only a person releases the hold.
pub(super) fn budget(case: &Case<'_>) -> Finding {
    let budget = match case.facts.budget {
        Ok(budget) => budget,
        Err(reason) => {
            return Finding::hold(
                Code::Unreadable,
                format!("the budget can't be read: {reason}"),
            );
        }
    };
    let now = case.now();
    let all = used(budget.overall_grants, budget.overall, now);
    let mine = used(budget.service_grants, budget.per_service, now);
    if all >= budget.overall.count {
        return Finding::hold_for_person(
            Code::OverallSpent,
            format!(
                "{all} automatic rollbacks of all services in {}, the limit is {}: only a person may \
             go on",
                span(budget.overall.window),
                budget.overall.count
            ),
        );
    }
    let escalates = escalates(case);
    if mine >= budget.per_service.count && !escalates {
        return Finding::hold_for_person(
            Code::ServiceSpent,
            format!(
                "{mine} automatic rollbacks of this service in {}, the limit is {}: only a person may \
             go on",
                span(budget.per_service.window),
                budget.per_service.count
            ),
        );
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
    let mut all = lane.closed.iter().chain(lane.open).chain(lane.own);
    all.any(|i| i.may_have_taken_effect() && i.opened.deployment == context.deployment.id)
}

/// Grants within the window; one from a clock that runs ahead counts.
fn used(grants: &[Timestamp], limit: Limit, now: Timestamp) -> usize {
    let from = clock::before(now, limit.window);
    grants.iter().filter(|at| **at > from).count()
}

/// Enough of the service's hosts stay up while a batch is taken back, for its hosts are out of
/// service meanwhile. A full rollback goes in the steps of its own pipeline, which knows better.
pub(super) fn capacity(case: &Case<'_>) -> Finding {
    let Some(wanted) = case.policy.guards.min_capacity else {
        return Finding::pass("no `min_capacity` is set");
    };
    let Some(context) = case.context else {
        return Finding::nobody();
    };
    let scope = match &case.scope {
        Ok(scope @ Scope::Batch(_)) => scope,
        Ok(Scope::Full) => return Finding::pass("a full rollback goes in its pipeline's steps"),
        Err(reason) => return Finding::hold(Code::ScopeUntold, reason.clone()),
    };
    let fleet = match case.facts.fleet {
        Ok(fleet) => fleet,
        Err(reason) => {
            let words = format!("the service's hosts can't be told: {reason}");
            return Finding::hold(Code::Unreadable, words);
        }
    };
    let out: BTreeSet<Host> = hosts_in(scope, &context.deployment).into_iter().collect();
    let reached = &context.deployment.target_hosts;
    let all: BTreeSet<&Host> = fleet.hosts.iter().chain(reached).chain(&out).collect();
    if out.is_empty() || all.is_empty() {
        let words = "the hosts that would be out of service are not known";
        return Finding::hold(Code::Unreadable, words);
    }
    let stays = |host: &&&Host| !out.contains(**host) && !fleet.unwell.contains(**host);
    let left = all.iter().filter(stays).count();
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let words = format!(
        "{left} of {} would stay up, at least {} % are wanted",
        count(all.len(), "host", "hosts"),
        (wanted * 1000.0).round() / 10.0
    );
    if number(left) / number(all.len()) < wanted {
        Finding::hold(Code::TooFewLeft, words)
    } else {
        Finding::pass(words)
    }
}
