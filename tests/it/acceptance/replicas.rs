//! Two replicas over one store: nothing twice, and nothing lost when one of them dies.

use serde_json::Value;

use crate::support::gateway::{HOSTS, Setting, TestGateway, canary_alert};

fn pair() -> Setting {
    Setting {
        replicas: 2,
        timing: &[("lease", "4s"), ("settle", "1s"), ("skew", "200ms")],
        ..Setting::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_get_one_webhook_at_once_tell_and_act_once() {
    let site = TestGateway::with(pair()).await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let body = canary_alert();
    let (one, two) = (site.replicas[0].url(), site.replicas[1].url());
    let path = "/api/v1/webhook";
    let (first, second) = tokio::join!(
        site.post_to(&one, path, "ingest", &body),
        site.post_to(&two, path, "ingest", &body),
    );
    assert_eq!(first.0, 200, "{first:?}");
    assert_eq!(second.0, 200, "{second:?}");
    one_of_everything(&site).await;
    site.finish().await;
}

async fn one_of_everything(site: &TestGateway) {
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    site.told("FIRING", 1).await;
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    assert_eq!(site.touched().len(), 1, "{:?}", site.touched());
}

/// The first replica gets the webhook and dies once the lane shows `stage`; the second goes on.
async fn killed_after(stage: &str) {
    let mut site = TestGateway::with(pair()).await;
    site.deploy_canary().await;
    site.let_rollbacks_end(false);
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.until(&format!("`{stage}` in the lane"), || async {
        let entries = site.lane().await;
        // Admission may be quicker than Gate's answer; then nothing is left to write about that.
        let is_there = |word: &str| word == stage || (stage == "submitted" && word == "admitted");
        let there = entries.iter().any(|entry| is_there(entry.event.as_str()));
        there.then_some(())
    })
    .await;
    site.replicas[0].kill();
    site.replicas.remove(0);
    site.front_to(site.replicas[0].address);
    site.let_rollbacks_end(true);
    one_of_everything(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_right_after_opening_leaves_it_to_the_other() {
    killed_after("opened").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_while_sending_leaves_it_to_the_other() {
    killed_after("submitting").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_after_sending_leaves_it_to_the_other() {
    killed_after("submitted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_after_admission_leaves_it_to_the_other() {
    killed_after("admitted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_of_a_dead_replica_is_decided_by_the_other() {
    let mut site = TestGateway::with(pair()).await;
    site.deploy_canary().await;
    // The alert fires, the store does not say so yet: a hold.
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    let holds: Vec<String> = site.store.list("holds").await.unwrap();
    assert!(!holds.is_empty(), "no hold was written before the answer");
    site.replicas[0].kill();
    site.replicas.remove(0);
    site.front_to(site.replicas[0].address);
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    site.metrics.set(&HOSTS[..1], 0.3);
    one_of_everything(&site).await;
    site.finish().await;
}
