//! When each host's agent was heard last, by whichever replica.
//!
//! Each replica writes what it heard beside its own memory, one small document that replaces the
//! one before, so that a batch is judged alike wherever it is polled.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::core::Core;
use crate::domain::clock;
use crate::domain::id::{Host, LaneName};
use crate::store::{Store, StoreError, keys};

/// The others' documents are read again after this.
const LATELY: Duration = Duration::from_secs(1);
/// A document of a replica that is gone is removed after this.
const LEFT: Duration = Duration::from_hours(1);

/// Milliseconds since 1970, by lane and host.
type Heard = BTreeMap<LaneName, BTreeMap<Host, i64>>;

#[derive(Debug)]
pub(super) struct Seen {
    store: Store,
    own: Mutex<Heard>,
    changed: Mutex<bool>,
    others: tokio::sync::Mutex<(Option<Instant>, Heard)>,
}

impl Seen {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            own: Mutex::default(),
            changed: Mutex::default(),
            others: tokio::sync::Mutex::default(),
        }
    }

    /// The host's agent was heard at `at`.
    pub(super) fn note(&self, lane: &LaneName, host: &Host, at: Timestamp) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = own.entry(lane.clone()).or_default();
        hosts.insert(host.clone(), at.as_millisecond());
        drop(own);
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// When each of a lane's hosts was heard last.
    ///
    /// # Errors
    /// When what other replicas heard can't be read.
    pub(super) async fn of(&self, lane: &LaneName) -> Result<HashMap<Host, Timestamp>, StoreError> {
        let mut found: HashMap<Host, i64> = HashMap::new();
        let mut take = |heard: &Heard| {
            for (host, at) in heard.get(lane).into_iter().flatten() {
                let known = found.entry(host.clone()).or_insert(*at);
                *known = (*known).max(*at);
            }
        };
        let mut others = self.others.lock().await;
        if others.0.is_none_or(|at| at.elapsed() >= LATELY) {
            others.1 = self.read_all().await?;
            others.0 = Some(Instant::now());
        }
        take(&others.1);
        drop(others);
        take(&self.own.lock().unwrap_or_else(PoisonError::into_inner));
        let told = found.into_iter();
        let told =
            told.filter_map(|(host, at)| Some((host, Timestamp::from_millisecond(at).ok()?)));
        Ok(told.collect())
    }

    async fn read_all(&self) -> Result<Heard, StoreError> {
        let mut all = Heard::new();
        for key in self.store.list(keys::SEEN).await? {
            // Replaced by its writer between the listing and now.
            let Some(one) = self.store.get::<Heard>(&key).await? else {
                continue;
            };
            for (lane, hosts) in one {
                let known = all.entry(lane).or_default();
                for (host, at) in hosts {
                    let newest = known.entry(host).or_insert(at);
                    *newest = (*newest).max(at);
                }
            }
        }
        Ok(all)
    }
}

impl Core {
    /// Writes down what was heard, again and again, until `stop`.
    pub(in crate::app) async fn keep_seen(&self, stop: CancellationToken) {
        let mut before: Option<String> = None;
        loop {
            let every = self.seen_every();
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                break;
            }
            if let Err(error) = self.write_seen(&mut before).await {
                tracing::warn!("which agents were heard can't be written down: {error}");
            }
        }
        if let Some(key) = before
            && let Err(error) = self.ground.store.delete(&key).await
        {
            tracing::debug!("a leftover stays: {error}");
        }
    }

    /// A quarter of the shortest poll.
    fn seen_every(&self) -> Duration {
        let setup = self.setup();
        let deploys = setup.config.services.values().flat_map(|one| &one.deploy);
        let polls = deploys.filter_map(|one| one.agents.as_ref().map(|agents| agents.poll));
        let shortest = polls.min().unwrap_or(Duration::from_secs(20));
        (shortest / 4).max(Duration::from_millis(250))
    }

    async fn write_seen(&self, before: &mut Option<String>) -> Result<(), StoreError> {
        let seen = &self.agents.seen;
        let changed =
            std::mem::take(&mut *seen.changed.lock().unwrap_or_else(PoisonError::into_inner));
        if !changed {
            return Ok(());
        }
        let now = self.ground.clock.now();
        let own = {
            let mut own = seen.own.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = clock::before(now, LEFT).as_millisecond();
            for hosts in own.values_mut() {
                hosts.retain(|_, at| *at >= oldest);
            }
            own.clone()
        };
        let key = keys::seen(&self.ground.me, now);
        seen.store.create(&key, &own).await?;
        if let Some(old) = before.replace(key) {
            seen.store.delete(&old).await?;
        }
        self.clear_left(now).await
    }

    /// Removes what replicas left that are gone.
    async fn clear_left(&self, now: Timestamp) -> Result<(), StoreError> {
        let store = &self.ground.store;
        for key in store.list(keys::SEEN).await? {
            let at = keys::stamp(&key).map(|(_, at)| at);
            if at.is_some_and(|at| clock::since(now, at) > LEFT) {
                store.delete(&key).await?;
            }
        }
        Ok(())
    }
}
