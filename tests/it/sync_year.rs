//! A year of odd history, read twice and by processes that are killed: the same documents.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop::config::load::{Secrets, load};
use backstop::config::{Config, StoreSettings};
use backstop::domain::clock::SystemClock;
use backstop::domain::deployment::{Deployment, Status};
use backstop::domain::id::{ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::github::{GitHub, GitHubSettings};
use backstop::spinnaker::{Gate, GateSettings, Login};
use backstop::store::{Store, keys, open};
use backstop::sync::{Reach, Summary, Syncer};
use jiff::Timestamp;
use serde_json::Value;

use crate::notify::count;
use crate::support::gate_history::GateHistory;
use crate::support::github::GitHubServer;
use crate::support::year::{self, BEGIN, Build};

/// The sources, the configuration that names them, and what CI has published.
struct World {
    gate: GateHistory,
    github: GitHubServer,
    builds: Vec<Build>,
    folder: tempfile::TempDir,
    config: Config,
}

impl World {
    async fn new(seed: u64, weeks: i64) -> Self {
        let (gate, github) = (GateHistory::start().await, GitHubServer::start().await);
        let builds = year::fill(seed, weeks, &gate, &github);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backstop.yaml");
        let text = format!(
            r#"store: {{url: "file:{}/data"}}
spinnaker: {{gate: "{}"}}
github: {{api_url: "{}"}}
services:
  checkout:
    application: shop
    tag_prefix: v
    repository: {}
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: canary, release: "{{parameters.release_id}}", batch: "{{stage.context.batch}}", hosts: "{{stage.context.hosts}}"}}
      - {{pipeline: deploy-stage, env: stage, strategy: all, release: "{{parameters.release_id}}", hosts: "{{stage.context.hosts}}"}}
      - {{pipeline: deploy-edge, env: edge, strategy: blue_green, release: "{{parameters.release_id}}", hosts: "{{stage.context.hosts}}"}}
    rollback:
      batch: {{pipeline: rollback-batch, parameters: {{release: "{{target.release_id}}", hosts: "{{hosts}}", env: "{{env}}", incident: "{{incident.id}}", attempt: "{{attempt}}"}}}}
      full: {{pipeline: rollback-full, parameters: {{release: "{{target.release_id}}", env: "{{env}}", incident: "{{incident.id}}", attempt: "{{attempt}}"}}}}
"#,
            folder.path().display(),
            gate.url,
            github.url,
            github.page(),
        );
        std::fs::write(&file, text).unwrap();
        let config = load(Some(&file), Secrets::Read).unwrap();
        Self {
            gate,
            github,
            builds,
            folder,
            config,
        }
    }

    /// What CI wrote.
    async fn publish(&self, store: &Store) {
        let service = Service::new("checkout").unwrap();
        for (version, commit, at) in &self.builds {
            let id = ReleaseId::of(&service, version).unwrap();
            let release = Release {
                id: id.clone(),
                service: service.clone(),
                tag: format!("v{version}"),
                version: version.clone(),
                artifact_url: format!("https://artifacts.example.com/checkout/{version}"),
                checksum: "ab".repeat(32),
                config: None,
                commit: Some(commit.clone()),
                reversible: true,
                created_at: Timestamp::from_millisecond(*at).unwrap(),
                created_by: "ci".into(),
            };
            let key = keys::release(&service, &id);
            store.create(&key, &release).await.unwrap();
        }
    }

    /// A process that knows nothing yet.
    async fn sync(&self, store: &Store) -> Summary {
        let gate = GateSettings::new(self.gate.url.parse().unwrap(), Login::None);
        let github = GitHubSettings::new(self.github.url.parse().unwrap());
        let github = GitHub::new(github, Arc::new(SystemClock)).unwrap();
        let since = Timestamp::from_millisecond(BEGIN).unwrap();
        Syncer::new(self.config.services.clone(), store.clone())
            .with_gate(Gate::new(gate).unwrap())
            .with_github(github, Duration::from_mins(1))
            .with_reach(Reach {
                since: Some(since),
                again: false,
            })
            .run_once()
            .await
    }
}

/// Every document without its writer's nonce.
async fn documents(store: &Store) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for name in store.list("").await.unwrap() {
        if !name.starts_with("sync/") {
            let body: Value = store.get(&name).await.unwrap().unwrap();
            found.insert(name, body);
        }
    }
    found
}

