//! `make demo`: a bad release is noticed and taken back, twice, with everything running here.
//!
//! Real VictoriaMetrics, vmalert, Alertmanager and SMTP server, simulated services, stand-ins for
//! Spinnaker's Gate, Slack, WeCom and DingTalk, and the real gateway as a child process. It stays
//! up until Ctrl-C; with `DEMO_EXIT=1` it ends by itself, with 0 only if everything happened.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    unreachable_pub,
    reason = "a program for people; JSON values index without panicking"
)]

mod acts;
mod checks;
mod config;
mod lane;
mod messages;
mod narrator;
mod publish;
mod spinnaker;
mod summary;
mod timeline;
mod world;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use acts::Script;
use narrator::Narrator;
use summary::Summary;
use timeline::Timeline;
use world::World;

/// The environment everything runs in.
const ENV: &str = "prod";
/// How many hosts there are; both services run on each.
const HOSTS: usize = 20;
/// The soak of `config/backstop.yaml`, and a little more.
const SOAK: Duration = Duration::from_secs(7);
/// Seconds a batch is watched where nothing is to happen.
const SHORT: u32 = 1;
/// The same where it is to go bad: longer than the demo waits for anything.
const LONG: u32 = 600;

/// A service and its releases.
#[derive(Debug, Clone, Copy)]
struct Service {
    name: &'static str,
    /// What ran before the demo; not published.
    old: &'static str,
    stable: &'static str,
    bad: &'static str,
}

const SERVICES: [Service; 2] = [
    Service {
        name: "checkout",
        old: "checkout@0.9.0",
        stable: "checkout@1.0.0",
        bad: "checkout@2.0.0",
    },
    Service {
        name: "cart",
        old: "cart@0.9.0",
        stable: "cart@1.0.0",
        bad: "cart@2.0.0",
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    let timeline = Timeline::start();
    timeline::section("Backstop: a release goes bad and is taken back");
    let mut summary = Summary::default();
    let world = match World::start(timeline).await {
        Ok(world) => Arc::new(world),
        Err(error) => return failed(timeline, &error),
    };
    let narrator = Narrator::start(Arc::clone(&world));
    let played = play(&world, &mut summary).await;
    drop(narrator);
    summary.seconds = timeline.seconds();
    summary.ok = played.is_ok() && summary.checks.iter().all(|check| check.ok);
    summary.error = played.as_ref().err().map(|error| format!("{error:#}"));
    let written = summary.write(&world.root);
    close(&world, &summary);
    if let Err(error) = played.and(written) {
        return failed(timeline, &error);
    }
    if !ends_by_itself() {
        timeline::section("Everything stays up; Ctrl-C ends it");
        for (name, url) in world.pages() {
            timeline::note(format!("{name:<13} {url}"));
        }
        drop(tokio::signal::ctrl_c().await);
    }
    if summary.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn failed(timeline: Timeline, error: &anyhow::Error) -> ExitCode {
    timeline::note(format!(
        "\n FAILED after {:.0} s: {error:#}",
        timeline.seconds()
    ));
    ExitCode::FAILURE
}

async fn play(world: &World, summary: &mut Summary) -> anyhow::Result<()> {
    let timeline = world.timeline;
    let [checkout, cart] = SERVICES;
    timeline::section("Before: release 1 of both services is published, deployed and soaked");
    for service in SERVICES {
        publish::release(world, service.stable).await?;
        publish::release(world, service.bad).await?;
    }
    let stable = SERVICES.map(|service| acts::deploy(world, service.name, service.stable, SHORT));
    for execution in &stable {
        acts::deployed(world, execution, Duration::from_mins(1)).await?;
    }
    tokio::time::sleep(SOAK).await;
    timeline.say(
        "spinnaker",
        "release 1 of both services has soaked: it is stable now",
    );

    timeline::section("Act 1: release 2 of checkout goes bad on batch 1 (5 %)");
    // Meanwhile release 2 of cart goes everywhere, in good health: it is for act 2.
    let full = acts::deploy(world, cart.name, cart.bad, SHORT);
    let canary = acts::deploy(world, checkout.name, checkout.bad, LONG);
    acts::stage_runs(world, &canary, "Soak batch 1").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let first = Script {
        number: 1,
        title: "a bad canary takes its batch back",
        service: checkout.name,
        bad: checkout.bad,
        stable: checkout.stable,
        alert: "CheckoutErrorRatio",
        pipeline: "rollback-batch",
    };
    summary.acts.push(acts::play(world, &first).await?);

    timeline::section("Act 2: release 2 of cart goes bad at 100 %");
    acts::deployed(world, &full, Duration::from_mins(1)).await?;
    let second = Script {
        number: 2,
        title: "a bad full rollout goes back to the last stable release",
        service: cart.name,
        bad: cart.bad,
        stable: cart.stable,
        alert: "CartErrorRatio",
        pipeline: "rollback-full",
    };
    summary.acts.push(acts::play(world, &second).await?);

    let scripts = [(first, canary), (second, full)];
    summary.checks = checks::all(world, &scripts, &summary.acts).await?;
    Ok(())
}

/// What a person wants to open now.
fn close(world: &World, summary: &Summary) {
    timeline::section("Asked of the world from the outside");
    for check in &summary.checks {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        let seen = check
            .seen
            .as_ref()
            .map_or(String::new(), |seen| format!(": {seen}"));
        timeline::note(format!("{mark}  {}{seen}", check.what));
    }
    timeline::section("To open");
    for act in &summary.acts {
        let clock = act.clocks.bad_sample_to_finished_seconds;
        timeline::note(format!(
            "act {}: first bad request to rolled back {clock:.0} s",
            act.number
        ));
        for (channel, messages) in &act.messages {
            let Some(message) = messages
                .iter()
                .find(|told| told.kind == messages::Kind::Firing)
            else {
                continue;
            };
            let chart = message
                .chart
                .as_ref()
                .map_or(String::new(), |file| format!("  {}", file.display()));
            timeline::note(format!("  {channel:<9} {}{chart}", message.file.display()));
        }
        timeline::note(format!(
            "  report    {}",
            act.report.join("report.html").display()
        ));
    }
    timeline::note(format!(
        "messages  {}",
        world.root.join("messages").display()
    ));
    timeline::note(format!(
        "summary   {}",
        world.root.join("summary.json").display()
    ));
    timeline::note(format!("logs      {}", world.root.join("logs").display()));
}

#[expect(clippy::disallowed_methods, reason = "the demo's one switch")]
fn ends_by_itself() -> bool {
    std::env::var("DEMO_EXIT").is_ok_and(|value| value == "1")
}
