//! Replicas that are killed in the middle of their work: what was answered 200 is delivered.
//!
//! Kills: 4, in CI 20; full length: `BACKSTOP_CRASH_ROUNDS=100`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, Semaphore};

use super::count;
use crate::support::eventually::eventually;
use crate::support::gateway::{CHANNELS, Setting, TestGateway, alert, labels, secret};
use crate::support::process::{Process, Ready};
use crate::support::tools::in_ci;

/// Vendors' minutes pass this much faster than ours, so that no limit is in the way: a replica that
/// comes back knows nothing of its window, and a ban of ten minutes would outlast the test.
const SPEED: u32 = 6_000;

/// Webhooks sent at most around each kill, however long a replica takes to come back.
const LOAD: usize = 40;

async fn start(site: &TestGateway, name: &str) -> Process {
    let config = site.config.clone();
    let log: PathBuf = config.with_file_name(name);
    let recipe = move |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command
            .args(["serve", "--config.file"])
            .arg(&config)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    };
    let ready = Ready::Http("/-/ready");
    Process::start("backstop", &log, ready, recipe)
        .await
        .unwrap()
}

/// Sends a group of its own to whichever replica answers, again and again until one says 200, as an
/// Alertmanager does.
async fn send(client: &reqwest::Client, urls: &[String; 2], n: usize) {
    let name = format!("Crash{n:05}");
    let labels = labels(
        "h1",
        &[
            ("alertname", &name),
            ("service", "other"),
            ("release_id", ""),
        ],
    );
    let body = json!({"version": "4", "groupKey": format!("{{}}:{{n=\"{n}\"}}"),
        "truncatedAlerts": 0, "status": "firing", "receiver": "backstop", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": [alert(&labels, true)]});
    for turn in n.. {
        let request = client
            .post(format!("{}/api/v1/webhook", urls[turn % 2]))
            .bearer_auth(secret("ingest"))
            .json(&body);
        match request.send().await {
            Ok(answer) if answer.status() == 200 => return,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_200_is_delivered_although_replicas_are_killed() {
    let kills = count("BACKSTOP_CRASH_ROUNDS", if in_ci() { 20 } else { 4 });
    let site = TestGateway::world(&Setting {
        replicas: 2,
        vendor_speed: SPEED,
        timing: &[("send_claim", "3s"), ("chart_deadline", "200ms")],
        ..Setting::default()
    })
    .await;
    let replicas = [start(&site, "one.log").await, start(&site, "two.log").await];
    let urls = [replicas[0].url(), replicas[1].url()];
    let replicas = replicas.map(|replica| Arc::new(Mutex::new(replica)));
    let load = Arc::new(Semaphore::new(0));
    let client = crate::support::process::client().unwrap();
    let senders = (0..4_usize).map(|sender| {
        let (client, urls, load) = (client.clone(), urls.clone(), Arc::clone(&load));
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for n in (sender..).step_by(4) {
                let Ok(one) = load.acquire().await else {
                    break;
                };
                one.forget();
                send(&client, &urls, n).await;
                sent.push(format!("Crash{n:05}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            sent
        })
    });
    let senders: Vec<_> = senders.collect();
    for kill in 0..kills {
        load.add_permits(LOAD.saturating_sub(load.available_permits()));
        let mut replica = replicas[kill as usize % 2].lock().await;
        // At another point of the work each time.
        tokio::time::sleep(Duration::from_millis(200 + u64::from(kill) * 37 % 300)).await;
        replica.restart().await.unwrap();
    }
    load.close();
    let mut answered = Vec::new();
    for sender in senders {
        answered.extend(sender.await.unwrap());
    }
    assert!(answered.len() >= kills as usize, "there was load");
    let told = |name: &str| -> BTreeMap<&str, usize> { site.messages_with(name) };
    let missing = || {
        let missing = answered
            .iter()
            .filter(|name| told(name).values().any(|n| *n == 0));
        missing.cloned().collect::<Vec<String>>()
    };
    let all = eventually(Duration::from_mins(4), "all to be delivered", || async {
        missing().is_empty().then_some(())
    })
    .await;
    assert!(
        all.is_ok(),
        "answered 200 and never delivered: {:?}",
        missing()
    );
    for channel in CHANNELS {
        let copies = answered.iter().map(|name| told(name)[channel]);
        let doubles: usize = copies.map(|copies| copies.saturating_sub(1)).sum();
        println!(
            "{channel}: {kills} kills, {} webhooks, {doubles} told twice",
            answered.len()
        );
    }
}
