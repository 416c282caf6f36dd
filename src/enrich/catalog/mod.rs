//! What the store knows of releases, deployments and hosts, kept in memory.
//!
//! A background task lists the store every few seconds and reads only what is new: documents are
//! immutable, and of a chain the newest link counts. Lanes that gained nothing keep their index. A
//! damaged document is reported and left out, never fatal; with the store down the last state
//! stays, and says how old it is. Alerts are resolved against a [`View`], which can be extended by
//! batch posts that `sync` has not seen yet.

mod documents;
mod lane;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use lane::{LaneIndex, Membership, Untold};
pub use view::{StableRelease, View};

use crate::config::Timing;
use crate::domain::clock::{self, SharedClock};
use crate::domain::context::Freshness;
use crate::domain::deployment::{Deployment, Instance};
use crate::domain::id::{Env, ReleaseId, Service};
use crate::store::{Store, StoreError, keys};
use documents::{Document, Documents};
use lane::Records;
use view::Snapshot;

/// Service and env.
pub type Lane = (Service, Env);

/// A listing may take this share of the time at most: with very many documents it is done less
/// often.
const LISTING_SHARE: u32 = 5;

/// What one refresh did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// Documents read.
    pub read: usize,
    /// Documents that can't be read and were left out, with the reason.
    pub damaged: Vec<String>,
}

/// The catalog of one replica.
#[derive(Debug)]
pub struct Catalog {
    clock: SharedClock,
    every: Duration,
    stale_after: Duration,
    published: ArcSwap<Published>,
    /// Held over a whole refresh, so that two never mix.
    working: Mutex<Working>,
}

#[derive(Debug, Default)]
struct Published {
    snapshot: Arc<Snapshot>,
    as_of: Option<Timestamp>,
}

#[derive(Debug)]
struct Working {
    documents: Documents,
    deployments: HashMap<Lane, BTreeMap<String, Arc<Deployment>>>,
    instances: HashMap<Lane, BTreeMap<String, Arc<Instance>>>,
    snapshots: HashMap<Lane, BTreeMap<String, Arc<[Instance]>>>,
    /// Where the document of a prefix went.
    places: HashMap<String, Lane>,
}

impl Catalog {
    /// An empty catalog over `store`; nothing is read before the first refresh.
    pub fn new(store: Store, clock: SharedClock, timing: &Timing) -> Self {
        Self {
            clock,
            every: timing.catalog_refresh,
            stale_after: timing.catalog_stale,
            published: ArcSwap::default(),
            working: Mutex::new(Working {
                documents: Documents::new(store),
                deployments: HashMap::new(),
                instances: HashMap::new(),
                snapshots: HashMap::new(),
                places: HashMap::new(),
            }),
        }
    }

    /// The catalog as it is now.
    pub fn view(&self) -> View {
        let published = self.published.load();
        let now = self.clock.now();
        let freshness = published.as_of.map(|as_of| Freshness {
            as_of,
            stale: clock::since(now, as_of) > self.stale_after,
        });
        View::new(Arc::clone(&published.snapshot), now, freshness)
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// When the store can't be listed; the last state stays.
    pub async fn refresh(&self) -> Result<Refreshed, StoreError> {
        let mut working = self.working.lock().await;
        let as_of = self.clock.now();
        let change = working.documents.read_new().await?;
        let refreshed = Refreshed {
            read: change.read.len(),
            damaged: change.damaged,
        };
        let last = self.published.load().snapshot.clone();
        let snapshot = if change.read.is_empty() && change.gone.is_empty() {
            last
        } else {
            let mut snapshot = Snapshot::clone(&last);
            working.apply(change.read, &change.gone, &mut snapshot);
            Arc::new(snapshot)
        };
        self.published.store(Arc::new(Published {
            snapshot,
            // Unless every new document could be read, this is not how the store stands.
            as_of: change
                .complete
                .then_some(as_of)
                .or(self.published.load().as_of),
        }));
        Ok(refreshed)
    }

    /// Refreshes until `stop`.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        loop {
            let started = tokio::time::Instant::now();
            match self.refresh().await {
                Ok(done) => {
                    for reason in done.damaged {
                        tracing::error!(reason, "a document of the catalog is left out");
                    }
                }
                Err(error) => tracing::warn!(%error, "the catalog could not be refreshed"),
            }
            let pause = self.every.max(started.elapsed() * LISTING_SHARE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Working {
    fn apply(&mut self, read: Vec<(String, Document)>, gone: &[String], snapshot: &mut Snapshot) {
        let mut touched: HashSet<Lane> = HashSet::new();
        for (prefix, document) in read {
            match document {
                Document::Release(release) => {
                    snapshot.releases.insert(release.id.clone(), release);
                }
                Document::Mark(mark) => {
                    snapshot.marks.insert(mark.release_id.clone(), mark);
                }
                Document::Tag(tag) => {
                    snapshot.tags.insert(tag.release_id.clone(), tag);
                }
                Document::Deployment(deployment) => {
                    let lane = (deployment.service.clone(), deployment.env.clone());
                    self.places.insert(prefix.clone(), lane.clone());
                    let known = self.deployments.entry(lane.clone()).or_default();
                    known.insert(prefix, deployment);
                    touched.insert(lane);
                }
                Document::Instance(instance) => {
                    let lane = (instance.service.clone(), instance.env.clone());
                    self.places.insert(prefix.clone(), lane.clone());
                    let known = self.instances.entry(lane.clone()).or_default();
                    known.insert(prefix, instance);
                    touched.insert(lane);
                }
                Document::Snapshot(all) => {
                    let Some(first) = all.first() else { continue };
                    let lane = (first.service.clone(), first.env.clone());
                    self.places.insert(prefix.clone(), lane.clone());
                    let known = self.snapshots.entry(lane.clone()).or_default();
                    known.insert(prefix, all);
                    touched.insert(lane);
                }
            }
        }
        for prefix in gone {
            if let Some(lane) = self.places.remove(prefix) {
                self.deployments
                    .get_mut(&lane)
                    .map(|known| known.remove(prefix));
                self.instances
                    .get_mut(&lane)
                    .map(|known| known.remove(prefix));
                self.snapshots
                    .get_mut(&lane)
                    .map(|known| known.remove(prefix));
                touched.insert(lane);
            }
        }
        if !gone.is_empty() {
            let gone: HashSet<&str> = gone.iter().map(String::as_str).collect();
            snapshot
                .releases
                .retain(|id, one| !gone.contains(keys::release(&one.service, id).as_str()));
            snapshot
                .marks
                .retain(|id, _| !gone.contains(keys::marks(id).as_str()));
            let tag = |id: &ReleaseId| Some(keys::tag(&id.service()?, id));
            snapshot
                .tags
                .retain(|id, _| tag(id).is_none_or(|tag| !gone.contains(tag.as_str())));
        }
        for lane in touched {
            let deployments = all_of(self.deployments.get(&lane));
            let records = Records {
                single: all_of(self.instances.get(&lane)),
                snapshots: all_of(self.snapshots.get(&lane)),
            };
            let index = LaneIndex::build(deployments, records);
            snapshot.lanes.insert(lane, Arc::new(index));
        }
    }
}

fn all_of<T: Clone>(known: Option<&BTreeMap<String, T>>) -> Vec<T> {
    let known = known.into_iter().flat_map(BTreeMap::values);
    known.cloned().collect()
}

#[cfg(test)]
mod tests;
