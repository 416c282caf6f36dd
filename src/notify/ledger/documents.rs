//! What stands in the store: an entry, and beside it its claims and its end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::Message;
use crate::notify::channel::Receipt;
use crate::store::keys;

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

    /// Its channel, as [`keys::ledger`] wrote it.
    pub(in crate::notify) fn channel(&self) -> Option<ChannelName> {
        let name = self.chain.split('/').nth(2)?;
        ChannelName::new(name).ok()
    }

    /// The key of a document beside the entry.
    pub(super) fn beside(&self, name: &str) -> String {
        format!("{}/{}/{name}.json", self.chain, keys::number(self.seq))
    }
}

/// Somebody is sending an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) by: ReplicaId,
    pub(super) at: Timestamp,
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
