//! A site for one engine: a Spinnaker that does as told, rooms that remember, a store that dies.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::act::fixtures::{noon, opening};
use crate::act::orders::{CantAsk, Order, Outcome, Reach, Seen, TriggerFailure, Waiting};
use crate::act::seams::{Answer, Followup, Objection, Question};
use crate::config::Rate;
use crate::domain::clock::Clock;
use crate::domain::decision::Scope;
use crate::domain::lane::{Incident, Plan};
use crate::store::Store;

pub(super) use crate::store::{chain, keys};

pub(super) fn lane() -> LaneName {
    "checkout@prod".parse().unwrap()
}

pub(super) fn wish(deployment: &str, scope: Scope) -> Opened {
    opening("checkout", deployment, scope)
}

pub(super) fn by_hand(deployment: &str, key: &str) -> Opened {
    Opened {
        origin: Origin::Manual {
            by: "oncall".into(),
            reason: "r".into(),
            key: key.into(),
        },
        ..wish(deployment, Scope::Full)
    }
}

#[derive(Debug)]
struct Ticking(Instant);

impl Clock for Ticking {
    fn now(&self) -> jiff::Timestamp {
        crate::domain::clock::after(noon(), self.0.elapsed())
    }
}

pub(super) struct Site {
    pub(super) engine: Engine,
    pub(super) spinnaker: Arc<Spin>,
    pub(super) room: Arc<Room>,
    pub(super) timing: Timing,
    pub(super) clock: SharedClock,
    running: Option<JoinHandle<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
        *self.spinnaker.engine.lock().unwrap() = None;
    }
}

impl Site {
    /// A site whose engine runs.
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        let mut site = Self::stopped(store);
        site.run();
        site
    }

    /// A site whose engine only answers.
    pub(super) fn stopped(store: Arc<dyn ObjectStore>) -> Self {
        Self::with(
            store,
            "r1",
            Arc::default(),
            Arc::default(),
            Arc::new(Ticking(Instant::now())),
        )
    }

    /// The next replica, in the same world.
    pub(super) fn takes_over(mut self, store: Arc<dyn ObjectStore>) -> Self {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        let (spinnaker, room) = (Arc::clone(&self.spinnaker), Arc::clone(&self.room));
        let clock = Arc::clone(&self.clock);
        drop(self);
        let mut site = Self::with(store, "r2", spinnaker, room, clock);
        site.run();
        site
    }

    fn run(&mut self) {
        let engine = self.engine.clone();
        self.running = Some(tokio::spawn(async move {
            engine.run(CancellationToken::new()).await;
        }));
    }

    fn with(
        store: Arc<dyn ObjectStore>,
        me: &str,
        spinnaker: Arc<Spin>,
        room: Arc<Room>,
        clock: SharedClock,
    ) -> Self {
        let timing = Timing::default();
        let one = |minutes: u64| Rate {
            count: 1,
            per: Duration::from_secs(minutes * 60),
        };
        let lanes = LaneStore::new(
            Store::new(store, "test"),
            Arc::clone(&clock),
            me.parse().unwrap(),
        );
        let engine = Engine::new(Parts {
            lanes,
            clock: Arc::clone(&clock),
            spinnaker: spinnaker.clone(),
            recheck: room.clone(),
            planner: room.clone(),
            probe: room.clone(),
            escalator: room.clone(),
            reporter: room.clone(),
            followups: room.clone(),
            settings: Settings {
                timing: timing.clone(),
                budget: Budget {
                    per_service: one(30),
                    overall: Rate {
                        count: 3,
                        ..one(10)
                    },
                },
                http_timeout: Duration::from_secs(10),
            },
        });
        *spinnaker.engine.lock().unwrap() = Some(engine.clone());
        Self {
            engine,
            spinnaker,
            room,
            timing,
            clock,
            running: None,
        }
    }

    pub(super) fn store(&self) -> Store {
        self.engine.lanes().store().clone()
    }

    pub(super) async fn incident(&self, id: &IncidentId) -> Incident {
        let lane = self.engine.lanes().refresh(&lane()).await.unwrap();
        lane.incident(id).unwrap().clone()
    }

    /// The newest incident, once none is open.
    pub(super) async fn until_closed(&self) -> Incident {
        let closed = async {
            loop {
                // A store that died answers with an error; then nothing ever closes.
                let lane = self.engine.lanes().refresh(&lane()).await;
                let announced = self.store().list("open").await;
                if let (Ok(lane), Ok(announced)) = (lane, announced)
                    && lane.open.is_none()
                    && announced.is_empty()
                    && let Some(last) = lane.closed.last()
                {
                    return last.clone();
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_hours(8), closed)
            .await
            .unwrap()
    }
}

#[derive(Debug, Clone)]
struct Job {
    order: Order,
    status: &'static str,
    reach: Reach,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one way to misbehave"
)]
struct Doings {
    jobs: BTreeMap<String, Job>,
    deployments: BTreeMap<String, bool>,
    canceled: Vec<String>,
    answers: VecDeque<TriggerFailure>,
    triggers: usize,
    silent: bool,
    die_early: usize,
    fails: bool,
    down: bool,
    deaf: bool,
    outcome: Option<Result<Outcome, CantAsk>>,
    waiting: Option<Waiting>,
}

