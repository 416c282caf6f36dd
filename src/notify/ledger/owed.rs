//! What is owed and in nobody's hands, and what may be forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::documents::Claim;
use super::{DAY, Entry, EntryKey, Ledger};
use crate::domain::clock;
use crate::store::{StoreError, chain, keys};

/// What is known of entries that have not ended, and of days in which all have.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the newest claim of so many was made; the writer's own is the entry.
    claimed: HashMap<EntryKey, (u32, Timestamp)>,
    done: BTreeSet<String>,
}

impl Ledger {
    /// Entries that are owed and in nobody's hands, oldest first, each with its number of claims.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn owed(&self) -> Result<Vec<(EntryKey, u32)>, StoreError> {
        self.write_ends().await;
        let now = self.clock.now();
        let mut open = HashMap::new();
        let mut owed = Vec::new();
        for (key, claims) in self.open_entries(now).await? {
            let claimed = match self.known(&key, claims) {
                Some(at) => Some(at),
                None => self.claimed_at(&key, claims).await?,
            };
            // A claim that can't be read is nobody's any more.
            let at = claimed.unwrap_or(Timestamp::UNIX_EPOCH);
            if clock::since(now, at) >= self.claim {
                owed.push((at, key.clone(), claims));
            }
            open.insert(key, (claims, at));
        }
        self.seen().claimed = open;
        owed.sort();
        Ok(owed
            .into_iter()
            .map(|(_, key, claims)| (key, claims))
            .collect())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the newest claim was made, if it was read before.
    fn known(&self, key: &EntryKey, claims: u32) -> Option<Timestamp> {
        let seen = self.seen();
        let (known, at) = seen.claimed.get(key)?;
        (*known == claims).then_some(*at)
    }

    /// Entries that have not ended. Days before yesterday that are done stay done: nobody writes
    /// there any more, so they are not listed again.
    async fn open_entries(&self, now: Timestamp) -> Result<Vec<(EntryKey, u32)>, StoreError> {
        let yesterday = keys::day(clock::before(now, DAY));
        let mut open = Vec::new();
        for day in self.store.folders("ledger").await? {
            if self.seen().done.contains(&day) {
                continue;
            }
            let before = open.len();
            let entries = group(self.store.list(&format!("ledger/{day}")).await?);
            let unwritten = self.unwritten().clone();
            let is_open = |(key, files): &(EntryKey, EntryFiles)| {
                !files.ended && !unwritten.contains_key(key)
            };
            let entries = entries.into_iter().filter(is_open);
            open.extend(entries.map(|(key, files)| (key, files.claims)));
            if open.len() == before && day < yesterday {
                self.seen().done.insert(day);
            }
        }
        Ok(open)
    }

    async fn claimed_at(
        &self,
        key: &EntryKey,
        claims: u32,
    ) -> Result<Option<Timestamp>, StoreError> {
        let at = if claims == 0 {
            let entry = self.entry(key).await;
            entry.map(|entry| entry.map(|entry| entry.at))
        } else {
            let claim = key.beside(&format!("claim-{claims:04}"));
            let claim = self.store.get::<Claim>(&claim).await;
            claim.map(|claim| claim.map(|claim| claim.at))
        };
        match at {
            Err(StoreError::Damaged { .. }) => Ok(None),
            at => at,
        }
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
