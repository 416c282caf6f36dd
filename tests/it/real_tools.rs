//! The real programs start here, see the simulated services and reach us.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use object_store::path::Path as Key;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::alertmanager::{self, Alertmanager};
use crate::support::eventually::eventually;
use crate::support::feed::{self, Feed};
use crate::support::fleet::{Fleet, Health};
use crate::support::metrics_source::{VictoriaMetrics, check_scrape_config};
use crate::support::tools::{Tool, required_in_ci};
use crate::support::versitygw::VersityGw;
use crate::support::vmalert::{self, Notifier, Vmalert};

const A_MINUTE: Duration = Duration::from_mins(1);

fn shipped(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

/// One request that somebody sent us.
#[derive(Debug, Clone)]
struct Recorded {
    path: String,
    bearer: Option<String>,
    body: Value,
}

#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Recorded>>>);

impl Recorder {
    /// Serves on a free port until the test's runtime ends.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(record).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// The first request to `path` whose body has an alert by this name.
    async fn wait_for(&self, path: &str, alert: &str) -> Recorded {
        let what = format!("`{alert}` at `{path}`");
        eventually(A_MINUTE, &what, async || {
            let recorded = self.0.lock().unwrap();
            let mut at_path = recorded.iter().filter(|request| request.path == path);
            at_path
                .find(|request| request.body.to_string().contains(alert))
                .cloned()
        })
        .await
        .unwrap()
    }
}

async fn record(State(recorder): State<Recorder>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let bearer = parts.headers.get("authorization");
    recorder.0.lock().unwrap().push(Recorded {
        path: parts.uri.path().to_owned(),
        bearer: bearer.map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&bytes).unwrap(),
    });
    StatusCode::OK
}

#[test]
fn the_shipped_examples_pass_the_checks_of_the_programs_they_are_for() {
    let programs = [Tool::Amtool, Tool::Vmalert, Tool::VictoriaMetrics];
    if !programs.into_iter().all(required_in_ci) {
        return;
    }
    alertmanager::check_config(&shipped("alertmanager/alertmanager.yml")).unwrap();
    vmalert::check_rules(&shipped("vmalert/rules.yml")).unwrap();

    for file in ["backstop.yml", "hosts.yml", "kubernetes.yml"] {
        check_scrape_config(&shipped("vmagent").join(file)).unwrap();
    }

    // Its keys are younger than Debian's Alertmanager.
    let newest = shipped("alertmanager/alertmanager-0.34.yml");
    alertmanager::check_config(&newest).unwrap_err();
    if required_in_ci(Tool::NewAmtool) {
        for file in [newest, shipped("alertmanager/alertmanager.yml")] {
            alertmanager::check_config_by(Tool::NewAmtool, &file).unwrap();
        }
    }
    if required_in_ci(Tool::NewVmalert) {
        for file in ["rules.yml", "backstop.yml", "self-test.yml"] {
            let rules = format!("-rule={}", shipped("vmalert").join(file).display());
            vmalert::check_flags(Tool::NewVmalert, &[rules]).unwrap();
        }
    }

    let directory = TempDir::new().unwrap();
    let wrong = directory.path().join("wrong.yml");
    std::fs::write(&wrong, "scrape_configs: [{job_name: a, wrong: 1}]").unwrap();
    check_scrape_config(&wrong).unwrap_err();
    std::fs::write(
        &wrong,
        "groups: [{name: a, rules: [{alert: A, expr: 'sum('}]}]",
    )
    .unwrap();
    vmalert::check_rules(&wrong).unwrap_err();
    std::fs::write(&wrong, "route: {receiver: nobody}").unwrap();
    alertmanager::check_config(&wrong).unwrap_err();
}

