//! A vendor that keeps its limits, and replicas that talk to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::memory::InMemory;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::domain::alert::{AlertStatus, Fingerprint};
use crate::domain::clock::{ManualClock, SharedClock};
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::{AlertLine, Message, Notice, NoticeKind};
use crate::notify::channel::{Class, Notifier, Outgoing, Probe, Proof, Receipt, SendError};
use crate::notify::{Broken, ChannelSetup, Delivery, Ear, Limits, Notify, NotifySettings};
use crate::store::{Store, StoreError};

pub(super) const PATIENCE: Duration = Duration::from_secs(8);
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// A message as the vendor shows it.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// Names of the alerts it tells, a digest's too.
    pub(super) names: Vec<String>,
    /// Alerts a digest counts only.
    pub(super) counted: u64,
    pub(super) thread: Option<Receipt>,
    pub(super) plain: bool,
    pub(super) at: Instant,
}

/// A vendor that answers as scripted, then as its limit allows.
#[derive(Debug, Default)]
pub(super) struct Vendor {
    script: Mutex<VecDeque<Class>>,
    /// Lines that fit into one call.
    lines: Option<usize>,
    /// Calls it takes in a minute; over it, it bans.
    limit: Option<usize>,
    /// How long an answer takes.
    pub(super) latency: Duration,
    taken: Mutex<Vec<Taken>>,
    calls: Mutex<VecDeque<Instant>>,
    pub(super) refused: Mutex<u32>,
}

impl Vendor {
    pub(super) fn scripted(classes: &[Class]) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(classes.iter().copied().collect()),
            ..Self::default()
        })
    }

    /// Takes `limit` calls a minute of `lines` lines each.
    pub(super) fn strict(limit: usize, lines: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: Some(limit),
            lines: Some(lines),
            latency: Duration::from_millis(700),
            ..Self::default()
        })
    }

    pub(super) fn all(&self) -> Vec<Taken> {
        lock(&self.taken).clone()
    }

    pub(super) fn taken(&self) -> Vec<Vec<String>> {
        self.all().into_iter().map(|one| one.names).collect()
    }

    pub(super) fn is_script_over(&self) -> bool {
        lock(&self.script).is_empty()
    }

    fn is_over_its_limit(&self) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        let mut calls = lock(&self.calls);
        let now = Instant::now();
        while calls.front().is_some_and(|at| now - *at >= MINUTE) {
            calls.pop_front();
        }
        calls.push_back(now);
        calls.len() > limit
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lines(notice: &Notice) -> Vec<String> {
    match &notice.digest {
        Some(digest) => {
            let names = digest.lines.iter();
            names
                .flat_map(|line| vec![line.name.clone(); usize::try_from(line.count).unwrap()])
                .collect()
        }
        None => notice
            .alerts
            .iter()
            .map(|alert| alert.name.clone())
            .collect(),
    }
}

#[async_trait]
impl Notifier for Vendor {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        let lines = lines(message.notice).len();
        let calls = self.lines.map_or(1, |most| lines.div_ceil(most).max(1));
        u32::try_from(calls).unwrap() - message.resume.map_or(0, |receipt| receipt.parts)
    }

    fn preview(&self, _: &Outgoing<'_>) -> Result<Vec<crate::notify::channel::Body>, SendError> {
        Ok(Vec::new())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let mut receipt = Receipt {
            parts: message.resume.map_or(0, |receipt| receipt.parts),
            chart_bytes: None,
            notes: Vec::new(),
            merged: 0,
            proof: Proof::Bot {
                reference: message.message_id.to_owned(),
            },
        };
        let error = |class, partial| SendError {
            class,
            code: "scripted".into(),
            detail: "scripted".into(),
            fix: None,
            partial,
        };
        let mut left = self.parts(message);
        while left > 0 {
            if receipt.parts - message.resume.map_or(0, |receipt| receipt.parts) == message.at_most
            {
                return Err(error(Class::More, Some(Box::new(receipt))));
            }
            let over = self.is_over_its_limit();
            tokio::time::sleep(self.latency).await;
            let next = lock(&self.script).pop_front();
            if let Some(class) = next {
                return Err(error(class, None));
            }
            if over {
                *lock(&self.refused) += 1;
                return Err(error(Class::Wait(MINUTE * 10), None));
            }
            receipt.parts += 1;
            left -= 1;
        }
        lock(&self.taken).push(Taken {
            names: lines(message.notice),
            counted: message
                .notice
                .digest
                .as_ref()
                .map_or(0, |_| message.notice.truncated),
            thread: message.thread.cloned(),
            plain: message.plain,
            at: Instant::now(),
        });
        Ok(receipt)
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        Ok(Probe::CannotTell)
    }
}

