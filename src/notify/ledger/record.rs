//! Writing a message down: only what no entry of its chain covers yet.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::{DAY, Entry, EntryKey, Ledger};
use crate::domain::clock;
use crate::domain::id::ChannelName;
use crate::domain::notice::Message;
use crate::notify::channel::Receipt;
use crate::store::{Created, StoreError, chain, keys};

/// A cold chain is read within this time, or the store counts as away.
const LOAD_DEADLINE: Duration = Duration::from_secs(1);

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

/// Facts by channel that somebody is writing down.
pub(super) type InHand = Arc<std::sync::Mutex<HashSet<(ChannelName, String)>>>;

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
pub(super) struct ChainState {
    next_seq: u64,
    covered: BTreeSet<String>,
    /// The thread was told of on the day before.
    older: bool,
}

impl Ledger {
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
    pub async fn remember(&self, message: &Message, receipt: &Receipt) {
        self.mark_told(message).await;
        for fact in &message.covers {
            let fact = (message.channel.clone(), fact.clone());
            self.alone.insert(fact, receipt.clone()).await;
        }
    }

    /// The receipt of what this replica sent without the ledger, if that told all of `message`. An
    /// entry may stand there all the same: its write was late, or another delivery made it.
    pub async fn sent_alone(&self, message: &Message) -> Option<Receipt> {
        let mut last = None;
        for fact in &message.covers {
            let fact = (message.channel.clone(), fact.clone());
            last = Some(self.alone.get(&fact).await?);
        }
        last
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
