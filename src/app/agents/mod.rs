//! Hosts that agents deploy on: what each is to run, and what became of it.
//!
//! A batch that may start is written down as one document for each of its hosts, under the number
//! of the lane's link that started it; a rollback likewise, under the link that let its execution
//! in. A host is answered the highest of its documents. Their keys follow from the lane, so no
//! poll lists anything. What is kept in memory here can all be read again.

mod artifact;
mod batch;
mod judge;
mod order;
mod records;
mod seen;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::core::Core;
use super::setup::Setup;
use crate::config::ByAgents;
use crate::domain::agent::Desired;
use crate::domain::id::{DeploymentId, Env, LaneName, ReleaseId, Service};
use crate::domain::lane::LaneState;
use crate::domain::release::Release;
use crate::store::{Created, Store, StoreError, keys};
use crate::web::api::{BatchStatus, Refusal};

use order::Wishes;
use records::Chains;
use seen::Seen;

/// A lane is read again when somebody asks and this has passed.
const LATELY: Duration = Duration::from_millis(500);
/// A document that was not there is looked for again after this.
const ABSENT: Duration = Duration::from_secs(2);
/// Documents remembered.
const REMEMBERED: u64 = 50_000;

/// What became of a batch, written down once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// Succeeded, failed or canceled.
    pub status: BatchStatus,
    /// In words.
    pub why: String,
    /// When.
    pub at: jiff::Timestamp,
}

/// Documents that never change once they are there.
#[derive(Debug)]
struct Once<T: Send + Sync + 'static> {
    store: Store,
    found: Cache<String, Arc<T>>,
    absent: Cache<String, ()>,
}

impl<T: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static> Once<T> {
    fn new(store: Store) -> Self {
        Self {
            store,
            found: Cache::new(REMEMBERED),
            absent: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(ABSENT)
                .build(),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<T>>, StoreError> {
        if let Some(found) = self.found.get(key).await {
            return Ok(Some(found));
        }
        if self.absent.contains_key(key) {
            return Ok(None);
        }
        let Some(read) = self.store.get::<T>(key).await? else {
            self.absent.insert(key.to_owned(), ()).await;
            return Ok(None);
        };
        let read = Arc::new(read);
        self.found.insert(key.to_owned(), Arc::clone(&read)).await;
        Ok(Some(read))
    }

    /// Writes it, unless it is there; answers with what stands.
    async fn create(&self, key: &str, value: T) -> Result<Arc<T>, StoreError> {
        if let Some(found) = self.found.get(key).await {
            return Ok(found);
        }
        let created = self.store.create(key, &value).await?;
        self.absent.invalidate(key).await;
        match created {
            Created::Mine => {
                let value = Arc::new(value);
                self.found.insert(key.to_owned(), Arc::clone(&value)).await;
                Ok(value)
            }
            Created::Taken => self.get(key).await?.ok_or_else(|| StoreError::Damaged {
                key: key.to_owned(),
                reason: "taken, yet not there".into(),
            }),
        }
    }
}

/// What is remembered of agents.
#[derive(Debug)]
pub(super) struct Agents {
    /// When each lane was read last.
    read: Mutex<HashMap<LaneName, Instant>>,
    /// What each lane wants of its hosts, as of an epoch.
    wishes: Mutex<HashMap<LaneName, (u64, Arc<Wishes>)>>,
    orders: Once<Desired>,
    verdicts: Once<Verdict>,
    releases: Once<Release>,
    chains: Chains,
    seen: Seen,
}

impl Agents {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            read: Mutex::default(),
            wishes: Mutex::default(),
            orders: Once::new(store.clone()),
            verdicts: Once::new(store.clone()),
            releases: Once::new(store.clone()),
            chains: Chains::new(store.clone()),
            seen: Seen::new(store.clone()),
        }
    }
}

/// The rules of batches that agents deploy; None: somebody else deploys there.
pub(super) fn by_agents<'a>(
    setup: &'a Setup,
    service: &Service,
    env: &Env,
) -> Option<&'a ByAgents> {
    let service = setup.config.services.get(service)?;
    let mut here = service.deploy.iter().filter(|one| one.env == *env);
    here.find_map(|one| one.agents.as_ref())
}

impl Core {
    /// The lane as it was at most [`LATELY`] ago.
    async fn lane_lately(&self, lane: &LaneName) -> Result<Arc<LaneState>, StoreError> {
        let is_due = {
            let mut read = self.agents.read.lock();
            let read = read.as_mut().map_err(|_| StoreError::Unavailable {
                key: keys::lane(lane),
                reason: "a reader of it failed".into(),
            })?;
            let due = read.get(lane).is_none_or(|at| at.elapsed() >= LATELY);
            if due {
                read.insert(lane.clone(), Instant::now());
            }
            due
        };
        if !is_due {
            return Ok(self.lanes.as_read(lane).await);
        }
        let refreshed = self.lanes.refresh(lane).await;
        if refreshed.is_err() {
            let mut read = self
                .agents
                .read
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            read.remove(lane);
        }
        refreshed
    }

    /// A release's document.
    async fn release_of(&self, id: &ReleaseId) -> Result<Arc<Release>, Refusal> {
        let unknown = || Refusal::Conflict {
            code: "release_unknown",
            reason: format!("release `{id}` was never published"),
        };
        let service = id.service().ok_or_else(unknown)?;
        let key = keys::release(&service, id);
        let release = self.agents.releases.get(&key);
        release.await?.ok_or_else(unknown)
    }

    /// What became of a batch, if that is settled.
    async fn verdict_of(
        &self,
        lane: &LaneName,
        deployment: &DeploymentId,
        n: u32,
    ) -> Result<Option<Arc<Verdict>>, StoreError> {
        let key = keys::verdict(lane, deployment, n);
        self.agents.verdicts.get(&key).await
    }
}
