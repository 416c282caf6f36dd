//! The self-test's way through a real Alertmanager: nobody hears of it while all is well, and each
//! break is told once, by name, over two replicas.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use crate::support::alertmanager::{self, Alertmanager};
use crate::support::gateway::{CHANNELS, Setting, TestGateway, secret};
use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert::{Notifier, Vmalert};

/// The page's subject, and the words of its end.
const PAGE: &str = "the self-test does not come through";
const BACK: &str = "the self-test comes through again";

/// A world of two replicas behind a real Alertmanager, whose receiver has the token in `token`.
async fn world(folder: &Path, token: &Path, rest: &str) -> (TestGateway, Alertmanager) {
    let nowhere = "route: {receiver: nobody}\nreceivers: [{name: nobody}]";
    let alertmanager = Alertmanager::start(&folder.join("alertmanager"), nowhere)
        .await
        .unwrap();
    let more = format!(
        "self_test: {{alertmanager: \"{}\", every: 2s, {rest}}}\n",
        alertmanager.url()
    );
    let mut site = TestGateway::world(&Setting {
        replicas: 2,
        // For the life of the test.
        more: Box::leak(more.into_boxed_str()),
        ..Setting::default()
    })
    .await;
    let config = alertmanager::shipped_config(&site.url(), token).unwrap();
    alertmanager.reload(&config).await.unwrap();
    for _ in 0..2 {
        site.add_replica().await;
    }
    (site, alertmanager)
}

/// A vmalert that evaluates the shipped self-test in rounds of two seconds, over an empty store.
async fn vmalert(folder: &Path, alertmanager: &Alertmanager) -> (VictoriaMetrics, Vmalert) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/vmalert/self-test.yml");
    let mut text = std::fs::read_to_string(shipped).unwrap();
    for (slow, quick) in [("interval: 30s", "interval: 1s"), ("/ 300", "/ 2")] {
        assert!(text.contains(slow), "{text}");
        text = text.replace(slow, quick);
    }
    let rules = folder.join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("self-test.yml"), text).unwrap();
    let metrics = VictoriaMetrics::start(&folder.join("metrics"))
        .await
        .unwrap();
    let notifiers = [Notifier::new(alertmanager.url())];
    let vmalert = Vmalert::start(&folder.join("vmalert"), &rules, &metrics.url(), &notifiers)
        .await
        .unwrap();
    (metrics, vmalert)
}

/// When a sender's self-test last came through, as each replica shows it, Unix seconds.
async fn passed(site: &TestGateway, from: &str) -> Vec<f64> {
    let series = format!("backstop_self_test_last_success_timestamp_seconds{{from=\"{from}\"}} ");
    let mut shown = Vec::new();
    for replica in &site.replicas {
        let text = site.metrics_of(&replica.url()).await;
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        shown.push(value.map_or(0.0, |value| value.parse().unwrap()));
    }
    shown
}

/// Waits until one more has come through, to the knowledge of both.
async fn comes_through(site: &TestGateway, from: &str) {
    // At first the start is shown, as soon as somebody has looked.
    site.until("a time to compare with", || async {
        let shown = passed(site, from).await;
        shown.iter().all(|at| *at > 0.0).then_some(())
    })
    .await;
    let before = passed(site, from).await;
    site.until("one more self-test on both replicas", || async {
        let shown = passed(site, from).await;
        let newer = shown.iter().zip(&before).all(|(now, before)| now > before);
        newer.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synthetic_alert_comes_back_to_a_decision_that_nobody_hears_of() {
    let tools = [Tool::Alertmanager, Tool::VictoriaMetrics, Tool::Vmalert];
    if !tools.into_iter().all(required_in_ci) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, secret("ingest")).unwrap();
    let (site, alertmanager) =
        world(folder.path(), &token, "missing_after: 5m, vmalert: true").await;
    let _running = vmalert(folder.path(), &alertmanager).await;
    for from in ["gateway", "vmalert", "gateway", "vmalert"] {
        comes_through(&site, from).await;
    }

    for (channel, texts) in site.messages() {
        assert_eq!(texts, Vec::<String>::new(), "{channel}");
    }
    assert_eq!(site.incidents().await, Vec::<serde_json::Value>::new());
    assert_eq!(site.rollbacks(), Vec::<serde_json::Value>::new());
    // Neither a lane, a hold nor a message knows of it: only its own folder does.
    for folder in ["lanes", "holds", "open", "ledger", "decisions", "episodes"] {
        let keys = site.store.list(folder).await.unwrap();
        assert_eq!(keys, Vec::<String>::new(), "{folder}");
    }
    assert!(!site.store.list("self-test").await.unwrap().is_empty());
    let alerts = site.get("/api/v1/alerts").await;
    assert_eq!(alerts["items"], serde_json::json!([]));
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_and_a_dead_alertmanager_page_once_each_and_by_name() {
    if !required_in_ci(Tool::Alertmanager) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "an-old-token").unwrap();
    let (site, alertmanager) = world(folder.path(), &token, "missing_after: 10s").await;

    for (channel, texts) in paged(&site, 1).await {
        assert!(texts[0].contains("right token"), "{channel}: {texts:?}");
    }
    // Read anew for each request.
    std::fs::write(&token, secret("ingest")).unwrap();
    site.told(BACK, 1).await;
    comes_through(&site, "gateway").await;
    let told = site.messages_with(BACK);
    assert_eq!(told, CHANNELS.map(|name| (name, 1)).into());
    for (channel, texts) in pages(&site) {
        assert_eq!(texts.len(), 1, "{channel}: {texts:?}");
    }

    drop(alertmanager);
    for (channel, texts) in paged(&site, 2).await {
        assert!(
            texts[1].contains("can't be reached"),
            "{channel}: {texts:?}"
        );
    }
    site.finish().await;
}

/// The pages of every channel. A mail that all is well again carries the page's subject, too.
fn pages(site: &TestGateway) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = site.messages();
    for texts in all.values_mut() {
        texts.retain(|text| text.contains(PAGE) && !text.contains(BACK));
    }
    all
}

/// Waits until every channel has `n` pages.
async fn paged(site: &TestGateway, n: usize) -> BTreeMap<&'static str, Vec<String>> {
    site.until("a page in every channel", || async {
        let pages = pages(site);
        pages
            .values()
            .all(|texts| texts.len() >= n)
            .then_some(pages)
    })
    .await
}
