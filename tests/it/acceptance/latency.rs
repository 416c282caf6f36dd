//! How long each step took, counted once over all replicas, and how soon the report is there.

use std::collections::BTreeMap;

use backstop::telemetry::metrics::Step;

use crate::support::gateway::{HOSTS, Setting, TestGateway, canary_alert};

/// The worst a loaded machine may make of a report's first revision, seconds; what is published
/// is 5 s, and what it took is printed.
const GENEROUS_S: f64 = 20.0;

/// A histogram's count and sum by step, over all replicas.
async fn latencies(site: &TestGateway, metric: &str) -> BTreeMap<String, (f64, f64)> {
    let mut found: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for replica in &site.replicas {
        let text = site.metrics_of(&replica.url()).await;
        for line in text.lines() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value = value.parse().unwrap_or(0.0);
            let step = series.split('"').nth(1).unwrap_or_default().to_owned();
            let name = series.split('{').next().unwrap_or_default();
            let (count, sum) = found.entry(step).or_default();
            if name == format!("{metric}_count") {
                *count += value;
            } else if name == format!("{metric}_sum") {
                *sum += value;
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_counts_each_step_of_an_incident() {
    let site = TestGateway::with(Setting {
        replicas: 2,
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    for replica in &site.replicas {
        let (status, answer) = site
            .post_to(&replica.url(), "/api/v1/webhook", "ingest", &canary_alert())
            .await;
        assert_eq!(status, 200, "{answer:#}");
    }
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");

    let steps = latencies(&site, "backstop_alert_latency_seconds").await;
    let mut before = 0.0;
    for step in Step::ALL {
        let (count, seconds) = steps[step.as_str()];
        println!("alert start to {}: {seconds:.3} s", step.as_str());
        if step == Step::Told {
            // Two replicas may each tell a channel that the other does not.
            assert!((1.0..=2.0).contains(&count), "told: {count}");
            continue;
        }
        assert!((count - 1.0).abs() < 0.1, "{}: {count}", step.as_str());
        // The report may come before or after admission.
        let in_order = ![Step::Admitted, Step::Reported].contains(&step);
        assert!(!in_order || seconds >= before, "{steps:?}");
        before = if in_order { seconds } else { before };
    }
    let reports = latencies(&site, "backstop_report_latency_seconds").await;
    let (count, seconds) = reports[""];
    println!("Spinnaker's acceptance to revision 1: {seconds:.3} s");
    assert!((count - 1.0).abs() < 0.1 && seconds < GENEROUS_S);
    site.finish().await;
}
