//! One channel's sending: what waits, in which order it goes, and what becomes of it.
//!
//! Messages wait in memory and are owed in the ledger; the memory is only the quicker of the two.
//! A pump takes the most pressing first, asks the limit for all calls of a message before its
//! first, and makes a digest of what waits where the limit leaves no room for each.

mod choose;
mod heed;
mod job;
mod pump;
mod send;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify as Wake, Semaphore};
use tokio_util::task::TaskTracker;

pub(super) use self::job::{Fate, Job};
use super::Ear;
use super::breaker::Breaker;
use super::channel::Notifier;
use super::ledger::{EntryKey, Ledger};
use super::limit::Limit;
use super::parked::Parking;
use crate::domain::clock::SharedClock;
use crate::domain::id::ChannelName;
use crate::domain::notice::Link;

/// Calls of one channel in flight at once.
const WORKERS: usize = 4;
/// Messages of a channel in one replica's hands; more stay in the ledger until there is room.
const MAX_IN_HAND: usize = 2_000;
/// Charts of messages that wait behind this many are not kept: they will hardly be shown.
const WITH_CHARTS: usize = 50;

/// What a courier works with.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) name: ChannelName,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) limit: Arc<Limit>,
    /// The vendor's side, by a name that does not tell its secret.
    pub(super) target: String,
    /// Where the list of alerts is, for what a digest only counts.
    pub(super) list: Option<Link>,
    /// One sending keeps others away this long.
    pub(super) claim: Duration,
    pub(super) ledger: Ledger,
    pub(super) parking: Parking,
    pub(super) clock: SharedClock,
    pub(super) ear: Arc<dyn Ear>,
    pub(super) tasks: TaskTracker,
}

/// One channel's sending.
#[derive(Debug)]
pub(super) struct Courier {
    means: Means,
    workers: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    inbox: Mutex<Inbox>,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Inbox {
    jobs: Vec<Job>,
    pumping: bool,
    /// Nothing waits here any more: what can't go now stays owed.
    retired: bool,
    in_hand: HashSet<EntryKey>,
    /// Facts of messages in hand that stand in no ledger.
    alone: BTreeSet<String>,
    /// Threads of which a message is being sent: the next one waits for it.
    threads: BTreeMap<String, usize>,
}

impl Courier {
    pub(super) fn new(means: Means) -> Self {
        Self {
            means,
            workers: Arc::new(Semaphore::new(WORKERS)),
            breaker: Mutex::default(),
            inbox: Mutex::default(),
            wake: Wake::new(),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an entry may be taken in hand: it is not yet, and there is room.
    pub(super) fn wants(&self, key: &EntryKey) -> bool {
        let inbox = self.inbox();
        inbox.in_hand.len() < MAX_IN_HAND && !inbox.in_hand.contains(key)
    }

    /// Takes a message in hand. One that is there already, or finds no room, stays owed.
    pub(super) fn push(self: &Arc<Self>, mut job: Job) {
        let mut inbox = self.inbox();
        let why = match &job.key {
            Some(key) if inbox.in_hand.len() >= MAX_IN_HAND => {
                tracing::debug!(entry = %key.message_id(), "no room for a message in memory");
                Some("many messages wait for this channel")
            }
            Some(key) if !inbox.in_hand.insert(key.clone()) => Some("it is being sent"),
            None if !inbox.alone.is_disjoint(&job.message.covers) => Some("it is being sent"),
            None => {
                inbox.alone.extend(job.message.covers.iter().cloned());
                None
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            job.answer(Fate::Owed(why.to_owned()));
            return;
        }
        if inbox.jobs.len() >= WITH_CHARTS {
            job.chart = None;
        }
        self.post(inbox, job);
    }

    /// Puts a message that is in hand back among those that wait.
    fn push_back(self: &Arc<Self>, job: Job) {
        self.post(self.inbox(), job);
    }

    fn post(self: &Arc<Self>, mut inbox: MutexGuard<'_, Inbox>, job: Job) {
        inbox.jobs.push(job);
        if !inbox.pumping {
            inbox.pumping = true;
            self.means.tasks.spawn(Arc::clone(self).pump());
        }
        self.wake.notify_one();
    }

    /// Takes a message out of hand.
    fn release(&self, job: &Job) {
        let mut inbox = self.inbox();
        match &job.key {
            Some(key) => {
                inbox.in_hand.remove(key);
            }
            None => inbox
                .alone
                .retain(|fact| !job.message.covers.contains(fact)),
        }
    }

    /// Nothing waits here any more: what can't be sent at once stays owed, for another setup or
    /// another replica.
    pub(super) fn retire(&self) {
        self.inbox().retired = true;
        self.wake.notify_one();
    }
}
