//! A backtest by the real binary, over history in a real metrics store.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use backstop::domain::clock::{self, Clock as _, SystemClock};
use backstop::domain::deployment::{Batch, Deployment, Status, Strategy};
use backstop::domain::id::{Host, ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::store::{self, Store, StoreSettings, chain, keys};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};

const HOSTS: [&str; 4] = ["h1", "h2", "h3", "h4"];
/// Samples come this often.
const EVERY: u64 = 15;

fn policy(service: &str) -> String {
    format!(
        "services: [{service}]\nrules:\n  - name: bad release goes back\n    matchers: \
         ['severity=\"critical\"']\n    for: 2m\n    action: rollback\n    verify: \
         'http_error_ratio{{service=\"{service}\"}} > 0.05'\nguards: {{mode: enforce, cooldown: 30m}}\n"
    )
}

/// Some hours of four services, told in minutes before their end.
struct Past {
    end: Timestamp,
    samples: String,
    store: Store,
}

impl Past {
    fn at(&self, minutes_before: u64) -> Timestamp {
        clock::before(self.end, Duration::from_secs(minutes_before * 60))
    }

    async fn release(&self, service: &str, version: &str) {
        let service = Service::new(service).unwrap();
        let id = ReleaseId::of(&service, version).unwrap();
        let release = Release {
            id: id.clone(),
            service: service.clone(),
            tag: format!("v{version}"),
            version: version.to_owned(),
            artifact_url: "https://artifacts.example.com/x".to_owned(),
            checksum: "0".repeat(64),
            config: None,
            commit: None,
            reversible: true,
            created_at: self.at(600),
            created_by: "ci".to_owned(),
        };
        let key = keys::release(&service, &id);
        self.store.create(&key, &release).await.unwrap();
    }

    /// One that spread over batches, each as (minutes before the end, hosts).
    async fn deployment(
        &self,
        id: &str,
        release: &str,
        batches: &[(u64, &[&str])],
        end: (u64, Status),
    ) {
        let (service, version) = release.split_once('@').unwrap();
        self.release(service, version).await;
        let hosts = |names: &[&str]| -> Vec<Host> {
            names.iter().map(|name| Host::new(*name).unwrap()).collect()
        };
        let first_has_all = batches[0].1.len() == HOSTS.len();
        let (finished, status) = (Some(self.at(end.0)), end.1);
        let batches: Vec<Batch> = (1..)
            .zip(batches)
            .map(|(n, (start, names))| Batch {
                n,
                hosts: hosts(names),
                status,
                started_at: Some(self.at(*start)),
                finished_at: Some(self.at(start.saturating_sub(1).max(end.0))),
            })
            .collect();
        let deployment = Deployment {
            id: id.parse().unwrap(),
            release_id: release.parse().unwrap(),
            service: service.parse().unwrap(),
            env: "prod".parse().unwrap(),
            strategy: if first_has_all {
                Strategy::All
            } else {
                Strategy::Canary
            },
            target_hosts: hosts(&HOSTS),
            started_at: batches[0].started_at,
            batches,
            status,
            finished_at: finished,
            soak: Duration::from_mins(15),
            application: service.to_owned(),
            pipeline: "deploy-prod".to_owned(),
            is_rollback: false,
        };
        let prefix = keys::deployment(&deployment.service, &deployment.env, &deployment.id);
        chain::append(&self.store, &prefix, 1, &deployment)
            .await
            .unwrap();
    }

    /// A series from `from` to `to` minutes before the end.
    fn series(&mut self, name: &str, labels: &str, from: u64, to: u64, value: f64) {
        let (mut at, until) = (self.at(from), self.at(to));
        while at < until {
            writeln!(
                self.samples,
                "{name}{{{labels}}} {value} {}",
                at.as_millisecond()
            )
            .unwrap();
            at = clock::after(at, Duration::from_secs(EVERY));
        }
    }

    /// A host that ran a release, and how many of its requests failed.
    fn ran(&mut self, release: &str, host: &str, from: u64, to: u64, ratio: f64) {
        let service = release.split('@').next().unwrap();
        let labels = format!(
            "service=\"{service}\",env=\"prod\",instance=\"{host}\",release_id=\"{release}\""
        );
        self.series("http_error_ratio", &labels, from, to, ratio);
    }

    fn fired(&mut self, release: &str, host: &str, batch: u32, from: u64, to: u64) {
        let service = release.split('@').next().unwrap();
        let labels = format!(
            "alertname=\"ErrorRatio\",alertgroup=\"errors\",alertstate=\"firing\",severity=\"critical\",\
             service=\"{service}\",env=\"prod\",instance=\"{host}\",release_id=\"{release}\",batch=\"{batch}\""
        );
        self.series("ALERTS", &labels, from, to, 1.0);
    }

