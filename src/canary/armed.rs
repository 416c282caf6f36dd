//! What is to be evaluated: one chain per batch in the store, `armed/<lane>/<deployment>/<n>/<seq>`.
//!
//! The rules are written down as they were rendered, so that what is served does not change when a
//! template does. A link once read is kept: links never change, and whoever serves the rules asks
//! every few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::group::Group;
use crate::domain::id::{DeploymentId, LaneName, ReleaseId};
use crate::store::{Created, Store, StoreError, chain, keys};

/// Below which all chains are.
pub const FOLDER: &str = "armed";

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmEntry {
    /// When its writer wrote it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What happened.
    pub event: ArmEvent,
}

/// What can happen to a batch's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArmEvent {
    /// They are to be evaluated.
    Armed {
        /// What they watch.
        release_id: ReleaseId,
        /// The rules.
        group: Box<Group>,
        /// Until when, whatever happens.
        #[schemars(with = "String")]
        until: Timestamp,
    },
    /// Every canary vmalert was seen to evaluate them, twice and without an error.
    Proven {
        /// Which vmalerts.
        by: Vec<String>,
    },
    /// They are to be evaluated no more.
    Disarmed {
        /// Why.
        why: String,
    },
}

/// A link of our vocabulary, or of a version that knows more.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Link {
    Known(Box<ArmEntry>),
    Foreign(serde::de::IgnoredAny),
}

/// Whose rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The lane.
    pub lane: LaneName,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The batch.
    pub batch: u32,
}

impl Place {
    fn prefix(&self) -> String {
        keys::armed(&self.lane, &self.deployment, self.batch)
    }

    /// The place and number a key names.
    fn of(key: &str) -> Option<(Self, u64)> {
        let mut parts = key.strip_prefix(FOLDER)?.strip_prefix('/')?.split('/');
        let place = Self {
            lane: LaneName::new(parts.next()?).ok()?,
            deployment: DeploymentId::new(parts.next()?).ok()?,
            batch: parts.next()?.parse().ok()?,
        };
        let seq = parts.next()?.strip_suffix(".json")?.parse().ok()?;
        parts.next().is_none().then_some((place, seq))
    }
}

/// A batch's rules, folded from their chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// Whose.
    pub place: Place,
    /// What they watch.
    pub release_id: ReleaseId,
    /// The rules.
    pub group: Group,
    /// Which link armed them: a batch that is armed again is proven again.
    pub seq: u64,
    /// Since when.
    pub since: Timestamp,
    /// Until when, whatever happens.
    pub until: Timestamp,
    /// When they were proven to be loaded.
    pub proven_at: Option<Timestamp>,
    /// When they were taken away, and why.
    pub disarmed: Option<(Timestamp, String)>,
    /// The number of the next link.
    next_seq: u64,
}

impl Armed {
    /// Whether they are to be evaluated.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.disarmed.is_none() && now < self.until
    }

    /// When they ended, if they did.
    pub fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        let disarmed = self.disarmed.as_ref().map(|(at, _)| *at);
        disarmed.or((now >= self.until).then_some(self.until))
    }

    /// Rules armed a moment ago, good for an hour.
    #[cfg(test)]
    pub(super) fn begun(
        place: Place,
        release_id: ReleaseId,
        group: Group,
        since: Timestamp,
    ) -> Self {
        Self {
            place,
            release_id,
            group,
            seq: 1,
            since,
            until: crate::domain::clock::after(since, std::time::Duration::from_hours(1)),
            proven_at: None,
            disarmed: None,
            next_seq: 2,
        }
    }

    fn fold<'a>(place: &Place, links: impl Iterator<Item = (u64, &'a Link)>) -> Option<Self> {
        let mut folded: Option<Self> = None;
        let mut next_seq = 1;
        for (seq, link) in links {
            next_seq = seq + 1;
            let Link::Known(entry) = link else { continue };
            match (&entry.event, &mut folded) {
                (
                    ArmEvent::Armed {
                        release_id,
                        group,
                        until,
                    },
                    _,
                ) => {
                    folded = Some(Self {
                        place: place.clone(),
                        release_id: release_id.clone(),
                        group: Group::clone(group),
                        seq,
                        since: entry.at,
                        until: *until,
                        proven_at: None,
                        disarmed: None,
                        next_seq,
                    });
                }
                (ArmEvent::Proven { .. }, Some(armed)) => {
                    armed.proven_at.get_or_insert(entry.at);
                }
                (ArmEvent::Disarmed { why }, Some(armed)) => {
                    armed.disarmed.get_or_insert((entry.at, why.clone()));
                }
                (ArmEvent::Proven { .. } | ArmEvent::Disarmed { .. }, None) => {}
            }
        }
        if let Some(armed) = &mut folded {
            armed.next_seq = next_seq;
        }
        folded
    }
}

