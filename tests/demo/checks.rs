//! The last questions, asked of the world from the outside: did it happen, and nothing else?

use std::collections::BTreeSet;
use std::sync::PoisonError;

use backstop::domain::lane::LaneEvent;

use crate::acts::Script;
use crate::lane;
use crate::messages::{self, CHANNELS, Kind};
use crate::summary::{Act, Check};
use crate::world::World;

/// Everything that must hold at the end.
pub async fn all(
    world: &World,
    scripts: &[(Script, String)],
    acts: &[Act],
) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    for ((script, deployment), act) in scripts.iter().zip(acts) {
        checks.extend(one_execution(world, script, act).await?);
        checks.push(only_the_accused_hosts(world, script, act));
        checks.push(untouched_in_metrics(world, script, act).await?);
        checks.push(told_once(world, script).await?);
        checks.push(deployment_ended(world, script, deployment));
    }
    let unexpected = world.gate.unexpected();
    checks.push(check(
        "Gate got no request it would not understand",
        unexpected.is_empty(),
        || format!("{unexpected:?}"),
    ));
    let others: Vec<_> = messages::collect(world)
        .await?
        .into_iter()
        .filter(|told| told.kind == Kind::Other)
        .collect();
    checks.push(check(
        "nobody was told anything else",
        others.is_empty(),
        || format!("{others:?}"),
    ));
    let missed = world.missed_samples();
    checks.push(check(
        "no samples of the fleet were lost",
        missed == 0,
        || format!("{missed} pushes failed"),
    ));
    Ok(checks)
}

fn check(what: impl Into<String>, ok: bool, seen: impl FnOnce() -> String) -> Check {
    Check {
        what: what.into(),
        ok,
        seen: (!ok).then(seen),
    }
}

/// One rollback, triggered once, admitted once, with the parameters that were decided.
async fn one_execution(world: &World, script: &Script, act: &Act) -> anyhow::Result<Vec<Check>> {
    let service = script.service;
    let rollbacks: Vec<String> = {
        let gate = world.gate.world();
        let ours = gate
            .runs()
            .filter(|run| run.application == service && run.name.starts_with("rollback-"));
        ours.map(|run| format!("{} {} {}", run.name, run.id, run.status))
            .collect()
    };
    let wanted = vec![format!(
        "{} {} SUCCEEDED",
        script.pipeline, act.execution.id
    )];
    let triggers = format!("/pipelines/{service}/rollback-");
    let requests = world.gate.requests();
    let triggered = requests
        .iter()
        .filter(|r| r.method == "POST" && r.path.starts_with(&triggers))
        .count();
    let incidents = lane::incidents(&world.store, service).await?;
    let admitted: usize = incidents
        .iter()
        .map(|incident| incident.count(|event| matches!(event, LaneEvent::Admitted { .. })))
        .sum();
    let parameters = &act.execution.parameters;
    let told = [
        ("release", script.stable),
        ("incident", act.incident.as_str()),
        ("attempt", "1"),
    ];
    let named = told.iter().all(|(name, value)| parameters[name] == *value);
    Ok(vec![
        check(
            format!("{service}: exactly one rollback ran, `{}`", script.pipeline),
            rollbacks == wanted,
            || format!("{rollbacks:?}"),
        ),
        check(
            format!("{service}: Gate was asked for it exactly once"),
            triggered == 1,
            || format!("{triggered} times"),
        ),
        check(
            format!("{service}: exactly one incident, one admission"),
            incidents.len() == 1 && admitted == 1,
            || format!("{} incidents, {admitted} admissions", incidents.len()),
        ),
        check(
            format!("{service}: it was told the release, the incident and the attempt"),
            named,
            || parameters.to_string(),
        ),
    ])
}

/// The rollback's execution changed the accused hosts, and no other host was given anything since.
fn only_the_accused_hosts(world: &World, script: &Script, act: &Act) -> Check {
    let changes = world
        .changes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let got_bad: BTreeSet<&String> = changes
        .iter()
        .filter(|change| change.release == script.bad)
        .flat_map(|change| &change.hosts)
        .collect();
    let last_bad = changes
        .iter()
        .rposition(|change| change.release == script.bad);
    let after: Vec<_> = changes
        .iter()
        .skip(last_bad.map_or(0, |at| at + 1))
        .filter(|change| change.release.starts_with(&format!("{}@", script.service)))
        .collect();
    let ok = matches!(after.as_slice(), [change]
        if change.execution == act.execution.id
            && change.release == script.stable
            && change.hosts.iter().collect::<BTreeSet<_>>() == got_bad);
    let what = format!(
        "{}: the {} hosts that had got {} went back to {}, and no other host changed",
        script.service,
        got_bad.len(),
        script.bad,
        script.stable
    );
    check(what, ok, || format!("{after:?}"))
}

/// The same, as the metrics store has it: who restarted after the bad release came.
async fn untouched_in_metrics(world: &World, script: &Script, act: &Act) -> anyhow::Result<Check> {
    let since: jiff::Timestamp = act.clocks.bad_sample.parse()?;
    let query = format!(
        "last_over_time(process_start_time_seconds{{service=\"{}\"}}[10s]) > {}",
        script.service,
        since.as_second()
    );
    let answer = world.metrics.query(&query, None).await?;
    let label = |labels: &std::collections::BTreeMap<String, String>, name: &str| {
        labels.get(name).cloned().unwrap_or_default()
    };
    let restarted: BTreeSet<(String, String)> = answer
        .iter()
        .map(|(labels, _)| (label(labels, "instance"), label(labels, "release_id")))
        .collect();
    let wanted: BTreeSet<(String, String)> = act
        .decision
        .hosts
        .iter()
        .map(|host| (host.clone(), script.stable.to_owned()))
        .collect();
    let what = format!(
        "{}: VictoriaMetrics shows just these hosts restarted",
        script.service
    );
    Ok(check(
        what,
        restarted == wanted && !wanted.is_empty(),
        || format!("{restarted:?}"),
    ))
}

async fn told_once(world: &World, script: &Script) -> anyhow::Result<Check> {
    let told = messages::collect(world).await?;
    let firing = messages::of_service(&told, script.service, Kind::Firing);
    let counts: Vec<(&str, usize)> = firing
        .iter()
        .map(|(channel, told)| (*channel, told.len()))
        .collect();
    let once = counts.len() == CHANNELS.len() && counts.iter().all(|(_, count)| *count == 1);
    let what = format!(
        "{}: each channel was told of the alert exactly once",
        script.service
    );
    Ok(check(what, once, || format!("{counts:?}")))
}

/// A canary that went bad was stopped; a deployment that had ended was left alone.
fn deployment_ended(world: &World, script: &Script, deployment: &str) -> Check {
    let wanted = if script.pipeline == "rollback-batch" {
        "CANCELED"
    } else {
        "SUCCEEDED"
    };
    let status = world.gate.world().run(deployment).map(|run| run.status);
    let what = format!(
        "{}: the deployment of {} is {wanted}",
        script.service, script.bad
    );
    check(what, status == Some(wanted), || format!("{status:?}"))
}
