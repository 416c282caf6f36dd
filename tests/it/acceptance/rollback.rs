//! A release goes bad: what is taken back, how far, and what people hear of it.

use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::{
    CHANNELS, HOSTS, NEW, STABLE, Setting, TestGateway, alert, canary_alert, group, labels,
};
use crate::support::prometheus::ALERT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_canary_batch_is_taken_back_once_and_everybody_hears_of_it() {
    let site = TestGateway::start().await;
    let deployment = site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);

    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["delivered"], 4, "{answer:#}");

    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["plan"]["scope"]["batch"], serde_json::json!([1]));
    assert_eq!(incident["plan"]["target"], STABLE);

    let touched = site.touched();
    assert_eq!(touched.len(), 1, "{touched:?}");
    assert_eq!(touched[0].pipeline, "rollback-batch");
    assert_eq!(touched[0].hosts, [HOSTS[0]]);
    assert_eq!(touched[0].release, STABLE);
    let rollbacks = site.rollbacks();
    assert_eq!(rollbacks.len(), 1, "{rollbacks:#?}");
    assert_eq!(incident["admitted"], rollbacks[0]["id"]);

    accused_was_stopped_before(&site, &deployment, &rollbacks[0]);
    release_is_marked_bad(&site).await;
    site.told("RECOVERY", 1).await;
    for (channel, texts) in site.messages() {
        let alerts = texts.iter().filter(|text| text.contains("FIRING")).count();
        assert_eq!(alerts, 1, "{channel}: {texts:#?}");
        assert!(
            texts.len() >= 5,
            "{channel}: follow-ups are missing: {texts:#?}"
        );
        assert!(texts[0].contains("1.3"), "{channel}: {}", texts[0]);
        assert!(texts[0].contains("h1"), "{channel}: {}", texts[0]);
    }
    assert!(incident["revision"].as_u64() >= Some(3), "{incident:#}");
    let id = incident["id"].as_str().unwrap();
    for file in ["report.json", "report.md", "report.html"] {
        let report = site.get(&format!("/incidents/{id}/{file}")).await;
        assert!(report.to_string().contains("1.3"), "{file}");
    }
    site.finish().await;
}

fn accused_was_stopped_before(site: &TestGateway, deployment: &str, rollback: &Value) {
    let accused = site.gate.execution(deployment).unwrap();
    assert_eq!(accused["status"], "CANCELED", "{accused:#}");
    let (stopped, began) = (accused["endTime"].as_i64(), rollback["startTime"].as_i64());
    assert!(
        stopped.is_some() && stopped <= began,
        "{stopped:?} {began:?}"
    );
}

async fn release_is_marked_bad(site: &TestGateway) {
    let marks = site.store.list(&format!("marks/{NEW}")).await.unwrap();
    assert_eq!(marks.len(), 1, "{marks:?}");
    let mark: Value = site.store.get(&marks[0]).await.unwrap().unwrap();
    assert_eq!(mark["kind"], "bad");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_full_rollout_goes_back_to_the_last_release_that_is_stable() {
    let site = TestGateway::with(Setting {
        soak: "100ms",
        ..Setting::default()
    })
    .await;
    let hours = |n: u64| Duration::from_secs(n * 3600);
    site.publish("1.1", 8).await;
    site.deployed("D-bad", "1.1", hours(8), Duration::ZERO)
        .await;
    mark_bad(&site, "checkout@1.1").await;
    site.publish("1.2", 3).await;
    site.deployed("D-young", "1.2", hours(1), hours(2)).await;
    site.deploy_everywhere().await;
    site.metrics.set(&HOSTS, 0.3);

    let everywhere: Vec<Value> = HOSTS
        .iter()
        .map(|host| alert(&labels(host, &[("batch", "")]), true))
        .collect();
    site.until("a decision to take it back", || async {
        let (status, answer) = site.webhook(&group(&everywhere)).await;
        assert_eq!(status, 200, "{answer:#}");
        (!site.incidents().await.is_empty()).then_some(())
    })
    .await;
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["plan"]["scope"], "full", "{incident:#}");
    let touched = site.touched();
    assert_eq!(touched.len(), 1, "{touched:?}");
    assert_eq!(touched[0].pipeline, "rollback-full");
    assert_eq!(touched[0].release, STABLE);
    site.finish().await;
}

async fn mark_bad(site: &TestGateway, release: &str) {
    use backstop::domain::clock::{Clock as _, SystemClock};
    use backstop::domain::release::{Mark, MarkKind};
    let id = release.parse().unwrap();
    let mark = Mark {
        release_id: backstop::domain::id::ReleaseId::new(release).unwrap(),
        kind: MarkKind::Bad,
        reason: "it lost orders".to_owned(),
        by: "oncall".to_owned(),
        at: SystemClock.now(),
        incident: None,
    };
    backstop::store::chain::append(&site.store, &backstop::store::keys::marks(&id), 1, &mark)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_shadow_nothing_is_done_and_the_message_says_what_would_be() {
    let site = TestGateway::with(Setting {
        mode: "shadow",
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    for (channel, texts) in site.messages() {
        assert_eq!(texts.len(), 1, "{channel}: {texts:#?}");
        let text = texts[0].to_lowercase();
        assert!(text.contains("would"), "{channel}: {text}");
        assert!(
            text.contains(STABLE) || text.contains("1.0"),
            "{channel}: {text}"
        );
    }
    let decisions = site.decisions().await;
    assert!(
        decisions.iter().any(|one| one.contains("shadow=true")),
        "{decisions:#?}"
    );
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mode_off_people_are_told_and_nothing_else_happens() {
    let site = TestGateway::with(Setting {
        mode: "off",
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    site.told(ALERT, 1).await;
    assert_eq!(site.messages_with("FIRING").len(), CHANNELS.len());
    assert_eq!(
        site.metrics
            .asked()
            .iter()
            .filter(|q| q.contains('>'))
            .count(),
        0
    );
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_stops_a_rollback_that_was_wanted() {
    let site = TestGateway::start().await;
    let body = serde_json::json!({"mode": "off", "reason": "drill"});
    let (status, answer) = site
        .send(
            reqwest::Method::PUT,
            &site.url(),
            "/api/v1/mode",
            "admin",
            Some(&body),
            &[],
        )
        .await;
    assert_eq!(status, 200, "{answer:#}");
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.told(ALERT, 1).await;
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    site.finish().await;
}
