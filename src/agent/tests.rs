//! An agent over a real folder with a gateway that answers from memory, broken off at every step.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::config::agent::{
    AgentGateway, ArtifactKind, ArtifactLimits, HealthCheck, Restart, RestartBy,
};
use crate::domain::agent::{Desired, Fetch, Reason};
use crate::domain::clock::SystemClock;
use crate::domain::hex;
use crate::domain::secret::Secret;
use crate::http::Tls;

/// A condition may take this long on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The gateway: what it wants, what it was told.
#[derive(Debug, Default)]
struct World {
    order: Mutex<Option<Order>>,
    files: Mutex<std::collections::BTreeMap<String, Vec<u8>>>,
    records: Mutex<Vec<Record>>,
    /// An agent that was broken off is not heard any more.
    deaf: AtomicBool,
}

impl World {
    fn steps(&self, epoch: u64) -> Vec<Step> {
        let records = self.records.lock().unwrap();
        let of = records.iter().filter(|record| record.epoch == epoch);
        of.map(|record| record.step).collect()
    }

    fn last(&self, epoch: u64) -> Option<Record> {
        let records = self.records.lock().unwrap();
        // What an agent sent before it was broken off may arrive late.
        let of = records.iter().filter(|one| one.epoch == epoch);
        of.max_by_key(|one| one.at).cloned()
    }
}

async fn gateway(world: Arc<World>) -> url::Url {
    let routes = Router::new()
        .route(
            "/api/v1/agent/desired",
            get(|State(world): State<Arc<World>>| async move {
                let desired = world.order.lock().unwrap().clone();
                let poll = Duration::from_millis(20);
                Json(crate::domain::agent::Polled { poll, desired })
            }),
        )
        .route(
            "/api/v1/agent/records",
            post(
                |State(world): State<Arc<World>>, Json(body): Json<Value>| async move {
                    let records: Vec<Record> =
                        serde_json::from_value(body["records"].clone()).unwrap();
                    let mut known = world.records.lock().unwrap();
                    for record in records
                        .into_iter()
                        .filter(|_| !world.deaf.load(Ordering::SeqCst))
                    {
                        if known.iter().all(|one| one.id != record.id) {
                            known.push(record);
                        }
                    }
                    Json(json!({"accepted": 1}))
                },
            ),
        )
        .route(
            "/files/{name}",
            get(
                |State(world): State<Arc<World>>,
                 axum::extract::Path(name): axum::extract::Path<String>| async move {
                    world.files.lock().unwrap()[&name].clone()
                },
            ),
        )
        .with_state(world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn(async move { axum::serve(listener, routes).await });
    url.parse().unwrap()
}

/// A release: its version, and `bad` for one that is never well.
fn artifact(version: &str, bad: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    };
    add("version", version);
    if bad {
        add("bad", "");
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn order(world: &World, epoch: u64, version: &str, bad: bool, reason: Reason) -> Order {
    use sha2::Digest as _;
    let bytes = artifact(version, bad);
    let checksum = hex(&sha2::Sha256::digest(&bytes));
    let name = format!("s-{version}.tar.gz");
    world.files.lock().unwrap().insert(name.clone(), bytes);
    Order {
        desired: Desired {
            epoch,
            host: "h1".parse().unwrap(),
            service: "s".parse().unwrap(),
            env: "prod".parse().unwrap(),
            release_id: format!("s@{version}").parse().unwrap(),
            deployment_id: format!("D{epoch}").parse().unwrap(),
            batch: 1,
            reason,
            incident_id: None,
        },
        version: version.to_owned(),
        artifact: Fetch {
            url: format!("/files/{name}"),
            name,
            checksum,
        },
        config: None,
    }
}

fn config(gateway: &url::Url, root: &Path) -> AgentConfig {
    let shell = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
    AgentConfig {
        gateway: AgentGateway {
            url: gateway.clone(),
            token: Secret::new("t"),
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
        },
        host: "h1".parse().unwrap(),
        service: "s".parse().unwrap(),
        env: "prod".parse().unwrap(),
        root: root.to_owned(),
        keep: 2,
        artifact: ArtifactLimits {
            kind: ArtifactKind::Auto,
            max_bytes: 1_000_000,
            max_unpacked_bytes: 1_000_000,
            max_files: 100,
            timeout: Duration::from_secs(10),
        },
        restart: Restart {
            by: RestartBy::Command(shell(
                "cat $BACKSTOP_ROOT/current/version > $BACKSTOP_ROOT/running",
            )),
            timeout: Duration::from_secs(20),
        },
        health: HealthCheck {
            http: None,
            tcp: None,
            command: Some(shell(
                "test ! -e $BACKSTOP_ROOT/current/bad && \
                 test $(cat $BACKSTOP_ROOT/running) = $BACKSTOP_VERSION",
            )),
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(20),
            start_period: Duration::ZERO,
            retries: 1,
            healthy_for: Duration::ZERO,
            within: Duration::from_mins(1),
        },
    }
}

/// Breaks an agent off at one change, for good; or fills its disk from there on.
#[derive(Debug)]
struct Fault {
    done: AtomicUsize,
    at: usize,
    full: bool,
    world: Arc<World>,
}

impl Seam for Fault {
    fn before(&self, what: &'static str) -> io::Result<()> {
        let n = self.done.fetch_add(1, Ordering::SeqCst);
        let needs_room = what.contains("write") || what.contains("make") || what.contains("unpack");
        if n < self.at || (self.full && !needs_room) {
            return Ok(());
        }
        Err(if self.full {
            io::ErrorKind::StorageFull.into()
        } else {
            self.world.deaf.store(true, Ordering::SeqCst);
            io::Error::other("killed")
        })
    }
}

impl Fault {
    fn new(at: usize, full: bool, world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            done: AtomicUsize::new(0),
            at,
            full,
            world: Arc::clone(world),
        })
    }

    fn has_struck(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.at
    }
}