/// Spinnaker; its rollback pipeline asks to be let in when it is first looked at.
#[derive(Debug, Default)]
pub(super) struct Spin {
    doings: Mutex<Doings>,
    pub(super) engine: Mutex<Option<Engine>>,
}

impl Spin {
    fn doings(&self) -> std::sync::MutexGuard<'_, Doings> {
        self.doings.lock().unwrap()
    }

    pub(super) fn answers(&self, answers: impl IntoIterator<Item = TriggerFailure>) {
        self.doings().answers.extend(answers);
    }

    /// What its executions did, when they end well.
    pub(super) fn did(&self, outcome: Result<Outcome, CantAsk>) {
        self.doings().outcome = Some(outcome);
    }

    /// While it is not [`Waiting::No`], its executions go no further.
    pub(super) fn waits(&self, waiting: Waiting) {
        self.doings().waiting = Some(waiting);
    }

    pub(super) fn starts_silently(&self) {
        self.doings().silent = true;
    }

    pub(super) fn deploys(&self, id: &str) {
        self.doings().deployments.insert(id.into(), true);
    }

    pub(super) fn ignores_cancels(&self) {
        self.doings().deaf = true;
    }

    pub(super) fn dies_before_asking(&self, times: usize) {
        self.doings().die_early = times;
    }

    pub(super) fn fails(&self) {
        self.doings().fails = true;
    }

    pub(super) fn goes_down(&self) {
        self.doings().down = true;
    }

    pub(super) fn comes_back(&self) {
        self.doings().down = false;
    }

    pub(super) fn triggers(&self) -> usize {
        self.doings().triggers
    }

    pub(super) fn canceled(&self) -> Vec<String> {
        self.doings().canceled.clone()
    }

    fn count(&self, counts: impl Fn(&Job) -> bool) -> usize {
        self.doings()
            .jobs
            .values()
            .filter(|job| counts(job))
            .count()
    }

    pub(super) fn admitted(&self) -> usize {
        self.count(|job| job.reach == Reach::PastAdmission)
    }

    pub(super) fn rolled_back(&self) -> usize {
        self.count(|job| job.status == "SUCCEEDED")
    }

    fn up(&self) -> Result<(), CantAsk> {
        if self.doings().down {
            return Err(CantAsk("no connection".into()));
        }
        Ok(())
    }

    async fn goes_on(&self, id: &ExecutionId, job: &Job) {
        let die = {
            let mut doings = self.doings();
            let die = doings.die_early > 0;
            doings.die_early = doings.die_early.saturating_sub(1);
            die
        };
        let engine = self.engine.lock().unwrap().clone();
        let let_in = match engine {
            Some(engine) if !die => {
                let order = &job.order;
                let admission = engine.admit(&order.incident, order.attempt, id).await;
                matches!(
                    admission,
                    Ok(Admission::Granted | Admission::AlreadyGranted)
                )
            }
            _ => false,
        };
        let mut doings = self.doings();
        let fails = doings.fails;
        let Some(job) = doings.jobs.get_mut(id.as_str()) else {
            return;
        };
        if let_in {
            job.reach = Reach::PastAdmission;
        }
        job.status = if let_in && !fails {
            "SUCCEEDED"
        } else {
            "TERMINAL"
        };
    }
}

