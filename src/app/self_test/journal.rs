//! What every replica knows of the self-test: who posted, what came through, who was paged.
//!
//! Events lie under `self-test/<day>/` and are tailed, so that one replica's receipt counts for
//! all of them. With the store away a replica goes by its own memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::id::ReplicaId;
use crate::store::{Created, Store, StoreError, keys};

/// How far back a fresh replica reads.
const FIRST_READ: Duration = Duration::from_hours(24);
/// Writers' clocks differ, and a write may take a while: so much is read again.
const OVERLAP: Duration = Duration::from_mins(2);

/// Who sent a self-test alert on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sender {
    /// The gateway, into Alertmanager.
    Gateway,
    /// vmalert, by the shipped rule.
    Vmalert,
}

impl Sender {
    /// As label and word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Vmalert => "vmalert",
        }
    }
}

/// Something that happened to the self-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A replica posts the alert of a round.
    Sent {
        /// When.
        at: Timestamp,
        /// Who.
        by: ReplicaId,
    },
    /// An alert came through to a decision in shadow.
    Passed {
        /// When.
        at: Timestamp,
        /// Whose alert.
        from: Sender,
        /// Who received it.
        by: ReplicaId,
    },
    /// An alert could not be sent, or came to no decision.
    Failed {
        /// When.
        at: Timestamp,
        /// Whose alert.
        from: Sender,
        /// Why.
        why: String,
    },
    /// People were told that none comes through.
    Paged {
        /// When.
        at: Timestamp,
        /// Whose alert.
        from: Sender,
    },
}

/// How one sender's self-test stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Standing {
    /// The newest alert that came through.
    pub passed: Option<Timestamp>,
    /// The newest failure since, with its reason.
    pub failed: Option<String>,
    /// When people were paged, while nothing came through since.
    pub paged: Option<Timestamp>,
}

/// A page that is over: an alert came through again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Back {
    /// Whose.
    pub from: Sender,
    /// When people had been paged.
    pub paged: Timestamp,
}

#[derive(Debug, Default)]
struct Inside {
    standings: BTreeMap<Sender, Standing>,
    /// Keys that were taken in, of the last few minutes.
    read: BTreeSet<String>,
    /// Up to where was read; None before the first time.
    since: Option<Timestamp>,
}

/// The journal as one replica knows it.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Store,
    inside: Mutex<Inside>,
}

