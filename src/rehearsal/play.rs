//! Plays a test: its deliveries and holds in the order of time, as the gateway would take them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::compare::{Failure, Outcome, Told, compare};
use super::deliveries::{deliveries, group};
use super::file::RawMoment;
use super::lanes::{LaneStep, steps};
use super::offset::Offset;
use super::script::Test;
use super::world::World;
use crate::app::intake::related;
use crate::app::judge::{Again, Gather, Judge, Judgement, Occasion};
use crate::domain::alert::{AlertGroup, Fingerprint, Source};
use crate::domain::clock::{self, Clock as _};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::id::{DeploymentId, ReplicaId};
use crate::ingest::book::EpisodeBook;
use crate::ingest::episode::EpisodeTiming;

/// The shortest time between two looks at a hold.
const SHORTEST_LOOK: Duration = Duration::from_secs(2);
/// More moments than this are not looked at: a mistake of the test, such as a repeat of 1ms.
pub(super) const MOST_MOMENTS: usize = 50_000;

/// Plays one test.
pub async fn play(test: &Test) -> Outcome {
    let failures = match Box::pin(Player::new(test).run()).await {
        Ok(failures) => failures,
        Err(why) => vec![Failure::of_test(test, why)],
    };
    Outcome {
        name: test.name.clone(),
        file: test.file.clone(),
        line: test.line,
        failures,
    }
}

/// A hold that stands.
struct Held {
    since: Timestamp,
    decision: Decision,
    thread: String,
    /// Not before this; None: at the moments of the test only.
    look_at: Option<Timestamp>,
}

struct Player<'t> {
    test: &'t Test,
    world: World,
    book: EpisodeBook,
    /// By deployment and rule.
    holds: BTreeMap<(DeploymentId, String), Held>,
    /// The newest decision about each alert.
    told: BTreeMap<Fingerprint, Arc<Told>>,
    steps: Vec<(Timestamp, LaneStep)>,
    deliveries: BTreeMap<Timestamp, BTreeSet<String>>,
}

