//! The simulated services tell what real ones would.

use std::collections::BTreeMap;

use crate::support::fleet::{Fleet, Health};

const MINUTE_MS: u64 = 60_000;

fn fleet() -> Fleet {
    let services = [("checkout", "checkout@1.0.0"), ("cart", "cart@1.0.0")];
    Fleet::new("prod", &services, 10, 7)
}

/// The value of every line of `name` that has all of `labels`, by line.
fn values(text: &str, name: &str, labels: &[&str]) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| {
            let mut parts = line.split(' ');
            let series = parts.next().unwrap().to_owned();
            (series, parts.next().unwrap().parse().unwrap())
        })
        .collect()
}

fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    values(text, name, labels).values().sum()
}

fn error_ratio(text: &str, release: &str) -> f64 {
    let errors = sum(text, "http_requests_total", &[release, "code=\"500\""]);
    errors / sum(text, "http_requests_total", &[release])
}

#[test]
fn twenty_hosts_of_two_services_serve_about_the_traffic_they_were_given() {
    let fleet = fleet();
    fleet.samples_at(MINUTE_MS);
    let text = fleet.samples_at(2 * MINUTE_MS);
    let hosts = values(&text, "process_start_time_seconds", &[]);
    assert_eq!(hosts.len(), 20);
    let requests = sum(&text, "http_requests_total", &["service=\"checkout\""]);
    let expected = 10.0 * 20.0 * 60.0;
    assert!((requests / expected - 1.0).abs() < 0.1, "{requests}");
}

#[test]
fn a_bad_release_fails_and_slows_only_where_it_runs() {
    let fleet = fleet();
    fleet.set_health("checkout@2.0.0", Health::BAD);
    fleet.samples_at(MINUTE_MS);
    let canary = fleet.hosts("checkout")[..2].to_vec();
    assert!(
        fleet
            .set_release(&canary, "checkout@2.0.0", Some(1))
            .is_empty()
    );
    let text = fleet.samples_at(3 * MINUTE_MS);

    assert!((error_ratio(&text, "checkout@2.0.0") - 0.2).abs() < 0.03);
    assert!(error_ratio(&text, "checkout@1.0.0") < 0.01);
    assert!(error_ratio(&text, "cart@1.0.0") < 0.01);
    let slow_share = |release: &str| {
        let name = "http_request_duration_seconds_bucket";
        let within = sum(&text, name, &[release, "le=\"0.5\""]);
        1.0 - within / sum(&text, name, &[release, "le=\"+Inf\""])
    };
    assert!(slow_share("checkout@2.0.0") > 0.15);
    assert!(slow_share("checkout@1.0.0") < 0.02);
    let batch = values(&text, "process_start_time_seconds", &["batch=\"1\""]);
    assert_eq!(batch.len(), 2);
}

#[test]
fn a_new_release_starts_new_counters_and_has_no_error_series_before_the_first_error() {
    let fleet = fleet();
    fleet.samples_at(MINUTE_MS);
    fleet.samples_at(5 * MINUTE_MS);
    let host = fleet.hosts("checkout")[..1].to_vec();
    fleet.set_health(
        "checkout@2.0.0",
        Health {
            error_share: 0.0,
            ..Health::GOOD
        },
    );
    fleet.set_release(&host, "checkout@2.0.0", None);
    let text = fleet.samples_at(5 * MINUTE_MS + 10_000);
    let release = ["release_id=\"checkout@2.0.0\""];
    let served = sum(&text, "http_requests_total", &release);
    assert!((150.0..250.0).contains(&served), "{served}");
    let started = sum(&text, "process_start_time_seconds", &release);
    assert!((started - 300.0).abs() < 0.001, "{started}");
    let failed = ["release_id=\"checkout@2.0.0\"", "code=\"500\""];
    assert!(values(&text, "http_requests_total", &failed).is_empty());
}

#[test]
fn histogram_buckets_never_fall_with_their_bound_and_end_in_the_count() {
    let fleet = fleet();
    for minute in 1..30 {
        fleet.samples_at(minute * MINUTE_MS);
    }
    let text = fleet.samples_at(30 * MINUTE_MS);
    let name = "http_request_duration_seconds_bucket";
    for host in fleet.hosts("checkout") {
        let host = format!("instance=\"{host}\"");
        // In the order in which they were written, which is by bound.
        let of_host: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(&host))
            .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        assert!(of_host.is_sorted(), "{of_host:?}");
        let count = sum(&text, "http_request_duration_seconds_count", &[&host]);
        assert_eq!(of_host.last(), Some(&count));
    }
}

#[test]
fn the_same_seed_and_calls_give_the_same_samples_and_unknown_hosts_are_named() {
    let (one, two) = (fleet(), fleet());
    for minute in 1..5 {
        let time = minute * MINUTE_MS;
        assert_eq!(one.samples_at(time), two.samples_at(time));
    }
    let unknown = one.set_release(&["nowhere-01".to_owned()], "checkout@2.0.0", None);
    assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["nowhere-01"]);
}

#[test]
fn a_silent_host_tells_nothing_and_an_idle_service_counts_nothing() {
    let fleet = fleet();
    fleet.samples_at(MINUTE_MS);
    fleet.silence(&fleet.hosts("checkout"), true);
    fleet.set_traffic("cart", 0.0);
    let text = fleet.samples_at(2 * MINUTE_MS);
    assert!(!text.contains("checkout"));
    assert!(sum(&text, "http_requests_total", &["cart"]) < 10.5);
}

#[test]
fn services_that_share_hosts_change_their_releases_apart() {
    let services = [("checkout", "checkout@1.0.0"), ("cart", "cart@1.0.0")];
    let fleet = Fleet::shared("prod", &services, 20, 7);
    assert_eq!(fleet.hosts("checkout"), fleet.hosts("cart"));
    let first = ["vm-01".to_owned()];
    assert!(
        fleet
            .set_release(&first, "checkout@2.0.0", Some(1))
            .is_empty()
    );
    assert_eq!(fleet.releases("checkout")["vm-01"], "checkout@2.0.0");
    assert_eq!(fleet.releases("checkout")["vm-02"], "checkout@1.0.0");
    assert_eq!(fleet.releases("cart")["vm-01"], "cart@1.0.0");
    let text = fleet.samples_at(MINUTE_MS);
    let started = values(&text, "process_start_time_seconds", &["instance=\"vm-01\""]);
    assert_eq!(started.len(), 2);
}
