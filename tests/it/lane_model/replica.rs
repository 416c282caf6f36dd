//! Replicas that crash and pause.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstop::act::engine::{Engine, Parts, Settings};
use backstop::act::lane::LaneStore;
use backstop::config::{Budget, Rate, Timing};
use backstop::store::Store;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rooms::Rooms;
use super::spinnaker::FakeSpinnaker;
use super::store::Lying;
use super::world::{self, World};

/// Whether a process runs: everything it asks for waits while it is paused, and for ever once it
/// is dead.
#[derive(Debug)]
pub(super) struct Life {
    paused_until: Mutex<Instant>,
    dead: CancellationToken,
}

impl Life {
    pub(super) async fn pass(&self) {
        loop {
            if self.dead.is_cancelled() {
                std::future::pending::<()>().await;
            }
            let until = *self.paused_until.lock().expect("no poison");
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// What somebody else asks of the process; None when it dies over it.
    pub(super) async fn unless_it_dies<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.dead.cancelled() => None,
            answer = asked => Some(answer),
        }
    }

    fn pause(&self, length: Duration) {
        *self.paused_until.lock().expect("no poison") = Instant::now() + length;
    }
}

#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) engine: Engine,
    pub(super) life: Arc<Life>,
}

/// Those that can be reached now.
pub(super) type Living = Arc<Mutex<Vec<Option<Replica>>>>;

/// One of them, if any lives.
pub(super) fn any(world: &World, living: &Living) -> Option<Replica> {
    let living = living.lock().expect("no poison");
    let living: Vec<_> = living.iter().flatten().collect();
    if living.is_empty() {
        return None;
    }
    let bound = u64::try_from(living.len()).expect("small");
    let chosen = usize::try_from(world.below(bound)).expect("small");
    living.get(chosen).copied().cloned()
}

pub(super) struct Replicas {
    world: Arc<World>,
    memory: Arc<InMemory>,
    living: Living,
    tasks: Vec<Option<JoinHandle<()>>>,
    started: u32,
}

impl Drop for Replicas {
    fn drop(&mut self) {
        // The engines reach the living through their Spinnaker.
        self.living.lock().expect("no poison").clear();
    }
}

impl Replicas {
    pub(super) fn start(world: &Arc<World>, memory: &Arc<InMemory>) -> Self {
        let size = 2 + usize::try_from(world.below(2)).expect("small");
        let mut replicas = Self {
            world: Arc::clone(world),
            memory: Arc::clone(memory),
            living: Arc::new(Mutex::new(vec![None; size])),
            tasks: (0..size).map(|_| None).collect(),
            started: 0,
        };
        for slot in 0..size {
            replicas.revive(slot);
        }
        replicas
    }

    pub(super) fn living(&self) -> Living {
        Arc::clone(&self.living)
    }

    pub(super) fn all(&self) -> Vec<Replica> {
        let living = self.living.lock().expect("no poison");
        living.iter().flatten().cloned().collect()
    }

    /// Crashes and pauses until the calm; then everybody lives.
    pub(super) async fn suffer(&mut self) {
        while !self.world.is_calm() {
            self.world.wait_up_to(25_000).await;
            let slots = u64::try_from(self.tasks.len()).expect("small");
            let slot = usize::try_from(self.world.below(slots)).expect("small");
            let (crashes_now, pauses_now) = (self.world.fault(50), self.world.fault(50));
            if crashes_now {
                self.world.count("crashes");
                self.kill(slot);
                self.world.wait_up_to(8_000).await;
                self.revive(slot);
            } else if pauses_now {
                self.world.count("pauses");
                let pause = Duration::from_millis(self.world.below(60_000));
                if let Some(replica) = &self.living.lock().expect("no poison")[slot] {
                    replica.life.pause(pause);
                }
            }
        }
    }

    fn kill(&mut self, slot: usize) {
        let killed = self.living.lock().expect("no poison")[slot].take();
        if let Some(killed) = killed {
            killed.life.dead.cancel();
        }
        if let Some(task) = self.tasks[slot].take() {
            task.abort();
        }
    }

    fn revive(&mut self, slot: usize) {
        self.started += 1;
        let world = &self.world;
        let life = Arc::new(Life {
            paused_until: Mutex::new(Instant::now()),
            dead: CancellationToken::new(),
        });
        let store = Store::new(
            Arc::new(Lying {
                world: Arc::clone(world),
                memory: Arc::clone(&self.memory),
                life: Arc::clone(&life),
            }),
            "model",
        );
        let off = u64::try_from(world::OFF.as_millis()).expect("small");
        let offset = i64::try_from(world.below(2 * off)).expect("small") - 2000;
        let clock = world.clock(offset);
        let me = format!("r{}", self.started).parse().expect("an id");
        let lanes = LaneStore::new(store, Arc::clone(&clock), me);
        let rooms = Arc::new(Rooms {
            world: Arc::clone(world),
            life: Arc::clone(&life),
            lanes: lanes.clone(),
            living: self.living(),
        });
        let engine = Engine::new(Parts {
            lanes,
            clock,
            spinnaker: Arc::new(FakeSpinnaker {
                world: Arc::clone(world),
                life: Arc::clone(&life),
                living: self.living(),
                ended: Mutex::default(),
            }),
            recheck: rooms.clone(),
            planner: rooms.clone(),
            probe: rooms.clone(),
            escalator: rooms.clone(),
            reporter: rooms.clone(),
            followups: rooms,
            settings: settings(world.tight_budget),
        });
        let running = engine.clone();
        self.tasks[slot] = Some(tokio::spawn(async move {
            running.run(CancellationToken::new()).await;
        }));
        self.living.lock().expect("no poison")[slot] = Some(Replica { engine, life });
    }
}

fn settings(tight_budget: bool) -> Settings {
    let seconds = Duration::from_secs;
    let generous = Rate {
        count: 100,
        per: world::TIGHT,
    };
    let overall = Rate {
        count: if tight_budget { 1 } else { generous.count },
        ..generous
    };
    Settings {
        timing: Timing {
            sweep: seconds(2),
            lease: seconds(20),
            skew: seconds(4),
            settle: world::SETTLE,
            stop_deadline: seconds(5),
            follow: seconds(2),
            hold_page: seconds(60),
            hold_end: seconds(600),
            ..Timing::default()
        },
        budget: Budget {
            per_service: generous,
            overall,
        },
        http_timeout: seconds(2),
    }
}