impl<'t> Player<'t> {
    fn new(test: &'t Test) -> Self {
        let earliest = test.given.incidents.iter().map(|one| one.opened);
        let grants = test.given.grants.iter().map(|grant| grant.at);
        let begin = earliest.chain(grants).min().unwrap_or(Offset::START);
        let begin = begin.min(Offset::START).after(test.start);
        let world = World::new(test, begin);
        let timing = &test.config.timing;
        let episodes = EpisodeTiming {
            gap: timing.episode_gap,
            remind_after: timing.remind_after,
        };
        let me = ReplicaId::random();
        Self {
            book: EpisodeBook::new(world.store.clone(), me, episodes, timing.skew),
            deliveries: deliveries(test),
            test,
            world,
            holds: BTreeMap::new(),
            told: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    async fn run(mut self) -> Result<Vec<Failure>, String> {
        self.steps = steps(&self.world)?;
        let moments: BTreeMap<Timestamp, Vec<&RawMoment>> = {
            let mut by_time: BTreeMap<Timestamp, Vec<&RawMoment>> = BTreeMap::new();
            for moment in &self.test.moments {
                let at = moment.eval_time.value.after(self.test.start);
                by_time.entry(at).or_default().push(moment);
            }
            by_time
        };
        let Some((end, _)) = moments.last_key_value() else {
            return Ok(Vec::new());
        };
        let mut failures = Vec::new();
        let mut next = Some(self.world.clock.now());
        let mut looked = 0;
        while let Some(at) = next.filter(|at| at <= end) {
            looked += 1;
            if looked > MOST_MOMENTS {
                return Err(format!("more than {MOST_MOMENTS} moments in one test"));
            }
            let due = moments.get(&at);
            self.pass(at, due.is_some()).await?;
            for moment in due.into_iter().flatten() {
                failures.extend(compare(self.test, moment, &self.standing()));
            }
            next = self.after(at, moments.keys().copied());
        }
        failures.extend(self.unanswered());
        Ok(failures)
    }

    /// The next time at which anything happens.
    fn after(&self, at: Timestamp, moments: impl Iterator<Item = Timestamp>) -> Option<Timestamp> {
        let soonest = clock::after(at, SHORTEST_LOOK);
        let holds = self.holds.values().filter_map(|held| held.look_at);
        let holds = holds.map(|look| look.max(soonest));
        let steps = self.steps.iter().map(|(at, _)| *at);
        let deliveries = self.deliveries.keys().copied();
        let others = steps.chain(deliveries).chain(moments);
        others.filter(|one| *one > at).chain(holds).min()
    }

    /// Everything that happens at one moment.
    async fn pass(&mut self, at: Timestamp, look_at_all: bool) -> Result<(), String> {
        self.move_to(at).await?;
        while let Some(place) = self.steps.iter().position(|(when, _)| *when <= at) {
            let (_, step) = self.steps.remove(place);
            let later = self.world.take(step).await?;
            self.steps.extend(later);
            self.move_to(at).await?;
        }
        // Nobody hears of an expiry here; the alert is over.
        let _expired = self.book.sweep(at).await;
        for group in self.deliveries.remove(&at).unwrap_or_default() {
            self.deliver(&group, at).await?;
        }
        let due: Vec<_> = self
            .holds
            .iter()
            .filter(|(_, held)| look_at_all || held.look_at.is_some_and(|look| look <= at))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.look_at(&key, at).await?;
        }
        Ok(())
    }

    async fn move_to(&mut self, at: Timestamp) -> Result<(), String> {
        let moved = self.world.move_to(at).await;
        moved.map_err(|error| error.to_string())
    }

    /// A delivery of one group, as intake takes it.
    async fn deliver(&mut self, name: &str, at: Timestamp) -> Result<(), String> {
        let group = group(self.test, name, at);
        self.book.observe(&group, at);
        let firing: BTreeSet<Fingerprint> = group
            .alerts
            .iter()
            .filter(|alert| alert.is_firing())
            .map(|alert| alert.fingerprint)
            .collect();
        let lanes = self.world.config.lanes_named_in(&group.alerts);
        let view = self.world.view(lanes).await;
        let judge = self.judge();
        let resolved = judge.resolve(&view, self.book.open_where(related(&group)));
        let gather = match group.source {
            Source::Alertmanager => Gather::Now(self.world.config.timing.evidence_deadline),
            Source::Vmalert => Gather::Later,
        };
        let occasion = Occasion {
            truncated: group.truncated,
            received_at: at,
            held_since: None,
            gather,
            again: false,
        };
        let judgements = judge.judge(&view, &resolved, &firing, occasion).await;
        for judgement in judgements {
            self.settle(judgement, &group, at).await?;
        }
        Ok(())
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            config: &self.world.config,
            sources: &self.world,
        }
    }

    async fn settle(
        &mut self,
        mut judgement: Judgement,
        group: &AlertGroup,
        at: Timestamp,
    ) -> Result<(), String> {
        if wants_incident(&judgement.decision) && !self.open(&mut judgement, &group.key).await? {
            judgement.decision.verdict = Verdict::Hold;
            judgement.decision.recheck_at = Some(at);
        }
        self.tell(&judgement);
        let decision = &judgement.decision;
        let (Verdict::Hold, true, Some(deployment), Some(rule)) = (
            &decision.verdict,
            judgement.wants_rollback,
            &decision.deployment,
            &decision.rule,
        ) else {
            return Ok(());
        };
        let pending = group.source == Source::Vmalert;
        let key = (deployment.clone(), rule.clone());
        let look_at = if pending {
            Some(at)
        } else {
            decision.recheck_at
        };
        match self.holds.get_mut(&key) {
            // One that stands is not put back to "pending".
            Some(_) if pending => {}
            Some(held) => {
                held.decision = decision.clone();
                held.look_at = look_at;
            }
            None => {
                let held = Held {
                    since: at,
                    decision: decision.clone(),
                    thread: group.key.clone(),
                    look_at,
                };
                self.holds.insert(key, held);
            }
        }
        Ok(())
    }

