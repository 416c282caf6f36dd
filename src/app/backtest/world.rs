//! The past as a [`Judge`](crate::app::judge::Judge) asks it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::Witnesses;
use crate::act::budget::{BudgetView as Granted, Grant};
use crate::act::lane::LaneStore;
use crate::app::judge::Sources;
use crate::app::modes::{Switched, in_force, switches_among};
use crate::config::Config;
use crate::decide::{ActiveExecution, Switches};
use crate::domain::clock::{Clock as _, ManualClock, SharedClock};
use crate::domain::context::Context;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::id::{Env, LaneName, ReplicaId, Service};
use crate::domain::lane::LaneState;
use crate::enrich::catalog::View;
use crate::enrich::evidence::{Accusation, Prober};
use crate::prometheus::{Ask, Options, PromError, Sample, Series};
use crate::store::Store;

/// The metrics store, asked about the moment a clock shows instead of about now.
#[derive(Debug)]
struct Then {
    metrics: Arc<dyn Ask>,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Ask for Then {
    async fn instant(
        &self,
        query: &str,
        at: Option<Timestamp>,
        options: &Options,
    ) -> Result<Vec<Sample>, PromError> {
        let at = at.unwrap_or_else(|| self.clock.now());
        self.metrics.instant(query, Some(at), options).await
    }

    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &Options,
    ) -> Result<Vec<Series>, PromError> {
        self.metrics.range(query, start, end, step, options).await
    }
}

/// What is asked at one moment of the past.
pub(super) struct World {
    clock: Arc<ManualClock>,
    config: Config,
    /// Lanes of the replay: its own incidents, not those that really were.
    pub(super) lanes: LaneStore,
    /// Grants of the replay.
    pub(super) grants: Vec<Grant>,
    switches: Vec<Switched>,
    prober: Prober,
    /// The catalog as it was.
    pub(super) view: View,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.clock.now())
            .finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(
        config: &Config,
        witnesses: &Witnesses,
        clock: &Arc<ManualClock>,
        switches: Vec<Switched>,
        view: View,
    ) -> Self {
        let shared: SharedClock = Arc::<ManualClock>::clone(clock);
        let metrics: Arc<dyn Ask> = Arc::new(Then {
            metrics: Arc::clone(&witnesses.metrics),
            clock: Arc::clone(clock),
        });
        let rules = Arc::clone(&witnesses.rules);
        let prober = Prober::over(Some(metrics), rules, &config.timing, Arc::clone(&shared));
        Self {
            clock: Arc::clone(clock),
            config: config.clone(),
            lanes: LaneStore::new(Store::in_memory(), shared, ReplicaId::random()),
            grants: Vec::new(),
            switches,
            prober,
            view,
        }
    }
}

#[async_trait]
impl Sources for World {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String> {
        let lane = self.lanes.refresh(lane).await;
        lane.map_err(|error| error.to_string())
    }

    async fn switches(&self, service: Option<&Service>, env: Option<&Env>) -> Switches {
        let switches = in_force(&self.switches, self.clock.now());
        switches_among(&self.config, &[], Ok(&switches), service, env)
    }

    async fn granted(&self) -> Result<Granted, String> {
        Ok(Granted {
            grants: self.grants.clone(),
        })
    }

    /// Gate forgets. Deployments that ran by the records are named; others may have.
    async fn active(&self, context: &Context) -> Result<Vec<ActiveExecution>, String> {
        let lanes = self.view.lanes(Some(&context.service), Some(&context.env));
        let running = lanes.iter().flat_map(|(_, index)| index.deployments());
        let running = running.filter(|one| one.is_active() && one.finished_at.is_none());
        Ok(running
            .map(|one| ActiveExecution::of_pipeline(one.id.as_str(), &one.pipeline))
            .collect())
    }

    async fn deployment(&self, context: &Context) -> Result<Deployment, String> {
        Ok(context.deployment.clone())
    }

    async fn evidence(&self, accusation: &Accusation<'_>, view: &View) -> Evidence {
        self.prober.gather(accusation, view).await
    }
}
