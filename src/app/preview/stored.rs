//! The world of a preview as the store has it; metrics store, vmalerts and Gate only when asked for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::super::core::view_with;
use super::super::hearing::Hearing;
use super::super::modes::{ModeStore, switches_among};
use super::super::setup::{Ground, Setup};
use super::super::spent::with_wanted;
use super::super::{active, live};
use super::Scene;
use crate::act::budget::{BudgetView as Granted, Budgets};
use crate::act::lane::LaneStore;
use crate::chart::Fonts;
use crate::config::Config;
use crate::decide::{ActiveExecution, Switches};
use crate::domain::alert::Alert;
use crate::domain::clock::SharedClock;
use crate::domain::context::Context;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::id::{Env, LaneName, ReplicaId, Service};
use crate::domain::lane::LaneState;
use crate::enrich::catalog::{Catalog, View};
use crate::enrich::evidence::{self, Prober};
use crate::http::{CallError, CallErrorKind};
use crate::prometheus::{self, PromError, RuleGroup, RuleList, Sample, Series};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// The longest a preview waits for the store.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is said of everything that was not asked.
const NOT_ASKED: &str = "not asked: a preview asks nobody without --online";

/// Who beside the store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nobody.
    Nobody,
    /// Metrics store, vmalerts and Gate as configured.
    Everybody,
}

/// The store's world.
#[derive(Debug)]
pub(crate) struct Stored {
    config: Config,
    clock: SharedClock,
    lanes: LaneStore,
    catalog: Catalog,
    modes: ModeStore,
    budgets: Budgets,
    /// Why the store is not read, when it is not.
    blind: Option<String>,
    /// Everything configured, when it may be asked.
    setup: Option<Setup>,
    prober: Prober,
}

impl Stored {
    /// Reads the catalog; `store` is an error in words where there is none to read.
    ///
    /// # Errors
    /// When a client that is to be asked can't be made.
    pub(crate) async fn read(
        config: &Config,
        store: Result<Store, String>,
        ask: Ask,
        clock: SharedClock,
    ) -> Result<Self, String> {
        let (store, mut blind) = match store {
            Ok(store) => (store, None),
            Err(why) => (Store::in_memory(), Some(why)),
        };
        let catalog = Catalog::new(store.clone(), Arc::clone(&clock), &config.timing);
        if blind.is_none() {
            blind = match tokio::time::timeout(PATIENCE, catalog.refresh()).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the store did not answer in time".to_owned()),
            };
        }
        let setup = match ask {
            Ask::Nobody => None,
            Ask::Everybody => Some(setup(config, &clock)?),
        };
        let prober = match &setup {
            Some(setup) => setup.prober.clone(),
            None => silent(config, &clock),
        };
        let lanes = LaneStore::new(store.clone(), Arc::clone(&clock), ReplicaId::random());
        Ok(Self {
            config: config.clone(),
            budgets: Budgets::new(lanes.clone()),
            modes: ModeStore::new(store),
            clock,
            lanes,
            catalog,
            blind,
            setup,
            prober,
        })
    }

    /// The scene for these alerts.
    pub(crate) async fn scene<'a>(&'a self, alerts: &[Alert], fonts: &'a Fonts) -> Scene<'a> {
        let lanes = self.config.lanes_named_in(alerts);
        let lanes = lanes.into_iter().filter(|_| self.blind.is_none());
        Scene {
            config: &self.config,
            sources: self,
            prober: &self.prober,
            view: view_with(&self.config, self.catalog.view(), &self.lanes, lanes).await,
            blind: self.blind.clone(),
            fonts,
        }
    }

    fn seeing(&self) -> Result<(), String> {
        self.blind.clone().map_or(Ok(()), Err)
    }

    fn asking(&self) -> Result<&Setup, String> {
        self.setup.as_ref().ok_or_else(|| NOT_ASKED.to_owned())
    }
}

/// Everything configured, over a store that is thrown away: it is asked, never told through.
fn setup(config: &Config, clock: &SharedClock) -> Result<Setup, String> {
    let tasks = TaskTracker::new();
    let hearing = Hearing::new(Arc::new(Metrics::new()), tasks.clone());
    let ground = Ground {
        store: Store::in_memory(),
        clock: Arc::clone(clock),
        me: ReplicaId::random(),
        tasks,
        ear: Arc::new(hearing),
        limits: Arc::default(),
        slack_waits: Arc::default(),
    };
    Setup::new(config.clone(), &ground).map_err(|error| error.to_string())
}

/// Asks nobody, and says so where somebody is configured.
fn silent(config: &Config, clock: &SharedClock) -> Prober {
    let metrics = config.metrics.as_ref();
    let metrics = metrics.map(|_| Arc::new(NotAsked) as Arc<dyn prometheus::Ask>);
    let list = |_| Arc::new(NotAsked) as Arc<dyn RuleList>;
    let lists = config.vmalert.iter().map(list).collect();
    Prober::over(metrics, lists, &config.timing, Arc::clone(clock))
}

#[derive(Debug)]
struct NotAsked;

fn not_asked() -> PromError {
    CallError::new(CallErrorKind::Network, NOT_ASKED).into()
}

#[async_trait]
impl prometheus::Ask for NotAsked {
    async fn instant(
        &self,
        _: &str,
        _: Option<Timestamp>,
        _: &prometheus::Options,
    ) -> Result<Vec<Sample>, PromError> {
        Err(not_asked())
    }

    async fn range(
        &self,
        _: &str,
        _: Timestamp,
        _: Timestamp,
        _: Duration,
        _: &prometheus::Options,
    ) -> Result<Vec<Series>, PromError> {
        Err(not_asked())
    }
}

#[async_trait]
impl RuleList for NotAsked {
    fn name(&self) -> String {
        "vmalert".to_owned()
    }

    async fn rules(&self) -> Result<Vec<RuleGroup>, PromError> {
        Err(not_asked())
    }
}

#[async_trait]
impl super::Sources for Stored {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String> {
        self.seeing()?;
        let lane = self.lanes.refresh(lane).await;
        lane.map_err(|error| error.to_string())
    }

    async fn switches(&self, service: Option<&Service>, env: Option<&Env>) -> Switches {
        let by_file = self.modes.of_file(&self.config, self.clock.now()).await;
        let set = match self.seeing() {
            Ok(()) => self
                .modes
                .switches()
                .await
                .map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let set = set.as_ref().map(|set| set.as_slice()).map_err(Clone::clone);
        switches_among(&self.config, &by_file, set, service, env)
    }

    async fn granted(&self) -> Result<Granted, String> {
        self.seeing()?;
        let granted = self.budgets.view(&self.config.budget, self.clock.now());
        let granted = granted.await.map_err(|error| error.to_string())?;
        with_wanted(&self.lanes, granted).await
    }

    async fn active(&self, context: &Context) -> Result<Vec<ActiveExecution>, String> {
        let setup = self.asking()?;
        let (service, env) = (&context.service, &context.env);
        active::active(setup, service, env, &context.deployment.id).await
    }

    async fn deployment(&self, context: &Context) -> Result<Deployment, String> {
        let setup = self.asking()?;
        let (service, env) = (&context.service, &context.env);
        live::deployment(setup, service, env, &context.deployment).await
    }

    async fn evidence(&self, accusation: &evidence::Accusation<'_>, view: &View) -> Evidence {
        self.prober.gather(accusation, view).await
    }
}
