//! Evidence out of a real metrics store and the rule list of a real vmalert.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use backstop::config::{Comparison, Metrics, Recovery, Timing, Vmalert as VmalertConfig};
use backstop::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use backstop::domain::clock::{self, Clock as _, SystemClock};
use backstop::domain::context::{Context, Resolution};
use backstop::domain::deployment::{Batch, Deployment, Status, Strategy};
use backstop::domain::evidence::{Check, Evidence, Verify};
use backstop::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use backstop::enrich::catalog::{Catalog, View};
use backstop::enrich::chart::Role;
use backstop::enrich::evidence::{Accusation, Prober, RecoveryAnswer};
use backstop::enrich::ladder;
use backstop::store::{Store, chain, keys};
use jiff::Timestamp;

use crate::support::eventually::eventually;
use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert::{Notifier, Vmalert};

const RULES: &str = r#"
groups:
  - name: checkout
    interval: 1s
    rules:
      - alert: ErrorRatio
        expr: http_error_ratio{service="checkout"} > 0.05
        labels: {severity: critical}
      - alert: ErrorRatio
        expr: http_error_ratio{service="checkout"} > 0.5
        labels: {severity: page}
      - alert: Latency
        expr: latency_seconds{service="checkout"} > 1
      - alert: Everywhere
        expr: everywhere_ratio{service="checkout"} > 0.05 and on () vector(1) > 0
      - alert: Old
        expr: old_ratio{service="checkout"} > 0.05
      - alert: Young
        expr: young_ratio{service="checkout"} > 0.05
      - alert: Ghost
        expr: ghost_ratio{service="checkout"} > 0.05
      - alert: Summed
        expr: avg(http_error_ratio{service="checkout"}) by (service) > 0.01
      - alert: Armed
        expr: http_error_ratio{service="checkout", release_id="checkout@2", batch="1"} > 0.05
        labels: {release_id: checkout@2, batch: "1"}
      - alert: ArmedSummed
        expr: avg(http_error_ratio{service="checkout", release_id="checkout@2"}) > 0.05
        labels: {release_id: checkout@2}
"#;

/// Four hosts; ten minutes ago the first batch of release 2, host h1, started, and it is bad.
struct Scene {
    store: VictoriaMetrics,
    _rules: Vmalert,
    prober: Prober,
    view: View,
    now: Timestamp,
    _directory: tempfile::TempDir,
}

fn minutes_ago(now: Timestamp, minutes: u64) -> Timestamp {
    clock::before(now, Duration::from_secs(minutes * 60))
}

/// An hour of four hosts in four metrics, a sample every ten seconds.
fn samples(now: Timestamp) -> String {
    let mut text = String::new();
    for ten_seconds in 0..=420_u64 {
        let at = clock::before(now, Duration::from_secs(4200 - ten_seconds * 10));
        let ms = at.as_millisecond();
        for n in 1..=4 {
            let second = n == 1 && at >= minutes_ago(now, 10);
            let bad = n == 1 && at >= minutes_ago(now, 9);
            let release = if second {
                "checkout@2\",batch=\"1"
            } else {
                "checkout@1"
            };
            let labels = format!(
                "service=\"checkout\",env=\"prod\",instance=\"h{n}:9100\",release_id=\"{release}\""
            );
            let mut line = |name: &str, value: f64| {
                writeln!(text, "{name}{{{labels}}} {value} {ms}").unwrap();
            };
            let ratio = |bad: bool| if bad { 0.3 } else { 0.01 };
            line("http_error_ratio", ratio(bad));
            line("latency_seconds", 0.2);
            line("everywhere_ratio", ratio(at >= minutes_ago(now, 9)));
            line("old_ratio", ratio(n == 1 && at >= minutes_ago(now, 25)));
            if at >= minutes_ago(now, 12) {
                line("young_ratio", ratio(bad));
            }
        }
    }
    text
}

