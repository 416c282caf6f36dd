//! Messages to people: nothing lost, nobody flooded.
//!
//! [`Notify::tell`] writes a message into the ledger and sends it; what can't be sent at once
//! stays owed there, and any replica's sweep delivers it. The answer says which of the two it is,
//! because the answer to a webhook hangs on it.

pub mod channel;
mod courier;
pub mod ledger;
mod limit;
pub mod render;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::channel::Notifier;
use self::courier::{Courier, Fate};
pub use self::ledger::Told;
use self::ledger::{Ledger, Recorded};
use crate::domain::clock::SharedClock;
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::Message;
use crate::store::{Store, keys};

/// Entries whose every message ended are kept this long.
const KEEP: Duration = Duration::from_hours(7 * 24);

/// A thread's first message is looked up within this time.
const ROOT_DEADLINE: Duration = Duration::from_secs(1);

/// One channel: how it talks, and its share of the vendor's limit.
#[derive(Debug)]
pub struct ChannelSetup {
    /// How it talks.
    pub notifier: Arc<dyn Notifier>,
    /// The vendor's limit per minute, over all replicas.
    pub per_minute: u32,
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

/// A channel that will not take messages until somebody mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub channel: ChannelName,
    /// The vendor's code.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// Hears what the room goes through: metrics, and our own alert about a broken channel.
pub trait Ear: Send + Sync + std::fmt::Debug {
    /// A call ended: `sent`, or the class of its failure.
    fn attempt(&self, channel: &ChannelName, kind: &'static str, outcome: &'static str);
    /// A channel refuses for good.
    fn broken(&self, broken: Broken);
    /// The ledger owes this many messages that nobody is sending.
    fn owed(&self, count: usize);
    /// The store could not be used.
    fn store_trouble(&self, doing: &'static str, error: &crate::store::StoreError);
}

/// The room.
#[derive(Debug, Clone)]
pub struct Notify {
    ledger: Ledger,
    couriers: Arc<BTreeMap<ChannelName, Arc<Courier>>>,
    tasks: TaskTracker,
    ear: Arc<dyn Ear>,
    store: Store,
}

impl Notify {
    /// Sets the room up. Sending tasks run on `tasks`, which the caller drains at the end.
    pub fn new(
        settings: NotifySettings,
        store: Store,
        clock: &SharedClock,
        me: ReplicaId,
        tasks: TaskTracker,
        ear: Arc<dyn Ear>,
    ) -> Self {
        let ledger = Ledger::new(store.clone(), Arc::clone(clock), me, settings.send_claim);
        let couriers = settings.channels.into_iter().map(|(name, setup)| {
            let courier = Courier::new(
                name.clone(),
                setup,
                settings.replicas,
                ledger.clone(),
                Arc::clone(clock),
                Arc::clone(&ear),
            );
            (name, Arc::new(courier))
        });
        let couriers = Arc::new(couriers.collect());
        Self {
            ledger,
            couriers,
            tasks,
            ear,
            store,
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
        let (key, message, first) = match self.ledger.record(message).await {
            Recorded::Known => return Delivery::Deduplicated,
            Recorded::New {
                key,
                message,
                first,
            } => (Some(key), message, first),
            Recorded::Alone(message, error) => {
                self.ear.store_trouble("writing the ledger", &error);
                if self.ledger.is_known_here(&message.channel, &message.covers) {
                    return Delivery::Deduplicated;
                }
                (None, message, false)
            }
        };
        let kept = key.is_some();
        let ledger = self.ledger.clone();
        let (told, fate) = oneshot::channel();
        self.tasks.spawn(async move {
            let root = if first {
                None
            } else {
                // Better a message outside its thread than a late one.
                let root = ledger.root(&message.channel, &message.notice.thread);
                let root = tokio::time::timeout(ROOT_DEADLINE, root).await;
                root.ok().flatten()
            };
            courier
                .deliver((key.as_ref(), 1), &message, chart, root, Some(told))
                .await;
        });
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

    /// Removes days of the ledger whose every message ended, a week after them.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub async fn expire(&self) -> Result<(), crate::store::StoreError> {
        self.ledger.expire(KEEP).await
    }

    /// Starts the delivery of everything owed that nobody is sending.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn sweep_once(&self) -> Result<(), crate::store::StoreError> {
        let owed = self.ledger.owed().await?;
        self.ear.owed(owed.len());
        for (key, claim) in owed {
            let Some(entry) = self.ledger.entry(&key).await? else {
                continue;
            };
            let Some(courier) = self.couriers.get(&entry.message.channel).map(Arc::clone) else {
                continue;
            };
            if !courier.take(&key) {
                continue;
            }
            let (ledger, store) = (self.ledger.clone(), self.store.clone());
            self.tasks.spawn(async move {
                let message = entry.message;
                let chart = match &message.notice.chart {
                    Some(chart) => store
                        .get_bytes(&keys::chart(&chart.id))
                        .await
                        .ok()
                        .flatten(),
                    None => None,
                };
                let root = ledger.root(&message.channel, &message.notice.thread).await;
                courier
                    .deliver((Some(&key), claim), &message, chart, root, None)
                    .await;
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