/// Runs an agent until `enough`, and then no longer.
async fn run_until(config: AgentConfig, seam: Arc<dyn Seam>, mut enough: impl FnMut() -> bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = match Agent::new(config, Arc::new(SystemClock), seam) {
        Ok(agent) => agent,
        Err(error) => {
            let text = format!("{error:?}");
            assert!(
                text.contains("killed") || text.contains("StorageFull"),
                "{text}"
            );
            return;
        }
    };
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let watch = async {
        while !enough() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", agent.state());
            sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
    };
    tokio::join!(agent.run(listener, stop.clone()), watch);
}

fn running(root: &Path) -> (String, String) {
    let linked = fs::read_link(root.join("current")).unwrap();
    let running = fs::read_to_string(root.join("running")).unwrap();
    (linked.display().to_string(), running)
}

/// A host on which release 1 is healthy.
async fn host_with_one(world: &Arc<World>, url: &url::Url) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    *world.order.lock().unwrap() = Some(order(world, 1, "1.0.0", false, Reason::Deploy));
    let config = config(url, folder.path());
    let told = || world.steps(1).contains(&Step::Healthy);
    run_until(config, Arc::new(Unbroken), told).await;
    assert_eq!(
        running(folder.path()),
        ("releases/s@1.0.0".into(), "1.0.0".into())
    );
    folder
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}

/// One break at change `at`; false when the order was through before it.
async fn broken_at(base: PathBuf, at: usize, full: bool, bad: bool) -> bool {
    let world = Arc::new(World::default());
    let url = gateway(Arc::clone(&world)).await;
    let folder = tempfile::tempdir().unwrap();
    copy(&base, folder.path());
    *world.order.lock().unwrap() = Some(order(&world, 2, "2.0.0", bad, Reason::Deploy));
    let over = |world: &World| {
        let last = world.last(2).map(|record| record.step);
        last.is_some_and(|step| matches!(step, Step::Healthy | Step::Reverted | Step::Failed))
    };
    let fault = Fault::new(at, full, &world);
    // A full disk is lived with; of a killed one nothing more is seen.
    let enough = || over(&world) || (!full && fault.has_struck());
    let broken = Arc::clone(&fault);
    let waits = Instant::now();
    let enough =
        || enough() || (full && fault.has_struck() && waits.elapsed() > Duration::from_secs(2));
    run_until(config(&url, folder.path()), broken, enough).await;
    let (linked, serves) = running(folder.path());
    assert!(
        ["releases/s@1.0.0", "releases/s@2.0.0"].contains(&linked.as_str()),
        "at {at}: {linked}"
    );
    assert!(
        ["1.0.0", "2.0.0"].contains(&serves.as_str()),
        "at {at}: {serves}"
    );
    if full && bad {
        assert_eq!(
            (linked.as_str(), serves.as_str()),
            ("releases/s@1.0.0", "1.0.0"),
            "at {at}"
        );
    }
    // The next start takes it up or goes back.
    world.deaf.store(false, Ordering::SeqCst);
    let journal = folder.path().join(".backstop/state.json");
    let settled = || {
        let state = fs::read(&journal).ok();
        let state = state.and_then(|text| serde_json::from_slice::<super::State>(&text).ok());
        let done = |state: super::State| {
            state.obeyed == 2 && state.work.is_none() && state.queue.is_empty()
        };
        over(&world) && state.is_some_and(done)
    };
    run_until(config(&url, folder.path()), Arc::new(Unbroken), settled).await;
    let told = world.last(2).unwrap();
    let wanted = match told.step {
        Step::Healthy if !bad => "2.0.0",
        Step::Reverted | Step::Failed if bad || full => "1.0.0",
        other => panic!("at {at}: {other:?} {:?}", told.error),
    };
    let expected = (format!("releases/s@{wanted}"), wanted.to_owned());
    assert_eq!(running(folder.path()), expected, "at {at}: {told:?}");
    fault.has_struck()
}

