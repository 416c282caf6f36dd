//! What every part of the app shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify as Wake;

use super::agents::Agents;
use super::holds::Holds;
use super::modes::ModeStore;
use super::picture::Pictures;
use super::presence::Diary;
use super::recorded::LastDecisions;
use super::self_test::SelfTests;
use super::setup::{Ground, Setup};
use crate::act::engine::Engine;
use crate::act::lane::LaneStore;
use crate::canary::{ArmedStore, Watch};
use crate::config::Config;
use crate::domain::id::LaneName;
use crate::domain::lane::{Incident, Stage};
use crate::enrich::catalog::{Catalog, View};
use crate::ingest::book::EpisodeBook;
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;

/// The longest a reader of the metrics waits for the store.
const GAUGES_DEADLINE: Duration = Duration::from_secs(2);

/// What every part of the app shares. One per gateway process.
#[derive(Debug)]
pub struct Core {
    /// Store, clock, name, tasks.
    pub(super) ground: Ground,
    /// Made from the configuration; swapped by a reload.
    pub(super) setup: ArcSwap<Setup>,
    /// Our own numbers.
    pub(super) numbers: Arc<Metrics>,
    /// Which alerts are open.
    pub(super) book: EpisodeBook,
    /// Releases, deployments, hosts.
    pub(super) catalog: Catalog,
    /// Lanes.
    pub(super) lanes: LaneStore,
    /// Charts.
    pub(super) pictures: Pictures,
    /// Open holds.
    pub(super) holds: Holds,
    /// Canary rules.
    pub(super) armed: ArmedStore,
    /// Hosts that agents deploy on.
    pub(super) agents: Agents,
    /// What was seen of them in the vmalerts.
    pub(super) watch: Watch,
    /// What is known of the self-test.
    pub(super) self_tests: SelfTests,
    /// Modes set by people.
    pub(super) modes: ModeStore,
    /// The engine; set once, right after it was built over this core.
    pub(super) engine: OnceLock<Engine>,
    /// Whether the store's race had one winner each: without it nothing automatic is done.
    pub(super) exclusive: AtomicBool,
    /// Whether the other replicas' episodes were read once: before that nothing is known to be over.
    pub(super) book_read: AtomicBool,
    /// When this replica started.
    pub(super) started_at: jiff::Timestamp,
    /// What was decided last, so that a repeated decision is not written down again.
    pub(super) last_decisions: LastDecisions,
    /// What came to the door since the last sign of life.
    pub(super) diary: Diary,
    /// Held while an automatic rollback is opened, so that each sees the ones before.
    pub(super) opening: tokio::sync::Mutex<()>,
    /// Looks at holds now instead of at the next sweep.
    pub(super) look_at_holds: Wake,
}

impl Core {
    /// The setup as it is now; hold it over one piece of work.
    pub(super) fn setup(&self) -> Guard<Arc<Setup>> {
        self.setup.load()
    }

    /// The engine.
    ///
    /// # Panics
    /// Never after [`super::App::build`], which sets it.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// Whether the other replicas' episodes were read at least once.
    pub(super) fn book_is_read(&self) -> bool {
        self.book_read.load(Ordering::Relaxed)
    }

    /// Whether creating a key is known to be exclusive in this store.
    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive.load(Ordering::Relaxed)
    }

    /// The catalog, with what these lanes know before `sync` does.
    pub(super) async fn view_with(
        &self,
        setup: &Setup,
        lanes: impl IntoIterator<Item = LaneName>,
    ) -> View {
        view_with(&setup.config, self.catalog.view(), &self.lanes, lanes).await
    }

    /// Gauges that are read when they are asked for.
    pub(super) async fn fresh_gauges(&self) {
        let now = self.ground.clock.now();
        if let Some(freshness) = self.catalog.view().freshness() {
            let age = crate::domain::clock::since(now, freshness.as_of).as_secs();
            let age = i64::try_from(age).unwrap_or(i64::MAX);
            self.numbers.catalog_age_seconds.set(age);
        }
        // Whoever scrapes must hear that the store is away, so it is not waited for.
        match tokio::time::timeout(GAUGES_DEADLINE, self.open_incidents()).await {
            Ok(Ok(open)) => self.count_incidents(&open),
            Ok(Err(error)) => tracing::debug!("open incidents can't be counted: {error}"),
            Err(_) => tracing::debug!("open incidents can't be counted in time"),
        }
    }

    /// Incidents that are not closed.
    async fn open_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        let unfinished = self.lanes.unfinished().await?;
        let mut open = Vec::new();
        for id in unfinished.open {
            let Some((lane, _)) = id.parts() else {
                continue;
            };
            let state = self.lanes.as_read(&lane).await;
            let incident = state.incident(&id).filter(|one| !one.is_closed());
            open.extend(incident.cloned());
        }
        Ok(open)
    }

    fn count_incidents(&self, open: &[Incident]) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.numbers.incidents_open.set(count(open.len()));
        let unknown = open.iter().filter(|one| one.stage == Stage::Unknown);
        self.numbers.incidents_unknown.set(count(unknown.count()));
        let oldest = open.iter().map(|one| one.opened_at.as_second()).min();
        self.numbers
            .incidents_oldest_timestamp_seconds
            .set(oldest.unwrap_or(0));
    }
}

/// `view` with what `lanes` know before `sync` does. A lane that can't be read adds what was known
/// of it last: guards that need it as it is now say so.
pub(crate) async fn view_with(
    config: &Config,
    mut view: View,
    store: &LaneStore,
    lanes: impl IntoIterator<Item = LaneName>,
) -> View {
    for name in lanes {
        let Some((service, env)) = config.lane_parts(&name) else {
            continue;
        };
        let pipelines = config
            .services
            .get(&service)
            .map_or(&[][..], |service| &service.deploy);
        let state = match store.refresh(&name).await {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(lane.name = %name, "lane `{name}` can't be read: {error}");
                store.as_read(&name).await
            }
        };
        view = view.with_lane(&service, &env, &state, pipelines);
    }
    view
}
