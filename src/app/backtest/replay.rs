//! History, moment by moment: alerts begin and end, holds are asked again, releases are taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::fired::Fired;
use super::past::Past;
use super::remember::remember;
use super::world::World;
use super::{BacktestError, Progress, Quiet, Range, Witnesses, Would, guard_line, is_replayed};
use crate::app::judge::{Again, Gather, Judge, Judgement, Occasion, Resolved};
use crate::config::Config;
use crate::domain::alert::Fingerprint;
use crate::domain::clock;
use crate::domain::decision::{Decision, Guard, Outcome};
use crate::domain::id::{DeploymentId, Service};
use crate::explain::{self, Reason};
use crate::ingest::episode::{EpisodeId, Open};

/// How long the metrics store may take over one accusation: nobody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is replayed, and who is asked.
pub(super) struct Replay<'a> {
    pub(super) config: &'a Config,
    pub(super) witnesses: &'a Witnesses,
    pub(super) range: &'a Range,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) alerts: usize,
    pub(super) would: Vec<Would>,
    pub(super) quiet: Vec<Quiet>,
}

/// A wish that waits.
#[derive(Debug)]
struct Held {
    since: Timestamp,
    decision: Decision,
    due: Timestamp,
}

type Wish = (DeploymentId, Option<String>);

struct State {
    config: Config,
    world: World,
    open: BTreeMap<Fingerprint, Open>,
    held: BTreeMap<Wish, Held>,
    /// Deployments that these rules have taken back: what fires on is of another history.
    done: BTreeSet<DeploymentId>,
    /// Why each open alert has led to nothing so far.
    last: BTreeMap<Fingerprint, (Option<Service>, Reason)>,
    step: Duration,
    out: Replayed,
}

impl Replay<'_> {
    pub(super) async fn run(
        &self,
        fired: &[Fired],
        past: &mut Past,
    ) -> Result<Replayed, BacktestError> {
        let mut config = self.config.clone();
        config.timing.evidence_deadline = PATIENCE;
        let view = past.move_to(self.range.from).await?;
        let switches = past.switches.clone();
        let mut state = State {
            world: World::new(&config, self.witnesses, &past.clock, switches, view),
            config,
            open: BTreeMap::new(),
            held: BTreeMap::new(),
            done: BTreeSet::new(),
            last: BTreeMap::new(),
            step: self.range.step,
            out: Replayed::default(),
        };
        let mut events = events(fired, self.range.to);
        while let Some(at) = next_time(&events, &state.held).filter(|at| *at <= self.range.to) {
            state.world.view = past.move_to(at).await?;
            let mut begun = BTreeSet::new();
            while let Some((when, happening)) = events.pop() {
                if when > at {
                    events.push((when, happening));
                    break;
                }
                match happening {
                    Happening::Ends(alert) => state.ends(alert),
                    Happening::Begins(one) => begun.extend(state.begins(one, at, self.range)),
                }
            }
            state.look(&begun, at).await;
            (self.progress)(Progress::Replaying(at, state.out.would.len()));
        }
        for alert in state.open.keys().copied().collect::<Vec<_>>() {
            state.ends(alert);
        }
        state
            .out
            .quiet
            .sort_by_key(|quiet| std::cmp::Reverse(quiet.count));
        Ok(state.out)
    }
}

enum Happening<'a> {
    Ends(Fingerprint),
    Begins(&'a Fired),
}

