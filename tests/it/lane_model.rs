//! The rollback engine against a hostile world, one seed at a time.
//!
//! Two or three replicas, the real lanes and engine, over a store that lies and a Spinnaker that
//! loses, delays and doubles; replicas crash, pause past their lease and come back. Time is
//! paused, there is one thread, and every choice comes from the seed, so a failure is repeated by
//! `BACKSTOP_MODEL_SEED=<seed>`. `BACKSTOP_MODEL_SCHEDULES` says how many seeds are run.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod gate;
mod pipeline;
mod replica;
mod store;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backstop::act::lane::LaneStore;
use backstop::domain::id::{DeploymentId, IncidentId};
use backstop::domain::lane::{Ending, LaneState};
use backstop::domain::release::{Mark, MarkKind};
use backstop::store::{Store, chain, keys};
use object_store::memory::InMemory;
use tokio::time::Instant;

use self::replica::Replicas;
use self::world::{Pipelines, World};

/// When nothing goes wrong any more.
const CALM: Duration = Duration::from_mins(2);
/// By then every incident must be over.
const END: Duration = Duration::from_hours(1);

/// What a schedule left behind.
struct Outcome {
    violations: Vec<String>,
    /// The lane's chain as text, to compare two runs of a seed.
    chain: String,
    endings: Vec<Ending>,
    attempts: u32,
    crashes: u32,
}

fn run(seed: u64, pipelines: Pipelines) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(schedule(seed, pipelines))
}

async fn schedule(seed: u64, pipelines: Pipelines) -> Outcome {
    let world = World::new(seed, pipelines, CALM);
    let memory = Arc::new(InMemory::new());
    let mut replicas = Replicas::start(&world, &memory);
    world.deploy();
    tokio::spawn(pipeline::batches(Arc::clone(&world), replicas.living()));
    tokio::spawn(pipeline::wishes(Arc::clone(&world), replicas.living()));
    if world.chance(5) {
        tokio::spawn(pipeline::gives_up(Arc::clone(&world), replicas.living()));
    }
    let crashes = replicas.suffer().await;
    let end = Instant::now() + END;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let quiet = world.quiet() && all_closed(&memory).await;
        if quiet || Instant::now() > end {
            break;
        }
    }
    // Time for what is still on its way to knock.
    tokio::time::sleep(Duration::from_mins(5)).await;
    judge(&world, &memory, &replicas, crashes).await
}

fn honest(memory: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(memory) as _, "model")
}

async fn fresh(world: &World, memory: &Arc<InMemory>) -> (LaneStore, Arc<LaneState>) {
    let me = "judge".parse().expect("an id");
    let lanes = LaneStore::new(honest(memory), world.clock(0), me);
    let lane = lanes.refresh(&world::lane()).await.expect("a lane");
    (lanes, lane)
}

async fn all_closed(memory: &Arc<InMemory>) -> bool {
    let lanes = LaneStore::new(
        honest(memory),
        backstop::domain::clock::ManualClock::at(world::epoch()),
        "watcher".parse().expect("an id"),
    );
    let state = lanes.refresh(&world::lane()).await.expect("a lane");
    state.open.is_none() && !state.closed.is_empty()
}

async fn judge(
    world: &Arc<World>,
    memory: &Arc<InMemory>,
    replicas: &Replicas,
    crashes: u32,
) -> Outcome {
    let mut violations = world.violations();
    let (lanes, lane) = fresh(world, memory).await;
    if let Some(open) = &lane.open {
        violations.push(format!("{} never ended: {:?}", open.id, open.stage));
    }
    if lane.closed.is_empty() {
        violations.push("no incident was ever opened".into());
    }
    if lane.skipped > 0 {
        violations.push(format!("{} links have no effect", lane.skipped));
    }
    violations.extend(executions(world, &lane));
    for replica in replicas.all() {
        let seen = replica.engine.lanes().refresh(&world::lane()).await;
        if seen.as_deref().ok() != Some(&*lane) {
            violations.push(format!(
                "{} folds another lane",
                replica.engine.lanes().me()
            ));
        }
    }
    violations.extend(documents(memory, &lane).await);
    violations.extend(marks(memory, &lane).await);
    let left = lanes.unfinished().await.expect("announcements");
    if !left.open.is_empty() {
        violations.push(format!("{:?} are still announced", left.open));
    }
    for incident in lane.closed.iter().filter(|one| one.finished.is_some()) {
        if !world.was_told(&incident.id, "finished") {
            violations.push(format!("nobody heard that {} finished", incident.id));
        }
    }
    Outcome {
        violations,
        chain: chain_text(&lane),
        endings: lane
            .closed
            .iter()
            .filter_map(|one| one.ending.clone())
            .collect(),
        attempts: lane.closed.iter().map(|one| one.attempt).max().unwrap_or(0),
        crashes,
    }
}