    /// checkout: a good canary, then a bad one that people took back after ten minutes.
    async fn checkout(&mut self) {
        let rest = &HOSTS[1..];
        self.deployment(
            "C1",
            "checkout@1.0",
            &[(500, &HOSTS)],
            (490, Status::Success),
        )
        .await;
        let batches: &[(u64, &[&str])] = &[(200, &HOSTS[..1]), (190, rest)];
        self.deployment("C2", "checkout@1.1", batches, (185, Status::Success))
            .await;
        self.deployment(
            "C3",
            "checkout@1.2",
            &[(100, &HOSTS[..1])],
            (85, Status::RolledBack),
        )
        .await;
        for host in HOSTS {
            self.ran("checkout@1.0", host, 320, 190, 0.01);
            let until = if host == "h1" { 100 } else { 5 };
            self.ran("checkout@1.1", host, 190, until, 0.01);
        }
        self.ran("checkout@1.2", "h1", 100, 97, 0.01);
        self.ran("checkout@1.2", "h1", 97, 85, 0.4);
        self.ran("checkout@1.1", "h1", 85, 5, 0.01);
        self.fired("checkout@1.2", "h1", 1, 95, 85);
    }

    /// cart: went everywhere, is bad everywhere, and nobody did anything.
    async fn cart(&mut self) {
        self.deployment("A1", "cart@1.0", &[(500, &HOSTS)], (490, Status::Success))
            .await;
        self.deployment("A2", "cart@2.0", &[(80, &HOSTS)], (78, Status::Success))
            .await;
        for host in HOSTS {
            self.ran("cart@1.0", host, 320, 80, 0.01);
            self.ran("cart@2.0", host, 80, 75, 0.01);
            self.ran("cart@2.0", host, 75, 60, 0.3);
            self.ran("cart@2.0", host, 60, 5, 0.01);
            self.fired("cart@2.0", host, 1, 73, 60);
        }
    }

    /// pay: a canary runs while something behind all hosts is broken.
    async fn pay(&mut self) {
        let rest = &HOSTS[1..];
        self.deployment("P1", "pay@1.0", &[(500, &HOSTS)], (490, Status::Success))
            .await;
        let batches: &[(u64, &[&str])] = &[(60, &HOSTS[..1]), (30, rest)];
        self.deployment("P2", "pay@1.1", batches, (25, Status::Success))
            .await;
        for host in HOSTS {
            let began = if host == "h1" { 60 } else { 30 };
            for (release, from, to) in [("pay@1.0", 320, began), ("pay@1.1", began, 5)] {
                for (start, end, ratio) in [(320, 55, 0.01), (55, 43, 0.5), (43, 5, 0.01)] {
                    if from.min(start) > to.max(end) {
                        self.ran(release, host, from.min(start), to.max(end), ratio);
                    }
                }
            }
        }
        self.fired("pay@1.1", "h1", 1, 53, 45);
    }
}

fn config(folder: &Path, metrics: &str) {
    std::fs::create_dir_all(folder.join("rules/policy")).unwrap();
    let mut text = format!(
        "store: {{url: \"file:{}\"}}\nmetrics: {{url: \"{metrics}\"}}\nservices:\n",
        folder.join("store").display()
    );
    for service in ["cart", "checkout", "pay", "search"] {
        let file = format!("rules/policy/{service}.yaml");
        std::fs::write(folder.join(file), policy(service)).unwrap();
        write!(
            text,
            "  {service}:\n    application: {service}\n    deploy:\n      - {{pipeline: deploy-prod, env: prod, strategy: canary, soak: 15m, release: \"{{parameters.release_id}}\"}}\n"
        )
        .unwrap();
    }
    std::fs::write(folder.join("backstop.yaml"), text).unwrap();
}

