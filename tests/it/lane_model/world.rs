//! Chance, time, and what really happens to hosts.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstop::domain::clock::{Clock, SharedClock};
use backstop::domain::id::{ApprovalId, DeploymentId, IncidentId, LaneName, ReleaseId};
use backstop::domain::lane::Settled;
use backstop::domain::policy::Expiry;
use jiff::Timestamp;
use tokio::time::Instant;

use super::spinnaker::Admit;

/// What the guarantee rests on and a world may lack, to show that the model would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// The rollback pipelines do not ask to be let in.
    NoAdmission,
    /// The store looks whether a key is free, and then writes.
    CheckThenAct,
}

/// One service under a story of batches and escalations, one that goes bad beside it.
pub(super) const SERVICES: [&str; 2] = ["checkout", "cart"];
/// The window in which a tight budget lets one automatic rollback happen.
pub(super) const TIGHT: Duration = Duration::from_mins(10);
/// How long an attempt that Spinnaker does not list may still show up.
pub(super) const SETTLE: Duration = Duration::from_secs(15);
/// How far wall clocks are off at most, either way.
pub(super) const OFF: Duration = Duration::from_secs(2);

/// Splitmix64.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// An execution as Spinnaker has it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) correlation: String,
    pub(super) pipeline: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) built: Instant,
    pub(super) status: &'static str,
    pub(super) admit: Admit,
}

impl Run {
    pub(super) fn terminal(&self) -> bool {
        matches!(self.status, "SUCCEEDED" | "TERMINAL" | "CANCELED")
    }
}

/// A time in which an execution changed hosts.
#[derive(Debug, Clone)]
pub(super) struct Touch {
    pub(super) id: String,
    pub(super) incident: IncidentId,
    pub(super) attempt: u32,
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// A request that leaves a replica: the lease was just looked at, and it may still be paused.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) incident: IncidentId,
    pub(super) attempt: u32,
    pub(super) at: Instant,
}

/// How often what went wrong.
pub(super) type Counts = BTreeMap<&'static str, u64>;

#[derive(Debug)]
struct State {
    chance: Chance,
    runs: BTreeMap<String, Run>,
    touches: Vec<Touch>,
    sent: Vec<Sent>,
    /// What each question was heard to have become.
    settled: BTreeMap<ApprovalId, Option<&'static str>>,
    violations: Vec<String>,
    told: BTreeSet<(IncidentId, String)>,
    counts: Counts,
    /// Actors that still have something to do.
    busy: u32,
}

#[derive(Debug)]
pub(super) struct World {
    state: Mutex<State>,
    pub(super) flaw: Flaw,
    /// One automatic rollback over all services in [`TIGHT`], not one for each wish.
    pub(super) tight_budget: bool,
    /// The rules want a person's yes; what silence counts for.
    pub(super) people: Option<Expiry>,
    /// Whether Spinnaker's part asks to be let in. A task does not: then a second execution is
    /// only unlikely, and what must hold is that nothing is ever sent twice.
    pub(super) admission: bool,
    pub(super) began: Instant,
    calm: Instant,
    /// Spinnaker and the store are down in these times.
    outages: [(Instant, Instant); 2],
}

impl World {
    pub(super) fn new(seed: u64, flaw: Flaw, calm: Duration) -> Arc<Self> {
        let mut chance = Chance(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let began = Instant::now();
        let mut outage = || {
            let from = began + Duration::from_secs(chance.next() % 100);
            // Half of the worlds have none.
            let length = (chance.next() % 80).saturating_sub(40);
            (from, from + Duration::from_secs(length))
        };
        let outages = [outage(), outage()];
        let tight_budget = chance.next().is_multiple_of(3);
        let people = match chance.next() % 6 {
            0 => Some(Expiry::Hold),
            1 => Some(Expiry::Rollback),
            _ => None,
        };
        let admission = flaw != Flaw::None || !chance.next().is_multiple_of(6);
        Arc::new(Self {
            state: Mutex::new(State {
                chance,
                runs: BTreeMap::new(),
                touches: Vec::new(),
                sent: Vec::new(),
                settled: BTreeMap::new(),
                violations: Vec::new(),
                told: BTreeSet::new(),
                counts: Counts::new(),
                busy: 0,
            }),
            flaw,
            tight_budget,
            people,
            admission,
            began,
            calm: began + calm,
            outages,
        })
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.state.lock().expect("no poison"))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.with(|state| state.chance.next()) % bound
    }

    /// True in `percent` of the cases.
    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A fault happens: in `percent` of the cases while faults happen at all.
    pub(super) fn fault(&self, percent: u64) -> bool {
        let hit = self.chance(percent);
        hit && Instant::now() < self.calm
    }

    pub(super) fn is_calm(&self) -> bool {
        Instant::now() >= self.calm
    }

    pub(super) fn spinnaker_is_down(&self) -> bool {
        down(self.outages[0])
    }