#[tokio::test]
async fn a_year_read_twice_is_the_same_documents() {
    let world = World::new(7, 52).await;
    let store = Store::in_memory();
    world.publish(&store).await;
    let began = Instant::now();
    let summary = world.sync(&store).await;
    let took = began.elapsed();
    assert!(summary.is_complete(), "{:?}", summary.failures);
    let first = documents(&store).await;
    let (read, calls) = (summary.read, world.gate.memory().calls);
    let commits = world.github.world().calls.len();
    println!(
        "{read} executions and {} releases in {took:.1?}: {:.0} executions/s, {:.0} calls of Gate per 1,000 executions, {commits} of GitHub; {} documents, {} problems",
        world.builds.len(),
        f64::from(u32::try_from(read).unwrap()) / took.as_secs_f64(),
        1_000.0 * f64::from(u32::try_from(calls).unwrap())
            / f64::from(u32::try_from(read).unwrap()),
        first.len(),
        summary.problems.len(),
    );
    assert!(read > 1_000, "{read}");
    assert!(!summary.problems.is_empty());
    assert_eq!(world.gate.memory().unexpected, Vec::<String>::new());

    let again = world.sync(&store).await;
    assert_eq!(again.written, Vec::<String>::new());
    assert_eq!(documents(&store).await, first);
    let other = Store::in_memory();
    world.publish(&other).await;
    for syncs in 0..2 {
        // The pages are read anew, as nothing of `sync/` is there.
        assert!(world.sync(&other).await.is_complete(), "{syncs}");
    }
    assert_eq!(documents(&other).await, first);

    // It holds what it must: every kind of end, and rollbacks known as such.
    let deployments = first
        .iter()
        .filter(|(key, _)| key.starts_with("deployments/"));
    let mut newest: BTreeMap<String, Deployment> = BTreeMap::new();
    for (key, body) in deployments {
        let chain = key.rsplit_once('/').unwrap().0.to_owned();
        newest.insert(chain, serde_json::from_value(body.clone()).unwrap());
    }
    for status in [Status::Success, Status::Failed, Status::RolledBack] {
        let found = newest.values().filter(|one| one.status == status).count();
        assert!(found > 10, "{status:?}: {found}");
    }
    assert!(
        newest
            .values()
            .any(|one| one.is_rollback && !one.target_hosts.is_empty())
    );
}

/// Runs `backstop sync` and kills it after a while; its exit code if it was quicker.
async fn run(folder: &Path, patience: Duration) -> Option<i32> {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args([
            "sync",
            "--since",
            "2025-11-01",
            "--config.file",
            "backstop.yaml",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    if let Ok(ended) = tokio::time::timeout(patience, child.wait()).await {
        return ended.unwrap().code();
    }
    child.kill().await.unwrap();
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_leave_the_documents_of_one_that_was_not() {
    let kills = count("BACKSTOP_SYNC_KILLS", 6);
    let world = World::new(11, 6).await;
    let straight = Store::in_memory();
    world.publish(&straight).await;
    assert!(world.sync(&straight).await.is_complete());
    let expected = documents(&straight).await;

    let store = open(&StoreSettings {
        url: format!("file:{}/data", world.folder.path().display()),
        endpoint: None,
        region: None,
        keys: None,
    });
    let store = store.unwrap();
    world.publish(&store).await;
    let published = store.list("").await.unwrap().len();
    let mut cut = 0;
    // Counted from when it starts to write, so that a slow machine is killed in the middle too.
    for n in 0..kills {
        let before = store.list("").await.unwrap().len();
        let more = usize::try_from(3 + n * 17 % 41).unwrap();
        let reached = async {
            while store.list("").await.unwrap().len() < before + more {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            // Dropped: it is killed.
            () = reached => cut += 1,
            code = run(world.folder.path(), Duration::from_mins(2)) => assert_eq!(code, Some(1)),
        }
    }
    assert!(cut > 0 && documents(&store).await.len() > published);
    // Executions nobody can read make it a 1.
    let code = run(world.folder.path(), Duration::from_mins(2)).await;
    assert_eq!(code, Some(1));
    assert_eq!(documents(&store).await, expected);
    println!(
        "killed {cut} times; {} documents, as expected",
        expected.len()
    );
}