#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(super) fn has(&self, what: &str) -> bool {
        lock(&self.0).iter().any(|one| one == what)
    }

    /// What was said of channels that take nothing.
    pub(super) fn broken(&self) -> Vec<String> {
        let said = lock(&self.0);
        let broken = said.iter().filter_map(|one| one.strip_prefix("broken "));
        broken.map(str::to_owned).collect()
    }
}

impl Ear for Heard {
    fn attempt(&self, _: &ChannelName, _: &'static str, outcome: &'static str) {
        lock(&self.0).push(outcome.to_owned());
    }

    fn sent(&self, _: &Message) {}

    fn broken(&self, broken: Broken) {
        let what = match broken.until {
            Some(until) => format!("{} until {until}", broken.code),
            None => broken.code,
        };
        lock(&self.0).push(format!("broken {what}"));
    }

    fn owed(&self, count: usize) {
        lock(&self.0).push(format!("owed {count}"));
    }

    fn store_trouble(&self, doing: &'static str, _: &StoreError) {
        lock(&self.0).push(format!("trouble {doing}"));
    }
}

pub(super) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) heard: Arc<Heard>,
    pub(super) calls: u32,
    pub(super) replicas: u32,
    pub(super) tasks: TaskTracker,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            store: Store::in_memory(),
            clock: ManualClock::at(now()),
            heard: Arc::default(),
            calls: 600,
            replicas: 1,
            tasks: TaskTracker::new(),
        }
    }

    pub(super) fn replica(&self, vendor: &Arc<Vendor>) -> Notify {
        let notifier: Arc<dyn Notifier> = Arc::<Vendor>::clone(vendor);
        let setup = ChannelSetup {
            notifier,
            target: "bot".into(),
            calls: self.calls,
            window: MINUTE,
        };
        let settings = NotifySettings {
            channels: [(ops(), setup)].into(),
            replicas: self.replicas,
            send_claim: Duration::from_secs(30),
            list: None,
            limits: Arc::new(Limits::default()),
        };
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        let ear: Arc<dyn Ear> = Arc::<Heard>::clone(&self.heard);
        Notify::new(
            settings,
            self.store.clone(),
            &clock,
            ReplicaId::random(),
            &self.tasks,
            &ear,
        )
    }

    /// Lets time pass, on the wall and for tasks.
    pub(super) async fn pass(&self, by: Duration) {
        self.clock.advance(by);
        tokio::time::sleep(by).await;
    }

    /// Waits for all that is being sent.
    pub(super) async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

pub(super) fn ops() -> ChannelName {
    ChannelName::new("ops").unwrap()
}

pub(super) fn message(alerts: &[&str]) -> Message {
    let line = |name: &&str| {
        let labels = [("alertname".to_owned(), (*name).to_owned())].into();
        AlertLine {
            fingerprint: Fingerprint::of(&labels),
            name: (*name).to_owned(),
            severity: "critical".into(),
            status: AlertStatus::Firing,
            starts_at: now(),
            message: String::new(),
            labels,
        }
    };
    let alerts: Vec<AlertLine> = alerts.iter().map(line).collect();
    let covers = alerts
        .iter()
        .map(|alert| format!("{}@{}/firing/0", alert.fingerprint, now()))
        .collect();
    let mut notice = Notice::blank(NoticeKind::Alert, "{}:{alertname=\"A\"}", "A", now());
    "critical".clone_into(&mut notice.severity);
    notice.alerts = alerts;
    Message {
        channel: ops(),
        notice,
        covers,
    }
}

/// The same in a thread of its own.
pub(super) fn group(name: &str) -> Message {
    let mut message = message(&[name]);
    message.notice.thread = format!("group {name}");
    message
}

/// Tells it with the patience of a webhook.
pub(super) async fn tell(notify: &Notify, message: Message) -> Delivery {
    notify.tell(message, None, PATIENCE).await
}

/// A store that does not answer.
pub(super) fn away() -> Store {
    let throttle = object_store::throttle::ThrottleConfig {
        wait_put_per_call: Duration::from_hours(1),
        wait_get_per_call: Duration::from_hours(1),
        wait_list_per_call: Duration::from_hours(1),
        ..object_store::throttle::ThrottleConfig::default()
    };
    let store = object_store::throttle::ThrottledStore::new(InMemory::new(), throttle);
    Store::new(Arc::new(store), "away")
}