async fn backtest(folder: &Path, past: &Past, more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command
        .args([
            "backtest",
            "--time-zone",
            "UTC",
            "--from",
            &past.at(250).to_string(),
        ])
        .args(["--to", &past.at(10).to_string(), "--config.file"])
        .arg(folder.join("backstop.yaml"))
        .args(more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_history_gives_the_rollbacks_these_rules_would_have_made() {
    if !required_in_ci(Tool::VictoriaMetrics) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let metrics = VictoriaMetrics::start(&folder.join("metrics"))
        .await
        .unwrap();
    config(folder, &metrics.url());
    let local = StoreSettings {
        url: format!("file:{}", folder.join("store").display()),
        endpoint: None,
        region: None,
        keys: None,
    };
    let now = SystemClock.now().as_second();
    let mut past = Past {
        end: Timestamp::from_second(now.div_euclid(60) * 60 - 120).unwrap(),
        samples: String::new(),
        store: store::open(&local).unwrap(),
    };
    past.checkout().await;
    past.cart().await;
    past.pay().await;
    // Nothing was recorded for twenty minutes.
    past.series("up", "job=\"x\"", 320, 150, 1.0);
    past.series("up", "job=\"x\"", 130, 5, 1.0);
    metrics.importer.import(&past.samples).await.unwrap();
    let file = folder.join("labels.yaml");
    std::fs::write(&file, labels(&past)).unwrap();
    let file = file.to_str().unwrap();

    let (code, stdout, stderr) =
        backtest(folder, &past, &["--output", "json", "--labels", file]).await;
    let result: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let would = result["would"].as_array().unwrap();
    let short = |one: &Value| {
        json!([
            one["service"],
            one["scope"],
            one["release_id"],
            one["target"],
            one["deployment"]
        ])
    };
    assert_eq!(
        would.iter().map(short).collect::<Vec<_>>(),
        [
            json!(["checkout", "batch 1", "checkout@1.2", "checkout@1.1", "C3"]),
            json!(["cart", "full", "cart@2.0", "cart@1.0", "A2"]),
        ],
        "{result:#}"
    );
    what_would_have_been(&past, would);
    assert_eq!(would[0]["really"]["deployment"], "C3", "{result:#}");
    assert_eq!(would[1]["really"], Value::Null);
    what_would_not(&past, &result);
    let score = &result["score"];
    assert_eq!(
        (&score["precision"], &score["recall"]),
        (&json!(0.5), &json!(0.5))
    );
    assert_eq!((&score["hits"], &score["quiet"]), (&json!(1), &json!(1)));
    assert_eq!(code, 1, "two labels are not met");

    let (code, shown, _) = backtest(folder, &past, &["--service", "checkout"]).await;
    println!("{shown}");
    assert_eq!(code, 0);
    assert!(
        shown.contains("Rollbacks these rules would have made: 1"),
        "{shown}"
    );
    assert!(shown.contains("not replayed: freshness, "), "{shown}");
    println!("{}", backtest(folder, &past, &["--labels", file]).await.1);

    let (code, _, error) = backtest(folder, &past, &["--alive", "count(("]).await;
    assert_eq!(code, 2, "{error}");
    drop(metrics);
    let (code, _, error) = backtest(folder, &past, &[]).await;
    assert_eq!(code, 3, "{error}");
}

/// When the rollbacks would have been, and what every guard said of them.
fn what_would_have_been(past: &Past, would: &[Value]) {
    // The rule wants it to last two minutes, so the first look only holds.
    let first: Timestamp = would[0]["at"].as_str().unwrap().parse().unwrap();
    assert!(past.at(93) <= first && first <= past.at(91), "{first}");
    for one in would {
        let guards = one["guards"].as_array().unwrap();
        let outcome = |name: &str| {
            let guard = guards.iter().find(|guard| guard["guard"] == name).unwrap();
            guard["outcome"].as_str().unwrap().to_owned()
        };
        for name in ["freshness", "other_executions", "approval"] {
            assert_eq!(outcome(name), "not replayed", "{one:#}");
        }
        for name in [
            "context",
            "threshold",
            "verify",
            "attribution",
            "lane",
            "target",
        ] {
            assert_eq!(outcome(name), "pass", "{one:#}");
        }
    }
}

/// What led to no rollback, and where nothing was recorded.
fn what_would_not(past: &Past, result: &Value) {
    // As bad everywhere: it is not this release's fault, and nothing is taken back.
    let quiet = &result["quiet"][0];
    assert_eq!(
        (&quiet["service"], &quiet["code"]),
        (&json!("pay"), &json!("held")),
        "{quiet:#}"
    );
    let example = quiet["example"].as_str().unwrap();
    assert!(example.starts_with("guard attribution holds"), "{example}");
    let gaps = result["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    let gap = |name: &str| -> Timestamp { gaps[0][name].as_str().unwrap().parse().unwrap() };
    assert!(
        past.at(151) <= gap("from") && gap("from") <= past.at(145),
        "{gaps:#?}"
    );
    assert!(
        past.at(131) <= gap("to") && gap("to") <= past.at(129),
        "{gaps:#?}"
    );
}

/// What people say of that history.
fn labels(past: &Past) -> String {
    let label = |service: &str, from: u64, to: u64, rollback: &str| {
        format!(
            "- {{service: {service}, from: \"{}\", to: \"{}\", rollback: {rollback}}}\n",
            past.at(from),
            past.at(to)
        )
    };
    [
        label("checkout", 100, 80, "yes"),
        label("cart", 80, 55, "no"),
        label("pay", 60, 40, "no"),
        label("search", 60, 40, "yes"),
    ]
    .concat()
}
