use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::{get, post};

use super::super::catalog::Catalog;
use super::super::samples::{at, deployment, host, put};
use super::*;
use crate::domain::alert::{AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock::ManualClock;
use crate::domain::context::{Freshness, Rung};
use crate::domain::deployment::{Deployment, Status};
use crate::store::Store;

const NOW: i64 = 100_000;

fn alert(labels: &[(&str, &str)]) -> Alert {
    let labels: Labels = labels
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: at(NOW),
        ends_at: None,
        generator_url: None,
        source: Source::Vmalert,
    }
}

fn context(deployment: &Deployment, batches: &[u32]) -> Context {
    let batches: BTreeSet<u32> = batches.iter().copied().collect();
    Context {
        service: deployment.service.clone(),
        env: deployment.env.clone(),
        release_id: deployment.release_id.clone(),
        release: None,
        hosts: deployment.hosts_of(&batches),
        batches,
        deployment: deployment.clone(),
        rung: Rung::Host,
        freshness: Freshness {
            as_of: at(NOW),
            stale: false,
        },
    }
}

/// D1 everywhere long ago, then `newest`.
async fn view(newest: &Deployment) -> View {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2", "h3"]])).await;
    put(&store, 1, newest).await;
    let catalog = Catalog::new(store, ManualClock::at(at(NOW)), &Timing::default());
    catalog.refresh().await.unwrap();
    catalog.view()
}

/// `names`, bad from `bad` on, a sample per 10 s from `first` to `last`.
fn line(names: Names, first: i64, last: i64, bad: i64) -> history::Line {
    let times = (first..=last).step_by(10);
    history::Line {
        names,
        points: times.map(|time| (at(time), time >= bad)).collect(),
    }
}

const NEVER: i64 = i64::MAX;

fn holds() -> Verify {
    Verify::Holds(crate::domain::evidence::Measured {
        expr: "x > 1".into(),
        from: "policy".into(),
        value: 2.0,
        series: 1,
        at: at(NOW),
    })
}

/// Judges `lines` about `accused`, whose batch started at `start`.
async fn judge(
    one: &Deployment,
    batches: &[u32],
    start: i64,
    lines: Vec<history::Line>,
) -> Attribution {
    let view = view(one).await;
    let context = context(one, batches);
    let history = history::History {
        lines,
        batch_start: at(start),
        deployment_start: one.started_at.unwrap(),
        since_from: at(start.max(NOW - 10_800)),
        step: Duration::from_secs(10),
    };
    attribution::judge(
        &Accused::new(&context, &view),
        &view,
        Ok(history),
        &holds(),
        at(NOW),
    )
}

/// Release 2 since `start`, long done.
fn full(start: i64) -> Deployment {
    deployment("D2", "2", start, &[&["h1", "h2", "h3"]])
}

/// Release 2 on h1 since a minute after `start`; the rest waits.
fn in_flight(start: i64) -> Deployment {
    let mut one = deployment("D2", "2", start, &[&["h1"], &["h2", "h3"]]);
    one.status = Status::Running;
    one.finished_at = None;
    one.batches[1].started_at = None;
    one
}

#[tokio::test]
async fn at_full_the_hour_before_the_deployment_is_the_comparison() {
    let one = full(NOW - 5000);
    let after = line(Names::Accused, NOW - 4940, NOW, NOW - 300);
    let before = line(Names::Former, NOW - 8600, NOW - 5000, NEVER);
    let told = judge(&one, &[1], NOW - 4940, vec![after.clone(), before]).await;
    assert!(matches!(told.began_after, Check::Pass(_)), "{told:?}");
    assert!(matches!(told.others_are_well, Check::Pass(_)), "{told:?}");
    assert!(matches!(told.still_running, Check::Pass(_)), "{told:?}");

    // It was as bad before, stopped, and came back.
    let mut before = line(Names::Former, NOW - 8600, NOW - 5500, NOW - 8600);
    before
        .points
        .extend(line(Names::Former, NOW - 5490, NOW - 5000, NEVER).points);
    let told = judge(&one, &[1], NOW - 4940, vec![after.clone(), before]).await;
    assert!(
        matches!(&told.began_after, Check::Hold(words) if words.contains("already")),
        "{told:?}"
    );
    assert!(matches!(told.others_are_well, Check::Hold(_)), "{told:?}");

    // Nothing is known of the time before.
    let told = judge(&one, &[1], NOW - 4940, vec![after]).await;
    assert!(
        matches!(&told.others_are_well, Check::Hold(words) if words.contains("history")),
        "{told:?}"
    );
}

