//! The episode book: the fold, shared between replicas through the store.
//!
//! One document per delivery that brought news, written at start, half lease and end; the others
//! tail them. Nothing waits for it: with the store down the book goes on in memory, says so, and
//! writes down later what it could not. Being told twice is prevented by the ledger, not here.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::episode::{Class, Entry, EpisodeId, EpisodeTiming, Episodes, FORGET_AFTER, Open, Seen};
use crate::domain::alert::{AlertGroup, Fingerprint};
use crate::domain::clock;
use crate::domain::id::ReplicaId;
use crate::store::{Created, Store, StoreError, keys};

/// Documents read at once.
const READ_AHEAD: usize = 16;
/// Documents read at the start, newest ones.
const FIRST_READ: usize = 5_000;
/// Notes kept for a store that is down; the oldest go first.
const MAX_BACKLOG: usize = 1_000;

/// One delivery's news, for the other replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    by: ReplicaId,
    pub(super) entries: Vec<Entry>,
}

/// What a delivery means.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// Each alert of the group, judged, in its order.
    pub seen: Vec<Seen>,
    /// What the other replicas should know: hand it to [`EpisodeBook::record`]. None: nothing new.
    pub note: Option<Note>,
}

impl Observation {
    /// Places in the group of the alerts of this class.
    pub fn of(&self, class: Class) -> impl Iterator<Item = usize> {
        let matching = self.seen.iter().filter(move |seen| seen.class == class);
        matching.map(|seen| seen.index)
    }

    /// Names of everything people should know after this delivery; the ledger knows what they do.
    pub fn covers(&self) -> BTreeSet<String> {
        self.seen
            .iter()
            .filter_map(|seen| seen.fact.clone())
            .collect()
    }
}

/// An episode that ended because nobody vouched for it any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Expiry {
    /// Which.
    pub episode: EpisodeId,
    /// Its last copy, still marked as firing.
    pub last: Open,
    /// The name of the fact to tell.
    pub fact: String,
}

struct Tail {
    /// Where the next listing begins; None before the first.
    since: Option<Timestamp>,
    /// Keys behind `since` that were read already.
    read: BTreeSet<String>,
}

/// The episodes of all replicas, as this one knows them.
pub struct EpisodeBook {
    store: Store,
    replica: ReplicaId,
    skew: Duration,
    gap: Duration,
    episodes: Mutex<Episodes>,
    tail: tokio::sync::Mutex<Tail>,
    backlog: Mutex<VecDeque<Note>>,
    alone: AtomicBool,
}

impl std::fmt::Debug for EpisodeBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpisodeBook")
            .field("replica", &self.replica)
            .field("alone", &self.is_alone())
            .finish_non_exhaustive()
    }
}

impl EpisodeBook {
    /// An empty book; [`Self::refresh`] fills it with what is in the store. `skew` is by how much
    /// replicas' clocks may differ.
    pub fn new(store: Store, replica: ReplicaId, timing: EpisodeTiming, skew: Duration) -> Self {
        Self {
            store,
            replica,
            skew,
            gap: timing.gap,
            episodes: Mutex::new(Episodes::new(timing)),
            tail: tokio::sync::Mutex::new(Tail {
                since: None,
                read: BTreeSet::new(),
            }),
            backlog: Mutex::new(VecDeque::new()),
            alone: AtomicBool::new(false),
        }
    }

    fn episodes(&self) -> MutexGuard<'_, Episodes> {
        // The fold is left consistent by every step, also by one that panicked.
        self.episodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a delivery. Memory only: no store is asked.
    pub fn observe(&self, group: &AlertGroup, now: Timestamp) -> Observation {
        let mut episodes = self.episodes();
        episodes.delivering(&group.key);
        let mut entries = Vec::new();
        let judge = |(index, alert)| {
            let (seen, news) = episodes.see(index, alert, now);
            entries.extend(news);
            seen
        };
        let seen = group.alerts.iter().enumerate().map(judge).collect();
        let note = (!entries.is_empty()).then(|| self.note(entries));
        Observation { seen, note }
    }

    fn note(&self, entries: Vec<Entry>) -> Note {
        Note {
            by: self.replica.clone(),
            entries,
        }
    }

