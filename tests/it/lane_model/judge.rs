//! What must hold of a world once it is over, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstop::act::budget::Grant;
use backstop::act::lane::LaneStore;
use backstop::domain::clock::ManualClock;
use backstop::domain::id::IncidentId;
use backstop::domain::lane::{Ending, Incident, LaneEntry, LaneState, Origin};
use backstop::domain::release::{Mark, MarkKind};
use backstop::store::{Store, chain, keys};
use object_store::memory::InMemory;

use super::Outcome;
use super::promises;
use super::replica::Replicas;
use super::world::{self, SERVICES, TIGHT, Touch, World};

/// Somebody who reads the lanes over an honest store.
pub(super) struct Watcher {
    lanes: LaneStore,
}

impl Watcher {
    pub(super) fn new(memory: &Arc<InMemory>) -> Self {
        let clock = ManualClock::at(world::epoch());
        let me = "watcher".parse().expect("an id");
        Self {
            lanes: LaneStore::new(honest(memory), clock, me),
        }
    }

    async fn lane(&self, service: &str) -> Arc<LaneState> {
        let lane = self.lanes.refresh(&world::lane(service)).await;
        lane.expect("a lane that can be read")
    }

    /// Nothing is open, and no report is owed.
    pub(super) async fn sees_all_over(&self) -> bool {
        let [story, other] = SERVICES;
        let over = |lane: &LaneState| {
            let mut closed = lane.closed.iter();
            lane.open.is_none() && closed.all(|one| one.revision >= one.due_revision())
        };
        over(&*self.lane(story).await) && over(&*self.lane(other).await)
    }
}

fn honest(memory: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(memory) as _, "model")
}

pub(super) async fn judge(
    world: &Arc<World>,
    memory: &Arc<InMemory>,
    replicas: &Replicas,
) -> Outcome {
    let watcher = Watcher::new(memory);
    let mut outcome = Outcome {
        violations: world.violations(),
        chain: String::new(),
        endings: Vec::new(),
        attempts: 0,
        answers: Vec::new(),
        counts: world.counts(),
    };
    for service in SERVICES {
        let lane = watcher.lane(service).await;
        let wrong = of_lane(service, &lane, world, memory, replicas).await;
        outcome.violations.extend(wrong);
        outcome.chain.push_str(&chain_text(&lane));
        let endings = lane.closed.iter().filter_map(|one| one.ending.clone());
        outcome.endings.extend(endings);
        let attempts = lane.closed.iter().map(|one| one.attempt).max();
        outcome.attempts = outcome.attempts.max(attempts.unwrap_or(0));
        let answers = lane.approvals.iter().map(|one| one.outcome.as_str());
        outcome.answers.extend(answers);
    }
    // People may have been asked, and have said no.
    if watcher.lane(SERVICES[0]).await.closed.is_empty() && world.people.is_none() {
        outcome
            .violations
            .push("no incident was ever opened".into());
    }
    outcome.violations.extend(documents(memory).await);
    outcome
        .violations
        .extend(budget(world, memory, &watcher).await);
    let left = watcher.lanes.unfinished().await.expect("announcements");
    if !left.open.is_empty() {
        let left = format!("{:?} are still announced", left.open);
        outcome.violations.push(left);
    }
    outcome
}

async fn of_lane(
    service: &str,
    lane: &LaneState,
    world: &World,
    memory: &Arc<InMemory>,
    replicas: &Replicas,
) -> Vec<String> {
    let mut violations = Vec::new();
    if let Some(open) = &lane.open {
        violations.push(format!("{} never ended: {:?}", open.id, open.stage));
    }
    if lane.skipped > 0 {
        violations.push(format!("{} links have no effect", lane.skipped));
    }
    for replica in replicas.all() {
        let lanes = replica.engine.lanes();
        let seen = lanes.refresh(&world::lane(service)).await;
        if seen.as_deref().ok() != Some(lane) {
            violations.push(format!("{} folds another lane", lanes.me()));
        }
    }
    let (name, prefix) = (world::lane(service), keys::lane(&world::lane(service)));
    let keys = honest(memory).list(&prefix).await.expect("keys");
    let expected: Vec<String> = (1..lane.next_seq)
        .map(|seq| chain::key(&prefix, seq))
        .collect();
    if keys != expected {
        violations.push("the lane has gaps".into());
    }
    let links = chain::read_from::<LaneEntry>(&honest(memory), &prefix, 1).await;
    violations.extend(promises::broken(world, &name, &links.expect("links")));
    for incident in lane.closed.iter().filter(|one| one.finished.is_some()) {
        if !world.was_told(&incident.id, "finished") {
            violations.push(format!("nobody heard that {} finished", incident.id));
        }
    }
    violations.extend(reports(lane, world, memory).await);
    let touched = world.touched().into_iter();
    let of_lane = |touch: &Touch| touch.incident.parts().map(|(lane, _)| lane);
    let touched = touched.filter(|touch| of_lane(touch) == Some(world::lane(service)));
    if world.admission {
        violations.extend(executions(&touched.collect::<Vec<_>>(), lane));
    }
    violations.extend(marks(service, memory, lane).await);
    violations
}

