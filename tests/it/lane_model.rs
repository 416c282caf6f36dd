//! The rollback engine against a hostile world, one seed at a time.
//!
//! Two or three replicas, the real lanes and engine, over a store that lies and a Spinnaker that
//! loses, delays and doubles; replicas crash, pause past their lease and come back. Where the rules
//! ask people, those answer late, twice, and of two minds; in some worlds nothing asks to be let in,
//! and what must hold is that nothing is sent a second time. Time is paused, each world has one thread, and every choice comes from the seed, so a failure is
//! repeated by `BACKSTOP_MODEL_SEED=<seed>`. `BACKSTOP_MODEL_SCHEDULES` says how many seeds are
//! run; many of them want `cargo test --release`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod gate;
mod judge;
mod people;
mod promises;
mod replica;
mod rooms;
mod spinnaker;
mod store;
mod wishes;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstop::domain::lane::Ending;
use object_store::memory::InMemory;
use tokio::time::Instant;

use self::judge::{Watcher, judge};
use self::replica::Replicas;
use self::world::{Counts, Flaw, World};

/// When nothing goes wrong any more.
const CALM: Duration = Duration::from_mins(2);
/// By then every incident must be over.
const END: Duration = Duration::from_hours(1);
/// What is still on its way then has arrived, and whoever is paused is back: longer than any write,
/// settling, sweep and pause.
const TAIL: Duration = Duration::from_secs(75);

/// What a schedule left behind.
struct Outcome {
    violations: Vec<String>,
    /// The lanes' chains as text, to compare two runs of a seed.
    chain: String,
    endings: Vec<Ending>,
    attempts: u32,
    /// What became of questions to people.
    answers: Vec<&'static str>,
    counts: Counts,
}

fn run(seed: u64, flaw: Flaw) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(schedule(seed, flaw))
}

async fn schedule(seed: u64, flaw: Flaw) -> Outcome {
    let world = World::new(seed, flaw, CALM);
    let memory = Arc::new(InMemory::new());
    let mut replicas = Replicas::start(&world, &memory);
    world.deploy_all();
    tokio::spawn(wishes::batches(Arc::clone(&world), replicas.living()));
    wishes::wishes(&world, &replicas.living());
    if world.chance(5) {
        tokio::spawn(wishes::gives_up(Arc::clone(&world), replicas.living()));
    }
    if !world.admission {
        tokio::spawn(wishes::on_call(Arc::clone(&world), replicas.living()));
    }
    replicas.suffer().await;
    let (end, watcher) = (Instant::now() + END, Watcher::new(&memory));
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let over = world.quiet() && watcher.sees_all_over().await;
        if over || Instant::now() > end {
            break;
        }
    }
    tokio::time::sleep(TAIL).await;
    judge(&world, &memory, &replicas).await
}

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the model's own knobs")]
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// What many schedules came to.
#[derive(Debug, Default)]
struct Sum {
    endings: BTreeMap<String, u64>,
    answers: Counts,
    counts: Counts,
    /// Schedules in which an incident needed more than one attempt.
    repeated: u64,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        for ending in outcome.endings {
            *self.endings.entry(format!("{ending:?}")).or_default() += 1;
        }
        for answer in outcome.answers {
            *self.answers.entry(answer).or_default() += 1;
        }
        for (what, count) in outcome.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.repeated += u64::from(outcome.attempts > 1);
    }

    fn merge(mut self, other: Self) -> Self {
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.repeated += other.repeated;
        self
    }
}

/// Runs the seeds on every core; each world is alone on its thread.
fn run_all(seeds: std::ops::Range<u64>) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            let outcome = run(seed, Flaw::None);
            assert!(
                outcome.violations.is_empty(),
                "BACKSTOP_MODEL_SEED={seed}: {:#?}\n{}",
                outcome.violations,
                outcome.chain
            );
            sum.add(outcome);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let sums = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|failed| std::panic::resume_unwind(failed))
        });
        sums.fold(Sum::default(), Sum::merge)
    })
}

#[test]
fn whatever_goes_wrong_each_incident_is_rolled_back_at_most_once_and_ends() {
    let schedules = number("BACKSTOP_MODEL_SCHEDULES").unwrap_or(1000);
    let seeds = number("BACKSTOP_MODEL_SEED").map_or(0..schedules, |seed| seed..seed + 1);
    let began = std::time::Instant::now();
    let sum = run_all(seeds.clone());
    println!(
        "{} schedules in {:.0?}, {} with more than one attempt\nendings: {:#?}\nquestions to people: {:#?}\nwent wrong: {:#?}",
        seeds.end - seeds.start,
        began.elapsed(),
        sum.repeated,
        sum.endings,
        sum.answers,
        sum.counts
    );
    if seeds.end - seeds.start < 1000 {
        return;
    }
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
        assert!(sum.endings.contains_key(ending), "none ended {ending}");
    }
    for answer in ["approved", "denied", "cleared", "expired", "replaced"] {
        let count = sum.answers.get(answer).copied().unwrap_or_default();
        assert!(count > 5, "{answer}: {count}");
    }
    for what in [
        "crashes",
        "pauses",
        "pauses between check and send",
        "store: conflicts over nothing",
        "store: late writes",
        "store: doubled writes",
        "store: lost answers",
        "gate: lost replies",
        "gate: late starts",
        "gate: double starts",
        "admission: lost answers",
        "admission: doubled questions",
        "without admission: requests that nobody could tell of",
        "reports: slow sources",
        "people: answers cut off by a crash",
        "people: rollbacks by hand after a no",
    ] {
        let count = sum.counts.get(what).copied().unwrap_or_default();
        assert!(count > 20, "{what}: {count}");
    }
    assert!(sum.repeated > 20);
}

/// Seeds of `0..most` in which a world with this flaw is caught at `crime`.
fn caught(flaw: Flaw, most: u64, crime: &str) -> usize {
    let guilty = |seed: &u64| {
        let outcome = run(*seed, flaw);
        outcome.violations.iter().any(|what| what.contains(crime))
    };
    (0..most).filter(guilty).count()
}

#[test]
fn pipelines_that_do_not_ask_are_caught_rolling_back_twice() {
    let caught = caught(Flaw::NoAdmission, 60, "was rolled back by");
    assert!(caught > 0, "the model would not notice a second rollback");
}

#[test]
fn a_store_that_lets_two_win_is_caught() {
    let caught = caught(Flaw::CheckThenAct, 60, "");
    assert!(caught > 0, "the model would not notice a lock that is none");
}

#[test]
fn a_seed_repeats_its_schedule() {
    for seed in [3, 17] {
        let (first, second) = (run(seed, Flaw::None), run(seed, Flaw::None));
        assert_eq!(first.chain, second.chain);
        assert_eq!(first.counts, second.counts);
    }
}