#[tokio::test]
async fn a_bad_canary_reaches_us_directly_and_through_alertmanager() {
    let programs = [Tool::VictoriaMetrics, Tool::Vmalert, Tool::Alertmanager];
    if !programs.into_iter().all(required_in_ci) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let recorder = Recorder::default();
    let gateway = recorder.start().await;
    let token = directory.path().join("token");
    std::fs::write(&token, "let-me-in").unwrap();
    let config = alertmanager::shipped_config(&gateway, &token).unwrap();

    let metrics = VictoriaMetrics::start(&directory.path().join("metrics"))
        .await
        .unwrap();
    let alertmanager = Alertmanager::start(&directory.path().join("alertmanager"), &config)
        .await
        .unwrap();
    let services = [("checkout", "checkout@1.0.0"), ("cart", "cart@1.0.0")];
    let fleet = Fleet::new("prod", &services, 10, 1);
    let past = Duration::from_mins(10);
    feed::backfill(&fleet, &metrics.importer, past, Duration::from_secs(10))
        .await
        .unwrap();
    let feed = Feed::start(fleet.clone(), metrics.importer.clone());
    // Those about Backstop itself are no concern of these services.
    let rules = directory.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::copy(shipped("vmalert/rules.yml"), rules.join("rules.yml")).unwrap();
    let vmalert = Vmalert::start(
        &directory.path().join("vmalert"),
        &rules,
        &metrics.url(),
        &[
            Notifier::new(&gateway).with_token("fast-lane"),
            Notifier::new(alertmanager.url()),
        ],
    )
    .await
    .unwrap();
    assert_eq!(vmalert.groups().await.unwrap().len(), 2);

    let canary = fleet.hosts("checkout")[..2].to_vec();
    fleet.set_health("checkout@2.0.0", Health::BAD);
    fleet.set_release(&canary, "checkout@2.0.0", Some(1));

    let direct = recorder
        .wait_for("/api/v2/alerts", "CheckoutErrorRatio")
        .await;
    assert_eq!(direct.bearer.as_deref(), Some("Bearer fast-lane"));
    let webhook = recorder
        .wait_for("/api/v1/webhook", "CheckoutErrorRatio")
        .await;
    assert_eq!(webhook.bearer.as_deref(), Some("Bearer let-me-in"));
    assert_eq!(webhook.body["version"], "4");
    for labels in [
        &direct.body[0]["labels"],
        &webhook.body["alerts"][0]["labels"],
    ] {
        assert_eq!(labels["release_id"], "checkout@2.0.0");
        assert_eq!(labels["batch"], "1");
        assert_eq!(labels["env"], "prod");
    }
    let alerts = vmalert.alerts().await.unwrap();
    let accused = alerts.iter().filter(|alert| alert["state"] == "firing");
    let accused: Vec<&Value> = accused
        .map(|alert| &alert["labels"]["release_id"])
        .collect();
    assert!(
        !accused.is_empty() && accused.iter().all(|id| *id == "checkout@2.0.0"),
        "{alerts:?}"
    );
    assert_eq!(feed.missed(), 0);
}

#[tokio::test]
async fn an_imported_past_can_be_queried_at_once_and_survives_a_restart_of_the_store() {
    if !required_in_ci(Tool::VictoriaMetrics) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let mut metrics = VictoriaMetrics::start(directory.path()).await.unwrap();
    let fleet = Fleet::new("prod", &[("checkout", "checkout@1.0.0")], 10, 3);
    let hour = Duration::from_hours(1);
    feed::backfill(&fleet, &metrics.importer, hour, Duration::from_secs(15))
        .await
        .unwrap();
    let query = "sum by (release_id) (increase(http_requests_total[50m]))";

    let before = metrics.query(query, None).await.unwrap();
    // In order: a crash loses the index of the last seconds.
    metrics.process.stop(A_MINUTE).await.unwrap();
    metrics.process.restart().await.unwrap();
    let after = metrics.query(query, None).await.unwrap();

    for samples in [before, after] {
        let [(labels, served)] = samples.as_slice() else {
            panic!("{samples:?}")
        };
        assert_eq!(labels["release_id"], "checkout@1.0.0");
        assert!(
            (served / (10.0 * 20.0 * 3000.0) - 1.0).abs() < 0.1,
            "{served}"
        );
    }
}

#[tokio::test]
async fn a_paused_program_answers_again_and_a_dropped_one_is_gone() {
    if !required_in_ci(Tool::Alertmanager) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]";
    let first = Alertmanager::start(&directory.path().join("1"), config)
        .await
        .unwrap();
    let second = Alertmanager::start_beside(&directory.path().join("2"), config, &[&first])
        .await
        .unwrap();

    eventually(A_MINUTE, "two peers", async || {
        matches!(second.peers().await, Ok(2)).then_some(())
    })
    .await
    .unwrap();

    first.process.pause().await.unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(300), first.alerts()).await;
    asked.unwrap_err();
    first.process.resume().unwrap();
    assert!(first.alerts().await.unwrap().is_empty());

    let process = Path::new("/proc").join(second.process.pid().to_string());
    assert!(process.exists());
    drop(second);
    assert!(!process.exists());
}

#[tokio::test]
async fn of_many_who_create_one_key_in_s3_exactly_one_wins() {
    if !required_in_ci(Tool::VersityGw) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let server = VersityGw::start(directory.path()).await.unwrap();
    for round in 0..8 {
        let key = Key::from(format!("lanes/checkout-prod/{round:06}.json"));
        let creations = (0..8).map(|writer| {
            let (store, key) = (server.store().unwrap(), key.clone());
            async move {
                let body = PutPayload::from(format!("{{\"writer\":{writer}}}"));
                let options = PutOptions::from(PutMode::Create);
                store.put_opts(&key, body, options).await.map(|_| writer)
            }
        });
        let outcomes = futures::future::join_all(creations).await;
        let winners: Vec<i32> = outcomes
            .iter()
            .filter_map(|it| it.as_ref().ok())
            .copied()
            .collect();
        let [winner] = winners.as_slice() else {
            panic!("{outcomes:?}")
        };
        let kept = server
            .store()
            .unwrap()
            .get(&key)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert_eq!(kept, format!("{{\"writer\":{winner}}}"));
    }
}

#[test]
fn the_fetched_font_is_a_font_collection() {
    if !required_in_ci(Tool::ChineseFont) {
        return;
    }
    let font = std::fs::read(Tool::ChineseFont.path().unwrap()).unwrap();
    assert_eq!(&font[..4], b"ttcf");
}
