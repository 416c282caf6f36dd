//! A delivery of alerts, from its bytes to the answer its sender may believe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::core::Core;
use super::holds::Held;
use super::judge::{Gather, Judgement, Occasion};
use super::self_test;
use super::setup::Setup;
use super::spent::without_room;
use super::tell::{Part, channels_for};
use crate::act::engine::{OpenOutcome, covered_by};
use crate::config::Config;
use crate::domain::alert::{Alert, AlertGroup, Fingerprint, Source};
use crate::domain::context::Resolution;
use crate::domain::decision::Verdict;
use crate::domain::id::{ChannelName, IncidentId, LaneName};
use crate::domain::lane::Opened;
use crate::domain::record::Cause;
use crate::ingest::book::Observation;
use crate::ingest::episode::Open;
use crate::ingest::{self};
use crate::notify::Delivery;
use crate::store::{StoreError, keys};
use crate::web::api::{Accepted, AlertDelivery, Refusal};

/// The sender comes again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What opening an incident came to.
#[derive(Debug)]
pub(super) enum Opening {
    /// It is open.
    Opened(IncidentId),
    /// The lane does not take it now.
    NotNow,
    /// The budget of all services is spent, in words.
    NoRoom(String),
}

/// What one group came to.
#[derive(Debug, Default)]
struct Taken {
    accepted: Accepted,
    /// What could neither be done nor written down: the sender must send again.
    unsafe_: Vec<String>,
}

impl Taken {
    fn count(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Delivered => self.accepted.delivered += 1,
            Delivery::Pending => self.accepted.pending += 1,
            Delivery::Deduplicated => self.accepted.deduplicated += 1,
            // A refusal for good would come back for ever.
            Delivery::Refused(why) => self.accepted.ignored_because.push(why),
            Delivery::Lost(why) => self.unsafe_.push(why),
        }
    }
}

impl Core {
    /// Takes a delivery in. Ok: all of it is safe.
    ///
    /// # Errors
    /// A refusal for good, or that the sender must come again.
    pub(super) async fn take(
        self: &Arc<Self>,
        delivery: AlertDelivery,
    ) -> Result<Accepted, Refusal> {
        let at = delivery.received_at;
        let read = ingest::read(delivery.source, &delivery.body, at).map_err(|rejection| {
            let what = format!("a whole delivery was refused: {rejection}");
            self.diary.drop_alert(at, None, &what);
            Refusal::Invalid {
                code: rejection.code,
                pointer: rejection.pointer,
                reason: rejection.reason,
            }
        })?;
        for ignored in &read.ignored {
            let what = format!("an alert was left out: {ignored}");
            self.diary.drop_alert(at, None, &what);
        }
        let setup = self.setup().clone();
        let (tests, groups) = self_test::split_off(read.groups);
        for group in tests {
            self.take_self_tests(group);
        }
        let groups = groups
            .iter()
            .map(|group| self.take_group(&setup, group, delivery.deadline));
        let mut accepted = Accepted {
            ignored: read.ignored_count,
            ..Accepted::default()
        };
        accepted.ignored_because = read.ignored.iter().map(ToString::to_string).collect();
        let mut unsafe_ = Vec::new();
        for taken in join_all(groups).await {
            accepted.delivered += taken.accepted.delivered;
            accepted.pending += taken.accepted.pending;
            accepted.deduplicated += taken.accepted.deduplicated;
            accepted.ignored += taken.accepted.ignored;
            accepted
                .ignored_because
                .extend(taken.accepted.ignored_because);
            unsafe_.extend(taken.unsafe_);
        }
        match unsafe_.first() {
            None => Ok(accepted),
            Some(reason) => Err(Refusal::Unavailable {
                reason: reason.clone(),
                retry_after: RETRY_AFTER,
            }),
        }
    }

    async fn take_group(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        group: &AlertGroup,
        deadline: Instant,
    ) -> Taken {
        let now = self.ground.clock.now();
        let threads = self.threads(group);
        let observation = self.book.observe(group, now);
        self.count_alerts(group, &observation);
        self.diary.late_copies(group, &observation, now);
        if let Some(note) = observation.note.clone() {
            let core = Arc::clone(self);
            self.ground
                .tasks
                .spawn(async move { core.book.record(note, now).await });
        }
        let mut taken = Taken::default();
        let firing: BTreeSet<Fingerprint> = group
            .alerts
            .iter()
            .filter(|alert| alert.is_firing())
            .map(|alert| alert.fingerprint)
            .collect();
        let lanes = setup.config.lanes_named_in(&group.alerts);
        let view = self.view_with(setup, lanes.clone()).await;
        let open = self.book.open_where(related(group));
        let resolved = self.resolve(setup, &view, open);
        let occasion = Occasion {
            truncated: group.truncated,
            received_at: group.received_at,
            held_since: None,
            gather: match group.source {
                Source::Alertmanager => Gather::Now(setup.config.timing.evidence_deadline),
                // Its evaluation waits for us.
                Source::Vmalert => Gather::Later,
            },
            again: false,
        };
        let judgements = self.judge(setup, &view, &resolved, &firing, occasion).await;
        if let Some(why) = self.may_have_missed(&judgements, &lanes).await {
            taken.unsafe_.push(why);
        }
        let mut parts = Vec::new();
        for mut judgement in judgements {
            judgement.route(&setup.config, group);
            let of_group = judgement.alerts.iter().map(|open| open.alert.fingerprint);
            let thread = thread_of(&threads, of_group, group);
            let settled = self.settle(&mut judgement, &thread, occasion).await;
            if let Err(error) = settled {
                let why = format!("a wanted rollback or hold could not be written: {error}");
                taken.unsafe_.push(why);
            }
            parts.push(part_of(group, &observation, judgement, thread));
        }
        let services = &setup.config.services;
        parts.extend(ended_parts(
            &setup.config,
            group,
            &observation,
            |alert| crate::enrich::ladder::resolve(alert, &view, services),
            |alert| thread_of(&threads, [alert.fingerprint], group),
        ));
        if group.source == Source::Vmalert && !setup.config.sources.vmalert_notify {
            return taken;
        }
        for delivery in self.tell_parts(setup, group, parts, deadline).await {
            taken.count(delivery);
        }
        taken
    }

