//! The two acts: deploy, go bad, watch the gateway take it back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop::domain::lane::{Ending, LaneEvent};
use backstop::store::keys;
use jiff::Timestamp;
use serde_json::Value;

use crate::ENV;
use crate::lane::{self, Incident};
use crate::messages::{self, CHANNELS, Kind};
use crate::spinnaker::deploy_trigger;
use crate::summary::{Act, Alert, Clocks, Decision, Execution};
use crate::support::fleet::Health;
use crate::world::World;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;
/// The report's last revision: the metrics are well again.
const LAST_REVISION: u32 = 3;

/// What an act plays with.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// 1 or 2.
    pub number: u32,
    /// What it shows.
    pub title: &'static str,
    /// The service.
    pub service: &'static str,
    /// The release that goes bad.
    pub bad: &'static str,
    /// The release before it.
    pub stable: &'static str,
    /// The alert that tells.
    pub alert: &'static str,
    /// The pipeline that takes it back.
    pub pipeline: &'static str,
}

/// Runs `deploy-prod`; returns the execution's id.
pub fn deploy(world: &World, service: &str, release: &str, soak_seconds: u32) -> String {
    let trigger = deploy_trigger(release, &world.fleet.hosts(service), soak_seconds);
    world.gate.run(service, "deploy-prod", trigger)
}

/// Waits until a deployment has succeeded and the gateway's catalog says so.
pub async fn deployed(world: &World, execution: &str, within: Duration) -> anyhow::Result<()> {
    let what = format!("deployment {execution} succeeds");
    world
        .step(within, &what, async || {
            let run = world
                .gate
                .execution(execution)
                .context("no such execution")?;
            let status = run["status"].as_str().unwrap_or_default().to_owned();
            ensure!(status == "SUCCEEDED", "it is {status}");
            Ok(())
        })
        .await
}

/// Waits until a stage of an execution runs.
pub async fn stage_runs(world: &World, execution: &str, stage: &str) -> anyhow::Result<()> {
    let what = format!("deployment {execution} reaches `{stage}`");
    world
        .step(SECONDS(30), &what, async || {
            let world = world.gate.world();
            let run = world.run(execution).context("no such execution")?;
            let found = run.stages.iter().find(|found| found.name == stage);
            let status = found.context("no such stage")?.status;
            ensure!(
                status == "RUNNING",
                "it is {status}, the execution {}",
                run.status
            );
            Ok(())
        })
        .await
}

/// From the first bad request to the last report.
pub async fn play(world: &World, script: &Script) -> anyhow::Result<Act> {
    world.fleet.set_health(script.bad, Health::BAD);
    let bad_at = now();
    world.timeline.say(
        "fleet",
        format!("{} goes bad: every fifth request fails", script.bad),
    );
    alert_fires(world, script).await?;
    let incident = opened(world, script).await?;
    let (accepted, execution) = submitted(world, script).await?;
    let finished = finished(world, script).await?;
    hosts_are_back(world, script)?;
    told(world, script, Kind::Firing).await?;
    metrics_are_well(world, script).await?;
    let recovered = recovered(world, script).await?;
    let report = reported(world, &incident).await?;
    for kind in [Kind::Started, Kind::Finished, Kind::Recovery, Kind::Report] {
        told(world, script, kind).await?;
    }
    let received = received(&report, incident.opened_at)?;
    let run = world
        .gate
        .execution(&execution)
        .context("the execution is gone")?;
    let decision = &incident.opened.decision;
    let starts = incident.opened.alerts.iter().map(|alert| alert.starts_at);
    let starts_at = starts.min().context("the incident has no alert")?;
    Ok(Act {
        number: script.number,
        title: script.title.to_owned(),
        alert: Alert {
            name: script.alert.to_owned(),
            release_id: script.bad.to_owned(),
            fingerprints: decision.alerts.iter().map(ToString::to_string).collect(),
        },
        decision: Decision {
            scope: incident.opened.scope.to_string(),
            rule: decision.rule.clone(),
            target: incident.opened.target.to_string(),
            hosts: incident
                .opened
                .hosts
                .iter()
                .map(ToString::to_string)
                .collect(),
            why: decision.why(),
        },
        execution: Execution {
            id: execution,
            pipeline: run["name"].as_str().unwrap_or_default().to_owned(),
            parameters: run["trigger"]["parameters"].clone(),
            status: run["status"].as_str().unwrap_or_default().to_owned(),
        },
        messages: by_channel(world, script).await?,
        report: world
            .root
            .join("store")
            .join(keys::report(&incident.id, LAST_REVISION, "")),
        clocks: Clocks {
            bad_sample: bad_at.to_string(),
            alert_starts_at: starts_at.to_string(),
            received: received.to_string(),
            decided: decision.at.to_string(),
            accepted: accepted.to_string(),
            finished: finished.to_string(),
            recovered: recovered.to_string(),
            bad_sample_to_finished_seconds: finished.duration_since(bad_at).as_secs_f64(),
        },
        incident: incident.id.to_string(),
    })
}