    /// Writes a note down; with the store down it is kept and written by a later
    /// [`Self::refresh`]. True when it is in the store.
    pub async fn record(&self, note: Note, now: Timestamp) -> bool {
        match self.write(&note, now).await {
            Ok(()) => true,
            Err(error) => {
                if !self.alone.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "episodes are kept in memory only until the store answers");
                }
                let mut backlog = self.backlog();
                if backlog.len() == MAX_BACKLOG {
                    backlog.pop_front();
                }
                backlog.push_back(note);
                false
            }
        }
    }

    async fn write(&self, note: &Note, now: Timestamp) -> Result<(), StoreError> {
        // Named by the time of writing, not of observing: the others list from where they were.
        let unique = uuid::Uuid::new_v4().simple().to_string();
        match self
            .store
            .create(&keys::episodes(now, &unique), note)
            .await?
        {
            Created::Mine => Ok(()),
            Created::Taken => Err(StoreError::Unknown {
                key: keys::episodes(now, &unique),
                reason: "a fresh name was taken".into(),
            }),
        }
    }

    /// Reads what other replicas wrote since the last time, and writes down what is left over from
    /// an outage. Returns how many documents were new.
    ///
    /// # Errors
    /// When the store can't be reached; the book then counts as alone.
    pub async fn refresh(&self, now: Timestamp) -> Result<usize, StoreError> {
        let outcome = match self.catch_up(now).await {
            Ok(count) => self.flush(now).await.map(|()| count),
            Err(error) => Err(error),
        };
        self.alone.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    }

    async fn catch_up(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut tail = self.tail.lock().await;
        let overlap = 2 * self.skew + crate::store::CREATE_DEADLINE;
        let first = tail.since.is_none();
        let since = tail
            .since
            .unwrap_or_else(|| clock::before(now, FORGET_AFTER));
        let from = clock::before(since, overlap);
        let to = clock::after(now, self.skew);
        let mut found = self.store.list_days("episodes", from, to).await?;
        found.retain(|key| !tail.read.contains(key));
        if first && found.len() > FIRST_READ {
            found.drain(..found.len() - FIRST_READ);
        }
        let count = found.len();
        let mut notes = stream::iter(found)
            .map(async |key| (self.store.get::<Note>(&key).await, key))
            .buffered(READ_AHEAD);
        while let Some((note, key)) = notes.next().await {
            match note {
                Ok(Some(note)) if note.by != self.replica => {
                    let mut episodes = self.episodes();
                    note.entries
                        .into_iter()
                        .for_each(|entry| episodes.absorb(entry, now));
                }
                Ok(_) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::warn!(%error, "an episode document is left out");
                }
                Err(error) => return Err(error),
            }
            tail.read.insert(key);
        }
        tail.since = Some(now);
        let horizon = keys::episodes(clock::before(now, overlap), "");
        tail.read = tail.read.split_off(&horizon);
        Ok(count)
    }

    async fn flush(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let Some(note) = self.backlog().pop_front() else {
                return Ok(());
            };
            if let Err(error) = self.write(&note, now).await {
                self.backlog().push_front(note);
                return Err(error);
            }
        }
    }

    /// Ends what nobody vouches for any more. Every replica finds the same and names it alike.
    /// While the store is away, another replica may have heard of it: then it waits twice the gap
    /// longer.
    pub async fn sweep(&self, now: Timestamp) -> Vec<Expiry> {
        let patience = if self.is_alone() {
            2 * self.gap
        } else {
            Duration::ZERO
        };
        let ended = self.episodes().sweep(now, patience);
        if !ended.is_empty() {
            let entries = ended.iter().map(|(_, over)| Entry::Over(over.clone()));
            // A failure is kept as backlog and said there.
            let _stored = self.record(self.note(entries.collect()), now).await;
        }
        let expiry = |(last, over): (Open, super::episode::Over)| Expiry {
            fact: format!("{}/resolved/0", over.id),
            episode: over.id,
            last,
        };
        ended.into_iter().map(expiry).collect()
    }

    /// Every open episode with its last copy, by id.
    pub fn open_alerts(&self) -> Vec<Open> {
        self.open_where(|_| true)
    }

    /// The open episodes that are `wanted`, by id. A storm has thousands open, and each copy is
    /// kilobytes: only what is asked for is copied.
    pub fn open_where(&self, wanted: impl Fn(&Open) -> bool) -> Vec<Open> {
        let mut open: Vec<Open> = self
            .episodes()
            .open()
            .filter(|open| wanted(open))
            .cloned()
            .collect();
        open.sort_unstable_by_key(|open| open.id);
        open
    }

    /// The open episode of a fingerprint, if there is one.
    pub fn open_of(&self, fingerprint: Fingerprint) -> Option<Open> {
        self.episodes().open_of(fingerprint).cloned()
    }

    /// Whether the newest episode of a fingerprint is known to be over.
    pub fn is_over(&self, fingerprint: Fingerprint) -> bool {
        self.episodes().is_over(fingerprint)
    }

    /// Whether the store was unreachable last time, so that this replica knows only its own part.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