/// Breaks at every `BACKSTOP_AGENT_BREAK_EVERY`th change, until an order passes unbroken.
async fn broken_everywhere(full: bool, bad: bool) {
    let world = Arc::new(World::default());
    let url = gateway(Arc::clone(&world)).await;
    let base = host_with_one(&world, &url).await;
    #[expect(clippy::disallowed_methods, reason = "a knob of a test")]
    let every = std::env::var("BACKSTOP_AGENT_BREAK_EVERY");
    let every = every.ok().and_then(|every| every.parse().ok()).unwrap_or(5);
    let mut at = if full { 3 } else { 2 };
    let mut broken = 0;
    loop {
        let tries = (0..4).map(|n| {
            let base = base.path().to_owned();
            broken_at(base, at + n * every, full, bad)
        });
        let struck = futures::future::join_all(tries).await;
        broken += struck.iter().filter(|struck| **struck).count();
        if struck.contains(&false) {
            break;
        }
        at += 4 * every;
    }
    assert!(broken >= 5, "{broken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_change_a_good_release_comes_in_at_the_next_start() {
    broken_everywhere(false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_change_a_bad_release_is_gone_back_from() {
    broken_everywhere(false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_anywhere_leaves_one_whole_release() {
    broken_everywhere(true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_rollback_goes_down_and_old_orders_are_not_obeyed() {
    let world = Arc::new(World::default());
    let url = gateway(Arc::clone(&world)).await;
    let host = host_with_one(&world, &url).await;
    let carried = async |epoch: u64, version: &str, reason: Reason| {
        *world.order.lock().unwrap() = Some(order(&world, epoch, version, false, reason));
        let told = || {
            let last = world.last(epoch).map(|record| record.step);
            matches!(last, Some(Step::Healthy | Step::Failed | Step::Reverted))
        };
        run_until(config(&url, host.path()), Arc::new(Unbroken), told).await;
        world.last(epoch).unwrap()
    };
    let down = carried(2, "0.9.0", Reason::Deploy).await;
    assert_eq!(down.step, Step::Failed);
    assert!(down.error.unwrap().contains("only a rollback goes down"));
    assert_eq!(running(host.path()).1, "1.0.0");
    assert_eq!(
        carried(3, "2.0.0", Reason::Deploy).await.step,
        Step::Healthy
    );
    let back = carried(4, "1.0.0", Reason::Rollback).await;
    assert_eq!(back.step, Step::Healthy);
    // It was here already: nothing was fetched.
    assert!(
        !world.steps(4).contains(&Step::Downloaded),
        "{:?}",
        world.steps(4)
    );
    assert_eq!(
        running(host.path()),
        ("releases/s@1.0.0".into(), "1.0.0".into())
    );

    *world.order.lock().unwrap() = Some(order(&world, 3, "2.0.0", false, Reason::Deploy));
    let begun = Instant::now();
    let a_while = || begun.elapsed() > Duration::from_millis(300);
    run_until(config(&url, host.path()), Arc::new(Unbroken), a_while).await;
    assert_eq!(running(host.path()).1, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_verified_never_runs_and_what_was_tampered_with_is_fetched_anew() {
    let world = Arc::new(World::default());
    let url = gateway(Arc::clone(&world)).await;
    let host = host_with_one(&world, &url).await;
    let mut wrong = order(&world, 2, "2.0.0", false, Reason::Deploy);
    wrong.artifact.checksum = "0".repeat(64);
    *world.order.lock().unwrap() = Some(wrong);
    let told = |epoch| {
        let world = &world;
        move || {
            let last = world.last(epoch).map(|record| record.step);
            matches!(last, Some(Step::Healthy | Step::Failed))
        }
    };
    run_until(config(&url, host.path()), Arc::new(Unbroken), told(2)).await;
    let last = world.last(2).unwrap();
    assert!(last.error.unwrap().contains("it was not unpacked"));
    assert!(!host.path().join("releases/s@2.0.0").exists());
    assert_eq!(running(host.path()).1, "1.0.0");

    fs::write(host.path().join("releases/s@1.0.0/version"), "evil").unwrap();
    *world.order.lock().unwrap() = Some(order(&world, 3, "1.0.0", false, Reason::Rollback));
    run_until(config(&url, host.path()), Arc::new(Unbroken), told(3)).await;
    assert!(
        world.steps(3).contains(&Step::Verified),
        "{:?}",
        world.steps(3)
    );
    assert_eq!(running(host.path()).1, "1.0.0");
}

#[tokio::test]
async fn a_second_agent_of_a_root_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let url: url::Url = "http://127.0.0.1:9".parse().unwrap();
    let agent = || {
        let clock = Arc::new(SystemClock);
        Agent::new(config(&url, folder.path()), clock, Arc::new(Unbroken))
    };
    let first = agent().unwrap();
    let second = agent().unwrap_err().to_string();
    assert!(second.contains("another agent works on"), "{second}");
    drop(first);
    agent().unwrap();
}