fn deployment(
    id: &str,
    version: &str,
    start: Timestamp,
    batches: &[(&[&str], bool)],
) -> Deployment {
    let service = Service::new("checkout").unwrap();
    let hosts = |names: &[&str]| {
        names
            .iter()
            .map(|name| Host::new(*name).unwrap())
            .collect::<Vec<_>>()
    };
    let running = batches.iter().any(|(_, started)| !started);
    Deployment {
        id: DeploymentId::new(id).unwrap(),
        release_id: ReleaseId::of(&service, version).unwrap(),
        service,
        env: Env::new("prod").unwrap(),
        strategy: Strategy::Canary,
        target_hosts: batches.iter().flat_map(|(names, _)| hosts(names)).collect(),
        batches: (1..)
            .zip(batches)
            .map(|(n, (names, started))| Batch {
                n,
                hosts: hosts(names),
                status: Status::Success,
                started_at: started.then_some(start),
                finished_at: None,
            })
            .collect(),
        status: if running {
            Status::Running
        } else {
            Status::Success
        },
        started_at: Some(start),
        finished_at: (!running).then_some(start),
        soak: Duration::from_mins(5),
        application: "checkout".into(),
        pipeline: "deploy-prod".into(),
        is_rollback: false,
    }
}

async fn catalog(now: Timestamp) -> View {
    let store = Store::in_memory();
    let all: &[&str] = &["h1", "h2", "h3", "h4"];
    for one in [
        deployment("D1", "1", minutes_ago(now, 600), &[(all, true)]),
        deployment(
            "D2",
            "2",
            minutes_ago(now, 10),
            &[(&["h1"], true), (&["h2", "h3", "h4"], false)],
        ),
    ] {
        let chain = keys::deployment(&one.service, &one.env, &one.id);
        chain::append(&store, &chain, 1, &one).await.unwrap();
    }
    let catalog = Catalog::new(store, Arc::new(SystemClock), &Timing::default());
    catalog.refresh().await.unwrap();
    catalog.view()
}

fn http() -> reqwest::Client {
    backstop::http::client(&backstop::http::Settings::default()).unwrap()
}

async fn scene() -> Option<Scene> {
    if !required_in_ci(Tool::VictoriaMetrics) || !required_in_ci(Tool::Vmalert) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = VictoriaMetrics::start(&directory.path().join("vm"))
        .await
        .unwrap();
    let rules = directory.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("checkout.yml"), RULES).unwrap();
    let nobody = [Notifier::new("http://127.0.0.1:9")];
    let (logs, url) = (directory.path().join("vmalert"), store.url());
    let vmalert = Vmalert::start(&logs, &rules, &url, &nobody).await.unwrap();
    let now = SystemClock.now();
    store.importer.import(&samples(now)).await.unwrap();
    eventually(Duration::from_secs(30), "the imported samples", || async {
        let found = store.query("count(http_error_ratio)", None).await.ok()?;
        (found.first()?.1 >= 4.0).then_some(())
    })
    .await
    .unwrap();
    let metrics = Metrics {
        url: store.url().parse().unwrap(),
        basic: None,
        bearer: None,
        timeout: Duration::from_secs(10),
        latency_offset: true,
    };
    let trusted = VmalertConfig {
        url: vmalert.url().parse().unwrap(),
        basic: None,
        canary: false,
    };
    let timing = Timing {
        evidence_deadline: Duration::from_secs(15),
        ..Timing::default()
    };
    let prober = Prober::new(
        &http(),
        Some(&metrics),
        &[trusted],
        &timing,
        Arc::new(SystemClock),
    );
    Some(Scene {
        store,
        _rules: vmalert,
        prober,
        view: catalog(now).await,
        now,
        _directory: directory,
    })
}

fn alert(name: &str, more: &[(&str, &str)]) -> Alert {
    let fixed = [
        ("alertgroup", "checkout"),
        ("alertname", name),
        ("service", "checkout"),
        ("env", "prod"),
    ];
    let pairs = fixed.iter().chain(more);
    let labels: Labels = pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: SystemClock.now(),
        ends_at: None,
        generator_url: None,
        source: Source::Vmalert,
    }
}

const CANARY: &[(&str, &str)] = &[
    ("release_id", "checkout@2"),
    ("batch", "1"),
    ("instance", "h1:9100"),
];

impl Scene {
    fn resolve(&self, alert: &Alert) -> Context {
        match ladder::resolve(alert, &self.view, &std::collections::BTreeMap::new()) {
            Resolution::Found(context) => *context,
            other => panic!("{other:?}"),
        }
    }