    /// Whether a rollback may be wanted that nobody can tell of: a rule asks for one, no deployment
    /// is known to accuse, and the lane that may know it can't be read.
    async fn may_have_missed(
        &self,
        judgements: &[Judgement],
        lanes: &BTreeSet<LaneName>,
    ) -> Option<String> {
        let untold = |judgement: &Judgement| {
            judgement.wants_rollback
                && matches!(judgement.resolution, Resolution::Unavailable { .. })
        };
        if !judgements.iter().any(untold) {
            return None;
        }
        for lane in lanes {
            if let Err(error) = self.lanes.refresh(lane).await {
                return Some(format!(
                    "a rollback may be wanted, but what is deployed can't be read: {error}"
                ));
            }
        }
        None
    }

    /// Does what was decided, or makes sure that it will be: an incident opened, or a hold written.
    async fn settle(
        self: &Arc<Self>,
        judgement: &mut Judgement,
        thread: &str,
        occasion: Occasion,
    ) -> Result<(), StoreError> {
        let decision = &judgement.decision;
        if matches!(decision.verdict, Verdict::Rollback(_)) && !decision.shadow {
            let opened = self
                .open_incident(judgement, thread, &judgement.channels)
                .await?;
            match opened {
                Opening::Opened(id) => judgement.decision.incident = Some(id),
                // The lane changed under us: asked again with the next look.
                Opening::NotNow => {
                    judgement.decision.verdict = Verdict::Hold;
                    judgement.decision.recheck_at = Some(judgement.decision.at);
                }
                Opening::NoRoom(why) => {
                    judgement.decision.verdict = Verdict::Hold;
                    without_room(&mut judgement.decision, &why);
                }
            }
        }
        self.write_down(judgement, Cause::Delivery, occasion.received_at)
            .await;
        if judgement.decision.verdict == Verdict::Hold && judgement.wants_rollback {
            self.hold(judgement, thread, occasion.gather).await?;
        }
        Ok(())
    }

    async fn hold(
        &self,
        judgement: &Judgement,
        thread: &str,
        gather: Gather,
    ) -> Result<(), StoreError> {
        let Judgement {
            decision,
            channels,
            alerts,
            ..
        } = judgement;
        let (Some(lane), Some(deployment), Some(rule)) =
            (&decision.lane, &decision.deployment, &decision.rule)
        else {
            return Ok(());
        };
        let held = Held {
            since: decision.at,
            decision: decision.clone(),
            thread: thread.to_owned(),
            channels: channels.clone(),
            episodes: alerts.iter().map(|open| open.id.to_string()).collect(),
            pending: gather == Gather::Later,
        };
        self.holds.put(lane, deployment, rule, held).await?;
        // What waits for another reason now is not left to its old time.
        let prefix = keys::hold(lane, deployment, rule);
        self.holds.ask_again_by(&prefix, decision.recheck_at);
        self.look_at_holds.notify_one();
        Ok(())
    }

    /// Where the open episodes of a group's alerts were told first.
    fn threads(&self, group: &AlertGroup) -> BTreeMap<Fingerprint, String> {
        let open = group
            .alerts
            .iter()
            .filter_map(|alert| self.book.open_of(alert.fingerprint));
        open.filter(|open| !open.thread.is_empty())
            .map(|open| (open.alert.fingerprint, open.thread))
            .collect()
    }

    fn count_alerts(&self, group: &AlertGroup, observation: &Observation) {
        let source = source_name(group.source);
        self.numbers
            .alerts(source, "kept", group.alerts.len() as u64);
        self.numbers.alerts(source, "truncated", group.truncated);
        for seen in &observation.seen {
            self.numbers.episode(seen.class.as_str());
        }
    }

