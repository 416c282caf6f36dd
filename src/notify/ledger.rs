//! Ledger and outbox in one: what was told to whom, and what is still owed.
//!
//! An entry is one message to one channel, created before anything is sent. Entries of a channel
//! and thread are a chain that names the facts they cover, so whoever loses a race for a number
//! reads again and tells only the rest. Beside an entry lie numbered claims (one per sending) and
//! its end: `sent` or `failed`. Nothing undelivered ever leaves the ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::channel::Receipt;
use crate::domain::clock::{self, SharedClock};
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::{Message, NoticeKind};
use crate::store::{Created, Store, StoreError, chain, keys};

/// Chains kept in memory; a colder one is read again.
const CACHED_CHAINS: u64 = 10_000;
/// Facts kept in memory, by channel.
const TOLD_FACTS: u64 = 200_000;
/// How long an idle chain is kept in memory.
const CHAIN_IDLE: Duration = Duration::from_hours(2);
/// A cold chain is read within this time, or the store counts as away.
const LOAD_DEADLINE: Duration = Duration::from_secs(1);
/// A fresh entry is left to its writer this long.
const GRACE: Duration = Duration::from_secs(5);
/// A chain goes on over midnight: facts told this long ago still count.
const DAY: Duration = Duration::from_hours(24);

/// One message to one channel, as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// By whom.
    pub by: ReplicaId,
    /// What is told, and which facts that covers.
    pub message: Message,
}

/// Where an entry is: its chain and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// The chain's prefix.
    pub chain: String,
    /// Its number there.
    pub seq: u64,
}

impl EntryKey {
    /// A stable name of the message for vendors: the same on every replica and retry.
    pub fn message_id(&self) -> String {
        format!("{}-{}", keys::hashed(&self.chain), self.seq)
    }

    fn beside(&self, name: &str) -> String {
        format!("{}/{}/{name}.json", self.chain, keys::number(self.seq))
    }
}

/// Somebody is sending an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    by: ReplicaId,
    at: Timestamp,
}

/// How an entry ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The vendor has it.
    Sent {
        /// When.
        at: Timestamp,
        /// The vendor's answer, for follow-ups.
        receipt: Receipt,
        /// True when an answer was lost on the way: it may have arrived twice.
        maybe_twice: bool,
    },
    /// It can never be delivered there.
    Failed {
        /// When.
        at: Timestamp,
        /// The vendor's code.
        code: String,
        /// In words.
        detail: String,
    },
}

/// What became of a message on its way into the ledger.
#[derive(Debug)]
pub enum Recorded {
    /// It stands there and is to be sent.
    New {
        /// Where.
        key: EntryKey,
        /// What is left to tell.
        message: Box<Message>,
        /// Nothing stands before it in its thread, so there is nothing to follow up.
        first: bool,
    },
    /// Every fact of it was told, or is being told, already.
    Known,
    /// The store can't be written: this replica remembers alone.
    Alone(Box<Message>, StoreError),
}

/// A message of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// To whom.
    pub channel: ChannelName,
    /// When it was written down.
    pub at: Timestamp,
    /// What it was about.
    pub kind: NoticeKind,
    /// `sent`, `pending`, or the vendor's refusal.
    pub outcome: String,
}

/// Facts by channel that somebody is writing down.
type InHand = Arc<std::sync::Mutex<HashSet<(ChannelName, String)>>>;

/// One writer's share of [`InHand`]; given back when it is done, however that ends.
struct Reserved<'a> {
    all: &'a InHand,
    mine: HashSet<(ChannelName, String)>,
}

impl<'a> Reserved<'a> {
    fn of(all: &'a InHand) -> Self {
        Self {
            all,
            mine: HashSet::new(),
        }
    }

    /// Whether the fact is this writer's to tell.
    fn take(&mut self, channel: &ChannelName, fact: &str) -> bool {
        let key = (channel.clone(), fact.to_owned());
        if self.mine.contains(&key) {
            return true;
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone()) && self.mine.insert(key)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.mine {
            all.remove(key);
        }
    }
}

