//! Messages to people: nothing lost, nobody flooded.
//!
//! [`Notify::tell`] writes a message into the ledger and hands it to its channel's courier; what
//! can't be sent at once stays owed, and any replica delivers it. The answer says which of the two
//! it is, because the answer to a webhook hangs on it.

mod breaker;
pub mod channel;
mod courier;
mod digest;
pub mod ledger;
mod limit;
mod parked;
mod pressing;
pub mod render;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::channel::Notifier;
use self::courier::{Courier, Fate, Job, Means};
pub use self::ledger::Told;
use self::ledger::{EntryKey, Ledger, Recorded};
pub use self::limit::Limits;
use self::parked::Parking;
use crate::domain::clock::{self, SharedClock};
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::{Link, Message};
use crate::store::{Store, StoreError};

/// Entries whose every message ended are kept this long.
const KEEP: Duration = Duration::from_hours(7 * 24);

/// One channel: how it talks, and its vendor's limit.
#[derive(Debug)]
pub struct ChannelSetup {
    /// How it talks.
    pub notifier: Arc<dyn Notifier>,
    /// The vendor's side, by a name that does not tell its secret: channels that lead to one bot
    /// share its limit.
    pub target: String,
    /// Calls the vendor takes in a window, over all replicas.
    pub calls: u32,
    /// How long the vendor's window is.
    pub window: Duration,
}

/// How the room is set up.
#[derive(Debug)]
pub struct NotifySettings {
    /// The channels.
    pub channels: BTreeMap<ChannelName, ChannelSetup>,
    /// How many replicas share the limits.
    pub replicas: u32,
    /// A sending keeps others away this long.
    pub send_claim: Duration,
    /// Where the list of alerts is, for what a digest only counts.
    pub list: Option<Link>,
    /// The limits' windows, which outlive a setup.
    pub limits: Arc<Limits>,
}

/// What became of one message, as far as the sender of an alert must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The vendor has it.
    Delivered,
    /// It stands in the ledger; some replica will deliver it.
    Pending,
    /// Its facts were told, or are being told, already.
    Deduplicated,
    /// It can never be delivered there; people hear of it through another channel.
    Refused(String),
    /// Neither delivered nor written down: the sender must send again.
    Lost(String),
}

/// A channel that will not take messages: until somebody mends it, or for minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub channel: ChannelName,
    /// The vendor's code.
    pub code: String,
    /// In words.
    pub detail: String,
    /// What a person does about it, where the vendor's answer tells.
    pub fix: Option<&'static str>,
    /// Until when its vendor takes nothing; all replicas name one such pause alike. None: until
    /// somebody mends it.
    pub until: Option<jiff::Timestamp>,
}

/// Hears what the room goes through: metrics, and our own alert about a broken channel.
pub trait Ear: Send + Sync + std::fmt::Debug {
    /// A call ended: `sent`, or the class of its failure.
    fn attempt(&self, channel: &ChannelName, kind: &'static str, outcome: &'static str);
    /// The vendor has a message.
    fn sent(&self, message: &Message);
    /// A channel refuses for good, or its vendor shut it for minutes.
    fn broken(&self, broken: Broken);
    /// The ledger owes this many messages that nobody is sending.
    fn owed(&self, count: usize);
    /// The store could not be used.
    fn store_trouble(&self, doing: &'static str, error: &StoreError);
}

/// The room.
#[derive(Debug, Clone)]
pub struct Notify {
    ledger: Ledger,
    couriers: Arc<BTreeMap<ChannelName, Arc<Courier>>>,
    clock: SharedClock,
    limits: Arc<Limits>,
    parking: Parking,
    ear: Arc<dyn Ear>,
}

impl Notify {
    /// Sets the room up. Sending tasks run on `tasks`, which the caller drains at the end.
    pub fn new(
        settings: NotifySettings,
        store: Store,
        clock: &SharedClock,
        me: ReplicaId,
        tasks: &TaskTracker,
        ear: &Arc<dyn Ear>,
    ) -> Self {
        let NotifySettings {
            channels,
            replicas,
            send_claim,
            list,
            limits,
        } = settings;
        let parking = Parking::new(store.clone(), me.clone());
        let ledger = Ledger::new(store, Arc::clone(clock), me, send_claim);
        let courier = |(name, setup): (ChannelName, ChannelSetup)| {
            let share = setup.calls / replicas.max(1);
            let means = Means {
                name: name.clone(),
                notifier: setup.notifier,
                limit: limits.of(&setup.target, share, setup.window),
                target: setup.target,
                list: list.clone(),
                claim: send_claim,
                ledger: ledger.clone(),
                parking: parking.clone(),
                clock: Arc::clone(clock),
                ear: Arc::clone(ear),
                tasks: tasks.clone(),
            };
            (name, Arc::new(Courier::new(means)))
        };
        Self {
            couriers: Arc::new(channels.into_iter().map(courier).collect()),
            clock: Arc::clone(clock),
            ledger,
            limits,
            parking,
            ear: Arc::clone(ear),
        }
    }