    /// Opens the incident a judgement asks for, one after the other.
    pub(super) async fn open_incident(
        &self,
        judgement: &Judgement,
        thread: &str,
        channels: &[ChannelName],
    ) -> Result<Opening, StoreError> {
        let unknown = |reason: &str| StoreError::Unknown {
            key: "the lane".to_owned(),
            reason: reason.to_owned(),
        };
        let (Some(engine), Some(opened)) = (self.engine(), judgement.opening(thread, channels))
        else {
            return Ok(Opening::NotNow);
        };
        let Ok(lane) = LaneName::of(&opened.service, &opened.env) else {
            return Ok(Opening::NotNow);
        };
        let service = opened.service.clone();
        let setup = self.setup().clone();
        let _turn = self.opening.lock().await;
        let no_room = self.no_room(&setup, &service).await;
        let no_room = no_room.map_err(|why| unknown(&why))?;
        let state = self.lanes.as_read(&lane).await;
        // An incident that does it already needs no room of its own.
        if let Some(why) = no_room
            && covered_by(&state, &opened).is_none()
        {
            return Ok(Opening::NoRoom(why));
        }
        let supersedes = state.gives_way(&opened);
        let opened = Opened {
            supersedes,
            ..opened
        };
        match engine.open(opened).await {
            OpenOutcome::Opened(id) | OpenOutcome::Merged(id) => Ok(Opening::Opened(id)),
            OpenOutcome::Refused(why) => {
                tracing::info!(service = %service, "an incident was not opened: {why}");
                Ok(Opening::NotNow)
            }
            OpenOutcome::Unknown => Err(unknown("nobody can tell whether the incident is open")),
        }
    }
}

/// Alerts that ended, by what they accused; `thread` is where an alert was told first.
pub(super) fn ended_parts<'a>(
    config: &Config,
    group: &'a AlertGroup,
    observation: &Observation,
    resolve: impl Fn(&Alert) -> Resolution,
    thread: impl Fn(&Alert) -> String,
) -> Vec<Part<'a>> {
    let deployment = |resolution: &Resolution| {
        let context = resolution.context();
        context.map(|context| context.deployment.id.clone())
    };
    let mut parts: Vec<Part<'a>> = Vec::new();
    for seen in &observation.seen {
        let over = |alert: &&Alert| !alert.is_firing();
        let Some(alert) = group.alerts.get(seen.index).filter(over) else {
            continue;
        };
        let Some(fact) = &seen.fact else { continue };
        let resolution = resolve(alert);
        let channels = channels_for(config, alert, &resolution, &group.route_labels);
        let same = parts.iter_mut().find(|part| {
            deployment(&part.resolution) == deployment(&resolution) && part.channels == channels
        });
        match same {
            Some(part) => {
                part.alerts.push(alert);
                part.covers.insert(fact.clone());
            }
            None => parts.push(Part {
                resolution,
                decision: None,
                channels,
                alerts: vec![alert],
                covers: [fact.clone()].into(),
                thread: thread(alert),
            }),
        }
    }
    parts
}

/// Tells the group's own alerts, and open ones that may stand in the same accusation: those of
/// the same services.
pub(crate) fn related(group: &AlertGroup) -> impl Fn(&Open) -> bool {
    let own: BTreeSet<Fingerprint> = group.alerts.iter().map(|alert| alert.fingerprint).collect();
    let services: BTreeSet<&str> = group
        .alerts
        .iter()
        .filter_map(|alert| alert.label("service"))
        .collect();
    move |open| {
        own.contains(&open.alert.fingerprint)
            || open
                .alert
                .label("service")
                .is_some_and(|service| services.contains(service))
    }
}

/// The share of a judgement in a group's message.
pub(super) fn part_of<'a>(
    group: &'a AlertGroup,
    observation: &Observation,
    judgement: Judgement,
    thread: String,
) -> Part<'a> {
    let members: BTreeSet<Fingerprint> = judgement
        .alerts
        .iter()
        .map(|open| open.alert.fingerprint)
        .collect();
    let mine = |index: usize| {
        group
            .alerts
            .get(index)
            .filter(|alert| alert.is_firing() && members.contains(&alert.fingerprint))
    };
    let seen = observation
        .seen
        .iter()
        .filter(|seen| mine(seen.index).is_some());
    Part {
        covers: seen.clone().filter_map(|seen| seen.fact.clone()).collect(),
        alerts: seen.filter_map(|seen| mine(seen.index)).collect(),
        resolution: judgement.resolution,
        decision: Some(judgement.decision),
        channels: judgement.channels,
        thread,
    }
}

/// The thread in which the first known of `alerts` was told, else the group's own: a second
/// sender's copies of an episode belong to the ledger chain that tells of it already.
fn thread_of(
    threads: &BTreeMap<Fingerprint, String>,
    alerts: impl IntoIterator<Item = Fingerprint>,
    group: &AlertGroup,
) -> String {
    let known = alerts.into_iter().find_map(|alert| threads.get(&alert));
    known.unwrap_or(&group.key).clone()
}

/// A source's name in metrics.
pub(super) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Alertmanager => "alertmanager",
        Source::Vmalert => "vmalert",
    }
}
