use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::memory::InMemory;

use super::channel::{Class, Outgoing, Probe, Proof, Receipt, SendError};
use super::*;
use crate::domain::alert::{AlertStatus, Fingerprint};
use crate::domain::clock::ManualClock;
use crate::domain::notice::{AlertLine, Notice, NoticeKind};
use crate::store::StoreError;

/// A vendor that answers as scripted, then takes everything.
#[derive(Debug, Default)]
struct Vendor {
    script: Mutex<VecDeque<Class>>,
    taken: Mutex<Vec<Vec<String>>>,
    threads: Mutex<Vec<Option<Receipt>>>,
}

impl Vendor {
    fn scripted(classes: &[Class]) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(classes.iter().copied().collect()),
            ..Self::default()
        })
    }

    fn taken(&self) -> Vec<Vec<String>> {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Notifier for Vendor {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn parts(&self, _: &Outgoing<'_>) -> u32 {
        1
    }

    fn preview(&self, _: &Outgoing<'_>) -> Result<Vec<String>, SendError> {
        Ok(Vec::new())
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let next = self.script.lock().unwrap().pop_front();
        if let Some(class) = next {
            return Err(SendError {
                class,
                code: "scripted".into(),
                detail: "scripted".into(),
                partial: None,
            });
        }
        let names = message.notice.alerts.iter().map(|alert| alert.name.clone());
        self.taken.lock().unwrap().push(names.collect());
        self.threads.lock().unwrap().push(message.thread.cloned());
        let proof = Proof::Bot {
            reference: message.message_id.to_owned(),
        };
        Ok(Receipt {
            parts: 1,
            chart_bytes: None,
            notes: Vec::new(),
            proof,
        })
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        Ok(Probe::CannotTell)
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Ear for Heard {
    fn attempt(&self, _: &ChannelName, _: &'static str, outcome: &'static str) {
        self.0.lock().unwrap().push(outcome.to_owned());
    }

    fn broken(&self, broken: Broken) {
        self.0
            .lock()
            .unwrap()
            .push(format!("broken {}", broken.code));
    }

    fn owed(&self, count: usize) {
        self.0.lock().unwrap().push(format!("owed {count}"));
    }

    fn store_trouble(&self, doing: &'static str, _: &StoreError) {
        self.0.lock().unwrap().push(format!("trouble {doing}"));
    }
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

struct World {
    store: Store,
    clock: Arc<ManualClock>,
    heard: Arc<Heard>,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::in_memory(),
            clock: ManualClock::at(now()),
            heard: Arc::default(),
        }
    }

    fn replica(&self, vendor: &Arc<Vendor>) -> Notify {
        let notifier: Arc<dyn Notifier> = Arc::<Vendor>::clone(vendor);
        let setup = ChannelSetup {
            notifier,
            per_minute: 600,
        };
        let settings = NotifySettings {
            channels: [(ops(), setup)].into(),
            replicas: 1,
            send_claim: Duration::from_secs(30),
        };
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        let ear: Arc<dyn Ear> = Arc::<Heard>::clone(&self.heard);
        Notify::new(
            settings,
            self.store.clone(),
            &clock,
            ReplicaId::random(),
            TaskTracker::new(),
            ear,
        )
    }
}

fn ops() -> ChannelName {
    ChannelName::new("ops").unwrap()
}

fn message(alerts: &[&str]) -> Message {
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
    let notice = Notice {
        kind: NoticeKind::Alert,
        thread: "{}:{alertname=\"A\"}".into(),
        at: now(),
        subject: "A".into(),
        status: AlertStatus::Firing,
        severity: "critical".into(),
        service: None,
        env: None,
        release_id: None,
        version: None,
        deployment: None,
        batches: BTreeSet::new(),
        phase: None,
        context_missing: None,
        stale_as_of: None,
        hosts: Vec::new(),
        alerts,
        truncated: 0,
        metric: None,
        chart: None,
        chart_missing: None,
        decision: None,
        incident: None,
        execution: None,
        links: Vec::new(),
    };
    Message {
        channel: ops(),
        notice,
        covers,
    }
}

const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_and_only_news_are_told() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let notify = world.replica(&vendor);
    assert_eq!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Delivered
    );
    assert_eq!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Deduplicated
    );
    assert_eq!(
        notify.tell(message(&["a", "b"]), None, PATIENCE).await,
        Delivery::Delivered
    );
    assert_eq!(vendor.taken(), [["a"], ["b"]]);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_told_the_same_make_one_message() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let (one, two) = (world.replica(&vendor), world.replica(&vendor));
    let outcomes = futures::join!(
        one.tell(message(&["a"]), None, PATIENCE),
        two.tell(message(&["a", "b"]), None, PATIENCE)
    );
    assert!(
        outcomes.0 == Delivery::Delivered || outcomes.1 == Delivery::Delivered,
        "{outcomes:?}"
    );
    let mut told: Vec<String> = vendor.taken().concat();
    told.sort();
    assert_eq!(told, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_replica_owes_is_delivered_by_another_after_its_claim() {
    let (world, vendor) = (
        World::new(),
        Vendor::scripted(&[Class::Retry, Class::Retry, Class::Retry]),
    );
    let one = world.replica(&vendor);
    assert_eq!(
        one.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Pending
    );
    let two = world.replica(&vendor);
    two.sweep_once().await.unwrap();
    two.tasks.close();
    assert!(vendor.taken().is_empty(), "the claim still stands");
    world.clock.advance(Duration::from_secs(31));
    let three = world.replica(&vendor);
    three.sweep_once().await.unwrap();
    three.tasks.close();
    three.tasks.wait().await;
    assert_eq!(vendor.taken(), [["a"]]);
    world.clock.advance(Duration::from_secs(31));
    let four = world.replica(&vendor);
    four.sweep_once().await.unwrap();
    four.tasks.close();
    four.tasks.wait().await;
    assert_eq!(vendor.taken().len(), 1, "it ended");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_refuses_for_good_is_reported_and_not_retried() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Permanent]));
    let notify = world.replica(&vendor);
    assert!(matches!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Refused(_)
    ));
    world.clock.advance(Duration::from_mins(10));
    notify.sweep_once().await.unwrap();
    notify.tasks.close();
    notify.tasks.wait().await;
    assert!(vendor.taken().is_empty());
    assert!(
        world
            .heard
            .0
            .lock()
            .unwrap()
            .contains(&"broken scripted".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_once_more_and_no_more() {
    let (world, vendor) = (
        World::new(),
        Vendor::scripted(&[Class::MaybeSent, Class::MaybeSent]),
    );
    let notify = world.replica(&vendor);
    assert_eq!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Pending
    );
    assert!(vendor.script.lock().unwrap().is_empty(), "asked twice");
}

/// A store that is away until told otherwise.
fn away() -> Store {
    let throttle = object_store::throttle::ThrottleConfig {
        wait_put_per_call: Duration::from_hours(1),
        wait_get_per_call: Duration::from_hours(1),
        wait_list_per_call: Duration::from_hours(1),
        ..object_store::throttle::ThrottleConfig::default()
    };
    Store::new(
        Arc::new(object_store::throttle::ThrottledStore::new(
            InMemory::new(),
            throttle,
        )),
        "away",
    )
}

#[tokio::test(start_paused = true)]
async fn with_the_store_away_messages_still_go_out_once() {
    let (mut world, vendor) = (World::new(), Vendor::scripted(&[]));
    world.store = away();
    let notify = world.replica(&vendor);
    assert_eq!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Delivered
    );
    assert_eq!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Deduplicated
    );
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn with_store_and_channel_away_the_sender_must_send_again() {
    let (mut world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 9]));
    world.store = away();
    let notify = world.replica(&vendor);
    assert!(matches!(
        notify.tell(message(&["a"]), None, PATIENCE).await,
        Delivery::Lost(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_answers_to_the_first_message_that_was_delivered() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let notify = world.replica(&vendor);
    notify.tell(message(&["a"]), None, PATIENCE).await;
    let mut started = message(&[]);
    started.notice.kind = NoticeKind::RollbackStarted;
    started.covers = ["checkout@prod-1/started".to_owned()].into();
    // Another replica, which was not there before.
    let two = world.replica(&vendor);
    assert_eq!(two.tell(started, None, PATIENCE).await, Delivery::Delivered);
    let threads = vendor.threads.lock().unwrap().clone();
    assert!(threads[0].is_none());
    assert!(threads[1].is_some());
}