#[derive(Debug, Default)]
struct ChainState {
    next_seq: u64,
    covered: BTreeSet<String>,
    /// The thread was told of on the day before.
    older: bool,
}

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
    /// Facts being written down right now: two deliveries of one moment tell them once.
    in_hand: InHand,
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
        Self {
            store,
            clock,
            me,
            chains,
            roots,
            told,
            in_hand: InHand::default(),
            claim,
        }
    }

    /// Writes `message` down, without the facts that were told already.
    pub async fn record(&self, mut message: Message) -> Recorded {
        let now = self.clock.now();
        let chain = keys::ledger(&keys::day(now), &message.channel, &message.notice.thread);
        let loaded = tokio::time::timeout(LOAD_DEADLINE, self.chain(&chain, &message, now)).await;
        let state = match loaded {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => return Recorded::Alone(Box::new(message), error),
            Err(_) => {
                let error = StoreError::Unavailable {
                    key: chain,
                    reason: "no answer in time".to_owned(),
                };
                return Recorded::Alone(Box::new(message), error);
            }
        };
        let mut state = state.lock().await;
        let mut reserved = Reserved::of(&self.in_hand);
        loop {
            let channel = &message.channel;
            message.covers.retain(|fact| {
                !state.covered.contains(fact)
                    && reserved.take(channel, fact)
                    && !self.is_told(channel, fact)
            });
            if message.covers.is_empty() {
                return Recorded::Known;
            }
            only_what_is_covered(&mut message);
            let key = EntryKey {
                chain: chain.clone(),
                seq: state.next_seq,
            };
            let entry = Entry {
                at: now,
                by: self.me.clone(),
                message: message.clone(),
            };
            match chain::append(&self.store, &chain, key.seq, &entry).await {
                Ok(Created::Mine) => {
                    let first = key.seq == 1 && !state.older;
                    state.next_seq += 1;
                    self.mark_told(&message).await;
                    state.covered.extend(message.covers.iter().cloned());
                    return Recorded::New {
                        key,
                        message: Box::new(message),
                        first,
                    };
                }
                Ok(Created::Taken) => {
                    if let Err(error) = self.catch_up(&chain, &mut state).await {
                        return Recorded::Alone(Box::new(message), error);
                    }
                }
                Err(error) => return Recorded::Alone(Box::new(message), error),
            }
        }
    }

    /// Remembers, in this replica only, that a message went out while the store was away.
    pub async fn remember(&self, message: &Message) {
        self.mark_told(message).await;
    }

    /// Whether this replica knows that all of `facts` were told, or are being told, to a channel.
    pub fn is_known_here<'a>(
        &self,
        channel: &ChannelName,
        facts: impl IntoIterator<Item = &'a String>,
    ) -> bool {
        facts.into_iter().all(|fact| self.is_told(channel, fact))
    }

    fn is_told(&self, channel: &ChannelName, fact: &str) -> bool {
        self.told.contains_key(&(channel.clone(), fact.to_owned()))
    }

    async fn mark_told(&self, message: &Message) {
        for fact in &message.covers {
            self.told
                .insert((message.channel.clone(), fact.clone()), ())
                .await;
        }
    }

    async fn chain(
        &self,
        chain: &str,
        message: &Message,
        now: Timestamp,
    ) -> Result<Arc<Mutex<ChainState>>, StoreError> {
        let load = async {
            let mut state = ChainState {
                next_seq: 1,
                ..ChainState::default()
            };
            let yesterday = keys::day(clock::before(now, DAY));
            let before = keys::ledger(&yesterday, &message.channel, &message.notice.thread);
            for (_, entry) in chain::read_from::<Entry>(&self.store, &before, 1).await? {
                state.older = true;
                state.covered.extend(entry.message.covers);
            }
            self.catch_up(chain, &mut state).await?;
            Ok(Arc::new(Mutex::new(state)))
        };
        self.chains
            .try_get_with(chain.to_owned(), load)
            .await
            .map_err(|error: Arc<StoreError>| match &*error {
                StoreError::Damaged { key, reason } => StoreError::Damaged {
                    key: key.clone(),
                    reason: reason.clone(),
                },
                StoreError::Unavailable { key, reason } | StoreError::Unknown { key, reason } => {
                    StoreError::Unavailable {
                        key: key.clone(),
                        reason: reason.clone(),
                    }
                }
            })
    }

    async fn catch_up(&self, chain: &str, state: &mut ChainState) -> Result<(), StoreError> {
        for (seq, entry) in chain::read_from::<Entry>(&self.store, chain, state.next_seq).await? {
            state.next_seq = seq + 1;
            state.covered.extend(entry.message.covers);
        }
        Ok(())
    }

    /// Takes the next sending of an entry in hand; false when somebody else has it, or it ended.
    ///
    /// # Errors
    /// When the store can't tell; then nothing may be sent.
    pub async fn claim(&self, key: &EntryKey, number: u32) -> Result<bool, StoreError> {
        let claim = Claim {
            by: self.me.clone(),
            at: self.clock.now(),
        };
        Ok(self
            .store
            .create(&key.beside(&format!("claim-{number:04}")), &claim)
            .await?
            == Created::Mine)
    }

    /// Writes down how an entry ended; the first end counts.
    ///
    /// # Errors
    /// When the store can't tell; the entry would be sent again after its claim.
    pub async fn end(&self, key: &EntryKey, end: &End) -> Result<(), StoreError> {
        if let End::Sent { receipt, .. } = end {
            self.roots
                .entry(key.chain.clone())
                .or_insert(receipt.clone())
                .await;
        }
        self.store.create(&key.beside("end"), end).await.map(drop)
    }

    /// Which parts of an entry got through under a claim that did not finish.
    ///
    /// # Errors
    /// When the store can't tell; those parts would be sent again.
    pub async fn write_progress(
        &self,
        key: &EntryKey,
        claim: u32,
        progress: &Receipt,
    ) -> Result<(), StoreError> {
        self.store
            .create(&key.beside(&format!("progress-{claim:04}")), progress)
            .await
            .map(drop)
    }

    /// What claims before `claim` got through of an entry.
    pub async fn progress(&self, key: &EntryKey, claim: u32) -> Option<Receipt> {
        for number in (1..claim).rev() {
            if let Ok(Some(progress)) = self
                .store
                .get(&key.beside(&format!("progress-{number:04}")))
                .await
            {
                return Some(progress);
            }
        }
        None
    }

    /// The receipt of the first message that was really delivered in a thread: what follow-ups
    /// answer to. None when there is none, or it can't be read now.
    pub async fn root(&self, channel: &ChannelName, thread: &str) -> Option<Receipt> {
        let now = self.clock.now();
        for at in [clock::before(now, DAY), now] {
            let chain = keys::ledger(&keys::day(at), channel, thread);
            if let Some(receipt) = self.roots.get(&chain).await {
                return Some(receipt);
            }
            for seq in self.ends(&chain).await {
                let key = EntryKey {
                    chain: chain.clone(),
                    seq,
                };
                if let Ok(Some(End::Sent { receipt, .. })) =
                    self.store.get::<End>(&key.beside("end")).await
                {
                    self.roots.insert(chain, receipt.clone()).await;
                    return Some(receipt);
                }
            }
        }
        None
    }

    /// Messages of a thread since `since`, oldest first; what can't be read is left out.
    pub async fn history(
        &self,
        channel: &ChannelName,
        thread: &str,
        since: Timestamp,
    ) -> Vec<Told> {
        let now = self.clock.now();
        let mut told = Vec::new();
        let mut days = vec![keys::day(since), keys::day(now)];
        days.dedup();
        for day in days {
            let chain = keys::ledger(&day, channel, thread);
            let entries = chain::read_from::<Entry>(&self.store, &chain, 1)
                .await
                .unwrap_or_default();
            for (seq, entry) in entries {
                let key = EntryKey {
                    chain: chain.clone(),
                    seq,
                };
                let outcome = match self.store.get::<End>(&key.beside("end")).await {
                    Ok(Some(End::Sent { .. })) => "sent".to_owned(),
                    Ok(Some(End::Failed { code, .. })) => format!("refused: {code}"),
                    Ok(None) | Err(_) => "pending".to_owned(),
                };
                told.push(Told {
                    channel: channel.clone(),
                    at: entry.at,
                    kind: entry.message.notice.kind,
                    outcome,
                });
            }
        }
        told
    }

    async fn ends(&self, chain: &str) -> Vec<u64> {
        let names = self.store.list(chain).await.unwrap_or_default();
        let ended = |name: &String| {
            name.strip_suffix("/end.json")?
                .rsplit_once('/')?
                .1
                .parse()
                .ok()
        };
        names.iter().filter_map(ended).collect()
    }

    /// Entries that are owed and in nobody's hands, oldest first, each with the claim to take.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn owed(&self) -> Result<Vec<(EntryKey, u32)>, StoreError> {
        let mut owed = Vec::new();
        for day in self.store.folders("ledger").await? {
            for (key, files) in group(self.store.list(&format!("ledger/{day}")).await?) {
                if files.ended {
                    continue;
                }
                if self.is_free(&key, files.claims).await? {
                    owed.push((key, files.claims + 1));
                }
            }
        }
        Ok(owed)
    }

    async fn is_free(&self, key: &EntryKey, claims: u32) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if claims == 0 {
            // Whoever wrote it is about to send it.
            let entry = self.entry(key).await?;
            return Ok(entry.is_some_and(|entry| clock::since(now, entry.at) >= GRACE));
        }
        let newest = self
            .store
            .get::<Claim>(&key.beside(&format!("claim-{claims:04}")))
            .await?;
        Ok(newest.is_none_or(|claim| clock::since(now, claim.at) >= self.claim))
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// When the store can't be read, or the entry is damaged.
    pub async fn entry(&self, key: &EntryKey) -> Result<Option<Entry>, StoreError> {
        self.store.get(&chain::key(&key.chain, key.seq)).await
    }

    /// Removes days whose every entry ended, older than `keep`.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub async fn expire(&self, keep: Duration) -> Result<(), StoreError> {
        let oldest = keys::day(clock::before(self.clock.now(), keep));
        for day in self.store.folders("ledger").await? {
            if day >= oldest {
                continue;
            }
            let names = self.store.list(&format!("ledger/{day}")).await?;
            if group(names.clone()).values().any(|files| !files.ended) {
                continue;
            }
            for name in names {
                self.store.delete(&name).await?;
            }
        }
        Ok(())
    }
}