/// At most one execution of an incident touches hosts, never two of the lane at once, and the
/// lane knows each that did.
fn executions(world: &World, lane: &LaneState) -> Vec<String> {
    let mut violations = Vec::new();
    let touched = world.touched();
    let mut by_incident: BTreeMap<&IncidentId, Vec<&str>> = BTreeMap::new();
    for run in &touched {
        by_incident.entry(&run.incident).or_default().push(&run.id);
        let known = lane
            .incident(&run.incident)
            .and_then(|one| one.admitted.as_ref());
        if known.is_none_or(|known| known.as_str() != run.id) {
            violations.push(format!("{} touched hosts, the lane says {known:?}", run.id));
        }
    }
    for (incident, runs) in by_incident {
        if runs.len() > 1 {
            violations.push(format!("{incident} was rolled back by {runs:?}"));
        }
    }
    for (n, run) in touched.iter().enumerate() {
        for other in touched.iter().skip(n + 1) {
            if run.from < other.to && other.from < run.to {
                violations.push(format!("{} and {} ran at once", run.id, other.id));
            }
        }
    }
    violations
}

async fn documents(memory: &Arc<InMemory>, lane: &LaneState) -> Vec<String> {
    let store = honest(memory);
    let mut violations = Vec::new();
    for prefix in ["lanes", "open", "marks", "budget"] {
        for key in store.list(prefix).await.expect("a listing") {
            if let Err(error) = store.get::<serde_json::Value>(&key).await {
                violations.push(error.to_string());
            }
        }
    }
    let links = store
        .list(&keys::lane(&world::lane()))
        .await
        .expect("links");
    let expected: Vec<String> = (1..lane.next_seq)
        .map(|seq| chain::key(&keys::lane(&world::lane()), seq))
        .collect();
    if links != expected {
        violations.push("the lane has gaps".into());
    }
    violations
}

async fn marks(memory: &Arc<InMemory>, lane: &LaneState) -> Vec<String> {
    let marks = chain::read_from::<Mark>(&honest(memory), &keys::marks(&world::accused()), 1)
        .await
        .expect("marks");
    let by: Vec<_> = marks
        .iter()
        .filter(|(_, mark)| mark.kind == MarkKind::Bad)
        .filter_map(|(_, mark)| mark.incident.clone())
        .collect();
    let once: BTreeSet<_> = by.iter().cloned().collect();
    let finished = |one: &&backstop::domain::lane::Incident| {
        one.finished.is_some() && one.ending != Some(Ending::Superseded)
    };
    let due: BTreeSet<_> = lane
        .closed
        .iter()
        .filter(finished)
        .map(|one| one.id.clone())
        .collect();
    let mut violations = Vec::new();
    if by.len() != once.len() {
        violations.push(format!("marked twice: {by:?}"));
    }
    if !due.is_subset(&once) {
        violations.push(format!("not marked: {due:?} against {once:?}"));
    }
    violations
}

fn chain_text(lane: &LaneState) -> String {
    let events = lane.closed.iter().flat_map(|one| &one.events);
    events
        .map(|entry| serde_json::to_string(entry).expect("JSON"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the model's own knobs")]
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn whatever_goes_wrong_each_incident_is_rolled_back_at_most_once_and_ends() {
    let schedules = number("BACKSTOP_MODEL_SCHEDULES").unwrap_or(1000);
    let seeds = number("BACKSTOP_MODEL_SEED").map_or(0..schedules, |seed| seed..seed + 1);
    let mut endings: BTreeMap<String, u32> = BTreeMap::new();
    let (mut repeated, mut crashes) = (0, 0);
    for seed in seeds.clone() {
        let outcome = run(seed, Pipelines::AskForAdmission);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\n{}",
            outcome.violations,
            outcome.chain
        );
        for ending in outcome.endings {
            *endings.entry(format!("{ending:?}")).or_default() += 1;
        }
        repeated += u32::from(outcome.attempts > 1);
        crashes += outcome.crashes;
    }
    println!(
        "{} schedules, {crashes} crashes, {repeated} with more than one attempt: {endings:?}",
        seeds.end - seeds.start
    );
    if seeds.end - seeds.start >= 500 {
        // A world in which nothing goes wrong, or nothing goes right, proves nothing.
        for ending in [
            "Recovered",
            "StillBad",
            "Unverified",
            "RollbackFailed",
            "Superseded",
            "Withdrawn",
            "Abandoned",
        ] {
            assert!(
                endings.contains_key(ending),
                "no incident ended {ending}: {endings:?}"
            );
        }
        assert!(repeated > 20 && crashes > 100);
    }
}

#[test]
fn pipelines_that_do_not_ask_are_caught_rolling_back_twice() {
    let caught = (0..60).filter(|seed| {
        let outcome = run(*seed, Pipelines::JustRun);
        outcome
            .violations
            .iter()
            .any(|what| what.contains("was rolled back by"))
    });
    assert!(
        caught.count() > 0,
        "the model would not notice a second rollback"
    );
}

#[test]
fn a_seed_repeats_its_schedule() {
    for seed in [3, 17] {
        let (first, second) = (
            run(seed, Pipelines::AskForAdmission),
            run(seed, Pipelines::AskForAdmission),
        );
        assert_eq!(first.chain, second.chain);
        assert_eq!(first.crashes, second.crashes);
    }
}

fn deployment() -> DeploymentId {
    "d1".parse().expect("an id")
}
