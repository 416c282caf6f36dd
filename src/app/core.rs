//! What every part of the app shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify as Wake;

use super::holds::Holds;
use super::modes::ModeStore;
use super::picture::Pictures;
use super::setup::{Ground, Setup};
use crate::act::engine::Engine;
use crate::act::lane::LaneStore;
use crate::domain::decision::Decision;
use crate::domain::id::{ChannelName, LaneName, Service};
use crate::enrich::catalog::{Catalog, View};
use crate::ingest::book::EpisodeBook;
use crate::telemetry::metrics::Metrics;

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
    /// The last verdict per accusation, so that a repeated one is not written down again.
    pub(super) last_verdicts: Mutex<HashMap<String, String>>,
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

    /// The catalog, with what the lanes of `services` know before `sync` does. A lane that can't
    /// be read adds what was known of it last: guards that need it as it is now say so.
    pub(super) async fn view_with(
        &self,
        setup: &Setup,
        lanes: impl IntoIterator<Item = LaneName>,
    ) -> View {
        let mut view = self.catalog.view();
        for name in lanes {
            let Some((service, env)) = setup.lane_parts(&name) else {
                continue;
            };
            let pipelines = setup
                .config
                .services
                .get(&service)
                .map_or(&[][..], |service| &service.deploy);
            let state = match self.lanes.refresh(&name).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(lane.name = %name, "lane `{name}` can't be read: {error}");
                    self.lanes.as_read(&name).await
                }
            };
            view = view.with_lane(&service, &env, &state, pipelines);
        }
        view
    }

    /// Gauges that are read when they are asked for.
    pub(super) async fn fresh_gauges(&self) {
        let now = self.ground.clock.now();
        if let Some(freshness) = self.catalog.view().freshness() {
            let age = crate::domain::clock::since(now, freshness.as_of).as_secs();
            let age = i64::try_from(age).unwrap_or(i64::MAX);
            self.numbers.catalog_age_seconds.set(age);
        }
        if let Ok(unfinished) = self.lanes.unfinished().await {
            let open = i64::try_from(unfinished.open.len()).unwrap_or(i64::MAX);
            self.numbers.incidents_open.set(open);
        }
    }

    /// Who hears of an accusation: the rule's channels, else the default ones.
    pub(super) fn audience(setup: &Setup, rule_channels: &[ChannelName]) -> Vec<ChannelName> {
        if rule_channels.is_empty() {
            setup.config.default_channels.clone()
        } else {
            rule_channels.to_vec()
        }
    }

    /// Counts a decision and says whether it is news for its accusation.
    pub(super) fn is_news(&self, decision: &Decision) -> bool {
        let accusation = format!(
            "{:?}/{:?}/{:?}",
            decision.deployment,
            decision.rule,
            decision.alerts.first()
        );
        let verdict = format!(
            "{}/{}/{}",
            decision.verdict.as_str(),
            decision.shadow,
            decision.why()
        );
        let mut last = self
            .last_verdicts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.len() > 10_000 {
            last.clear();
        }
        last.insert(accusation, verdict.clone()) != Some(verdict)
    }
}

impl Setup {
    /// Service and env of a lane of ours.
    pub(super) fn lane_parts(&self, lane: &LaneName) -> Option<(Service, crate::domain::id::Env)> {
        self.known_lanes()
            .find(|(service, env)| LaneName::of(service, env).as_ref() == Ok(lane))
    }

    /// Every service and env that a deploy pipeline names.
    pub(super) fn known_lanes(&self) -> impl Iterator<Item = (Service, crate::domain::id::Env)> {
        self.config.services.iter().flat_map(|(service, config)| {
            let mut envs: Vec<_> = config
                .deploy
                .iter()
                .map(|pipeline| pipeline.env.clone())
                .collect();
            envs.sort();
            envs.dedup();
            envs.into_iter().map(|env| (service.clone(), env))
        })
    }
}