async fn alert_fires(world: &World, script: &Script) -> anyhow::Result<()> {
    let what = format!("vmalert fires {} for {}", script.alert, script.bad);
    world
        .step(SECONDS(45), &what, async || {
            let alerts = world.vmalert.alerts().await?;
            let ours = alerts.iter().find(|alert| {
                alert["labels"]["alertname"] == script.alert
                    && alert["labels"]["release_id"] == script.bad
            });
            let alert = ours.context("the alert is not there")?;
            ensure!(alert["state"] == "firing", "it is {}", alert["state"]);
            Ok(())
        })
        .await
}

async fn incident(world: &World, script: &Script) -> anyhow::Result<Incident> {
    let incidents = lane::incidents(&world.store, script.service).await?;
    let ours = |incident: &Incident| incident.opened.release_id.as_str() == script.bad;
    incidents
        .into_iter()
        .find(ours)
        .with_context(|| format!("no incident about {}", script.bad))
}

async fn opened(world: &World, script: &Script) -> anyhow::Result<Incident> {
    let what = format!("the gateway decides to take {} back", script.bad);
    world
        .step(SECONDS(45), &what, async || incident(world, script).await)
        .await
}

async fn submitted(world: &World, script: &Script) -> anyhow::Result<(Timestamp, String)> {
    let what = format!("Spinnaker accepts `{}` for {}", script.pipeline, script.bad);
    world
        .step(SECONDS(45), &what, async || {
            incident(world, script).await?.find(|event| match event {
                // An execution may ask to be let in before Gate's answer is written down.
                LaneEvent::Submitted { execution, .. } | LaneEvent::Admitted { execution, .. } => {
                    Some(execution.to_string())
                }
                _ => None,
            })
        })
        .await
}

async fn finished(world: &World, script: &Script) -> anyhow::Result<Timestamp> {
    let what = format!("`{}` ends and the gateway sees it", script.pipeline);
    let (at, (status, succeeded)) = world
        .step(SECONDS(45), &what, async || {
            incident(world, script).await?.find(|event| match event {
                LaneEvent::Finished {
                    status, succeeded, ..
                } => Some((status.clone(), *succeeded)),
                _ => None,
            })
        })
        .await?;
    ensure!(succeeded, "the rollback of {} ended {status}", script.bad);
    Ok(at)
}

fn hosts_are_back(world: &World, script: &Script) -> anyhow::Result<()> {
    let releases = world.fleet.releases(script.service);
    let wrong: Vec<_> = releases
        .iter()
        .filter(|(_, release)| *release != script.stable)
        .collect();
    ensure!(
        wrong.is_empty(),
        "after the rollback these hosts run something else: {wrong:?}"
    );
    Ok(())
}

