//! Guards on the whole service: the kill switch everywhere at once, a storm, a late batch.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::gateway::{
    CHANNELS, CROWD, HOSTS, NEW, Setting, TestGateway, alert, canary_alert, group, labels,
};
use crate::support::prometheus::ALERT;

/// A switch works everywhere within this.
const EVERYWHERE: Duration = Duration::from_secs(5);

fn pair() -> Setting {
    Setting {
        replicas: 2,
        more: "mode_file: switches\n",
        ..Setting::default()
    }
}

/// What a replica says of the switches.
async fn switches(site: &TestGateway, replica: usize) -> Value {
    let base = site.replicas[replica].url();
    let path = "/api/v1/mode";
    let (status, answer) = site.send(Method::GET, &base, path, "read", None, &[]).await;
    assert_eq!(status, 200, "{answer:#}");
    answer
}

/// Waits until every replica shows as many switches, and says how long that took.
async fn shown_everywhere(site: &TestGateway, count: usize, since: Instant) -> Duration {
    for replica in 0..site.replicas.len() {
        site.until("the switch on every replica", || async {
            let shown = switches(site, replica).await;
            (shown.as_array()?.len() == count).then_some(())
        })
        .await;
    }
    since.elapsed()
}

async fn denied_by_the_kill_switch(site: &TestGateway, replica: usize, code: &str) {
    let base = site.replicas[replica].url();
    let (status, answer) = site
        .post_to(&base, "/api/v1/webhook", "ingest", &canary_alert())
        .await;
    assert_eq!(status, 200, "{answer:#}");
    let decisions = site.decisions().await;
    let denied = |one: &String| one.contains("switched off") && one.contains(code);
    assert!(decisions.iter().any(denied), "{decisions:#?}");
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_set_at_one_replica_holds_at_the_other_within_seconds() {
    let site = TestGateway::with(pair()).await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    // Both have read that there is none, so what they know is as old as it may get.
    shown_everywhere(&site, 0, Instant::now()).await;
    let body = json!({"mode": "off", "env": "prod", "reason": "a drill"});
    let (base, path) = (site.replicas[0].url(), "/api/v1/mode");
    let since = Instant::now();
    let (status, answer) = site
        .send(Method::PUT, &base, path, "admin", Some(&body), &[])
        .await;
    assert_eq!(status, 200, "{answer:#}");
    let took = shown_everywhere(&site, 1, since).await;
    assert!(took < EVERYWHERE, "{took:?}");
    denied_by_the_kill_switch(&site, 1, "the environment by admin: a drill").await;
    let path = "/api/v1/rollbacks";
    let wish =
        json!({"service": "checkout", "env": "prod", "scope": {"batch": [1]}, "dry_run": true});
    let (status, plan) = site.post_to(&base, path, "rollback", &wish).await;
    assert_eq!(status, 200, "{plan:#}");
    assert_eq!(plan["allowed"], false, "it binds people too: {plan:#}");
    assert_eq!(plan["guards"][0]["guard"], "kill_switch", "{plan:#}");
    assert_eq!(plan["guards"][0]["code"], "off", "{plan:#}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_file_stops_every_replica_without_a_reload_and_a_garbled_one_does_too() {
    let site = TestGateway::with(pair()).await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    shown_everywhere(&site, 0, Instant::now()).await;
    let file = site.config.with_file_name("switches");
    let since = Instant::now();
    std::fs::write(&file, "off service=checkout # a drill\n").unwrap();
    let took = shown_everywhere(&site, 1, since).await;
    assert!(took < EVERYWHERE, "{took:?}");
    for replica in [0, 1] {
        denied_by_the_kill_switch(&site, replica, "the mode file").await;
    }
    std::fs::write(&file, "of\n").unwrap();
    site.until("the garbled file to count", || async {
        let shown = switches(&site, 1).await;
        let why = shown[0]["reason"].as_str()?;
        (shown[0]["mode"] == "off" && why.contains("counts as off")).then_some(())
    })
    .await;
    // Gone again, the rollback that was wanted all the time is done.
    std::fs::remove_file(&file).unwrap();
    shown_everywhere(&site, 0, Instant::now()).await;
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_twenty_services_fail_at_once_the_budget_goes_back_and_one_page_asks_for_the_rest() {
    let site = TestGateway::with(Setting {
        crowd: true,
        // An unoptimised build on a busy machine.
        timing: &[("webhook_deadline", "25s"), ("evidence_deadline", "10s")],
        ..Setting::default()
    })
    .await;
    site.deploy_crowd().await;
    let bodies: Vec<(Value, Value)> = (1..=CROWD)
        .map(|n| {
            let (service, host) = (format!("svc{n}"), format!("svc{n}-h"));
            let release = format!("{service}@1.3");
            let more = [
                ("service", service.as_str()),
                ("release_id", release.as_str()),
                ("batch", ""),
            ];
            let one = |firing| {
                let mut body = group(&[alert(&labels(&host, &more), firing)]);
                body["groupKey"] = json!(format!("{{}}:{{service=\"{service}\"}}"));
                body
            };
            (one(true), one(false))
        })
        .collect();
    let answers = join_all(bodies.iter().map(|(firing, _)| site.webhook(firing))).await;
    for (status, answer) in answers {
        assert_eq!(status, 200, "{answer:#}");
    }
    let held = site
        .until("17 holds for a person", || async {
            let held = site.held().await;
            let spent = held.iter().filter(|one| one.contains("overall_spent"));
            (spent.count() == CROWD - 3).then_some(held)
        })
        .await;
    assert_eq!(held.len(), CROWD - 3, "{held:#?}");
    site.until("three rollbacks at their end", || async {
        let incidents = site.incidents().await;
        let closed = incidents
            .iter()
            .filter(|one| one["stage"]["stage"] == "closed");
        (closed.count() == 3).then_some(())
    })
    .await;
    site.told("than the budget allows", 1).await;
    for (channel, count) in site.messages_with("than the budget allows") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    assert_eq!(site.incidents().await.len(), 3);
    assert_eq!(site.touched().len(), 3, "{:?}", site.touched());
    for (_, resolved) in &bodies {
        assert_eq!(site.webhook(resolved).await.0, 200);
    }
    site.until("no hold", || async {
        site.held().await.is_empty().then_some(())
    })
    .await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_comes_after_the_stop_is_refused_and_its_place_says_aborted() {
    let site = TestGateway::start().await;
    let deployment = site.deploy_canary().await;
    site.let_rollbacks_end(false);
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.until("the stop", || async {
        let entries = site.lane().await;
        let opened = |entry: &backstop::domain::lane::LaneEntry| entry.event.as_str() == "opened";
        entries.iter().any(opened).then_some(())
    })
    .await;
    let path = format!("/api/v1/deployments/{deployment}/batches/2");
    let body = json!({"release_id": NEW, "env": "prod", "of": 2, "hosts": HOSTS[1..].join(",")});
    let late = async || {
        let (status, answer) = site.post_to(&site.url(), &path, "deploy", &body).await;
        assert_eq!(status, 409, "{answer:#}");
        let (status, answer) = site
            .send(Method::GET, &site.url(), &path, "deploy", None, &[])
            .await;
        assert_eq!(status, 200, "{answer:#}");
        assert_eq!(answer["status"], "aborted", "{answer:#}");
    };
    late().await;
    site.let_rollbacks_end(true);
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    late().await;
    let accused = site.gate.execution(&deployment).unwrap();
    assert_eq!(accused["status"], "CANCELED", "{accused:#}");
    for touch in site.touched() {
        assert_eq!(touch.hosts, [HOSTS[0]], "only the canary was touched");
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_deployment_shortly_before_is_named_in_message_and_decision() {
    let site = TestGateway::with(Setting {
        mode: "shadow",
        ..Setting::default()
    })
    .await;
    site.publish("1.2", 2).await;
    let minutes = |n: u64| Duration::from_secs(n * 60);
    site.deployed("D-config", "1.2", minutes(10), minutes(120))
        .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.told(ALERT, 1).await;
    for (channel, texts) in site.messages() {
        assert!(texts[0].contains("D-config"), "{channel}: {}", texts[0]);
        assert!(!texts[0].contains("D-stable"), "{channel}: {}", texts[0]);
    }
    assert_eq!(site.messages().len(), CHANNELS.len());
    let page = site.get("/api/v1/decisions").await;
    let suspects = &page["items"][0]["suspects"];
    assert_eq!(suspects[0]["deployment"], "D-config", "{page:#}");
    site.finish().await;
}
