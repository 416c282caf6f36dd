//! Spinnaker and the people: executions that start, late or twice; pipelines whose first stage
//! asks to be let in; alerts that wish for a rollback until they are told that it is safe.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backstop::act::engine::{Admission, BatchOutcome, BatchPost, Engine, OpenOutcome};
use backstop::act::orders::{CantAsk, Order, Reach, Seen, Spinnaker, TriggerFailure};
use backstop::domain::decision::{Decision, Scope, Verdict};
use backstop::domain::id::{ExecutionId, IncidentId};
use backstop::domain::lane::{Opened, Origin};
use backstop::domain::policy::Mode;
use tokio::time::Instant;

use super::replica::{Life, Living};
use super::world::{self, Pipelines, Run, Touch, World};

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
        self.world.put_run(Run {
            id: id.clone(),
            correlation: order.correlation_id(),
            pipeline: order.plan.pipeline.clone(),
            parameters: order.plan.parameters.clone(),
            built: Instant::now(),
            status: "RUNNING",
            admit: Admit::Asking,
        });
        tokio::spawn(execute(
            Arc::clone(&self.world),
            Arc::clone(&self.living),
            id.clone(),
            order.incident.clone(),
            order.attempt,
        ));
        id
    }

    fn start_late(&self, order: &Order) {
        let again = Self {
            world: Arc::clone(&self.world),
            life: Arc::clone(&self.life),
            living: Arc::clone(&self.living),
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
        let unclear = || Err(TriggerFailure::Unclear("no answer".into()));
        let named = |id: String| Ok(id.parse::<ExecutionId>().expect("an id"));
        // The owner checked its lease; it may still be paused right here.
        if self.world.fault(8) {
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
                self.start(order);
                tokio::time::sleep(Duration::from_secs(2)).await;
                unclear()
            }
            Way::Late => {
                self.start_late(order);
                tokio::time::sleep(Duration::from_secs(2)).await;
                unclear()
            }
            Way::Twice => {
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
        Ok(self
            .world
            .run(id.as_str())
            .map(|run| seen(&run, self.world.began)))
    }

    async fn cancel(&self, id: &ExecutionId, _: &str) -> Result<(), CantAsk> {
        self.ask().await?;
        let (world, id) = (Arc::clone(&self.world), id.to_string());
        if world.run(&id).is_some_and(|run| run.terminal()) && world.is_calm() {
            world.violate(format!("{id} was canceled after its end"));
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
        reach: match run.admit {
            Admit::Absent => Reach::Unclear,
            Admit::Asking => Reach::Nothing,
            Admit::Passed => Reach::PastAdmission,
        },
    }
}

/// One execution: asks to be let in, touches hosts, ends.
async fn execute(
    world: Arc<World>,
    living: Living,
    id: String,
    incident: IncidentId,
    attempt: u32,
) {
    world.begin();
    world.wait_up_to(3_000).await;
    let asks = world.pipelines == Pipelines::AskForAdmission;
    let canceled = || world.run(&id).is_some_and(|run| run.terminal());
    // A person may cancel it before it began.
    if world.fault(4) {
        world.change(&id, |run| run.status = "CANCELED");
    }
    let allowed = !asks || let_in(&world, &living, &id, &incident, attempt).await;
    if canceled() || !allowed {
        world.change(&id, |run| {
            if !run.terminal() {
                run.status = "TERMINAL";
            }
        });
        world.end();
        return;
    }
    world.change(&id, |run| run.admit = Admit::Passed);
    let from = Instant::now();
    let length = Duration::from_millis(500 + world.below(20_000));
    tokio::time::sleep(length).await;
    let status = if world.fault(15) {
        "TERMINAL"
    } else {
        "SUCCEEDED"
    };
    world.change(&id, |run| run.status = status);
    world.touch(Touch {
        id,
        incident,
        from,
        to: Instant::now(),
    });
    world.end();
}

/// The webhook stage: repeated every 10 s on a 5xx, given up on a time-out or a 409.
async fn let_in(
    world: &Arc<World>,
    living: &Living,
    id: &str,
    incident: &IncidentId,
    attempt: u32,
) -> bool {
    let execution: ExecutionId = id.parse().expect("an id");
    for _ in 0..30 {
        if let Some(engine) = any(world, living) {
            let (incident, execution) = (incident.clone(), execution.clone());
            // The gateway goes on with it even when nobody listens any more.
            let asked =
                tokio::spawn(async move { engine.admit(&incident, attempt, &execution).await });
            let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
            let lost = world.fault(15);
            match answer {
                Ok(_) if lost => {}
                Ok(Ok(Ok(Admission::Granted | Admission::AlreadyGranted))) => return true,
                Err(_) | Ok(Ok(Ok(Admission::Refused(_)))) => return false,
                Ok(Ok(Err(_)) | Err(_)) => {}
            }
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    false
}

fn any(world: &World, living: &Living) -> Option<Engine> {
    let living = living.lock().expect("no poison");
    let living: Vec<_> = living.iter().flatten().collect();
    if living.is_empty() {
        return None;
    }
    let bound = u64::try_from(living.len()).expect("small");
    let chosen = usize::try_from(world.below(bound)).expect("small");
    living.get(chosen).map(|replica| replica.engine.clone())
}

fn wish(scope: Scope, supersedes: Option<IncidentId>) -> Opened {
    Opened {
        service: "checkout".parse().expect("an id"),
        env: "prod".parse().expect("an id"),
        deployment: super::deployment(),
        release_id: world::accused(),
        scope,
        hosts: vec!["h1".parse().expect("an id")],
        target: "checkout@1".parse().expect("an id"),
        origin: Origin::Automatic,
        decision: decision(),
        thread: "t".into(),
        channels: Vec::new(),
        alerts: Vec::new(),
        supersedes,
    }
}

fn decision() -> Decision {
    Decision {
        at: world::epoch(),
        verdict: Verdict::Rollback(Scope::Full),
        shadow: false,
        mode: Mode::Enforce,
        rule: None,
        rules: Vec::new(),
        guards: Vec::new(),
        service: None,
        env: None,
        lane: None,
        deployment: None,
        release_id: None,
        phase: None,
        scope: None,
        hosts: Vec::new(),
        target: None,
        alerts: std::collections::BTreeSet::new(),
        evidence: None,
        recheck_at: None,
        incident: None,
    }
}

/// Two peers tell two replicas about the batch; later somebody wishes for everything.
pub(super) async fn wishes(world: Arc<World>, living: Living) {
    for _ in 0..2 {
        let (world, living) = (Arc::clone(&world), Arc::clone(&living));
        world.begin();
        tokio::spawn(async move {
            world.wait_up_to(2_000).await;
            until_safe(&world, &living, Scope::Batch([1].into())).await;
            world.end();
        });
    }
    if world.chance(50) {
        world.begin();
        world.wait_up_to(90_000).await;
        until_safe(&world, &living, Scope::Full).await;
        world.end();
    }
}

/// Comes again on every 503, and on a lane that is busy, for a while.
async fn until_safe(world: &Arc<World>, living: &Living, scope: Scope) {
    for _ in 0..60 {
        if let Some(engine) = any(world, living) {
            let lane = engine.lanes().refresh(&world::lane()).await;
            let open = lane
                .ok()
                .and_then(|lane| lane.open.as_ref().map(|open| open.id.clone()));
            let supersedes = open.filter(|_| scope == Scope::Full);
            let opened = wish(scope.clone(), supersedes);
            match engine.open(opened).await {
                OpenOutcome::Opened(_) | OpenOutcome::Merged(_) => return,
                OpenOutcome::Refused(why) if why.contains("already") || why.contains("person") => {
                    return;
                }
                OpenOutcome::Refused(_) | OpenOutcome::Unknown => {}
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The accused deployment goes on with its batches until it hears no.
pub(super) async fn batches(world: Arc<World>, living: Living) {
    world.begin();
    for n in 1..4 {
        let post = BatchPost {
            lane: world::lane(),
            deployment: super::deployment(),
            release_id: world::accused(),
            n,
            of: Some(3),
            hosts: vec!["h1".parse().expect("an id")],
        };
        for _ in 0..30 {
            if let Some(engine) = any(&world, &living)
                && let Ok(outcome) = engine.batch_started(post.clone()).await
            {
                if matches!(outcome, BatchOutcome::Refused(_)) {
                    world.end();
                    return;
                }
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        world.wait_up_to(6_000).await;
    }
    world.end();
}

/// A person gives up whatever is open.
pub(super) async fn gives_up(world: Arc<World>, living: Living) {
    world.begin();
    world.wait_up_to(60_000).await;
    for _ in 0..10 {
        if let Some(engine) = any(&world, &living)
            && let Ok(lane) = engine.lanes().refresh(&world::lane()).await
            && let Some(open) = &lane.open
            && engine.abandon(&open.id, "oncall", "by hand").await.is_ok()
        {
            break;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    world.end();
}