async fn metrics_are_well(world: &World, script: &Script) -> anyhow::Result<()> {
    let service = script.service;
    let of = |code: &str| {
        format!("sum(rate(http_requests_total{{service=\"{service}\",env=\"{ENV}\"{code}}}[15s]))")
    };
    let query = format!("{} / {}", of(",code=~\"5..\""), of(""));
    let what = format!("the error ratio of {service} in VictoriaMetrics falls below 1 %");
    world
        .step(SECONDS(60), &what, async || {
            let answer = world.metrics.query(&query, None).await?;
            let (_, ratio) = answer.first().context("no traffic")?;
            ensure!(*ratio < 0.01, "it is {:.1} %", ratio * 100.0);
            Ok(())
        })
        .await
}

async fn recovered(world: &World, script: &Script) -> anyhow::Result<Timestamp> {
    let what = format!("the gateway sees that {} has recovered", script.service);
    let (at, (ending, detail)) = world
        .step(SECONDS(90), &what, async || {
            incident(world, script).await?.find(|event| match event {
                LaneEvent::Recovery { ending, detail, .. } => {
                    Some((ending.clone(), detail.clone()))
                }
                _ => None,
            })
        })
        .await?;
    ensure!(
        ending == Ending::Recovered,
        "recovery ended {ending:?}: {detail}"
    );
    Ok(at)
}

/// The newest record of the report.
async fn reported(world: &World, incident: &Incident) -> anyhow::Result<Value> {
    let what = format!(
        "revision {LAST_REVISION} of the report of {} is written",
        incident.id
    );
    world
        .step(SECONDS(45), &what, async || {
            for file in ["report.html", "report.md"] {
                let key = keys::report(&incident.id, LAST_REVISION, file);
                let page = world
                    .store
                    .get_bytes(&key)
                    .await?
                    .with_context(|| format!("no `{key}`"))?;
                let text = String::from_utf8_lossy(&page);
                let release = incident.opened.release_id.as_str();
                ensure!(text.contains(release), "`{key}` does not name {release}");
            }
            let key = keys::report(&incident.id, LAST_REVISION, "record.json");
            world
                .store
                .get(&key)
                .await?
                .with_context(|| format!("no `{key}`"))
        })
        .await
}

/// When the gateway had the alert: the report's clock.
fn received(record: &Value, opened_at: Timestamp) -> anyhow::Result<Timestamp> {
    let text = record
        .pointer("/clocks/received/at")
        .and_then(Value::as_str);
    let at: Timestamp = text
        .context("the report has no clock `received`")?
        .parse()?;
    ensure!(
        at <= opened_at,
        "received at {at}, but decided at {opened_at}"
    );
    Ok(at)
}

/// Waits until every channel has one such message of the act; an alert's has a chart.
async fn told(world: &World, script: &Script, kind: Kind) -> anyhow::Result<()> {
    let what = format!("email, Slack, WeCom and DingTalk each get one {kind:?} message");
    world
        .step(SECONDS(45), &what, async || {
            let told = messages::collect(world).await?;
            for (channel, messages) in messages::of_service(&told, script.service, kind) {
                let count = messages.len();
                ensure!(count == 1, "{channel} has {count}");
                let message = messages.first().context("no message")?;
                let chart = message.chart.as_deref().is_some_and(messages::is_png);
                ensure!(
                    kind != Kind::Firing || chart,
                    "{channel} has it without a chart"
                );
            }
            Ok(())
        })
        .await
}

async fn by_channel(
    world: &World,
    script: &Script,
) -> anyhow::Result<std::collections::BTreeMap<&'static str, Vec<messages::Told>>> {
    let told = messages::collect(world).await?;
    let of = |channel: &&str| {
        let ours = |message: &&messages::Told| {
            message.channel == *channel && message.service == Some(script.service)
        };
        told.iter().filter(ours).cloned().collect()
    };
    Ok(CHANNELS
        .iter()
        .map(|channel| (*channel, of(channel)))
        .collect())
}

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo is a program of its own"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
