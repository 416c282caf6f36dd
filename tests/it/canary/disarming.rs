//! A batch's rules go when the batch is taken back.

use serde_json::Value;

use crate::support::gateway::{HOSTS, NEW, Setting, TestGateway, canary_alert};

/// The newest event of the batch's rules.
async fn newest(site: &TestGateway) -> Value {
    let mut links = site.store.list("armed").await.unwrap();
    links.sort();
    let newest = links.last().expect("rules that were armed");
    let link: Option<Value> = site.store.get(newest).await.unwrap();
    link.unwrap()["event"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_a_batch_go_when_spinnaker_takes_it_back() {
    let site = TestGateway::with(Setting {
        arms: true,
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    let armed = newest(&site).await;
    assert_eq!(armed["armed"]["release_id"], NEW, "{armed:#}");
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    let gone = site
        .until("the rules to be gone", || async {
            let why = newest(&site).await["disarmed"]["why"].take();
            why.as_str().map(str::to_owned)
        })
        .await;
    let id = incident["id"].as_str().unwrap();
    assert_eq!(gone, format!("{id} takes the batch back"));
    site.finish().await;
}