#[tokio::test]
async fn in_a_canary_silence_of_the_others_is_no_comparison() {
    let one = in_flight(NOW - 1000);
    let mine = line(Names::Accused, NOW - 940, NOW, NOW - 300);
    let past = line(Names::Former, NOW - 4600, NOW - 940, NEVER);
    let told = judge(&one, &[1], NOW - 940, vec![mine.clone(), past.clone()]).await;
    assert!(matches!(told.others_are_well, Check::Hold(_)), "{told:?}");
    let others = line(Names::Other, NOW - 4600, NOW, NEVER);
    let told = judge(&one, &[1], NOW - 940, vec![mine, past, others]).await;
    assert!(matches!(told.others_are_well, Check::Pass(_)), "{told:?}");
    assert_eq!(
        told.began_after,
        Check::Pass("bad since 11:41:40 UTC, 10m 40s after the batch started".into())
    );
}

#[tokio::test]
async fn an_anomaly_older_than_what_was_read_is_not_dated() {
    let one = full(NOW - 50_000);
    let mine = line(Names::Accused, NOW - 10_800, NOW, NOW - 10_800);
    let past = line(Names::Former, NOW - 53_600, NOW - 50_000, NEVER);
    let told = judge(&one, &[1], NOW - 49_940, vec![mine, past]).await;
    assert!(
        matches!(&told.began_after, Check::Hold(words) if words.contains("longer")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_release_that_is_gone_is_not_accused_any_more() {
    let newest = full(NOW - 5000);
    let view = view(&newest).await;
    let old = deployment("D1", "1", 0, &[&["h1", "h2", "h3"]]);
    let context = context(&old, &[1]);
    let accused = Accused::new(&context, &view);
    let told = attribution::judge(&accused, &view, Err("why".into()), &holds(), at(NOW));
    let Check::Deny(words) = &told.still_running else {
        panic!("{told:?}")
    };
    assert!(words.contains("h1 runs checkout@2"), "{words}");
    assert_eq!(told.began_after, Check::Hold("why".into()));
}

#[tokio::test]
async fn series_are_told_apart_by_their_labels() {
    let one = in_flight(NOW - 1000);
    let view = view(&one).await;
    let context = context(&one, &[1]);
    let accused = Accused::new(&context, &view);
    let names = |pairs: &[(&str, &str)]| {
        let labels: Labels = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        accused.names(&labels)
    };
    assert_eq!(names(&[("instance", "h1:9100")]), Names::Accused);
    assert_eq!(
        names(&[("instance", "h1.example.com:9100")]),
        Names::Accused
    );
    assert_eq!(names(&[("instance", "h2:9100")]), Names::Other);
    assert_eq!(names(&[("release_id", "checkout@2")]), Names::Release);
    assert_eq!(names(&[("version", "2")]), Names::Release);
    assert_eq!(
        names(&[("release_id", "checkout@2"), ("batch", "1")]),
        Names::Accused
    );
    assert_eq!(
        names(&[("release_id", "checkout@2"), ("batch", "2")]),
        Names::Fellow
    );
    assert_eq!(
        names(&[("release_id", "checkout@2"), ("instance", "h2")]),
        Names::Fellow
    );
    assert_eq!(
        names(&[("release_id", "checkout@1"), ("instance", "h1")]),
        Names::Former
    );
    assert_eq!(names(&[("release_id", "checkout@1")]), Names::Other);
    assert_eq!(
        names(&[("version", "2"), ("service", "cart")]),
        Names::Foreign
    );
    assert_eq!(
        names(&[("instance", "h1"), ("env", "stage")]),
        Names::Foreign
    );
    assert_eq!(
        names(&[("service", "checkout"), ("env", "prod")]),
        Names::Nobody
    );
    assert_eq!(accused.hosts().iter().collect::<Vec<_>>(), [&host("h1")]);
}

async fn serve(router: Router) -> url::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}").parse().unwrap()
}

fn metrics(url: url::Url) -> Metrics {
    Metrics {
        url,
        basic: None,
        bearer: None,
        timeout: Duration::from_secs(30),
        latency_offset: false,
    }
}

fn prober(metrics: Option<&Metrics>, vmalerts: &[Vmalert]) -> Prober {
    let http = crate::http::client(&crate::http::Settings::default()).unwrap();
    let timing = Timing {
        evidence_deadline: Duration::from_millis(300),
        ..Timing::default()
    };
    Prober::new(&http, metrics, vmalerts, &timing, ManualClock::at(at(NOW)))
}

async fn gather(prober: &Prober, verify: Option<&str>) -> Evidence {
    let one = in_flight(NOW - 1000);
    let (view, context) = (view(&one).await, context(&one, &[1]));
    let alerts = [alert(&[("alertgroup", "g"), ("alertname", "A")])];
    let accusation = Accusation {
        alerts: &alerts,
        context: &context,
        verify,
    };
    prober.gather(&accusation, &view).await
}

#[tokio::test]
async fn a_store_that_never_answers_is_down_at_the_deadline() {
    let stuck = || async { std::future::pending::<&str>().await };
    let router = Router::new()
        .route("/api/v1/query", post(stuck))
        .route("/api/v1/query_range", post(stuck));
    let metrics = metrics(serve(router).await);
    let evidence = gather(&prober(Some(&metrics), &[]), Some("x > 1")).await;
    assert!(
        matches!(&evidence.verify, Verify::SourceDown { reason } if reason.contains("300ms")),
        "{evidence:?}"
    );
    assert!(matches!(evidence.attribution.still_running, Check::Hold(_)));
}

#[tokio::test]
async fn without_a_store_or_a_rule_nothing_is_verified() {
    let nothing = prober(None, &[]);
    let evidence = gather(&nothing, Some("x > 1")).await;
    assert!(
        matches!(evidence.verify, Verify::SourceDown { .. }),
        "{evidence:?}"
    );
    let metrics = metrics("http://127.0.0.1:1/".parse().unwrap());
    let evidence = gather(&prober(Some(&metrics), &[]), None).await;
    assert!(
        matches!(evidence.verify, Verify::NoTrustedExpression { .. }),
        "{evidence:?}"
    );
    // A rule list that can't be read is no empty rule list.
    let gone = Vmalert {
        url: "http://127.0.0.1:1/".parse().unwrap(),
        basic: None,
        canary: false,
    };
    let evidence = gather(&prober(Some(&metrics), &[gone]), None).await;
    assert!(
        matches!(&evidence.verify, Verify::SourceDown { reason } if reason.contains("`127.0.0.1:1`")),
        "{evidence:?}"
    );
}

#[tokio::test]
async fn a_group_with_unknown_headers_is_not_asked_and_lists_are_shared() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let rules = || async {
        ASKED.fetch_add(1, Ordering::SeqCst);
        let body = r#"{"status":"success","data":{"groups":[{"name":"g","headers":["T: x"],
            "rules":[{"name":"A","query":"x > 1"}]}]}}"#;
        ([("content-type", "application/json")], body)
    };
    let vmalert = Vmalert {
        url: serve(Router::new().route("/api/v1/rules", get(rules))).await,
        basic: None,
        canary: false,
    };
    let metrics = metrics("http://127.0.0.1:1/".parse().unwrap());
    let prober = prober(Some(&metrics), &[vmalert]);
    for _ in 0..3 {
        let evidence = gather(&prober, None).await;
        assert!(
            matches!(&evidence.verify, Verify::NoTrustedExpression { reason } if reason.contains("headers")),
            "{evidence:?}"
        );
    }
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}
