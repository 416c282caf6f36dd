//! Spinnaker: executions that start, late or twice; pipelines whose first stage asks to be let in,
//! and, where the world has none such, tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backstop::act::engine::Admission;
use backstop::act::orders::{
    CantAsk, Order, Outcome, Reach, Seen, Spinnaker, TriggerFailure, Waiting,
};
use backstop::domain::id::{ExecutionId, IncidentId};
use backstop::store::StoreError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::replica::{Life, Living, any};
use super::world::{self, Flaw, Run, Sent, Touch, World};

/// Where the first stage of an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admit {
    Absent,
    Asking,
    Passed,
}

/// What a trigger meets on its way.
enum Way {
    Fine,
    ReplyLost,
    Late,
    Twice,
    NotSent,
    NothingUnclear,
    Refused,
}

#[derive(Debug)]
pub(super) struct FakeSpinnaker {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
    pub(super) living: Living,
    /// Executions this replica was told have ended.
    pub(super) ended: Mutex<BTreeSet<String>>,
}

impl FakeSpinnaker {
    async fn ask(&self) -> Result<(), CantAsk> {
        self.life.pass().await;
        self.world.wait_up_to(200).await;
        if self.world.spinnaker_is_down() || self.world.fault(5) {
            return Err(CantAsk("no answer".into()));
        }
        Ok(())
    }

    fn way(&self) -> Way {
        if self.world.is_calm() {
            return Way::Fine;
        }
        match self.world.below(100) {
            0..45 => Way::Fine,
            45..60 => Way::ReplyLost,
            60..75 => Way::Late,
            75..85 => Way::Twice,
            85..91 => Way::NotSent,
            91..98 => Way::NothingUnclear,
            _ => Way::Refused,
        }
    }

    fn start(&self, order: &Order) -> String {
        let id = self.world.next_id();
        let asks = order.plan.admission && self.world.flaw != Flaw::NoAdmission;
        self.world.put_run(Run {
            id: id.clone(),
            correlation: order.correlation_id(),
            pipeline: order.plan.pipeline.clone(),
            parameters: order.plan.parameters.clone(),
            built: Instant::now(),
            status: "RUNNING",
            admit: if asks { Admit::Asking } else { Admit::Absent },
        });
        let execution = Execution {
            id: id.clone(),
            incident: order.incident.clone(),
            attempt: order.attempt,
            asks,
        };
        let (world, living) = (Arc::clone(&self.world), Arc::clone(&self.living));
        tokio::spawn(execution.run(world, living));
        id
    }

    fn start_late(&self, order: &Order) {
        let again = Self {
            world: Arc::clone(&self.world),
            life: Arc::clone(&self.life),
            living: Arc::clone(&self.living),
            ended: Mutex::default(),
        };
        let order = order.clone();
        self.world.begin();
        tokio::spawn(async move {
            // Sometimes far beyond any settling.
            let longest = if again.world.chance(50) {
                10_000
            } else {
                200_000
            };
            again.world.wait_up_to(longest).await;
            again.start(&order);
            again.world.end();
        });
    }
}

#[async_trait]
impl Spinnaker for FakeSpinnaker {
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure> {
        let unclear = || {
            if !order.plan.admission {
                let what = "without admission: requests that nobody could tell of";
                self.world.count(what);
            }
            Err(TriggerFailure::Unclear("no answer".into()))
        };
        let named = |id: String| Ok(id.parse::<ExecutionId>().expect("an id"));
        self.world.sends(Sent {
            incident: order.incident.clone(),
            attempt: order.attempt,
            at: Instant::now(),
        });
        // The owner checked its lease; it may still be paused right here.
        if self.world.fault(8) {
            self.world.count("pauses between check and send");
            self.world.wait_up_to(90_000).await;
        }
        self.life.pass().await;
        self.world.wait_up_to(200).await;
        if self.world.spinnaker_is_down() {
            return Err(TriggerFailure::NotSent("no connection".into()));
        }
        // Orca's own de-duplication: only while the first one runs.
        let correlation = order.correlation_id();
        let runs = self.world.runs();
        let same = runs
            .iter()
            .find(|run| run.correlation == correlation && !run.terminal());
        if let Some(run) = same
            && self.world.chance(70)
        {
            return named(run.id.clone());
        }
        match self.way() {
            Way::Fine => named(self.start(order)),
            Way::ReplyLost => {
                self.world.count("gate: lost replies");
                self.start(order);
                tokio::time::sleep(Duration::from_secs(2)).await;
                unclear()
            }
            Way::Late => {
                self.world.count("gate: late starts");
                self.start_late(order);
                tokio::time::sleep(Duration::from_secs(2)).await;
                unclear()
            }
            Way::Twice => {
                self.world.count("gate: double starts");
                let first = self.start(order);
                let second = self.start(order);
                match self.world.below(3) {
                    0 => named(first),
                    1 => named(second),
                    _ => unclear(),
                }
            }
            Way::NotSent => Err(TriggerFailure::NotSent("no connection".into())),
            Way::NothingUnclear => unclear(),
            Way::Refused => Err(TriggerFailure::Refused("disabled".into())),
        }
    }

