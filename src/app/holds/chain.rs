//! A hold as a chain: what stands in the store, and when this replica looks at it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::decision::Decision;
use crate::domain::id::{ChannelName, DeploymentId, LaneName};
use crate::store::{Created, Store, StoreError, chain, keys};

/// Documents of holds kept in memory; they never change.
const CACHED: u64 = 10_000;

/// One link of a hold's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum HoldLink {
    /// It waits, or waits for another reason now.
    Held(Box<Held>),
    /// People were paged.
    Paged {
        /// When.
        at: Timestamp,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
        /// The episodes it was decided for: they open no hold again.
        episodes: BTreeSet<String>,
    },
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::app) struct Held {
    /// Since when it stands.
    pub(in crate::app) since: Timestamp,
    /// The decision to wait, with its reason and recheck.
    pub(in crate::app) decision: Decision,
    /// The thread people were told in.
    pub(in crate::app) thread: String,
    /// Who was told.
    pub(in crate::app) channels: Vec<ChannelName>,
    /// The episodes behind it.
    pub(in crate::app) episodes: BTreeSet<String>,
    /// Whether the sources have not been asked yet.
    pub(in crate::app) pending: bool,
}

impl Held {
    /// Whether it waits for all that `other` waits for, and for the same reason.
    fn says(&self, other: &Self) -> bool {
        self.decision.gist() == other.decision.gist() && other.episodes.is_subset(&self.episodes)
    }

    /// The same hold with a newer decision.
    pub(super) fn with(&self, decision: &Decision, more: &BTreeSet<String>) -> Self {
        Self {
            decision: decision.clone(),
            episodes: self.episodes.union(more).cloned().collect(),
            pending: false,
            ..self.clone()
        }
    }
}

/// An open hold, as its chain stands.
#[derive(Debug, Clone)]
pub(in crate::app) struct OpenHold {
    pub(in crate::app) prefix: String,
    pub(in crate::app) next_seq: u64,
    pub(in crate::app) held: Held,
    pub(in crate::app) paged: bool,
}

/// All holds, as this replica knows them.
#[derive(Debug)]
pub(in crate::app) struct Holds {
    store: Store,
    links: Cache<String, Arc<HoldLink>>,
    /// When this replica asks each open hold again.
    recheck: std::sync::Mutex<HashMap<String, Timestamp>>,
}

impl Holds {
    pub(in crate::app) fn new(store: Store) -> Self {
        let links = Cache::builder().max_capacity(CACHED).build();
        Self {
            store,
            links,
            recheck: std::sync::Mutex::default(),
        }
    }

    /// Writes a hold down: a new one, or another reason of one that stands. Episodes that were
    /// decided already open none again, and one that stands is not put back to "pending".
    ///
    /// # Errors
    /// When the store can't be written: the sender must send again.
    pub(in crate::app) async fn put(
        &self,
        lane: &LaneName,
        deployment: &DeploymentId,
        rule: &str,
        held: Held,
    ) -> Result<(), StoreError> {
        let prefix = keys::hold(lane, deployment, rule);
        loop {
            let links = chain::read_from::<HoldLink>(&self.store, &prefix, 1).await?;
            if let Some((_, HoldLink::Ended { episodes, .. })) = links.last()
                && held.episodes.is_subset(episodes)
            {
                return Ok(());
            }
            let (next, open) = fold(
                &prefix,
                links.into_iter().map(|(seq, link)| (seq, Arc::new(link))),
            );
            let held = match &open {
                Some(open) if held.pending || open.held.says(&held) => return Ok(()),
                Some(open) => open.held.with(&held.decision, &held.episodes),
                None => held.clone(),
            };
            if chain::append(&self.store, &prefix, next, &HoldLink::Held(Box::new(held))).await?
                == Created::Mine
            {
                return Ok(());
            }
        }
    }