/// All chains as they stand.
#[derive(Debug, Default)]
pub struct Listing {
    /// What could be read, by place.
    pub all: Vec<Armed>,
    /// What could not, in words.
    pub damaged: Vec<String>,
}

/// The links of one chain by number, or why one can't be read.
type Links = Vec<(u64, Result<Arc<Link>, String>)>;

/// The chains of the store.
#[derive(Debug)]
pub struct ArmedStore {
    store: Store,
    links: Mutex<BTreeMap<String, Arc<Link>>>,
}

impl ArmedStore {
    /// The chains of `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            links: Mutex::default(),
        }
    }

    /// Every batch's rules, those that ended included, from a fresh listing.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn all(&self) -> Result<Listing, StoreError> {
        let keys = self.store.list(FOLDER).await?;
        let mut chains: BTreeMap<Place, Links> = BTreeMap::new();
        for key in &keys {
            let Some((place, seq)) = Place::of(key) else {
                continue;
            };
            let link = match self.link(key).await {
                Ok(Some(link)) => Ok(link),
                Ok(None) => continue,
                Err(error @ StoreError::Damaged { .. }) => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            chains.entry(place).or_default().push((seq, link));
        }
        self.forget_all_but(&keys);
        let mut listing = Listing::default();
        for (place, links) in chains {
            let links: Result<Vec<(u64, Arc<Link>)>, String> = links
                .into_iter()
                .map(|(seq, link)| Ok((seq, link?)))
                .collect();
            match links {
                Ok(links) => {
                    let links = links.iter().map(|(seq, link)| (*seq, &**link));
                    listing.all.extend(Armed::fold(&place, links));
                }
                Err(why) => listing.damaged.push(why),
            }
        }
        Ok(listing)
    }

    async fn link(&self, key: &str) -> Result<Option<Arc<Link>>, StoreError> {
        if let Some(link) = self.known().get(key) {
            return Ok(Some(Arc::clone(link)));
        }
        let Some(link) = self.store.get::<Link>(key).await? else {
            return Ok(None);
        };
        let link = Arc::new(link);
        self.known().insert(key.to_owned(), Arc::clone(&link));
        Ok(Some(link))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_all_but(&self, keys: &[String]) {
        self.known()
            .retain(|key, _| keys.binary_search(key).is_ok());
    }

    /// One batch's rules; None when none were ever armed.
    ///
    /// # Errors
    /// When the store can't be reached or a link is damaged.
    pub async fn of(&self, place: &Place) -> Result<Option<Armed>, StoreError> {
        let links = chain::read_from::<Link>(&self.store, &place.prefix(), 1).await?;
        Ok(Armed::fold(
            place,
            links.iter().map(|(seq, link)| (*seq, link)),
        ))
    }

    /// Appends the event `transition` wants in the chain's present state, or nothing; it runs again
    /// after every lost number. The rules afterwards.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when nobody can tell whether the event stands.
    pub async fn append_with(
        &self,
        place: &Place,
        at: Timestamp,
        mut transition: impl FnMut(Option<&Armed>) -> Option<ArmEvent>,
    ) -> Result<Option<Armed>, StoreError> {
        loop {
            let armed = self.of(place).await?;
            let Some(event) = transition(armed.as_ref()) else {
                return Ok(armed);
            };
            let seq = armed.as_ref().map_or(1, |armed| armed.next_seq);
            let entry = ArmEntry { at, event };
            let created = chain::append(&self.store, &place.prefix(), seq, &entry).await?;
            if created == Created::Mine {
                return self.of(place).await;
            }
        }
    }

    /// Removes what ended before `before`, each chain from its end on, so that what is left of it
    /// when this is cut short has still ended.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn clear_away(&self, now: Timestamp, before: Timestamp) -> Result<(), StoreError> {
        for armed in self.all().await?.all {
            // A chain without its last links still ends by its own time.
            if armed.ended_at(now).is_some_and(|at| at < before) && armed.until < before {
                let prefix = armed.place.prefix();
                for seq in (1..armed.next_seq).rev() {
                    self.store.delete(&chain::key(&prefix, seq)).await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "armed_tests.rs"]
mod tests;