    pub(super) fn store_is_down(&self) -> bool {
        down(self.outages[1])
    }

    pub(super) async fn wait_up_to(&self, milliseconds: u64) {
        let wait = self.below(milliseconds.max(1));
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    pub(super) fn clock(&self, offset: i64) -> SharedClock {
        Arc::new(ModelClock {
            began: self.began,
            offset,
        })
    }

    pub(super) fn put_run(&self, run: Run) {
        self.with(|state| state.runs.insert(run.id.clone(), run));
    }

    pub(super) fn run(&self, id: &str) -> Option<Run> {
        self.with(|state| state.runs.get(id).cloned())
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.with(|state| state.runs.values().cloned().collect())
    }

    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Run)) {
        self.with(|state| state.runs.get_mut(id).map(change));
    }

    pub(super) fn next_id(&self) -> String {
        self.with(|state| format!("E{:03}", state.runs.len()))
    }

    pub(super) fn touch(&self, touch: Touch) {
        self.with(|state| state.touches.push(touch));
    }

    pub(super) fn touched(&self) -> Vec<Touch> {
        self.with(|state| state.touches.clone())
    }

    pub(super) fn sends(&self, sent: Sent) {
        self.with(|state| state.sent.push(sent));
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.with(|state| state.sent.clone())
    }

    /// Whether nobody knew of the question yet.
    pub(super) fn is_new(&self, question: &ApprovalId) -> bool {
        self.with(|state| match state.settled.entry(question.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(new) => {
                new.insert(None);
                true
            }
        })
    }

    /// Somebody heard what became of a question; all must hear the same.
    pub(super) fn settle(&self, question: &ApprovalId, outcome: &Settled) {
        // A no that was taken back was one.
        let outcome = match outcome {
            Settled::Cleared(_) => "denied",
            outcome => outcome.as_str(),
        };
        let before = self.with(|state| {
            let heard = state.settled.entry(question.clone()).or_default();
            *heard.get_or_insert(outcome)
        });
        if before != outcome {
            self.violate(format!("{question} was {before} and {outcome}"));
        }
    }

    /// Counts something that went wrong in this world, for the summary.
    pub(super) fn count(&self, what: &'static str) {
        self.with(|state| *state.counts.entry(what).or_default() += 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|state| state.counts.clone())
    }

    pub(super) fn violate(&self, what: String) {
        self.with(|state| state.violations.push(what));
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.with(|state| state.violations.clone())
    }

    pub(super) fn hear(&self, incident: &IncidentId, name: String) {
        self.with(|state| state.told.insert((incident.clone(), name)));
    }

    pub(super) fn was_told(&self, incident: &IncidentId, name: &str) -> bool {
        self.with(|state| state.told.contains(&(incident.clone(), name.to_owned())))
    }

    pub(super) fn begin(&self) {
        self.with(|state| state.busy += 1);
    }

    pub(super) fn end(&self) {
        self.with(|state| state.busy -= 1);
    }

    /// Nothing is on its way but what the engines themselves will do.
    pub(super) fn quiet(&self) -> bool {
        self.is_calm() && self.with(|state| state.busy == 0)
    }

    /// The accused deployments: in flight or long done.
    pub(super) fn deploy_all(&self) {
        for service in SERVICES {
            self.deploy(service);
        }
    }

    fn deploy(&self, service: &str) {
        let status = if self.chance(60) {
            "RUNNING"
        } else {
            "SUCCEEDED"
        };
        self.put_run(Run {
            id: deployment(service).to_string(),
            correlation: format!("deploy-{service}"),
            pipeline: "deploy-prod".into(),
            parameters: BTreeMap::new(),
            built: self.began,
            status,
            admit: Admit::Absent,
        });
    }
}

fn down((from, to): (Instant, Instant)) -> bool {
    let now = Instant::now();
    from <= now && now < to
}

pub(super) fn epoch() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

pub(super) fn at(after: Duration) -> Timestamp {
    epoch().checked_add(after).expect("a time")
}

pub(super) fn lane(service: &str) -> LaneName {
    format!("{service}@prod").parse().expect("a lane")
}

pub(super) fn deployment(service: &str) -> DeploymentId {
    format!("d-{service}").parse().expect("an id")
}

pub(super) fn release(service: &str, version: u32) -> ReleaseId {
    format!("{service}@{version}").parse().expect("a release")
}

#[derive(Debug)]
struct ModelClock {
    began: Instant,
    /// Milliseconds this replica is off.
    offset: i64,
}

impl Clock for ModelClock {
    fn now(&self) -> Timestamp {
        let offset = jiff::SignedDuration::from_millis(self.offset);
        let elapsed = self.began.elapsed();
        epoch()
            .checked_add(elapsed)
            .and_then(|at| at.checked_add(offset))
            .expect("a time")
    }
}