/// Everything that happens, latest first; at one moment ends before beginnings.
fn events(fired: &[Fired], to: Timestamp) -> Vec<(Timestamp, Happening<'_>)> {
    let mut events: Vec<(Timestamp, Happening<'_>)> = Vec::new();
    for one in fired {
        events.push((one.from, Happening::Begins(one)));
        if one.until <= to {
            events.push((one.until, Happening::Ends(one.alert.fingerprint)));
        }
    }
    events.sort_by_key(|(at, happening)| {
        (
            std::cmp::Reverse(*at),
            matches!(happening, Happening::Ends(_)),
        )
    });
    events
}

fn next_time(
    events: &[(Timestamp, Happening<'_>)],
    held: &BTreeMap<Wish, Held>,
) -> Option<Timestamp> {
    let due = held.values().map(|held| held.due).min();
    let happens = events.last().map(|(at, _)| *at);
    due.into_iter().chain(happens).min()
}

impl State {
    fn ends(&mut self, alert: Fingerprint) {
        self.open.remove(&alert);
        let open = &self.open;
        self.held.retain(|_, held| {
            held.decision
                .alerts
                .iter()
                .any(|alert| open.contains_key(alert))
        });
        let Some((service, reason)) = self.last.remove(&alert) else {
            return;
        };
        let known = self.out.quiet.iter_mut();
        let same = known
            .into_iter()
            .find(|quiet| quiet.service == service && quiet.code == reason.code);
        match same {
            Some(quiet) => quiet.count += 1,
            None => self.out.quiet.push(Quiet {
                service,
                code: reason.code,
                example: reason.text,
                count: 1,
            }),
        }
    }

    /// The alert's fingerprint, when it is to be judged.
    fn begins(&mut self, one: &Fired, at: Timestamp, range: &Range) -> Option<Fingerprint> {
        let open = Open {
            id: EpisodeId {
                fingerprint: one.alert.fingerprint,
                start: one.alert.starts_at,
                life: 0,
            },
            began: at,
            latest_start: one.alert.starts_at,
            lease: None,
            open_ended: true,
            last_copy: at,
            thread: String::new(),
            alert: Arc::new(one.alert.clone()),
        };
        if let Some(wanted) = &range.service {
            let resolved = self.judge().resolve(&self.world.view, vec![open.clone()]);
            let service = resolved.first().and_then(|one| one.resolution.service());
            if service != Some(wanted) {
                return None;
            }
        }
        self.out.alerts += 1;
        self.open.insert(one.alert.fingerprint, open);
        Some(one.alert.fingerprint)
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            config: &self.config,
            sources: &self.world,
        }
    }

    fn resolved(&self) -> Vec<Resolved> {
        let open = self.open.values().cloned().collect();
        self.judge().resolve(&self.world.view, open)
    }

    /// Judges what has begun, and what is due again.
    async fn look(&mut self, begun: &BTreeSet<Fingerprint>, at: Timestamp) {
        if !begun.is_empty() {
            let resolved = self.resolved();
            let occasion = Occasion {
                truncated: 0,
                received_at: at,
                held_since: None,
                gather: Gather::Now(PATIENCE),
                again: false,
            };
            let judge = self.judge();
            let judgements = judge
                .judge(&self.world.view, &resolved, begun, occasion)
                .await;
            for judgement in judgements {
                self.take(judgement, at).await;
            }
        }
        let due = self.held.iter().filter(|(_, held)| held.due <= at);
        for wish in due.map(|(wish, _)| wish.clone()).collect::<Vec<_>>() {
            self.ask_again(&wish, at).await;
        }
    }

    async fn ask_again(&mut self, wish: &Wish, at: Timestamp) {
        let Some(held) = self.held.remove(wish) else {
            return;
        };
        if clock::since(at, held.since) >= self.config.timing.hold_end {
            return;
        }
        let resolved = self.resolved();
        let asked = Again {
            deployment: Some(&wish.0),
            decision: &held.decision,
            since: held.since,
            own_incident: false,
        };
        let again = self
            .judge()
            .ask_again(&self.world.view, &resolved, asked)
            .await;
        if let Some(judgement) = again.into_iter().next() {
            self.take_since(judgement, held.since, at).await;
        }
    }

    async fn take(&mut self, judgement: Judgement, at: Timestamp) {
        let wish = wish_of(&judgement.decision);
        let since = wish.and_then(|wish| self.held.get(&wish).map(|held| held.since));
        self.take_since(judgement, since.unwrap_or(at), at).await;
    }

    async fn take_since(&mut self, judgement: Judgement, since: Timestamp, at: Timestamp) {
        let decision = &judgement.decision;
        let handled = decision
            .deployment
            .as_ref()
            .is_some_and(|deployment| self.done.contains(deployment));
        if handled {
            for alert in &decision.alerts {
                self.last.remove(alert);
            }
            return;
        }
        if judgement.wants_rollback && would_act(decision) {
            self.take_back(&judgement, at).await;
            return;
        }
        let reason = explain::why(decision, &judgement.resolution.words());
        for alert in &decision.alerts {
            let reason = (decision.service.clone(), reason.clone());
            self.last.insert(*alert, reason);
        }
        if let Some(wish) =
            wish_of(decision).filter(|_| judgement.wants_rollback && waits(decision))
        {
            let soonest = clock::after(at, self.step);
            let held = Held {
                since,
                decision: decision.clone(),
                due: decision.recheck_at.map_or(soonest, |due| due.max(soonest)),
            };
            self.held.insert(wish, held);
        }
    }

    async fn take_back(&mut self, judgement: &Judgement, at: Timestamp) {
        let decision = &judgement.decision;
        let Some(context) = judgement.resolution.context() else {
            return;
        };
        for alert in &decision.alerts {
            self.last.remove(alert);
        }
        let deployment = context.deployment.id.clone();
        self.held.retain(|(held, _), _| *held != deployment);
        self.done.insert(deployment.clone());
        let names: BTreeSet<String> = judgement
            .alerts
            .iter()
            .map(|open| open.alert.name().to_owned())
            .collect();
        self.out.would.push(Would {
            at,
            service: context.service.clone(),
            env: context.env.clone(),
            deployment,
            release_id: context.release_id.clone(),
            target: decision.target.clone(),
            scope: decision
                .scope
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            rule: decision.rule.clone().unwrap_or_default(),
            shadow: decision.mode == crate::domain::policy::Mode::Shadow,
            alerts: names.into_iter().collect(),
            guards: decision.guards.iter().map(guard_line).collect(),
            really: None,
        });
        match remember(&self.world.lanes, judgement, at).await {
            Ok(grant) => self.world.grants.push(grant),
            // Cooldown and budget of what follows would be too lenient: say so.
            Err(why) => tracing::warn!("a replayed rollback is not remembered by its lane: {why}"),
        }
    }
}

fn wish_of(decision: &Decision) -> Option<Wish> {
    Some((decision.deployment.clone()?, decision.rule.clone()))
}

/// Whether every guard that the past can answer lets it through.
fn would_act(decision: &Decision) -> bool {
    let verified = decision
        .guards
        .iter()
        .any(|verdict| verdict.guard == Guard::Verify);
    let mut replayed = decision
        .guards
        .iter()
        .filter(|verdict| is_replayed(verdict.guard));
    let passes = replayed.all(|verdict| verdict.outcome.is_pass());
    verified && passes && decision.scope.is_some() && decision.target.is_some()
}

/// Whether only time stands in the way.
fn waits(decision: &Decision) -> bool {
    let denies = |outcome: &Outcome| matches!(outcome, Outcome::Deny(_));
    !decision
        .guards
        .iter()
        .any(|verdict| is_replayed(verdict.guard) && denies(&verdict.outcome))
}
