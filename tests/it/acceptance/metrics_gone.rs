//! A real `VictoriaMetrics` dies in the middle of a canary, after a real vmalert has spoken and
//! before the gateway could ask it anything.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use crate::support::feed::unix_ms;
use crate::support::gateway::{HOSTS, NEW, PATIENCE, Setting, TestGateway, secret};
use crate::support::holding::{Holding, Side};
use crate::support::metrics_source::{Importer, VictoriaMetrics};
use crate::support::prometheus::{ALERT, CONDITION};
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert::{Notifier, Vmalert};

/// How far back the store knows the service: longer than any history that is asked for.
const PAST_MS: u64 = 70 * 60 * 1000;

/// What every host measures at a moment.
fn samples(at: u64, bad: bool) -> String {
    let mut text = format!("recovery_ratio{{service=\"checkout\"}} 0.001 {at}\n");
    for host in HOSTS {
        let ratio = if bad && host == HOSTS[0] { 0.3 } else { 0.002 };
        let labels = format!("service=\"checkout\",env=\"prod\",instance=\"{host}\"");
        writeln!(text, "error_ratio{{{labels}}} {ratio} {at}").unwrap();
    }
    text
}

/// A store with a healthy past that is on its disk.
async fn with_a_past(directory: &Path) -> VictoriaMetrics {
    let mut metrics = VictoriaMetrics::start(directory).await.unwrap();
    let now = unix_ms();
    let moments = (now - PAST_MS..now).step_by(10_000);
    let past: String = moments.map(|at| samples(at, false)).collect();
    metrics.importer.import(&past).await.unwrap();
    // A crash loses what came in during the last seconds, new series among it.
    metrics.process.stop(PATIENCE).await.unwrap();
    metrics.process.restart().await.unwrap();
    metrics
}

/// Pushes every second, whether somebody takes it or not.
fn feed(importer: Importer, bad: Arc<AtomicBool>) -> AbortOnDropHandle<()> {
    let feed = async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let bad = bad.load(Ordering::Relaxed);
            // What is lost while the store is away is lost, as a scrape is.
            drop(importer.push(&samples(unix_ms(), bad)).await);
        }
    };
    AbortOnDropHandle::new(tokio::spawn(feed))
}

/// A vmalert whose lease on an alert, four rounds, is longer than the store is away.
async fn vmalert(directory: &Path, metrics: &VictoriaMetrics, door: &Holding) -> Vmalert {
    let rules = directory.join("rules");
    std::fs::create_dir(&rules).unwrap();
    let rule = format!(
        "groups:\n  - name: checkout\n    interval: 10s\n    rules:\n      - alert: {ALERT}\n        \
         expr: '{CONDITION}'\n        labels: {{severity: critical, release_id: {NEW}, batch: \"1\"}}\n"
    );
    std::fs::write(rules.join("rules.yml"), rule).unwrap();
    let notifier = Notifier::new(door.url()).with_token(secret("ingest"));
    let home = directory.join("vmalert");
    let started = Vmalert::start(&home, &rules, &metrics.url(), &[notifier]).await;
    started.unwrap()
}

/// A world whose metrics store and vmalert are real.
async fn world(metrics: &VictoriaMetrics, vmalert: &Vmalert) -> TestGateway {
    let mut site = TestGateway::world(&Setting::default()).await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let stand_in = site.metrics.url();
    let text = text
        .replacen(&stand_in, &metrics.url(), 1)
        .replacen(&stand_in, &vmalert.url(), 1);
    assert!(!text.contains(&stand_in), "{text}");
    std::fs::write(&site.config, text).unwrap();
    site.add_replica().await;
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metrics_store_that_is_killed_in_mid_canary_holds_once_and_its_return_takes_the_batch_back()
 {
    if ![Tool::VictoriaMetrics, Tool::Vmalert]
        .into_iter()
        .all(required_in_ci)
    {
        return;
    }
    let directory = TempDir::new().unwrap();
    let mut metrics = with_a_past(&directory.path().join("metrics")).await;
    let bad = Arc::new(AtomicBool::new(false));
    let _feed = feed(metrics.importer.clone(), Arc::clone(&bad));
    let door = Holding::start(0, Vec::new()).await;
    let vmalert = vmalert(directory.path(), &metrics, &door).await;
    let site = world(&metrics, &vmalert).await;
    door.set_behind(vec![site.replicas[0].address]);
    site.deploy_canary().await;

    let alert = Holding::trap([&door], Side::Request, |asked| {
        asked.path == "/api/v2/alerts" && asked.rest.contains(ALERT)
    });
    bad.store(true, Ordering::Relaxed);
    let alert = tokio::time::timeout(PATIENCE, alert).await;
    let alert = alert.expect("vmalert speaks in time").unwrap();
    metrics.process.kill().unwrap();
    alert.let_go();

    site.told(ALERT, 1).await;
    // Asked again and again, and told once.
    site.held_again(3).await;
    let decisions = site.decisions().await;
    let said = |word: &str| decisions.iter().any(|one| one.contains(word));
    assert!(said("source_down"), "{decisions:#?}");
    for (channel, texts) in site.messages() {
        assert_eq!(texts.len(), 1, "{channel}: {texts:#?}");
    }
    assert!(site.incidents().await.is_empty() && site.rollbacks().is_empty());

    metrics.process.restart().await.unwrap();
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    let touched = site.touched();
    assert_eq!(touched.len(), 1, "{touched:?}");
    assert_eq!(touched[0].hosts, [HOSTS[0]]);
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    site.finish().await;
}