    /// The channels' names.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.couriers.keys()
    }

    /// Whether this replica knows that a channel was told all of `facts`; a quick look that spares
    /// the work of a message, never the guard.
    pub fn knows<'a>(
        &self,
        channel: &ChannelName,
        facts: impl IntoIterator<Item = &'a String>,
    ) -> bool {
        self.ledger.is_known_here(channel, facts)
    }

    /// Writes `message` down and sends it, waiting for the vendor at most `patience`. Sending goes
    /// on in its own task: neither the patience nor a disconnect of the caller ends it.
    pub async fn tell(
        &self,
        message: Message,
        chart: Option<Bytes>,
        patience: Duration,
    ) -> Delivery {
        let Some(courier) = self.couriers.get(&message.channel).map(Arc::clone) else {
            return Delivery::Refused(format!("there is no channel `{}`", message.channel));
        };
        let written = Instant::now();
        let mut job = match self.ledger.record(message).await {
            Recorded::Known => return Delivery::Deduplicated,
            Recorded::New {
                key,
                message,
                first,
            } => Job::fresh(key, written, *message, first),
            Recorded::Alone(message, error) => {
                self.ear.store_trouble("writing the ledger", &error);
                if self.ledger.is_known_here(&message.channel, &message.covers) {
                    return Delivery::Deduplicated;
                }
                Job::alone(*message, patience)
            }
        };
        job.chart = chart;
        let kept = job.key.is_some();
        let fate = job.tell();
        courier.push(job);
        match tokio::time::timeout(patience, fate).await {
            Ok(Ok(Fate::Sent)) => Delivery::Delivered,
            Ok(Ok(Fate::Refused(why))) => Delivery::Refused(why),
            Ok(Ok(Fate::Owed(_)) | Err(_)) | Err(_) if kept => Delivery::Pending,
            Ok(Ok(Fate::Owed(why))) => Delivery::Lost(why),
            Ok(Err(_)) => Delivery::Lost("sending broke off".to_owned()),
            Err(_) => Delivery::Lost(
                "the store can't be written, and the channel did not answer in time".to_owned(),
            ),
        }
    }

    /// What was told to a channel in a thread since `since`, as the ledger stands.
    pub async fn history(
        &self,
        channel: &ChannelName,
        thread: &str,
        since: jiff::Timestamp,
    ) -> Vec<Told> {
        self.ledger.history(channel, thread, since).await
    }

    /// Removes days of the ledger whose every message ended, a week after them, and parkings that
    /// are over.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub async fn expire(&self) -> Result<(), StoreError> {
        self.parking.expire(self.clock.now()).await?;
        self.ledger.expire(KEEP).await
    }

    /// Learns from the store which targets their vendors have told to wait.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn heed_parkings(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (target, until) in self.parking.all().await? {
            if until > now {
                let left = clock::since(until, now);
                self.limits.park(&target, Instant::now() + left);
            }
        }
        Ok(())
    }

    /// Takes in hand what is owed and nobody is sending.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn sweep_once(&self) -> Result<(), StoreError> {
        self.heed_parkings().await?;
        let owed = self.ledger.owed().await?;
        self.ear.owed(owed.len());
        for (key, claims) in owed {
            let courier = self.courier_of(&key);
            if courier.is_some_and(|courier| !courier.wants(&key)) {
                continue;
            }
            let entry = match self.ledger.entry(&key).await {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                // One damaged document does not keep the others from being sent.
                Err(error @ StoreError::Damaged { .. }) => {
                    self.ear.store_trouble("reading an owed message", &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(courier) = self.couriers.get(&entry.message.channel) else {
                continue;
            };
            let mut job = Job::owed(key.clone(), claims, entry.message);
            job.progress = match claims {
                0 => None,
                _ => self.ledger.progress(&key).await,
            };
            courier.push(job);
        }
        Ok(())
    }

    /// The courier of an entry's channel, as its key tells it.
    fn courier_of(&self, key: &EntryKey) -> Option<&Arc<Courier>> {
        let channel = key.channel()?;
        self.couriers.get(&channel)
    }

    /// Another setup takes over, or the process ends: what waits is left in the ledger.
    pub fn retire(&self) {
        self.couriers.values().for_each(|courier| courier.retire());
    }
}

#[cfg(test)]
mod tests;
