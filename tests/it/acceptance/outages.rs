//! One neighbour at a time is away; what still works, what waits, what the sender is told.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::chat::Fault;
use crate::support::gateway::{HOSTS, TestGateway, canary_alert};
use crate::support::prometheus::ALERT;

/// Makes a local store unusable and usable again: its folder is a file meanwhile.
struct Away {
    folder: PathBuf,
    aside: PathBuf,
}

impl Away {
    fn take(folder: PathBuf) -> Self {
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::write(&folder, "not a folder").unwrap();
        Self { folder, aside }
    }

    fn give_back(self) {
        std::fs::remove_file(&self.folder).unwrap();
        std::fs::rename(&self.aside, &self.folder).unwrap();
    }
}

async fn closes_recovered(site: &TestGateway) {
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(site.touched().len(), 1, "{:?}", site.touched());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_alerts_go_out_and_the_wanted_rollback_comes_with_the_store() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let away = Away::take(site.store_folder.clone());
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(
        status, 503,
        "a wanted rollback that is not written: {answer:#}"
    );
    site.told(ALERT, 1).await;
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    away.give_back();
    // The sender comes again, as it was told to.
    site.until("a 200", || async {
        let (status, _) = site.webhook(&canary_alert()).await;
        (status == 200).then_some(())
    })
    .await;
    closes_recovered(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_store_and_channel_the_sender_keeps_the_alert() {
    let site = TestGateway::start().await;
    let away = Away::take(site.store_folder.clone());
    for _ in 0..20 {
        site.slack.fault(Fault::Status(502));
    }
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 503, "{answer:#}");
    away.give_back();
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_metrics_store_holds_and_says_so_and_its_return_decides() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    site.metrics.set_down(true);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    let decisions = site.decisions().await;
    let said = |word: &str| decisions.iter().any(|one| one.contains(word));
    assert!(said("can't be asked"), "{decisions:#?}");
    assert!(said("source_down"), "{decisions:#?}");
    // Asked again and again, and told once.
    site.held_again(3).await;
    for (channel, texts) in site.messages() {
        assert_eq!(texts.len(), 1, "{channel}: {texts:#?}");
    }
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    site.metrics.set_down(false);
    closes_recovered(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_gate_nothing_is_done_until_it_is_back() {
    let mut site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    site.gate.stop_listening().await;
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    site.gate.listen_again().await;
    closes_recovered(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_channel_keeps_no_other_waiting_and_hears_it_later() {
    let site = TestGateway::start().await;
    for _ in 0..4 {
        site.wecom.fault(Fault::Status(502));
    }
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    let delivered = answer["delivered"].as_u64().unwrap_or_default();
    assert!(delivered >= 3, "{answer:#}");
    site.told(ALERT, 1).await;
    for (channel, count) in site.messages_with(ALERT) {
        assert_eq!(count, 1, "{channel}");
    }
    site.finish().await;
}
