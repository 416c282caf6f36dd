//! From an alert to Gate, and a thousand alerts at once: both with a catalog, rules, guards and
//! evidence, the lane on disk or in S3; then from Spinnaker's yes to the first report.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::domain::id::{Env, IncidentId, LaneName, Service};
use backstop::store::{Store, keys};
use serde_json::json;

use crate::figures::{Figures, ms, quantile_ms};
use crate::scene::{self, Mode};
use crate::sink::Sink;
use crate::storing::Place;
use crate::support::gate::GateStandIn;
use crate::support::process::{self, Process};
use crate::support::tools::Tool;
use crate::support::versitygw::VersityGw;
use crate::{bodies, load, metrics_stub, storing, target, usage};

/// The catalog is read every few seconds; it must have the fleet before the first alert.
const CATALOG: Duration = Duration::from_secs(4);
/// A Gate that is not asked within this is not asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Services for the thousand alerts; the others have incidents.
const WITHOUT_INCIDENT: usize = 8;
/// Alerts in the large webhook.
const MANY: u64 = 1_000;

/// Runs both, on a directory and on S3 where its server is there, beside what a create takes.
///
/// # Errors
/// When the gateway fails, or Gate is not asked.
pub(crate) async fn run(scratch: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    run_in(Place::Directory, scratch, figures).await?;
    if Tool::VersityGw.path().is_err() {
        return Ok(());
    }
    let folder = scratch.join("s3");
    std::fs::create_dir_all(&folder).context("create the S3 server's folder")?;
    let server = VersityGw::start(&folder).await?;
    run_in(Place::S3(&server), &folder, figures).await
}

async fn run_in(place: Place<'_>, scratch: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    storing::run(scratch, place, figures).await?;
    let now = SystemClock.now();
    let sink = Sink::start().await?;
    let metrics = metrics_stub::start(now, scene::services()).await?;
    let gate = GateStandIn::start().await;
    for service in scene::services() {
        // Long enough to be running until the end: what follows an execution is not measured.
        let stage = json!({"refId": "1", "type": "wait", "name": "Roll back", "waitTime": 600});
        gate.save(json!({"application": service, "name": "rollback-full", "stages": [stage]}));
    }
    let addresses = (metrics.as_str(), gate.url(), sink.url.as_str());
    let start = async |name: &str, mode| {
        let folder = scratch.join(name);
        let addresses = (addresses.0, addresses.1.as_str(), addresses.2);
        scene::configure(&folder, mode, addresses, &place.settings(&folder)?)?;
        let store = place.open(&folder)?;
        scene::fill(&store, now).await?;
        let gateway = target::gateway(&folder).await?;
        tokio::time::sleep(CATALOG).await;
        anyhow::Ok((gateway, store))
    };
    if matches!(place, Place::Directory) {
        let (judging, _) = start("judging", Mode::Shadow).await?;
        thousand(&judging, figures)
            .await
            .with_context(|| format!("a thousand alerts:\n{}", judging.tail()))?;
    }
    let (acting, store) = start("acting", Mode::Enforce).await?;
    let took = incidents(&acting, &gate, &store)
        .await
        .with_context(|| format!("alert to Gate:\n{}", acting.tail()))?;
    for (what, took) in [("asked", &took.asked), ("report", &took.report)] {
        for (word, q) in [("p50", 0.5), ("p99", 0.99)] {
            let value = quantile_ms(took, q).context("no incident")?;
            figures.add(format!("{what}{}/{word}_ms", place.suffix()), value);
        }
    }
    Ok(())
}

/// A thousand alerts in one webhook, nobody told: read, judged and answered.
async fn thousand(gateway: &Process, figures: &mut Figures) -> anyhow::Result<()> {
    let http = process::client()?;
    for (n, service) in scene::services().iter().take(WITHOUT_INCIDENT).enumerate() {
        // One severity has a rule and so asks for evidence, the other has none.
        let (severity, word) = [("critical", "with_rule"), ("warning", "no_rule")][n % 2];
        let body = bodies::about_release(MANY, service, severity, &scene::hosts(service));
        let (cpu, began) = (usage::cpu(gateway.pid())?, Instant::now());
        load::post(&http, &gateway.url(), body).await?;
        let took = began.elapsed();
        let cpu = usage::cpu(gateway.pid())?.saturating_sub(cpu);
        figures.add(format!("thousand/{word}_ms"), ms(took));
        figures.add(format!("thousand/{word}_cpu_ms"), ms(cpu));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// What each incident took.
#[derive(Debug, Default)]
struct Took {
    /// From the alert to the request to Gate.
    asked: Vec<Duration>,
    /// From that request, which Gate says yes to at once, to the first report.
    report: Vec<Duration>,
}

/// One incident after the other, each in its own lane.
async fn incidents(gateway: &Process, gate: &GateStandIn, store: &Store) -> anyhow::Result<Took> {
    let http = process::client()?;
    let mut took = Took::default();
    for service in scene::services().iter().skip(WITHOUT_INCIDENT) {
        let body = bodies::about_release(1, service, "critical", &scene::hosts(service));
        let path = format!("/pipelines/{service}/rollback-full");
        let began = Instant::now();
        let (url, client) = (gateway.url(), http.clone());
        let posted = tokio::spawn(async move { load::post(&client, &url, body).await });
        // Its own deadline is a test's: it would end the program without the gateway's words.
        let asked = gate.when(2 * PATIENCE, |world| {
            let asked = |request: &crate::support::gate::Recorded| {
                request.method == "POST" && request.path == path
            };
            world.requests.iter().rev().any(asked).then(Instant::now)
        });
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let answer = posted.await??;
        let asked = asked.with_context(|| format!("Gate was not asked: {answer}"))?;
        took.asked.push(asked.saturating_duration_since(began));
        let written = tokio::time::timeout(PATIENCE, reported(store, service)).await;
        let written = written.context("no report was written")??;
        took.report.push(written.saturating_duration_since(asked));
    }
    ensure!(gate.unexpected().is_empty(), "Gate was asked nonsense");
    Ok(took)
}

/// When the first revision of the first incident of a service was there.
async fn reported(store: &Store, service: &str) -> anyhow::Result<Instant> {
    let lane = LaneName::of(&Service::new(service)?, &Env::new("prod")?)?;
    let record = keys::report(&IncidentId::of(&lane, 1)?, 1, "record.json");
    while store.get_bytes(&record).await?.is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Instant::now())
}