impl Journal {
    pub(in crate::app) fn new(store: Store) -> Self {
        Self {
            store,
            inside: Mutex::default(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a sender's self-test stands.
    pub(super) fn standing(&self, from: Sender) -> Standing {
        let inside = self.inside();
        inside.standings.get(&from).cloned().unwrap_or_default()
    }

    /// Takes the round that began at `round` for `me`; false when another replica has it.
    ///
    /// # Errors
    /// When the store can't tell.
    pub(super) async fn take_round(
        &self,
        round: Timestamp,
        me: &ReplicaId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let event = Event::Sent {
            at: now,
            by: me.clone(),
        };
        let key = keys::self_test(round, "sent");
        Ok(self.store.create(&key, &event).await? == Created::Mine)
    }

    /// Writes an event down and takes it in; without the store it is known to this replica alone.
    /// What came through again after a page is answered.
    pub(super) async fn add(&self, at: Timestamp, event: Event) -> Option<Back> {
        let key = keys::self_test(at, &uuid::Uuid::new_v4().simple().to_string());
        let back = {
            let mut inside = self.inside();
            inside.read.insert(key.clone());
            inside.take_in(&event)
        };
        if let Err(error) = self.store.create(&key, &event).await {
            tracing::warn!("what became of a self-test could not be kept: {error}");
        }
        back
    }

    /// Takes in what other replicas wrote, and answers what came through again after a page.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) async fn refresh(&self, now: Timestamp) -> Result<Vec<Back>, StoreError> {
        let first = self.inside().since.is_none();
        let reach = if first { FIRST_READ } else { OVERLAP };
        let since = self.inside().since.unwrap_or(now);
        let from = clock::before(since, reach);
        let offset = keys::self_test(from, "");
        let mut names = Vec::new();
        let mut days = vec![keys::day(from), keys::day(now)];
        days.dedup();
        for day in days {
            let folder = format!("self-test/{day}");
            names.extend(self.store.list_after(&folder, Some(&offset)).await?);
        }
        let mut back = Vec::new();
        for name in names {
            if self.inside().read.contains(&name) {
                continue;
            }
            let event = match self.store.get::<Event>(&name).await {
                Ok(event) => event,
                // A newer replica's word, or a broken document: not worth the rest.
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            let mut inside = self.inside();
            back.extend(event.and_then(|event| inside.take_in(&event)));
            inside.read.insert(name);
        }
        let mut inside = self.inside();
        inside.since = Some(now);
        let horizon = keys::self_test(clock::before(now, OVERLAP * 2), "");
        inside.read = inside.read.split_off(&horizon);
        // What a fresh replica reads happened before it was there to tell of it.
        Ok(if first { Vec::new() } else { back })
    }
}

impl Inside {
    fn take_in(&mut self, event: &Event) -> Option<Back> {
        match event {
            Event::Sent { .. } => None,
            Event::Passed { at, from, .. } => {
                let standing = self.standings.entry(*from).or_default();
                if standing.passed.is_some_and(|known| known >= *at) {
                    return None;
                }
                standing.passed = Some(*at);
                standing.failed = None;
                let paged = standing.paged.take_if(|paged| *paged <= *at)?;
                Some(Back { from: *from, paged })
            }
            Event::Failed { at, from, why } => {
                let standing = self.standings.entry(*from).or_default();
                if standing.passed.is_none_or(|passed| passed < *at) {
                    standing.failed = Some(why.clone());
                }
                None
            }
            Event::Paged { at, from } => {
                let standing = self.standings.entry(*from).or_default();
                if standing.passed.is_none_or(|passed| passed < *at) {
                    standing.paged = Some(*at);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn passed(seconds: i64) -> Event {
        Event::Passed {
            at: at(seconds),
            from: Sender::Gateway,
            by: ReplicaId::random(),
        }
    }

    #[tokio::test]
    async fn one_replicas_receipt_counts_for_all_and_a_page_ends_once_in_each() {
        let store = Store::in_memory();
        let (one, two) = (Journal::new(store.clone()), Journal::new(store));
        for journal in [&one, &two] {
            assert_eq!(journal.refresh(at(0)).await.unwrap(), []);
        }
        assert_eq!(one.add(at(1), passed(1)).await, None);
        assert_eq!(two.refresh(at(2)).await.unwrap(), []);
        assert_eq!(two.standing(Sender::Gateway).passed, Some(at(1)));
        assert_eq!(two.standing(Sender::Vmalert), Standing::default());

        let (at_900, from) = (at(900), Sender::Gateway);
        one.add(at_900, Event::Paged { at: at_900, from }).await;
        two.refresh(at(901)).await.unwrap();
        assert_eq!(two.standing(from).paged, Some(at_900));
        let back = Back {
            from,
            paged: at_900,
        };
        assert_eq!(two.add(at(950), passed(950)).await, Some(back));
        assert_eq!(one.refresh(at(951)).await.unwrap(), [back]);
        assert_eq!(one.refresh(at(952)).await.unwrap(), [], "once");
    }

    #[tokio::test]
    async fn of_two_replicas_one_takes_a_round() {
        let store = Store::in_memory();
        let (one, two) = (Journal::new(store.clone()), Journal::new(store));
        let me = ReplicaId::random();
        assert!(one.take_round(at(0), &me, at(1)).await.unwrap());
        assert!(!two.take_round(at(0), &me, at(1)).await.unwrap());
        assert!(two.take_round(at(300), &me, at(301)).await.unwrap());
    }

    #[tokio::test]
    async fn a_fresh_replica_knows_the_past_and_tells_nothing_of_it() {
        let store = Store::in_memory();
        let one = Journal::new(store.clone());
        one.add(at(1), passed(1)).await;
        let from = Sender::Gateway;
        one.add(at(1000), Event::Paged { at: at(1000), from }).await;
        one.add(at(1100), passed(1100)).await;
        let why = "no answer".to_owned();
        let failed = Event::Failed {
            at: at(1200),
            from,
            why: why.clone(),
        };
        one.add(at(1200), failed).await;
        let fresh = Journal::new(store);
        assert_eq!(fresh.refresh(at(1300)).await.unwrap(), []);
        let known = Standing {
            passed: Some(at(1100)),
            failed: Some(why),
            paged: None,
        };
        assert_eq!(fresh.standing(from), known);
    }
}