/// Each revision that is due is there, and was told of; no other is.
async fn reports(lane: &LaneState, world: &World, memory: &Arc<InMemory>) -> Vec<String> {
    let mut violations = Vec::new();
    for incident in &lane.closed {
        let id = &incident.id;
        let there = honest(memory).list(&keys::reports(id)).await;
        let there = there.expect("a listing");
        let noted = (1..=incident.revision).map(|one| keys::report(id, one, "record.json"));
        let noted: Vec<_> = noted.collect();
        // The execution that one was about may have been voided while it was written.
        if !there.starts_with(&noted) || there.len() > noted.len() + 1 {
            violations.push(format!("of the reports of {id} there are {there:?}"));
        }
        if incident.revision < incident.due_revision() {
            violations.push(format!("{id} still owes a report"));
        }
        for revision in 1..=incident.revision {
            if !world.was_told(id, &format!("report-{revision}")) {
                violations.push(format!("nobody heard of report {revision} of {id}"));
            }
        }
    }
    violations
}

/// At most one execution of an incident touches hosts, of its newest attempt, never two of the lane
/// at once, and the lane knows each that did.
fn executions(touched: &[Touch], lane: &LaneState) -> Vec<String> {
    let mut violations = Vec::new();
    let mut by_incident: BTreeMap<&IncidentId, Vec<&str>> = BTreeMap::new();
    for run in touched {
        by_incident.entry(&run.incident).or_default().push(&run.id);
        let incident = lane.incident(&run.incident);
        if incident.is_none_or(|one| one.attempt != run.attempt) {
            violations.push(format!("{} touched hosts, and was overtaken", run.id));
        }
        let known = incident.and_then(|one| one.admitted.as_ref());
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

/// Whatever the rules did to hosts has one grant; a tight budget has one such grant in its window.
async fn budget(world: &World, memory: &Arc<InMemory>, watcher: &Watcher) -> Vec<String> {
    let grants = chain::read_from::<Grant>(&honest(memory), &keys::budget(), 1).await;
    let grants: Vec<Grant> = grants
        .expect("grants")
        .into_iter()
        .map(|(_, one)| one)
        .collect();
    let touched: BTreeSet<IncidentId> = world
        .touched()
        .into_iter()
        .map(|run| run.incident)
        .collect();
    let mut violations = Vec::new();
    let mut counts = BTreeSet::new();
    for incident in &touched {
        let (lane, _) = incident.parts().expect("a lane");
        let lane = watcher
            .lanes
            .refresh(&lane)
            .await
            .expect("a lane that can be read");
        let known = lane.incident(incident);
        if known.is_some_and(|one| one.opened.origin != Origin::Automatic) {
            continue;
        }
        counts.insert(incident);
        let theirs = grants.iter().filter(|grant| grant.incident == *incident);
        let count = theirs.count();
        if count != 1 {
            violations.push(format!("{incident} was rolled back with {count} grants"));
        }
    }
    if world.tight_budget {
        let used: Vec<_> = grants
            .iter()
            .filter(|grant| counts.contains(&grant.incident))
            .collect();
        for pair in used.windows(2) {
            let apart = pair[1].at.duration_since(pair[0].at);
            if apart.unsigned_abs() < TIGHT {
                let (one, two) = (&pair[0].incident, &pair[1].incident);
                violations.push(format!("{one} and {two} are more than the budget allows"));
            }
        }
    }
    violations
}

/// Nothing is torn.
async fn documents(memory: &Arc<InMemory>) -> Vec<String> {
    let store = honest(memory);
    let mut violations = Vec::new();
    for prefix in ["lanes", "open", "marks", "budget", "reports"] {
        for key in store.list(prefix).await.expect("a listing") {
            if let Err(error) = store.get::<serde_json::Value>(&key).await {
                violations.push(error.to_string());
            }
        }
    }
    violations
}

async fn marks(service: &str, memory: &Arc<InMemory>, lane: &LaneState) -> Vec<String> {
    let prefix = keys::marks(&world::release(service, 2));
    let marks = chain::read_from::<Mark>(&honest(memory), &prefix, 1).await;
    let by: Vec<_> = marks
        .expect("marks")
        .into_iter()
        .filter(|(_, mark)| mark.kind == MarkKind::Bad)
        .filter_map(|(_, mark)| mark.incident)
        .collect();
    let once: BTreeSet<_> = by.iter().cloned().collect();
    let finished =
        |one: &&Incident| one.finished.is_some() && one.ending != Some(Ending::Superseded);
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
    let all = lane.closed.iter().chain(&lane.open);
    let events = all.flat_map(|one| &one.events);
    let lines = events.map(|entry| serde_json::to_string(entry).expect("JSON") + "\n");
    lines.collect()
}