    /// Opens the incident a judgement asks for; false when the lane does not take it now.
    async fn open(&mut self, judgement: &mut Judgement, thread: &str) -> Result<bool, String> {
        let Some(opened) = judgement.opening(thread, &judgement.channels) else {
            return Ok(false);
        };
        let end = self.world.usual_end();
        match self.world.open(opened, Some(end)).await? {
            Ok((id, later)) => {
                judgement.decision.incident = Some(id);
                self.steps.extend(later);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// A hold, asked again as the gateway's sweep does.
    async fn look_at(&mut self, key: &(DeploymentId, String), at: Timestamp) -> Result<(), String> {
        let Some(held) = self.holds.get(key) else {
            return Ok(());
        };
        if clock::since(at, held.since) >= self.world.config.timing.hold_end {
            self.holds.remove(key);
            return Ok(());
        }
        let view = self.world.view(held.decision.lane.clone()).await;
        let judge = self.judge();
        let resolved = judge.resolve(&view, self.book.open_alerts());
        let asked = Again {
            deployment: held.decision.deployment.as_ref(),
            decision: &held.decision,
            since: held.since,
            own_incident: false,
        };
        let thread = held.thread.clone();
        let again = judge.ask_again(&view, &resolved, asked).await;
        let Some(mut judgement) = again.into_iter().next() else {
            let alerts = held.decision.alerts.iter();
            if alerts.clone().all(|alert| self.book.is_over(*alert)) {
                self.holds.remove(key);
            }
            return Ok(());
        };
        let stays = match &judgement.decision.verdict {
            Verdict::Hold => true,
            _ if wants_incident(&judgement.decision) => !self.open(&mut judgement, &thread).await?,
            Verdict::Rollback(_) | Verdict::Notify => false,
        };
        if !stays {
            self.holds.remove(key);
        } else if let Some(held) = self.holds.get_mut(key) {
            held.look_at = judgement.decision.recheck_at.or(held.look_at.map(|_| at));
            if judgement.decision.verdict != Verdict::Hold {
                // The lane changed under it: the next look decides anew.
                held.look_at = Some(at);
                return Ok(());
            }
            held.decision = judgement.decision.clone();
        }
        self.tell(&judgement);
        Ok(())
    }

    fn tell(&mut self, judgement: &Judgement) {
        let decision = &judgement.decision;
        let same = |told: &&Arc<Told>| {
            told.decision.verdict == decision.verdict
                && told.decision.rule == decision.rule
                && told.obstacle() == decision.deciding_guard().map(|one| one.guard)
        };
        let known = decision
            .alerts
            .iter()
            .find_map(|alert| self.told.get(alert));
        let told = Arc::new(Told {
            since: known.filter(same).map_or(decision.at, |told| told.since),
            decision: decision.clone(),
            channels: judgement.channels.clone(),
        });
        for alert in &decision.alerts {
            self.told.insert(*alert, Arc::clone(&told));
        }
    }

    /// The newest decisions about alerts that are open.
    fn standing(&self) -> Vec<Arc<Told>> {
        let mut found: Vec<Arc<Told>> = Vec::new();
        for open in self.book.open_alerts() {
            if let Some(told) = self.told.get(&open.alert.fingerprint)
                && !found.iter().any(|one| Arc::ptr_eq(one, told))
            {
                found.push(Arc::clone(told));
            }
        }
        found
    }

    /// What was asked of the metrics store and is not written down: the test can't be believed.
    fn unanswered(&self) -> Option<Failure> {
        let metrics = self.world.metrics.as_ref()?;
        let unanswered = metrics
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (!unanswered.is_empty()).then(|| {
            let lines: Vec<String> = unanswered
                .iter()
                .map(|query| format!("\n  {query}"))
                .collect();
            let text = format!(
                "the metrics store was asked what the test has no `answers` for:{}",
                lines.concat()
            );
            Failure::of_test(self.test, text)
        })
    }
}

/// Whether a decision is to be acted on.
fn wants_incident(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Rollback(_)) && !decision.shadow
}
