//! Sending an entry: numbered claims, what got through under them, and the end.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::documents::Claim;
use super::{End, EntryKey, Ledger};
use crate::notify::channel::Receipt;
use crate::store::{Created, StoreError, keys};

/// The end of an entry is written again this often while the store is away.
const END_TRIES: u32 = 4;
/// Pause before the second try; the third waits twice as long, and so on.
const END_PAUSE: Duration = Duration::from_millis(500);

impl Ledger {
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

    /// Whether an entry has ended.
    ///
    /// # Errors
    /// When the store can't tell; then nothing may be sent.
    pub async fn has_ended(&self, key: &EntryKey) -> Result<bool, StoreError> {
        let end = self.store.get_bytes(&key.beside("end")).await?;
        Ok(end.is_some())
    }

    /// Writes down how an entry ended; the first end counts. A lost end means one more message
    /// after the claim: several tries, and this replica tries on with every look at what is owed.
    ///
    /// # Errors
    /// When the store can't tell; another replica may send the entry again after its claim.
    pub async fn end(&self, key: &EntryKey, end: &End) -> Result<(), StoreError> {
        let mut last = Ok(());
        for attempt in 1..=END_TRIES {
            last = self.write_end(key, end).await;
            if last.is_ok() {
                return last;
            }
            tokio::time::sleep(END_PAUSE * attempt).await;
        }
        self.unwritten().insert(key.clone(), end.clone());
        last
    }

    /// Ends that could not be written yet.
    pub(super) fn unwritten(&self) -> MutexGuard<'_, HashMap<EntryKey, End>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the ends that could not be written before.
    pub(super) async fn write_ends(&self) {
        let ends: Vec<_> = self.unwritten().clone().into_iter().collect();
        for (key, end) in ends {
            if self.write_end(&key, &end).await.is_ok() {
                self.unwritten().remove(&key);
            }
        }
    }

    async fn write_end(&self, key: &EntryKey, end: &End) -> Result<(), StoreError> {
        if let End::Sent { receipt, .. } = end
            && receipt.merged == 0
        {
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

    /// What got through of an entry under the newest claim that left word.
    pub async fn progress(&self, key: &EntryKey) -> Option<Receipt> {
        let beside = format!("{}/{}", key.chain, keys::number(key.seq));
        let names = self.store.list(&beside).await.ok()?;
        let newest = names.iter().rfind(|name| name.contains("/progress-"))?;
        self.store.get(newest).await.ok().flatten()
    }

    /// A chart's bytes, for a message that is sent later than it was drawn.
    pub async fn chart(&self, id: &str) -> Option<Bytes> {
        self.store.get_bytes(&keys::chart(id)).await.ok().flatten()
    }
}
