//! The real binary: it stops cleanly, keeps secrets, and fits into a small memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::chat::Fault;
use crate::support::gateway::{
    HOSTS, SECRETS, Setting, TestGateway, alert, canary_alert, group, labels,
};
use crate::support::process::{Process, Ready};
use crate::support::prometheus::ALERT;

/// Resident memory that a small machine gives us.
const MEMORY_KIB: u64 = 128 * 1024;

/// The binary over a world's configuration, behind the world's front.
async fn start(site: &TestGateway) -> (Process, PathBuf) {
    let config = site.config.clone();
    let log = config.with_file_name("backstop.log");
    let recipe = move |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command
            .args(["serve", "--log.level=debug", "--config.file"])
            .arg(&config)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    };
    let ready = Ready::Http("/-/ready");
    let process = Process::start("backstop", &log, ready, recipe)
        .await
        .unwrap();
    site.front_to(process.address());
    (process, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_answers_what_is_in_flight_and_a_restart_goes_on() {
    let site = TestGateway::world(&Setting::default()).await;
    let (mut process, _) = start(&site).await;
    site.deploy_canary().await;
    site.let_rollbacks_end(false);
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.until("an admitted rollback", || async {
        (!site.touched().is_empty()).then_some(())
    })
    .await;
    let bodies: Vec<Value> = (0..20)
        .map(|n| group(&[alert(&labels("h2", &[("path", &format!("/{n}"))]), true)]))
        .collect();
    let client = crate::support::process::client().unwrap();
    let url = format!("{}/api/v1/webhook", process.url());
    let sends = bodies.iter().map(|body| {
        let request = client
            .post(&url)
            .bearer_auth(crate::support::gateway::secret("ingest"))
            .json(body);
        async move { request.send().await.map(|answer| answer.status().as_u16()) }
    });
    let stop = process.stop(Duration::from_secs(30));
    let (answers, stopped) = tokio::join!(join_all(sends), stop);
    stopped.unwrap();
    for answer in answers {
        match answer {
            Ok(status) => assert!([200, 503].contains(&status), "{status}"),
            // Not taken any more is a refusal; an answer cut in the middle is not.
            Err(error) => assert!(error.is_connect() || error.is_request(), "{error:?}"),
        }
    }
    assert_eq!(process.exit_code(), Some(0), "{}", process.tail());
    assert_eq!(site.touched().len(), 1);
    process.restart().await.unwrap();
    site.let_rollbacks_end(true);
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(site.touched().len(), 1, "{:?}", site.touched());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_found_in_anything_it_says() {
    let mut site = TestGateway::world(&Setting::default()).await;
    let (mut process, log) = start(&site).await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    // Every client meets an error of its own first.
    site.slack.fault(Fault::Garbage);
    site.wecom.fault(Fault::Status(502));
    site.dingtalk.fault(Fault::Answer(
        json!({"errcode": 310_000, "errmsg": "sign not match"}),
    ));
    site.metrics.set_down(true);
    site.gate.stop_listening().await;
    let mut heard = Vec::new();
    heard.push(site.webhook(&canary_alert()).await.1);
    site.metrics.set_down(false);
    site.gate.listen_again().await;
    let incident = site.closed_incident().await;
    let id = incident["id"].as_str().unwrap().to_owned();
    for path in [
        "incidents",
        "releases",
        "deployments",
        "alerts",
        "decisions",
        "mode",
    ] {
        heard.push(site.get(&format!("/api/v1/{path}")).await);
    }
    for file in ["", "/report.json", "/report.md", "/report.html"] {
        heard.push(site.get(&format!("/incidents/{id}{file}")).await);
    }
    for path in ["/", "/metrics", "/-/ready"] {
        heard.push(site.get(path).await);
    }
    heard.push(
        site.post_to(&site.url(), "/api/v1/webhook", "read", &json!({}))
            .await
            .1,
    );
    process.stop(Duration::from_secs(30)).await.unwrap();
    let mut texts: Vec<(String, String)> = heard
        .iter()
        .enumerate()
        .map(|(n, body)| (format!("answer {n}"), body.to_string()))
        .collect();
    texts.push(("the log".to_owned(), std::fs::read_to_string(&log).unwrap()));
    for (channel, messages) in site.messages() {
        texts.push((channel.to_owned(), messages.join("\n")));
    }
    for file in files_below(&site.store_folder) {
        let bytes = std::fs::read(&file).unwrap();
        texts.push((
            file.display().to_string(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    assert!(texts.len() > 40, "only {} texts", texts.len());
    for (place, text) in texts {
        for (name, value) in SECRETS {
            assert!(!text.contains(value), "`{name}` stands in {place}");
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_of_large_webhooks_with_charts_fits_into_128_mebibytes() {
    let site = TestGateway::world(&Setting::default()).await;
    let (process, _) = start(&site).await;
    site.deploy_canary().await;
    for _ in 0..38 {
        let sends = (0..8).map(|n| {
            let alerts: Vec<Value> = (0..100)
                .map(|k| {
                    let path = format!("/{n}/{k}");
                    alert(&labels("h2", &[("path", &path), ("batch", "2")]), true)
                })
                .collect();
            let mut body = group(&alerts);
            body["groupKey"] = json!(format!("{{}}:{{part=\"{n}\"}}"));
            let site = &site;
            async move { site.webhook(&body).await }
        });
        for (status, answer) in join_all(sends).await {
            assert!([200, 503].contains(&status), "{status} {answer:#}");
        }
    }
    assert!(!site.messages_with(ALERT).is_empty());
    match peak_kib(process.pid()) {
        Some(peak) => assert!(peak < MEMORY_KIB, "{peak} KiB at the peak"),
        None => skipped(),
    }
}

#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn skipped() {
    eprintln!("SKIPPED, NOT TESTED: this system does not tell a process's peak memory");
}

/// The most it ever had resident.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