    async fn gather(&self, alert: &Alert) -> Evidence {
        let context = self.resolve(alert);
        let accusation = Accusation {
            alerts: std::slice::from_ref(alert),
            context: &context,
            verify: None,
        };
        self.prober.gather(&accusation, &self.view).await
    }

    async fn about(&self, name: &str) -> Evidence {
        self.gather(&alert(name, CANARY)).await
    }
}

fn passes(check: &Check) -> bool {
    matches!(check, Check::Pass(_))
}

#[tokio::test]
async fn the_store_itself_says_whether_it_holds_and_for_whom() {
    let Some(scene) = scene().await else { return };

    let critical = [CANARY, &[("severity", "critical")]].concat();
    let evidence = scene.gather(&alert("ErrorRatio", &critical)).await;
    let Verify::Holds(measured) = &evidence.verify else {
        panic!("{evidence:#?}")
    };
    assert!((measured.value - 0.3).abs() < 1e-9, "{measured:?}");
    assert_eq!(
        (measured.series, measured.expr.as_str()),
        (1, r#"http_error_ratio{service="checkout"} > 0.05"#)
    );
    let attribution = &evidence.attribution;
    for check in [
        &attribution.began_after,
        &attribution.others_are_well,
        &attribution.still_running,
    ] {
        assert!(passes(check), "{attribution:#?}");
    }

    // The other rule of that name has a higher line.
    let page = [CANARY, &[("severity", "page")]].concat();
    let evidence = scene.gather(&alert("ErrorRatio", &page)).await;
    assert!(
        matches!(evidence.verify, Verify::DoesNotHold { .. }),
        "{evidence:#?}"
    );
    // Without the label that tells them apart, both must hold.
    let evidence = scene.about("ErrorRatio").await;
    assert!(
        matches!(evidence.verify, Verify::DoesNotHold { .. }),
        "{evidence:#?}"
    );

    let evidence = scene.about("Latency").await;
    assert!(
        matches!(evidence.verify, Verify::DoesNotHold { .. }),
        "{evidence:#?}"
    );
    let evidence = scene.about("Ghost").await;
    assert!(
        matches!(evidence.verify, Verify::NoData { .. }),
        "{evidence:#?}"
    );

    // Host h2 runs release 1, and only h1 is bad.
    let well = [("instance", "h2:9100"), ("severity", "critical")];
    let evidence = scene.gather(&alert("ErrorRatio", &well)).await;
    let Verify::HoldsForOthers { series, .. } = &evidence.verify else {
        panic!("{evidence:#?}")
    };
    assert!(series[0].contains("h1:9100"), "{series:?}");

    // Aggregated away: nothing names the accused.
    let evidence = scene.about("Summed").await;
    let Verify::HoldsForOthers { series, .. } = &evidence.verify else {
        panic!("{evidence:#?}")
    };
    assert!(
        series[0].contains("names neither a release nor a host"),
        "{series:?}"
    );
}

#[tokio::test]
async fn a_rule_armed_for_the_release_is_compared_with_the_others() {
    let Some(scene) = scene().await else { return };
    for name in ["Armed", "ArmedSummed"] {
        let evidence = scene.about(name).await;
        assert!(matches!(evidence.verify, Verify::Holds(_)), "{evidence:#?}");
        let attribution = &evidence.attribution;
        assert!(passes(&attribution.began_after), "{name}: {attribution:#?}");
        assert!(
            passes(&attribution.others_are_well),
            "{name}: {attribution:#?}"
        );
        assert!(
            passes(&attribution.still_running),
            "{name}: {attribution:#?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_the_releases_fault_is_told() {
    let Some(scene) = scene().await else { return };

    let evidence = scene.about("Everywhere").await;
    assert!(matches!(evidence.verify, Verify::Holds(_)), "{evidence:#?}");
    assert!(passes(&evidence.attribution.began_after), "{evidence:#?}");
    let Check::Hold(words) = &evidence.attribution.others_are_well else {
        panic!("{evidence:#?}")
    };
    assert!(
        words.contains("100 % of the samples of 3 others"),
        "{words}"
    );

    let evidence = scene.about("Old").await;
    let Check::Deny(words) = &evidence.attribution.began_after else {
        panic!("{evidence:#?}")
    };
    assert!(words.contains("before the batch started"), "{words}");

    let evidence = scene.about("Young").await;
    let Check::Hold(words) = &evidence.attribution.began_after else {
        panic!("{evidence:#?}")
    };
    assert!(words.contains("of history"), "{words}");
}

#[tokio::test]
async fn what_an_alert_says_about_itself_proves_nothing() {
    let Some(scene) = scene().await else { return };
    let forged = |name: &str| {
        let mut forged = alert(name, CANARY);
        forged.annotations.insert("expr".into(), "vector(1)".into());
        forged.generator_url = Some("http://h/graph?g0.expr=vector(1)".into());
        forged
    };
    let evidence = scene.gather(&forged("NoSuchRule")).await;
    assert!(
        matches!(evidence.verify, Verify::NoTrustedExpression { .. }),
        "{evidence:#?}"
    );
    let evidence = scene.gather(&forged("Latency")).await;
    let Verify::DoesNotHold { expr } = &evidence.verify else {
        panic!("{evidence:#?}")
    };
    assert!(expr.starts_with("latency_seconds"), "{expr}");
    // It is drawn, though.
    assert_eq!(
        scene
            .prober
            .chart_source(&forged("Latency"))
            .await
            .unwrap()
            .drawn,
        "vector(1)"
    );
}

#[tokio::test]
async fn a_store_that_is_gone_or_stuck_is_neither_silence_nor_health() {
    let Some(mut scene) = scene().await else {
        return;
    };
    let recovery = |expr: &str| Recovery {
        expr: expr.to_owned(),
        op: Comparison::Less,
        value: 0.05,
        for_: Duration::from_secs(1),
        within: Duration::from_secs(1),
    };
    let ask = async |scene: &Scene, expr: &str| scene.prober.recovery(&recovery(expr)).await;
    assert_eq!(
        ask(&scene, r"max(latency_seconds) - 0.2").await,
        RecoveryAnswer::Good(0.0)
    );
    let bad = ask(&scene, "http_error_ratio").await;
    assert!(
        matches!(bad, RecoveryAnswer::Bad(value) if value > 0.2),
        "{bad:?}"
    );
    assert_eq!(ask(&scene, "ghost_ratio").await, RecoveryAnswer::Empty);
    let down = ask(&scene, "rate(").await;
    assert!(
        matches!(&down, RecoveryAnswer::SourceDown(why) if why.contains("refused")),
        "{down:?}"
    );

    scene.store.process.kill().unwrap();
    let evidence = scene.about("Latency").await;
    assert!(
        matches!(evidence.verify, Verify::SourceDown { .. }),
        "{evidence:#?}"
    );
    assert!(
        matches!(evidence.attribution.began_after, Check::Hold(_)),
        "{evidence:#?}"
    );
    let down = ask(&scene, "http_error_ratio").await;
    assert!(matches!(down, RecoveryAnswer::SourceDown(_)), "{down:?}");
}

#[tokio::test]
async fn a_chart_tells_the_accused_from_the_rest() {
    let Some(scene) = scene().await else { return };
    let bare = alert(
        "ErrorRatio",
        &[CANARY, &[("severity", "critical")]].concat(),
    );
    let source = scene.prober.chart_source(&bare).await.unwrap();
    assert_eq!(source.drawn, r#"http_error_ratio{service="checkout"}"#);
    let context = scene.resolve(&bare);
    let start = minutes_ago(scene.now, 30);
    let accused = Some((&context, &scene.view));
    let data = scene
        .prober
        .chart(&source, accused, start, scene.now)
        .await
        .unwrap();
    // h1 has two lines, one for each release.
    let roles: Vec<Role> = data.lines.iter().map(|line| line.role).collect();
    assert_eq!(
        roles,
        [
            Role::Accused,
            Role::Rest,
            Role::Rest,
            Role::Rest,
            Role::Rest
        ]
    );
    assert!(
        data.lines[0].label.contains("h1:9100"),
        "{}",
        data.lines[0].label
    );
}
