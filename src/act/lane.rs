//! Folded lanes, kept up to date by reading only new links, and the one way to append to them.
//!
//! To append is to read, decide on the folded state, and try to win the next number; whoever
//! loses it reads again and decides again. A write whose outcome can't be told within
//! [`APPEND_DEADLINE`] is reported as unknown, and the caller does nothing with it: should it
//! land later, it is a link like any other and every replica goes on from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::seams::Witness;
use crate::domain::clock::SharedClock;
use crate::domain::id::{IncidentId, LaneName, ReplicaId};
use crate::domain::lane::{Ending, Incident, LaneEntry, LaneEvent, LaneState};
use crate::store::{Created, Store, StoreError, Write, chain, keys};

/// How long the outcome of an append is pursued.
pub const APPEND_DEADLINE: Duration = Duration::from_secs(5);

/// A link as it stands: of our vocabulary, or of a version that knows more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Link {
    Known(Box<LaneEntry>),
    Foreign(serde_json::Value),
}

/// What became of an append.
#[derive(Debug, Clone)]
pub enum Appended {
    /// The event stands, and this is the lane with it.
    Won {
        /// Its number.
        seq: u64,
        /// The lane.
        lane: Arc<LaneState>,
    },
    /// The transition wanted nothing in this state.
    Declined {
        /// The lane.
        lane: Arc<LaneState>,
    },
}

impl Appended {
    /// The lane afterwards.
    pub fn lane(&self) -> &Arc<LaneState> {
        match self {
            Self::Won { lane, .. } | Self::Declined { lane } => lane,
        }
    }

    /// Whether the event stands.
    pub fn is_won(&self) -> bool {
        matches!(self, Self::Won { .. })
    }
}

/// The announced incidents that somebody has to look after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Incidents that are open, that owe a report, or were escalated and may owe people an end.
    pub open: Vec<IncidentId>,
    /// Lanes that can't be read now, with the reason.
    pub unreadable: Vec<(LaneName, String)>,
}

type Shared = Arc<tokio::sync::Mutex<Arc<LaneState>>>;

/// A replica's view of all lanes; cheap to clone.
#[derive(Clone)]
pub struct LaneStore {
    store: Store,
    clock: SharedClock,
    me: ReplicaId,
    lanes: Arc<Mutex<BTreeMap<LaneName, Shared>>>,
    witness: Option<Arc<dyn Witness>>,
}

