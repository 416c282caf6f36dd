//! Hears what `notify` and the lanes go through, and counts it.
//!
//! How long after an alert's start a step came is counted by the replica whose append, or whose
//! message, it was: once per incident over all replicas. One that dies right after its append
//! counts nothing, so a histogram may lack an incident, and never has one twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::core::Core;
use crate::act::seams::Witness;
use crate::domain::alert::AlertStatus;
use crate::domain::clock;
use crate::domain::id::ChannelName;
use crate::domain::lane::{Ending, Incident, LaneEntry, LaneEvent};
use crate::domain::notice::{Message, NoticeKind};
use crate::notify::{Broken, Ear};
use crate::store::StoreError;
use crate::telemetry::metrics::{Metrics, Step};

/// Alerts kept in mind as told; more, and an old one would be counted for a second channel.
const TOLD: usize = 10_000;

/// The ear of one gateway process.
#[derive(Debug)]
pub(super) struct Hearing {
    numbers: Arc<Metrics>,
    core: OnceLock<Weak<Core>>,
    work: TaskTracker,
    /// First facts about alerts that some channel has.
    told: Mutex<HashSet<String>>,
}

impl Hearing {
    /// An ear that counts, and tells nobody before [`Hearing::belongs_to`].
    pub(super) fn new(numbers: Arc<Metrics>, work: TaskTracker) -> Self {
        Self {
            numbers,
            core: OnceLock::new(),
            work,
            told: Mutex::default(),
        }
    }

    /// Whose ear it is; called once, when that is built.
    pub(super) fn belongs_to(&self, core: &Arc<Core>) {
        drop(self.core.set(Arc::downgrade(core)));
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get().and_then(Weak::upgrade)
    }

    /// When the gateway first read one of an incident's alerts, as far as this replica knows.
    fn received(&self, incident: &Incident) -> Option<Timestamp> {
        let core = self.core()?;
        let alerts = incident.opened.decision.alerts.iter();
        alerts
            .filter_map(|alert| core.book.open_of(*alert))
            .map(|open| open.began)
            .min()
    }
}

impl Ear for Hearing {
    fn attempt(&self, channel: &ChannelName, kind: &'static str, outcome: &'static str) {
        self.numbers.delivery(channel.as_str(), kind, outcome);
    }

    fn sent(&self, message: &Message) {
        let notice = &message.notice;
        let firsts = message.covers.iter().filter(|fact| is_first(fact));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > TOLD {
            told.clear();
        }
        let news = firsts.filter(|fact| told.insert((*fact).clone())).count() > 0;
        drop(told);
        let firing = notice.alerts.iter();
        let firing = firing.filter(|alert| alert.status == AlertStatus::Firing);
        let started = firing.filter_map(|alert| known(alert.starts_at)).min();
        if let (NoticeKind::Alert, true, Some(started), Some(core)) =
            (notice.kind, news, started, self.core())
        {
            let now = core.ground.clock.now();
            self.numbers
                .alert_latency(Step::Told, clock::since(now, started));
        }
    }

    fn broken(&self, broken: Broken) {
        let Some(core) = self.core() else { return };
        self.work
            .spawn(async move { core.tell_broken(broken).await });
    }

    fn owed(&self, count: usize) {
        self.numbers
            .outbox_pending
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn store_trouble(&self, doing: &'static str, error: &StoreError) {
        self.numbers.error("notify", "store");
        tracing::warn!("the store can't be used for {doing}: {error}");
    }
}

impl Witness for Hearing {
    fn appended(&self, incident: &Incident, entry: &LaneEntry) {
        if is_first_report(entry)
            && let Some(accepted) = incident.submitted_at
        {
            self.numbers
                .report_latency(clock::since(entry.at, accepted));
        }
        let Some(started) = alert_start(incident) else {
            return;
        };
        let mut steps: Vec<(Step, Timestamp)> = steps(incident, &entry.event)
            .into_iter()
            .map(|step| (step, entry.at))
            .collect();
        if matches!(entry.event, LaneEvent::Opened(_)) {
            steps.push((Step::Decided, incident.opened.decision.at));
            steps.extend(self.received(incident).map(|at| (Step::Received, at)));
        }
        for (step, at) in steps {
            self.numbers.alert_latency(step, clock::since(at, started));
        }
    }
}

/// The fact that an alert began to fire, as against a reminder of it or its end.
fn is_first(fact: &str) -> bool {
    fact.ends_with("/firing/0")
}

/// A time that is one: senders write the year 1 or 1970 for "no time".
fn known(at: Timestamp) -> Option<Timestamp> {
    (at.as_second() > 0).then_some(at)
}

fn is_first_report(entry: &LaneEntry) -> bool {
    matches!(entry.event, LaneEvent::Reported { revision: 1, .. })
}

/// When the first alert behind an incident began to fire. None where no alert led straight to it:
/// a person asked for it, or it escalates another one.
fn alert_start(incident: &Incident) -> Option<Timestamp> {
    let opened = &incident.opened;
    if opened.supersedes.is_some() {
        return None;
    }
    let starts = opened.alerts.iter().map(|alert| alert.starts_at);
    starts.filter_map(known).min()
}

/// The steps an event is, the first time each happens in its incident: a second attempt counts no
/// second time.
fn steps(incident: &Incident, event: &LaneEvent) -> Vec<Step> {
    let step = match event {
        LaneEvent::Opened(_) => Step::Opened,
        LaneEvent::Submitting { .. } => Step::Asked,
        LaneEvent::Submitted { .. } => Step::Accepted,
        LaneEvent::Admitted { .. } => Step::Admitted,
        LaneEvent::Finished { .. } => Step::Finished,
        LaneEvent::Reported { revision: 1, .. } => Step::Reported,
        LaneEvent::Recovery {
            ending: Ending::Recovered,
            ..
        } => Step::Recovered,
        _ => return Vec::new(),
    };
    let times = |other: &LaneEvent| {
        let same = |entry: &&LaneEntry| entry.event.as_str() == other.as_str();
        incident.events.iter().filter(same).count()
    };
    let accepted = |entry: &&LaneEntry| {
        matches!(
            entry.event,
            LaneEvent::Submitted { .. } | LaneEvent::Admitted { .. }
        )
    };
    match step {
        Step::Reported => vec![step],
        // An execution that asks to be let in was accepted, whether or not Gate's answer came first.
        Step::Accepted | Step::Admitted => {
            let first = incident.events.iter().filter(accepted).count() == 1;
            let accepted = first.then_some(Step::Accepted);
            let admitted = (step == Step::Admitted && times(event) == 1).then_some(step);
            accepted.into_iter().chain(admitted).collect()
        }
        _ if times(event) == 1 => vec![step],
        _ => Vec::new(),
    }
}
