//! The shipped templates, judged by the real vmalert over ten minutes of nine canaries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstop::canary::{Subject, group, render};
use backstop::config::load::{Secrets, load};
use backstop::domain::id::{DeploymentId, Env, ReleaseId, Service};

use crate::support::feed::unix_ms;
use crate::support::fleet::{Fleet, Health};
use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert;

/// Seconds of stable traffic before the canary starts.
const BEFORE: u64 = 420;
/// Seconds of canary.
const CANARY: u64 = 600;
/// A scrape comes this often.
const SCRAPE: usize = 10;

/// Services, each with one kind of canary on two of its ten hosts.
const KINDS: [&str; 9] = [
    "bad",
    "failing",
    "slow",
    "healthy",
    "quiet",
    "silent",
    "greedy",
    "crashing",
    "restarted",
];
/// Seconds between two starts of what crashes.
const CRASH: u64 = 90;

/// Ten minutes of every kind, up to now; the second in which the canaries started.
async fn history(store: &VictoriaMetrics) -> u64 {
    let releases: Vec<String> = KINDS.iter().map(|kind| format!("{kind}@1")).collect();
    let services: Vec<(&str, &str)> = KINDS
        .into_iter()
        .zip(releases.iter().map(String::as_str))
        .collect();
    let fleet = Fleet::new("prod", &services, 10, 7);
    fleet.set_health("bad@2", Health::BAD);
    fleet.set_health(
        "failing@2",
        Health {
            error_share: 0.05,
            ..Health::GOOD
        },
    );
    fleet.set_health(
        "slow@2",
        Health {
            latency: 4.0,
            ..Health::GOOD
        },
    );
    fleet.set_health(
        "greedy@2",
        Health {
            memory: 2.5,
            ..Health::GOOD
        },
    );
    // One request in 20 s to each host, and one of seven fails, as with the stable release.
    fleet.set_traffic("quiet", 0.05);
    for release in ["quiet@1", "quiet@2"] {
        fleet.set_health(
            release,
            Health {
                error_share: 0.15,
                ..Health::GOOD
            },
        );
    }
    let end = unix_ms() / 1000;
    let (first, started) = (end - CANARY - BEFORE, end - CANARY);
    for second in (first..=end).step_by(SCRAPE) {
        if second >= started && second < started + SCRAPE as u64 {
            for kind in KINDS {
                let hosts = &fleet.hosts(kind)[..2];
                fleet.set_release(hosts, &format!("{kind}@2"), Some(1));
                fleet.silence(hosts, kind == "silent");
            }
        }
        let since = second.saturating_sub(started);
        if since >= CRASH && since % CRASH < SCRAPE as u64 {
            fleet.restart(&fleet.hosts("crashing")[..1]);
        }
        // A process may be started anew once without anybody being called.
        if (300..300 + SCRAPE as u64).contains(&since) {
            fleet.restart(&fleet.hosts("restarted")[..2]);
        }
        store
            .importer
            .push(&fleet.samples_at(second * 1000))
            .await
            .unwrap();
    }
    store.importer.flush().await.unwrap();
    started
}

/// Every alert of every shipped template.
fn shipped_alerts() -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/canary");
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let alerts = texts.flat_map(|text| {
        let names = text.lines().filter_map(|line| line.split_once("- alert: "));
        names
            .map(|(_, name)| name.trim().to_owned())
            .collect::<Vec<_>>()
    });
    alerts.collect()
}

fn rules() -> String {
    let config = load(None, Secrets::Unread).unwrap();
    let groups = KINDS.map(|kind| {
        let service = Service::new(kind).unwrap();
        let subject = Subject {
            service: &service,
            env: &Env::new("prod").unwrap(),
            deployment: &DeploymentId::new("01X").unwrap(),
            release_id: &ReleaseId::of(&service, "2").unwrap(),
            batch: 1,
            stable: Some(&ReleaseId::of(&service, "1").unwrap()),
        };
        render(&config, &subject).unwrap()
    });
    group::file(&groups, Duration::from_secs(5)).unwrap()
}

#[tokio::test]
async fn every_bad_canary_is_found_no_healthy_or_quiet_one_is_and_silence_is_a_warning() {
    if !required_in_ci(Tool::VictoriaMetrics) || !required_in_ci(Tool::Vmalert) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = VictoriaMetrics::start(&directory.path().join("vm"))
        .await
        .unwrap();
    let started = history(&store).await;
    let file = directory.path().join("canary.yaml");
    std::fs::write(&file, rules()).unwrap();
    vmalert::check_rules(&file).unwrap();
    let (from, to) = (
        i64::try_from(started).unwrap(),
        i64::try_from(started + CANARY).unwrap(),
    );
    vmalert::replay(&file, &store.url(), from, to)
        .await
        .unwrap();
    store.importer.flush().await.unwrap();

    let query = format!(
        r#"tfirst_over_time(ALERTS{{alertstate="firing"}}[{}s])"#,
        CANARY + 60
    );
    let found = store
        .query(
            &query,
            Some(Duration::from_secs(started + CANARY).as_secs_f64()),
        )
        .await
        .unwrap();
    let mut after: BTreeMap<(String, String), f64> = BTreeMap::new();
    for (labels, first) in found {
        assert_eq!(
            labels["release_id"],
            format!("{}@2", labels["service"]),
            "{labels:?}"
        );
        assert_eq!(labels["batch"], "1", "{labels:?}");
        let names = (labels["service"].clone(), labels["alertname"].clone());
        after.insert(names, first - Duration::from_secs(started).as_secs_f64());
    }
    println!("seconds from a canary's start to its alert: {after:?}");
    let fired = |kind: &str| -> Vec<&str> {
        let of_kind = after.keys().filter(|(service, _)| service == kind);
        of_kind.map(|(_, alert)| alert.as_str()).collect()
    };
    assert_eq!(
        fired("bad"),
        [
            "CanaryCpuPerRequest",
            "CanaryErrorRatio",
            "CanaryLatencyP95"
        ]
    );
    assert_eq!(fired("failing"), ["CanaryErrorRatio"]);
    assert_eq!(fired("slow"), ["CanaryLatencyP95"]);
    assert_eq!(fired("healthy"), [""; 0]);
    assert!(
        !fired("quiet").contains(&"CanaryErrorRatio"),
        "{:?}",
        fired("quiet")
    );
    assert_eq!(fired("silent"), ["CanaryNoData"]);
    assert_eq!(fired("greedy"), ["CanaryMemory"]);
    assert_eq!(fired("crashing"), ["CanaryRestarts"]);
    assert_eq!(fired("restarted"), [""; 0]);
    let every: BTreeSet<&str> = after.keys().map(|(_, alert)| alert.as_str()).collect();
    let shipped = shipped_alerts();
    assert_eq!(every, shipped.iter().map(String::as_str).collect());
    let errors = |kind: &str| after[&(kind.to_owned(), "CanaryErrorRatio".to_owned())];
    assert!(
        errors("bad") <= 60.0 && errors("failing") <= 120.0,
        "{after:#?}"
    );
}
