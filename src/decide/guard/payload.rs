//! Guards that look at the accusation itself: freshness, context, threshold.

use super::super::words::{ago, count, left, list, span};
use super::{Case, Code, Finding};
use crate::domain::clock;
use crate::domain::context::{Resolution, Rung};

/// A recent, whole delivery of alerts that fire now.
pub(super) fn freshness(case: &Case<'_>) -> Finding {
    let (facts, now) = (case.facts, case.now());
    if facts.truncated > 0 {
        return Finding::deny(
            Code::Truncated,
            format!(
                "the delivery was cut: {} missing, and what is missing may tell otherwise",
                count(
                    usize::try_from(facts.truncated).unwrap_or(usize::MAX),
                    "alert is",
                    "alerts are"
                )
            ),
        );
    }
    let alerts = &facts.accusation.alerts;
    let resolved = alerts.iter().filter(|open| !open.alert.is_firing()).count();
    if resolved > 0 || alerts.is_empty() {
        return Finding::deny(
            Code::Resolved,
            format!(
                "{resolved} of {} no longer firing: what is over triggers nothing",
                count(alerts.len(), "alert is", "alerts are")
            ),
        );
    }
    let age = age(case);
    if let Err(too_old) = age {
        return too_old;
    }
    let starts = alerts.iter().map(|open| open.alert.starts_at).max();
    if let Some(ahead) = starts.filter(|at| *at > clock::after(now, case.settings().clock_skew)) {
        return Finding::hold(
            Code::StartsInFuture,
            format!(
                "an alert starts {} in the future: the clocks disagree",
                left(now, ahead)
            ),
        );
    }
    let lapsed = alerts
        .iter()
        .filter_map(|open| open.alert.ends_at)
        .filter(|until| *until <= now)
        .min();
    if let Some(until) = lapsed {
        return Finding::hold(
            Code::LeaseOver,
            format!(
                "the sender vouched for an alert until {} ago and has not repeated it",
                ago(now, until)
            ),
        );
    }
    Finding::pass(format!(
        "{} firing, {}",
        count(alerts.len(), "alert is", "alerts are"),
        age.unwrap_or_default()
    ))
}

/// How old the delivery, or the hold that is asked again, is.
fn age(case: &Case<'_>) -> Result<String, Finding> {
    let (facts, now, settings) = (case.facts, case.now(), case.settings());
    if let Some(held) = facts.held_since {
        let age = clock::since(now, held);
        return if age > settings.max_hold {
            Err(Finding::deny(
                Code::OldHold,
                format!(
                    "held for {}, longer than the {} a hold lasts",
                    span(age),
                    span(settings.max_hold)
                ),
            ))
        } else {
            Ok(format!("held for {}", span(age)))
        };
    }
    let age = clock::since(now, facts.received_at);
    if age > settings.max_payload_age {
        Err(Finding::deny(
            Code::OldDelivery,
            format!(
                "the delivery is {} old, more than {}",
                span(age),
                span(settings.max_payload_age)
            ),
        ))
    } else {
        Ok(format!("delivered {} ago", span(age)))
    }
}

/// Exactly one deployment is accused, by a catalog that is up to date.
pub(super) fn context(case: &Case<'_>) -> Finding {
    let context = match &case.facts.accusation.resolution {
        Resolution::Found(context) => context,
        Resolution::Ambiguous { candidates, .. } => {
            return Finding::deny(
                Code::Ambiguous,
                format!(
                    "{} fit the alert: {}",
                    count(candidates.len(), "deployment", "deployments"),
                    list(candidates)
                ),
            );
        }
        Resolution::Unavailable { reason, .. } => {
            return Finding::deny(
                Code::NoDeployment,
                format!("no deployment could be told: {reason}"),
            );
        }
    };
    let deployment = &context.deployment;
    if deployment.release_id != context.release_id {
        return Finding::deny(
            Code::OtherRelease,
            format!(
                "the alert accuses {}, but deployment {} brought {}",
                context.release_id, deployment.id, deployment.release_id
            ),
        );
    }
    if let Err(error) = context.lane() {
        return Finding::deny(
            Code::NoLane,
            format!("service and environment name no lane: {error}"),
        );
    }
    if context.freshness.stale {
        return Finding::hold(
            Code::StaleCatalog,
            format!(
                "the catalog is {} old, too old to act on",
                ago(case.now(), context.freshness.as_of)
            ),
        );
    }
    Finding::pass(format!(
        "deployment {} of {} in {}, told by {}",
        deployment.id,
        context.release_id,
        context.env,
        rung(context.rung)
    ))
}

fn rung(rung: Rung) -> &'static str {
    match rung {
        Rung::ReleaseLabels => "the labels release_id and batch",
        Rung::Pod => "the pod",
        Rung::ServerGroup => "the server group",
        Rung::Version => "the version",
        Rung::Host => "who ran on the host",
        Rung::ActiveDeployment => "being the only active deployment",
    }
}

/// The rule's `for` and `min_hosts`, over the whole accusation.
pub(super) fn threshold(case: &Case<'_>) -> Finding {
    let now = case.now();
    let since = case.facts.accusation.since().unwrap_or(now);
    let due = clock::after(since, case.rule.for_);
    let stood = span(clock::since(now, since));
    if now < due {
        return Finding::hold_until(
            due,
            Code::TooYoung,
            format!(
                "stands for {stood}, the rule wants {}: {} more",
                span(case.rule.for_),
                left(now, due)
            ),
        );
    }
    let hosts = case.context.map_or(0, |context| {
        if context.hosts.is_empty() {
            context.deployment.hosts_of(&context.batches).len()
        } else {
            context.hosts.len()
        }
    });
    let wanted = usize::try_from(case.rule.min_hosts).unwrap_or(usize::MAX);
    if hosts < wanted {
        return Finding::hold(
            Code::TooFewHosts,
            format!(
                "{} accused, the rule wants at least {wanted}",
                count(hosts, "host is", "hosts are")
            ),
        );
    }
    Finding::pass(format!(
        "stands for {stood} on {} (the rule wants {} and {wanted})",
        count(hosts, "known host", "known hosts"),
        span(case.rule.for_)
    ))
}