/// Alerts whose facts are all told already are left out of the message.
fn only_what_is_covered(message: &mut Message) {
    let Message { notice, covers, .. } = message;
    let named = |fingerprint: &str| covers.iter().any(|fact| fact.starts_with(fingerprint));
    if notice
        .alerts
        .iter()
        .any(|alert| named(&alert.fingerprint.to_string()))
    {
        notice
            .alerts
            .retain(|alert| named(&alert.fingerprint.to_string()));
    }
}

#[derive(Debug, Default)]
struct EntryFiles {
    claims: u32,
    ended: bool,
}

/// Sorts the names of a day by entry: `<chain>/<seq>.json`, `<chain>/<seq>/claim-<k>.json`,
/// `<chain>/<seq>/progress-<k>.json`, `<chain>/<seq>/end.json`.
fn group(names: Vec<String>) -> BTreeMap<EntryKey, EntryFiles> {
    let mut entries: BTreeMap<EntryKey, EntryFiles> = BTreeMap::new();
    for name in names {
        let Some((folder, file)) = name
            .strip_suffix(".json")
            .and_then(|name| name.rsplit_once('/'))
        else {
            continue;
        };
        if let Ok(seq) = file.parse() {
            entries
                .entry(EntryKey {
                    chain: folder.to_owned(),
                    seq,
                })
                .or_default();
            continue;
        }
        let Some((chain, seq)) = folder.rsplit_once('/') else {
            continue;
        };
        let Ok(seq) = seq.parse() else { continue };
        let files = entries
            .entry(EntryKey {
                chain: chain.to_owned(),
                seq,
            })
            .or_default();
        if file == "end" {
            files.ended = true;
        } else if let Some(number) = file
            .strip_prefix("claim-")
            .and_then(|number| number.parse().ok())
        {
            files.claims = files.claims.max(number);
        }
    }
    entries
}