fn seen(id: &str, job: &Job) -> Seen {
    Seen {
        id: id.parse().unwrap(),
        application: job.order.plan.application.clone(),
        pipeline: job.order.plan.pipeline.clone(),
        correlation_id: Some(job.order.correlation_id()),
        event_id: Some(job.order.correlation_id()),
        parameters: job.order.plan.parameters.clone(),
        built_at: None,
        status: job.status.into(),
        terminal: job.status != "RUNNING",
        succeeded: job.status == "SUCCEEDED",
        failure: None,
        waiting: Waiting::No,
        reach: job.reach,
    }
}

#[async_trait]
impl Spinnaker for Spin {
    async fn trigger(&self, order: &Order) -> Result<ExecutionId, TriggerFailure> {
        let mut doings = self.doings();
        doings.triggers += 1;
        if let Some(answer) = doings.answers.pop_front() {
            return Err(answer);
        }
        let id = format!("E{}", doings.jobs.len() + 1);
        let job = Job {
            order: order.clone(),
            status: "RUNNING",
            reach: Reach::Nothing,
        };
        doings.jobs.insert(id.clone(), job);
        if doings.silent {
            return Err(TriggerFailure::Unclear("no answer".into()));
        }
        Ok(id.parse().unwrap())
    }

    async fn find(&self, _: &Order) -> Result<Vec<Seen>, CantAsk> {
        self.up()?;
        let doings = self.doings();
        Ok(doings.jobs.iter().map(|(id, job)| seen(id, job)).collect())
    }

    async fn execution(&self, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        self.up()?;
        let (job, deploys) = {
            let doings = self.doings();
            let deploys = doings.deployments.get(id.as_str()).copied();
            (doings.jobs.get(id.as_str()).cloned(), deploys)
        };
        if let Some(job) = job {
            let mut now = seen(id.as_str(), &job);
            let waiting = self.doings().waiting.clone();
            if let Some(waiting) = waiting.filter(|waiting| *waiting != Waiting::No) {
                now.waiting = waiting;
                return Ok(Some(now));
            }
            if !now.terminal {
                self.goes_on(id, &job).await;
            }
            return Ok(Some(now));
        }
        Ok(deploys.map(|runs| Seen {
            id: id.clone(),
            application: "checkout".into(),
            pipeline: "deploy-prod".into(),
            correlation_id: None,
            event_id: None,
            parameters: BTreeMap::new(),
            built_at: None,
            status: if runs { "RUNNING" } else { "CANCELED" }.into(),
            terminal: !runs,
            succeeded: false,
            failure: None,
            waiting: Waiting::No,
            reach: Reach::Unclear,
        }))
    }

    async fn execution_of(&self, _: &Order, id: &ExecutionId) -> Result<Option<Seen>, CantAsk> {
        Spinnaker::execution(self, id).await
    }

    async fn outcome(&self, _: &Order, _: &ExecutionId) -> Result<Outcome, CantAsk> {
        let outcome = self.doings().outcome.clone();
        outcome.unwrap_or_else(|| Ok(Outcome::Silent(String::new())))
    }

    async fn cancel(&self, id: &ExecutionId, _: &str) -> Result<(), CantAsk> {
        self.up()?;
        let mut doings = self.doings();
        doings.canceled.push(id.to_string());
        if !doings.deaf {
            doings.deployments.insert(id.to_string(), false);
        }
        Ok(())
    }

    async fn pipeline_config_exists(&self, _: &str, _: &str) -> Result<bool, CantAsk> {
        self.up()?;
        Ok(true)
    }
}