impl fmt::Debug for LaneStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneStore")
            .field("store", &self.store)
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl LaneStore {
    /// A view with nothing read yet; `me` signs what it appends.
    pub fn new(store: Store, clock: SharedClock, me: ReplicaId) -> Self {
        Self {
            store,
            clock,
            me,
            lanes: Arc::default(),
            witness: None,
        }
    }

    /// The same view, with somebody who hears of what it appends.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who appends.
    pub fn me(&self) -> &ReplicaId {
        &self.me
    }

    /// The lane as it stands now.
    ///
    /// # Errors
    /// When the store can't be reached or a link is damaged.
    pub async fn refresh(&self, lane: &LaneName) -> Result<Arc<LaneState>, StoreError> {
        let shared = self.shared(lane);
        let mut state = shared.lock().await;
        self.read_new(lane, &mut state).await?;
        Ok(Arc::clone(&state))
    }

    /// The lane as this replica read it last, which may be never: nothing is asked of the store.
    pub async fn as_read(&self, lane: &LaneName) -> Arc<LaneState> {
        Arc::clone(&*self.shared(lane).lock().await)
    }

    /// Appends the event `transition` wants in the lane's present state, or nothing.
    ///
    /// It runs again after every lost number, so it must decide on the state alone. An event that
    /// is not legal is not written: that counts as wanting nothing.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when nobody can tell whether the event stands; treat it as not
    /// done. Otherwise nothing was written.
    pub async fn append_with(
        &self,
        lane: &LaneName,
        mut transition: impl FnMut(&LaneState) -> Option<LaneEvent>,
    ) -> Result<Appended, StoreError> {
        let shared = self.shared(lane);
        let mut state = shared.lock().await;
        loop {
            self.read_new(lane, &mut state).await?;
            let event = transition(&state).filter(|event| state.check(&self.me, event).is_ok());
            let Some(event) = event else {
                let lane = Arc::clone(&state);
                return Ok(Appended::Declined { lane });
            };
            let seq = state.next_seq;
            if matches!(event, LaneEvent::Opened(_)) {
                self.announce(lane, seq).await?;
            }
            let entry = LaneEntry {
                at: self.clock.now(),
                by: self.me.clone(),
                event,
            };
            if self.try_append(lane, seq, &mut state, entry).await? {
                let lane = Arc::clone(&state);
                return Ok(Appended::Won { seq, lane });
            }
        }
    }

    /// The incidents announced and not over. Announcements that came to nothing are removed
    /// once their number is taken by something else.
    ///
    /// # Errors
    /// When the announcements can't be listed.
    pub async fn unfinished(&self) -> Result<Unfinished, StoreError> {
        let mut found = Unfinished {
            open: Vec::new(),
            unreadable: Vec::new(),
        };
        for key in self.store.list("open").await? {
            let name = key.strip_prefix("open/").unwrap_or(&key);
            let Ok(id) = IncidentId::new(name) else {
                continue;
            };
            let Some((lane, seq)) = id.parts() else {
                continue;
            };
            match self.refresh(&lane).await {
                Err(error) => found.unreadable.push((lane, error.to_string())),
                Ok(state) if state.incident(&id).is_some_and(needs_care) => {
                    found.open.push(id);
                }
                // The number is taken, by an incident that is over or by another event.
                Ok(state) if state.next_seq > seq => self.forget(&id).await?,
                // Its append may still come.
                Ok(_) => {}
            }
        }
        Ok(found)
    }

    /// Removes the announcement of an incident that is over.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn forget(&self, id: &IncidentId) -> Result<(), StoreError> {
        let Some((lane, seq)) = id.parts() else {
            return Ok(());
        };
        self.store.delete(&keys::open(&lane, seq)).await
    }

    async fn announce(&self, lane: &LaneName, seq: u64) -> Result<(), StoreError> {
        // Another replica's announcement of the same number serves as well.
        self.store
            .create(&keys::open(lane, seq), &self.me)
            .await
            .map(|_: Created| ())
    }

    /// Tries to win `seq`; false when another has it. The state then stands before it.
    async fn try_append(
        &self,
        lane: &LaneName,
        seq: u64,
        state: &mut Arc<LaneState>,
        entry: LaneEntry,
    ) -> Result<bool, StoreError> {
        let key = chain::key(&keys::lane(lane), seq);
        let damaged = |reason: String| StoreError::Damaged {
            key: key.clone(),
            reason,
        };
        let bytes = serde_json::to_vec(&entry).map_err(|error| damaged(error.to_string()))?;
        // What is folded here is what the others will read.
        let link = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if matches!(link, Link::Foreign(_)) {
            return Err(damaged("it would not be read as it was written".into()));
        }
        let write = Write::new(&link).map_err(|error| damaged(error.to_string()))?;
        match self.pursue(&key, &write).await? {
            Created::Taken => Ok(false),
            Created::Mine => {
                take_in(Arc::make_mut(state), lane, seq, &link);
                self.bear_witness(lane, seq, state, &link);
                Ok(true)
            }
        }
    }

    fn bear_witness(&self, lane: &LaneName, seq: u64, state: &LaneState, link: &Link) {
        let (Some(witness), Link::Known(entry)) = (&self.witness, link) else {
            return;
        };
        let opened = || IncidentId::of(lane, seq).ok();
        let id = entry.event.incident().cloned().or_else(opened);
        if let Some(incident) = id.and_then(|id| state.incident(&id)) {
            witness.appended(incident, entry);
        }
    }

    /// One logical write, until its outcome is known or the deadline has passed.
    async fn pursue(&self, key: &str, write: &Write) -> Result<Created, StoreError> {
        let deadline = Instant::now() + APPEND_DEADLINE;
        loop {
            match self.store.create_write(key, write).await {
                Err(StoreError::Unknown { .. }) if Instant::now() < deadline => {}
                outcome => return outcome,
            }
        }
    }

    async fn read_new(
        &self,
        lane: &LaneName,
        state: &mut Arc<LaneState>,
    ) -> Result<(), StoreError> {
        let prefix = keys::lane(lane);
        let links = chain::read_from::<Link>(&self.store, &prefix, state.next_seq).await?;
        for (seq, link) in &links {
            take_in(Arc::make_mut(state), lane, *seq, link);
        }
        Ok(())
    }

    fn shared(&self, lane: &LaneName) -> Shared {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(lane.clone()).or_default())
    }
}

fn needs_care(incident: &Incident) -> bool {
    let over = incident.is_closed() && incident.revision >= incident.due_revision();
    !over || incident.ending == Some(Ending::Superseded)
}

fn take_in(state: &mut LaneState, lane: &LaneName, seq: u64, link: &Link) {
    let outcome = match link {
        Link::Known(entry) => state.apply(seq, entry),
        Link::Foreign(_) => {
            tracing::warn!(lane.name = %lane, lane.seq = seq, "link {seq} of lane {lane} is not of this version's vocabulary and has no effect here");
            state.skip(seq)
        }
    };
    if let Err(illegal) = outcome {
        tracing::warn!(lane.name = %lane, lane.seq = seq, "link {seq} of lane {lane} has no effect: {illegal}");
    }
}

#[cfg(test)]
mod tests;
