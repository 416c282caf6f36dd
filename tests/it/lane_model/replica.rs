//! Replicas that crash and pause, and the rooms around their engines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backstop::act::engine::{Engine, Parts, Settings};
use backstop::act::lane::LaneStore;
use backstop::act::seams::{
    Answer, Followup, Followups, Objection, Planner, Question, Recheck, RecoveryProbe, Reporter,
};
use backstop::config::{Budget, Rate, Timing};
use backstop::domain::lane::{Incident, Plan};
use backstop::store::Store;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pipeline::FakeSpinnaker;
use super::store::Lying;
use super::world::World;

/// Whether a process runs: everything it asks for waits while it is paused.
#[derive(Debug)]
pub(super) struct Life {
    paused_until: Mutex<Instant>,
}

impl Life {
    pub(super) async fn pass(&self) {
        loop {
            let until = *self.paused_until.lock().expect("no poison");
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn pause(&self, length: Duration) {
        *self.paused_until.lock().expect("no poison") = Instant::now() + length;
    }
}

#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) engine: Engine,
    life: Arc<Life>,
}

/// Those that can be reached now.
pub(super) type Living = Arc<Mutex<Vec<Option<Replica>>>>;

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

    /// Crashes and pauses until the calm; then everybody lives. How many crashes there were.
    pub(super) async fn suffer(&mut self) -> u32 {
        let mut crashes = 0;
        while !self.world.is_calm() {
            self.world.wait_up_to(25_000).await;
            let slots = u64::try_from(self.tasks.len()).expect("small");
            let slot = usize::try_from(self.world.below(slots)).expect("small");
            let (crashes_now, pauses_now) = (self.world.fault(50), self.world.fault(50));
            if crashes_now {
                crashes += 1;
                self.kill(slot);
                self.world.wait_up_to(8_000).await;
                self.revive(slot);
            } else if pauses_now {
                let pause = Duration::from_millis(self.world.below(60_000));
                if let Some(replica) = &self.living.lock().expect("no poison")[slot] {
                    replica.life.pause(pause);
                }
            }
        }
        crashes
    }

    fn kill(&mut self, slot: usize) {
        self.living.lock().expect("no poison")[slot] = None;
        if let Some(task) = self.tasks[slot].take() {
            task.abort();
        }
    }

    fn revive(&mut self, slot: usize) {
        self.started += 1;
        let world = &self.world;
        let life = Arc::new(Life {
            paused_until: Mutex::new(Instant::now()),
        });
        let store = Store::new(
            Arc::new(Lying {
                world: Arc::clone(world),
                memory: Arc::clone(&self.memory),
                life: Arc::clone(&life),
            }),
            "model",
        );
        let offset = i64::try_from(world.below(4000)).expect("small") - 2000;
        let clock = world.clock(offset);
        let me = format!("r{}", self.started).parse().expect("an id");
        let rooms = Arc::new(Rooms {
            world: Arc::clone(world),
            life: Arc::clone(&life),
        });
        let engine = Engine::new(Parts {
            lanes: LaneStore::new(store, Arc::clone(&clock), me),
            clock,
            spinnaker: Arc::new(FakeSpinnaker {
                world: Arc::clone(world),
                life: Arc::clone(&life),
                living: self.living(),
            }),
            recheck: rooms.clone(),
            planner: rooms.clone(),
            probe: rooms.clone(),
            reporter: rooms.clone(),
            followups: rooms,
            settings: settings(),
        });
        let running = engine.clone();
        self.tasks[slot] = Some(tokio::spawn(async move {
            running.run(CancellationToken::new()).await;
        }));
        self.living.lock().expect("no poison")[slot] = Some(Replica { engine, life });
    }
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    let generous = Rate {
        count: 100,
        per: seconds(600),
    };
    Settings {
        timing: Timing {
            sweep: seconds(2),
            lease: seconds(20),
            skew: seconds(4),
            settle: seconds(15),
            stop_deadline: seconds(5),
            follow: seconds(2),
            hold_page: seconds(60),
            hold_end: seconds(600),
            ..Timing::default()
        },
        budget: Budget {
            per_service: generous,
            overall: generous,
        },
        http_timeout: seconds(2),
    }
}

/// Guards, planner, recovery, reports and messages.
#[derive(Debug)]
struct Rooms {
    world: Arc<World>,
    life: Arc<Life>,
}

#[async_trait]
impl Recheck for Rooms {
    async fn recheck(&self, _: &Incident) -> Result<(), Objection> {
        self.life.pass().await;
        self.world.wait_up_to(100).await;
        if self.world.fault(10) {
            return Err(Objection::NotNow("evidence pending".into()));
        }
        if self.world.fault(2) {
            return Err(Objection::Never("well again".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Planner for Rooms {
    async fn plan(&self, incident: &Incident, attempt: u32) -> Result<Plan, Objection> {
        let parameters = [
            ("incident", incident.id.to_string()),
            ("attempt", attempt.to_string()),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
        Ok(Plan {
            application: "checkout".into(),
            pipeline: format!("rollback-{}", incident.opened.scope.kind()),
            scope: incident.opened.scope.clone(),
            hosts: incident.opened.hosts.clone(),
            from: incident.opened.release_id.clone(),
            target: incident.opened.target.clone(),
            parameters: BTreeMap::from(parameters),
            admission: true,
        })
    }
}

#[async_trait]
impl RecoveryProbe for Rooms {
    fn question(&self, _: &Incident) -> Option<Question> {
        Some(Question {
            for_: Duration::from_secs(4),
            within: Duration::from_secs(20),
        })
    }

    async fn ask(&self, incident: &Incident) -> Answer {
        self.world.wait_up_to(100).await;
        // The same truth for every replica: it depends on the incident's end alone.
        let end = incident
            .finished
            .as_ref()
            .map_or(0, |end| end.at.as_millisecond());
        match end % 3 {
            0 => Answer::Good("0.1 %".into()),
            1 => Answer::Bad("7 %".into()),
            _ => Answer::Empty("no samples".into()),
        }
    }
}

#[async_trait]
impl Reporter for Rooms {
    async fn write(&self, _: &Incident, _: u32) -> Result<(), String> {
        self.life.pass().await;
        self.world.wait_up_to(500).await;
        if self.world.fault(10) {
            return Err("no template".into());
        }
        Ok(())
    }
}

#[async_trait]
impl Followups for Rooms {
    async fn tell(&self, incident: &Incident, followup: &Followup) -> Result<(), String> {
        self.world.wait_up_to(50).await;
        if self.world.fault(10) {
            return Err("no outbox".into());
        }
        self.world.hear(&incident.id, followup.name());
        Ok(())
    }
}
