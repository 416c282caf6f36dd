//! The same alert from everywhere, again and again: told once, acted on once.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::gateway::{HOSTS, TestGateway, canary_alert};

fn as_vmalert(alert: &Value) -> Value {
    json!([{"labels": alert["labels"], "annotations": alert["annotations"],
        "startsAt": alert["startsAt"], "endsAt": "2099-01-01T00:00:00Z",
        "generatorURL": alert["generatorURL"]}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vmalert_and_alertmanager_at_once_make_one_message_and_one_incident() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let body = canary_alert();
    let direct = as_vmalert(&body["alerts"][0]);
    let base = site.url();
    let (from_alertmanager, from_vmalert) = tokio::join!(
        site.webhook(&body),
        site.post_to(&base, "/api/v2/alerts", "ingest", &direct),
    );
    assert_eq!(from_alertmanager.0, 200, "{from_alertmanager:?}");
    assert_eq!(from_vmalert.0, 200, "{from_vmalert:?}");
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    assert_eq!(site.touched().len(), 1);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_repeats_are_still_one_message_and_one_incident() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let body = canary_alert();
    for _ in 0..50 {
        let answers = join_all((0..20).map(|_| site.webhook(&body))).await;
        for (status, answer) in answers {
            assert_eq!(status, 200, "{answer:#}");
        }
    }
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    for (channel, count) in site.messages_with("FIRING") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    assert_eq!(site.touched().len(), 1);
    site.finish().await;
}
