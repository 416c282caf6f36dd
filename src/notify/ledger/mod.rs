//! Ledger and outbox in one: what was told to whom, and what is still owed.
//!
//! An entry is one message to one channel, created before anything is sent. Entries of a channel
//! and thread are a chain that names the facts they cover, so whoever loses a race for a number
//! reads again and tells only the rest. An entry is its writer's first claim to send it; beside it
//! lie numbered claims, one per later sending, and its end: `sent` or `failed`. Nothing undelivered
//! ever leaves the ledger.

mod documents;
mod owed;
mod record;
mod sending;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Mutex;

pub use self::documents::{End, Entry, EntryKey};
use self::owed::Seen;
pub use self::record::Recorded;
use self::record::{ChainState, InHand};
pub use self::thread::Told;
use super::channel::Receipt;
use crate::domain::clock::SharedClock;
use crate::domain::id::{ChannelName, ReplicaId};
use crate::store::Store;

/// Chains kept in memory; a colder one is read again.
const CACHED_CHAINS: u64 = 10_000;
/// Facts kept in memory, by channel.
const TOLD_FACTS: u64 = 200_000;
/// How long an idle chain is kept in memory.
const CHAIN_IDLE: Duration = Duration::from_hours(2);
/// A chain goes on over midnight: facts told this long ago still count.
const DAY: Duration = Duration::from_hours(24);

/// The ledger as one replica sees it.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    clock: SharedClock,
    me: ReplicaId,
    chains: Cache<String, Arc<Mutex<ChainState>>>,
    roots: Cache<String, Receipt>,
    /// Facts this replica knows to be told, by channel and whatever the thread: Alertmanager and a
    /// vmalert that posts directly tell of the same episode under different group keys.
    told: Cache<(ChannelName, String), ()>,
    /// Facts that went out while the store was away, whatever stands in the ledger about them.
    alone: Cache<(ChannelName, String), Receipt>,
    /// Facts being written down right now: two deliveries of one moment tell them once.
    in_hand: InHand,
    /// Ends that could not be written yet.
    unwritten: Arc<std::sync::Mutex<HashMap<EntryKey, End>>>,
    /// What is known of entries that have not ended: read once, not with every look.
    seen: Arc<std::sync::Mutex<Seen>>,
    /// How long a claim keeps others from sending.
    claim: Duration,
}

impl Ledger {
    /// A ledger over `store`; `claim` is how long a sending keeps others away.
    pub fn new(store: Store, clock: SharedClock, me: ReplicaId, claim: Duration) -> Self {
        let chains = Cache::builder()
            .max_capacity(CACHED_CHAINS)
            .time_to_idle(CHAIN_IDLE)
            .build();
        let roots = Cache::builder()
            .max_capacity(CACHED_CHAINS)
            .time_to_idle(CHAIN_IDLE)
            .build();
        let told = Cache::builder()
            .max_capacity(TOLD_FACTS)
            .time_to_live(DAY)
            .build();
        let alone = Cache::builder()
            .max_capacity(TOLD_FACTS)
            .time_to_live(DAY)
            .build();
        Self {
            store,
            clock,
            me,
            chains,
            roots,
            told,
            alone,
            in_hand: InHand::default(),
            unwritten: Arc::default(),
            seen: Arc::default(),
            claim,
        }
    }
}