    /// Takes a hold that ended up again, as of now: it is judged with the next look.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub(in crate::app) async fn reopen(
        &self,
        prefix: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let links = chain::read_from::<HoldLink>(&self.store, prefix, 1).await?;
        let Some((last, HoldLink::Ended { .. })) = links.last() else {
            return Ok(());
        };
        let next = last + 1;
        let held = links.into_iter().rev().find_map(|(_, link)| match link {
            HoldLink::Held(held) => Some(held),
            _ => None,
        });
        if let Some(held) = held {
            let mut held = Held {
                since: now,
                ..*held
            };
            held.decision.consent = None;
            // A lost number means that another look was quicker.
            chain::append(&self.store, prefix, next, &HoldLink::Held(Box::new(held))).await?;
        }
        Ok(())
    }

    /// Appends to a hold as it was read; a lost number means that another replica was quicker.
    pub(super) async fn append(&self, hold: &OpenHold, link: HoldLink) -> Result<bool, StoreError> {
        Ok(chain::append(&self.store, &hold.prefix, hold.next_seq, &link).await? == Created::Mine)
    }

    /// Every hold that is not over.
    pub(in crate::app) async fn open(&self) -> Result<Vec<OpenHold>, StoreError> {
        let mut chains: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for name in self.store.list("holds").await? {
            let Some((prefix, file)) = name.rsplit_once('/') else {
                continue;
            };
            let Some(seq) = file.strip_suffix(".json").and_then(|seq| seq.parse().ok()) else {
                continue;
            };
            chains
                .entry(prefix.to_owned())
                .or_default()
                .push((seq, name));
        }
        let mut open = Vec::new();
        for (prefix, names) in chains {
            let mut links = Vec::new();
            for (seq, name) in names {
                let read = async {
                    self.store
                        .get::<HoldLink>(&name)
                        .await?
                        .map(Arc::new)
                        .ok_or_else(|| StoreError::Damaged {
                            key: name.clone(),
                            reason: "listed, yet not there".into(),
                        })
                };
                match self.links.try_get_with(name.clone(), read).await {
                    Ok(link) => links.push((seq, link)),
                    Err(error) => {
                        tracing::error!("a hold can't be read: {error}");
                        break;
                    }
                }
            }
            open.extend(fold(&prefix, links).1);
        }
        Ok(open)
    }

    pub(super) fn is_due(&self, hold: &OpenHold, now: Timestamp) -> bool {
        let mut recheck = self.recheck.lock().unwrap_or_else(PoisonError::into_inner);
        let due_at = recheck
            .get(&hold.prefix)
            .copied()
            .or(hold.held.decision.recheck_at);
        match due_at {
            Some(at) if at > now => false,
            // Without a time only a person releases it, but its alerts may end.
            _ => {
                recheck.insert(
                    hold.prefix.clone(),
                    clock::after(now, Duration::from_secs(10)),
                );
                true
            }
        }
    }

    /// A hold that was just judged is asked again then.
    pub(super) fn ask_again_at(&self, prefix: &str, at: Option<Timestamp>) {
        let mut recheck = self.recheck.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = at {
            recheck.insert(prefix.to_owned(), at);
        }
    }

    /// A hold is asked again by then: however often its alerts are delivered, a look that is due
    /// is not put off.
    pub(in crate::app) fn ask_again_by(&self, prefix: &str, at: Option<Timestamp>) {
        let mut recheck = self.recheck.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = at {
            let due = recheck.entry(prefix.to_owned()).or_insert(at);
            *due = at.min(*due);
        }
    }

    pub(super) fn forget(&self, prefix: &str) {
        self.recheck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(prefix);
    }
}

/// The next number of a chain, and the hold if it is open.
fn fold(
    prefix: &str,
    links: impl IntoIterator<Item = (u64, Arc<HoldLink>)>,
) -> (u64, Option<OpenHold>) {
    let (mut next_seq, mut open) = (1, None::<OpenHold>);
    for (seq, link) in links {
        next_seq = seq + 1;
        match &*link {
            HoldLink::Held(held) => {
                let paged = open.as_ref().is_some_and(|open| open.paged);
                open = Some(OpenHold {
                    prefix: prefix.to_owned(),
                    next_seq,
                    held: Held::clone(held),
                    paged,
                });
            }
            HoldLink::Paged { .. } => {
                if let Some(open) = &mut open {
                    open.paged = true;
                }
            }
            HoldLink::Ended { .. } => open = None,
        }
    }
    if let Some(open) = &mut open {
        open.next_seq = next_seq;
    }
    (next_seq, open)
}

#[cfg(test)]
mod lies;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::fixtures::decision;
    use crate::domain::decision::{Code, Guard, GuardVerdict, Outcome, Verdict};

    fn held(words: &str, code: Code, episode: &str) -> Held {
        let decision = Decision {
            verdict: Verdict::Hold,
            guards: vec![GuardVerdict {
                guard: Guard::Threshold,
                outcome: Outcome::Hold(words.to_owned()),
                code,
            }],
            ..decision()
        };
        Held {
            since: decision.at,
            decision,
            thread: "t".into(),
            channels: Vec::new(),
            episodes: [episode.to_owned()].into(),
            pending: false,
        }
    }

    #[tokio::test]
    async fn the_same_reason_a_second_later_adds_no_link_and_another_alert_does() {
        let holds = Holds::new(Store::in_memory());
        let (lane, deployment) = ("checkout@prod".parse().unwrap(), "d1".parse().unwrap());
        let links = async |held: Held| {
            holds.put(&lane, &deployment, "r", held).await.unwrap();
            holds.store.list("holds").await.unwrap().len()
        };
        assert_eq!(links(held("5s more", Code::TooYoung, "e")).await, 1);
        assert_eq!(links(held("4s more", Code::TooYoung, "e")).await, 1);
        assert_eq!(links(held("3s more", Code::TooYoung, "f")).await, 2);
        assert_eq!(
            links(held("3s more", Code::TooYoung, "e")).await,
            2,
            "known"
        );
        assert_eq!(links(held("1 of 2", Code::TooFewHosts, "e")).await, 3);
    }

    #[tokio::test]
    async fn deliveries_never_put_off_a_look_that_is_due() {
        let holds = Holds::new(Store::in_memory());
        let (lane, deployment) = ("checkout@prod".parse().unwrap(), "d1".parse().unwrap());
        let first = held("5s more", Code::TooYoung, "e");
        let began = first.since;
        holds.put(&lane, &deployment, "r", first).await.unwrap();
        let hold = holds.open().await.unwrap().pop().unwrap();
        // One delivery a second, each of which asks for a look in two.
        for second in 0..10 {
            let now = clock::after(began, Duration::from_secs(second));
            let then = clock::after(now, Duration::from_secs(2));
            holds.ask_again_by(&hold.prefix, Some(then));
            assert_eq!(holds.is_due(&hold, now), second == 2, "second {second}");
            if second == 2 {
                return;
            }
        }
    }
}