    async fn find(&self, order: &Order) -> Result<Vec<Seen>, CantAsk> {
        self.ask().await?;
        let runs = self.world.runs();
        let mine = runs
            .iter()
            .filter(|run| run.pipeline == order.plan.pipeline);
        Ok(mine.map(|run| seen(run, self.world.began)).collect())
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        self.ask().await?;
        let run = self.world.run(id.as_str());
        if run.as_ref().is_some_and(Run::terminal) {
            self.ended.lock().expect("no poison").insert(id.to_string());
        }
        Ok(run.map(|run| seen(&run, self.world.began)))
    }

    async fn execution_of(&self, _: &Order, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        Spinnaker::execution(self, id).await
    }

    async fn outcome(&self, _: &Order, _: &ExecutionId) -> Result<Outcome, CantAsk> {
        Ok(Outcome::Silent(String::new()))
    }

    async fn cancel(&self, id: &ExecutionId, _: &str) -> Result<(), CantAsk> {
        self.ask().await?;
        let (world, id) = (Arc::clone(&self.world), id.to_string());
        if self.ended.lock().expect("no poison").contains(&id) {
            world.violate(format!(
                "{id} was canceled by a replica that knew of its end"
            ));
        }
        if self.world.fault(10) {
            return Ok(());
        }
        tokio::spawn(async move {
            world.wait_up_to(3_000).await;
            world.change(&id, |run| {
                if !run.terminal() {
                    run.status = "CANCELED";
                }
            });
        });
        Ok(())
    }

    async fn pipeline_config_exists(&self, _: &str, _: &str) -> Result<bool, CantAsk> {
        self.ask().await?;
        Ok(true)
    }
}

fn seen(run: &Run, began: Instant) -> Seen {
    Seen {
        id: run.id.parse().expect("an id"),
        application: "checkout".into(),
        pipeline: run.pipeline.clone(),
        correlation_id: Some(run.correlation.clone()),
        event_id: Some(run.correlation.clone()),
        parameters: run.parameters.clone(),
        built_at: Some(world::at(run.built.duration_since(began))),
        status: run.status.into(),
        terminal: run.terminal(),
        succeeded: run.status == "SUCCEEDED",
        failure: None,
        waiting: Waiting::No,
        reach: match run.admit {
            Admit::Absent => Reach::Unclear,
            Admit::Asking => Reach::Nothing,
            Admit::Passed => Reach::PastAdmission,
        },
    }
}

/// One execution: asks to be let in, touches hosts, ends.
struct Execution {
    id: String,
    incident: IncidentId,
    attempt: u32,
    /// Whether its first stage asks.
    asks: bool,
}

impl Execution {
    async fn run(self, world: Arc<World>, living: Living) {
        world.begin();
        world.wait_up_to(3_000).await;
        let id = &self.id;
        let canceled = || world.run(id).is_some_and(|run| run.terminal());
        // A person may cancel it before it began.
        if world.fault(4) {
            world.change(id, |run| run.status = "CANCELED");
        }
        let allowed = !self.asks || self.let_in(&world, &living).await;
        if canceled() || !allowed {
            world.change(id, |run| {
                if !run.terminal() {
                    run.status = "TERMINAL";
                }
            });
            world.end();
            return;
        }
        if self.asks {
            world.change(id, |run| run.admit = Admit::Passed);
        }
        let from = Instant::now();
        let length = Duration::from_millis(500 + world.below(20_000));
        tokio::time::sleep(length).await;
        let status = if world.fault(15) {
            "TERMINAL"
        } else {
            "SUCCEEDED"
        };
        world.change(id, |run| run.status = status);
        world.touch(Touch {
            id: self.id,
            incident: self.incident,
            attempt: self.attempt,
            from,
            to: Instant::now(),
        });
        world.end();
    }

    /// The webhook stage: repeated every 10 s on a 5xx or a reset, given up on a time-out or a 409.
    async fn let_in(&self, world: &Arc<World>, living: &Living) -> bool {
        for _ in 0..30 {
            if world.fault(10)
                && let Some(asked) = self.asks_any(world, living)
            {
                // The same question twice, at another replica perhaps; nobody hears this answer.
                world.count("admission: doubled questions");
                drop(asked);
            }
            if let Some(asked) = self.asks_any(world, living) {
                let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
                let lost = world.fault(15);
                if lost {
                    world.count("admission: lost answers");
                }
                match answer {
                    Ok(_) if lost => {}
                    Ok(Ok(Some(Ok(Admission::Granted | Admission::AlreadyGranted)))) => {
                        return true;
                    }
                    Err(_) | Ok(Ok(Some(Ok(Admission::Refused(_))))) => return false,
                    Ok(Ok(Some(Err(_)) | None) | Err(_)) => {}
                }
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        false
    }

    /// Asks a replica, which goes on with it even when nobody listens any more, but not when it
    /// dies.
    fn asks_any(
        &self,
        world: &World,
        living: &Living,
    ) -> Option<JoinHandle<Option<Result<Admission, StoreError>>>> {
        let replica = any(world, living)?;
        let execution: ExecutionId = self.id.parse().expect("an id");
        let (incident, attempt) = (self.incident.clone(), self.attempt);
        Some(tokio::spawn(async move {
            let asked = replica.engine.admit(&incident, attempt, &execution);
            replica.life.unless_it_dies(asked).await
        }))
    }
}