/// The other rooms.
#[derive(Debug, Default)]
pub(super) struct Room {
    told: Mutex<Vec<String>>,
    objection: Mutex<Option<Objection>>,
    answer: Mutex<Option<Answer>>,
    weak: std::sync::atomic::AtomicBool,
    wider: Mutex<Option<Result<Option<Opened>, Objection>>>,
    report_takes: Mutex<Option<Duration>>,
}

impl Room {
    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// The revisions that were told of, in order.
    pub(super) fn told_reports(&self) -> Vec<String> {
        let mut told = self.told();
        told.retain(|name| name.starts_with("report-"));
        told
    }

    /// How long it takes to write a revision.
    pub(super) fn reports(&self, take: Option<Duration>) {
        *self.report_takes.lock().unwrap() = take;
    }

    pub(super) fn objects(&self, objection: Objection) {
        *self.objection.lock().unwrap() = Some(objection);
    }

    /// Its plans start what can't ask for admission.
    pub(super) fn asks_for_no_admission(&self) {
        self.weak.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn escalates(&self, answer: Result<Option<Opened>, Objection>) {
        *self.wider.lock().unwrap() = Some(answer);
    }

    pub(super) fn measures(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }
}

#[async_trait]
impl Recheck for Room {
    async fn recheck(&self, _: &Incident) -> Result<(), Objection> {
        self.objection.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Planner for Room {
    async fn plan(&self, incident: &Incident, attempt: u32) -> Result<Plan, Objection> {
        Ok(Plan {
            application: "checkout".into(),
            pipeline: "rollback-full".into(),
            scope: incident.opened.scope.clone(),
            hosts: Vec::new(),
            from: incident.opened.release_id.clone(),
            target: incident.opened.target.clone(),
            parameters: BTreeMap::from([("attempt".to_owned(), attempt.to_string())]),
            admission: !self.weak.load(std::sync::atomic::Ordering::SeqCst),
            task: None,
        })
    }
}

#[async_trait]
impl Escalator for Room {
    async fn escalation(&self, _: &Incident) -> Result<Option<Opened>, Objection> {
        self.wider.lock().unwrap().clone().unwrap_or(Ok(None))
    }
}

#[async_trait]
impl RecoveryProbe for Room {
    fn question(&self, _: &Incident) -> Option<Question> {
        Some(Question {
            for_: Duration::from_mins(1),
            within: Duration::from_mins(5),
        })
    }

    async fn ask(&self, _: &Incident) -> Answer {
        let answer = self.answer.lock().unwrap().clone();
        answer.unwrap_or(Answer::Good("0.1 %".into()))
    }
}

#[async_trait]
impl Reporter for Room {
    async fn write(&self, _: &Incident, _: u32) -> Result<(), String> {
        let takes = *self.report_takes.lock().unwrap();
        if let Some(takes) = takes {
            tokio::time::sleep(takes).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Followups for Room {
    async fn tell(&self, _: &Incident, followup: &Followup) -> Result<(), String> {
        self.told.lock().unwrap().push(followup.name());
        Ok(())
    }
}

/// Around which append the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

/// A store of a process that dies at the `left`th append to a lane: from then on nothing answers.
#[derive(Debug)]
pub(super) struct Dying {
    inner: Arc<dyn ObjectStore>,
    left: Mutex<Option<usize>>,
    when: When,
}

impl Dying {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, left: Option<usize>, when: When) -> Arc<Self> {
        Arc::new(Self {
            inner,
            left: Mutex::new(left),
            when,
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.left.lock().unwrap() == Some(0)
    }

    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn ages(&self, location: &Path) {
        if location.as_ref().starts_with("lanes/")
            && let Some(left) = &mut *self.left.lock().unwrap()
        {
            *left = left.saturating_sub(1);
        }
    }
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that dies")
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.alive().await;
        if self.when == When::Before {
            self.ages(location);
            self.alive().await;
        }
        let result = self.inner.put_opts(location, payload, opts).await;
        if self.when == When::After {
            self.ages(location);
            self.alive().await;
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.alive().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        if self.is_dead() {
            return stream::pending().boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.is_dead() {
            return stream::pending().boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.alive().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
