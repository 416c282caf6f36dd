//! The world of a test at one virtual moment, as a [`Judge`](crate::app::judge::Judge) asks it.
//!
//! Documents go into an in-memory store when their time has come, and from there the way of the
//! gateway: the catalog reads them, lanes are folded, the budget counts. Only Gate and the metrics
//! store are written answers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::documents::{self, Stop};
use super::evidence;
use super::given::{Outage, RawGiven, RawTouches};
use super::metrics::{Outages, WrittenMetrics, WrittenRules, is_out};
use super::offset::Offset;
use super::script::Test;
use crate::act::budget::{BudgetView as Granted, Budgets};
use crate::act::lane::LaneStore;
use crate::app::judge::Sources;
use crate::app::modes::switches_among;
use crate::config::Config;
use crate::decide::{ActiveExecution, Switches, Touches};
use crate::domain::clock::{self, Clock as _, ManualClock, SharedClock};
use crate::domain::context::Context;
use crate::domain::deployment::{Deployment, Instance};
use crate::domain::evidence::Evidence;
use crate::domain::id::{DeploymentId, Env, LaneName, ReplicaId, Service};
use crate::domain::lane::LaneState;
use crate::enrich::catalog::{Catalog, View};
use crate::enrich::evidence::{Accusation, Prober};
use crate::prometheus::{Ask, RuleList};
use crate::store::{Store, StoreError, chain, keys};
use crate::web::api::ModeSwitch;

/// A world, at the moment its clock shows.
pub(super) struct World {
    pub config: Config,
    pub clock: Arc<ManualClock>,
    pub start: Timestamp,
    pub store: Store,
    pub lanes: LaneStore,
    pub given: RawGiven,
    catalog: Catalog,
    budgets: Budgets,
    /// Deployments that rollbacks have stopped.
    pub stopped: BTreeMap<DeploymentId, Stop>,
    /// The newest link of each chain of documents.
    written: BTreeMap<String, (u64, serde_json::Value)>,
    pub metrics: Option<Arc<WrittenMetrics>>,
    rules: Option<Arc<WrittenRules>>,
}

impl World {
    /// The world of a test, before anything of it is there.
    pub(super) fn new(test: &Test, begin: Timestamp) -> Self {
        let clock = ManualClock::at(begin);
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let store = Store::in_memory();
        let lanes = LaneStore::new(store.clone(), Arc::clone(&shared), ReplicaId::random());
        let given = test.given.clone();
        let out = |of| outages(&given, of, test.start);
        let metrics = (!test.answers.is_empty() || !given.alert_rules.is_empty()).then(|| {
            Arc::new(WrittenMetrics {
                clock: Arc::clone(&clock),
                answers: test.answers.clone(),
                outages: out(Outage::Metrics),
                unanswered: std::sync::Mutex::default(),
            })
        });
        let rules = (!test.rule_groups.is_empty()).then(|| {
            Arc::new(WrittenRules {
                clock: Arc::clone(&clock),
                groups: test.rule_groups.clone(),
                outages: out(Outage::Vmalert),
            })
        });
        Self {
            catalog: Catalog::new(store.clone(), shared, &test.config.timing),
            budgets: Budgets::new(lanes.clone()),
            config: test.config.clone(),
            start: test.start,
            clock,
            store,
            lanes,
            given,
            stopped: BTreeMap::new(),
            written: BTreeMap::new(),
            metrics,
            rules,
        }
    }

    /// Moves the clock and writes what is there by then.
    pub(super) async fn move_to(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.clock.advance(clock::since(at, self.clock.now()));
        let now = self.clock.now();
        for raw in self.given.releases.clone() {
            if let Some(release) = documents::release(&raw, self.start, now) {
                self.write(keys::release(&release.service, &release.id), 0, &release)
                    .await?;
            }
        }
        for raw in self.given.marks.clone() {
            if let Some(mark) = documents::mark(&raw, self.start, now) {
                let place = format!("{}/{}", keys::marks(&mark.release_id), mark.at);
                if let Entry::Vacant(new) = self.written.entry(place) {
                    new.insert((1, serde_json::Value::Null));
                    self.append(&keys::marks(&mark.release_id), &mark).await?;
                }
            }
        }
        for deployment in self.deployments(now) {
            let chain = keys::deployment(&deployment.service, &deployment.env, &deployment.id);
            self.write(chain, 1, &deployment).await?;
        }
        for one in self.instances(now) {
            let chain = keys::instance(&one.service, &one.env, &one.deployment_id, &one.host);
            self.write(chain, 1, &one).await?;
        }
        if !self.is_out(Outage::Store) && !self.is_out(Outage::Catalog) {
            self.catalog.refresh().await?;
        }
        Ok(())
    }

    /// Writes a document when it is not as it stands: `first` 0 is one that never changes.
    async fn write<T: Serialize>(
        &mut self,
        place: String,
        first: u64,
        document: &T,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_value(document).unwrap_or_default();
        let next = match self.written.get(&place) {
            Some((_, known)) if *known == value || first == 0 => return Ok(()),
            Some((seq, _)) => seq + 1,
            None => first,
        };
        if next == 0 {
            self.store.create(&place, document).await?;
        } else {
            chain::append(&self.store, &place, next, document).await?;
        }
        self.written.insert(place, (next, value));
        Ok(())
    }

    /// Adds a link to a chain of the store.
    pub(super) async fn append<T: Serialize>(
        &self,
        chain: &str,
        link: &T,
    ) -> Result<(), StoreError> {
        let known = chain::read_from::<serde_json::Value>(&self.store, chain, 1).await?;
        let next = known.last().map_or(1, |(seq, _)| seq + 1);
        chain::append(&self.store, chain, next, link).await?;
        Ok(())
    }

    /// Deployments as Spinnaker shows them at `now`.
    fn deployments(&self, now: Timestamp) -> Vec<Deployment> {
        let given = self.given.deployments.iter();
        given
            .filter_map(|raw| {
                let stop = self.stopped.get(&raw.id.value);
                documents::deployment(raw, stop, self.start, now)
            })
            .collect()
    }

    fn instances(&self, now: Timestamp) -> Vec<Instance> {
        let given = self.given.instances.iter();
        given
            .filter_map(|raw| {
                let mut all = self.given.deployments.iter();
                let deployment = all.find(|one| one.id.value == raw.deployment.value)?;
                documents::instance(raw, deployment, self.start, now)
            })
            .collect()
    }

    /// Whether it can't be asked now.
    fn is_out(&self, of: Outage) -> bool {
        is_out(&outages(&self.given, of, self.start), self.clock.now())
    }

    fn unless_out(&self, of: Outage, what: &str) -> Result<(), String> {
        if self.is_out(of) {
            return Err(format!("{what} is out (in this test)"));
        }
        Ok(())
    }

    fn is_on(&self, from: Option<Offset>, until: Option<Offset>) -> bool {
        let now = self.clock.now();
        from.is_none_or(|from| from.after(self.start) <= now)
            && until.is_none_or(|until| now < until.after(self.start))
    }

    /// Asks the written metrics and rules.
    pub(super) fn prober(&self, clock: SharedClock) -> Prober {
        let metrics = self.metrics.clone().map(|metrics| metrics as Arc<dyn Ask>);
        let rules = self.rules.clone().map(|rules| rules as Arc<dyn RuleList>);
        let rules = rules.into_iter().collect();
        Prober::over(metrics, rules, &self.config.timing, clock)
    }

    /// The catalog with what these lanes know.
    pub(super) async fn view(&self, lanes: impl IntoIterator<Item = LaneName>) -> View {
        crate::app::core::view_with(&self.config, self.catalog.view(), &self.lanes, lanes).await
    }
}

/// When `of` can't be asked.
fn outages(given: &RawGiven, of: Outage, start: Timestamp) -> Outages {
    let mine = given.outages.iter().filter(|outage| outage.of == of);
    mine.map(|outage| {
        let from = outage.from.map_or(Timestamp::MIN, |from| from.after(start));
        let until = outage
            .until
            .map_or(Timestamp::MAX, |until| until.after(start));
        (from, until)
    })
    .collect()
}

#[async_trait]
impl Sources for World {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String> {
        self.unless_out(Outage::Store, "the store")?;
        let lane = self.lanes.refresh(lane).await;
        lane.map_err(|error| error.to_string())
    }

    async fn switches(&self, service: Option<&Service>, env: Option<&Env>) -> Switches {
        let on = self.given.modes.iter();
        let on = on.filter(|mode| self.is_on(mode.from, mode.until));
        let set: Vec<ModeSwitch> = on
            .map(|mode| ModeSwitch {
                service: mode.service.clone(),
                env: mode.env.clone(),
                mode: mode.mode,
                by: "this test".to_owned(),
                reason: "it says so".to_owned(),
                at: self.start,
            })
            .collect();
        let set = self.unless_out(Outage::Store, "the store").map(|()| &*set);
        switches_among(&self.config, &[], set, service, env)
    }

    async fn granted(&self) -> Result<Granted, String> {
        self.unless_out(Outage::Store, "the store")?;
        let view = self.budgets.view(&self.config.budget, self.clock.now());
        view.await.map_err(|error| error.to_string())
    }

    async fn active(&self, context: &Context) -> Result<Vec<ActiveExecution>, String> {
        self.unless_out(Outage::Spinnaker, "Spinnaker")?;
        let here =
            |service: &Service, env: &Env| *service == context.service && *env == context.env;
        let deployments = self.deployments(self.clock.now()).into_iter();
        let deploying = deployments
            .filter(|one| one.is_active() && here(&one.service, &one.env))
            .map(|one| ActiveExecution::of_pipeline(one.id.as_str(), &one.pipeline));
        let others = self.given.executions.iter();
        let others = others
            .filter(|one| here(&one.service, &one.env) && self.is_on(one.from, one.until))
            .map(|one| {
                let mut execution = ActiveExecution::of_pipeline(&one.id, &one.pipeline);
                if matches!(one.touches, Some(RawTouches::Untold)) {
                    let why = "this test does not say what it touches".to_owned();
                    execution.touches = Touches::Untold(why);
                }
                execution
            });
        Ok(deploying.chain(others).collect())
    }

    async fn deployment(&self, context: &Context) -> Result<Deployment, String> {
        self.unless_out(Outage::Spinnaker, "Spinnaker")?;
        let mut all = self.deployments(self.clock.now()).into_iter();
        let found = all.find(|one| one.id == context.deployment.id);
        // A rollback's own execution is known to its lane only.
        Ok(found.unwrap_or_else(|| context.deployment.clone()))
    }

    async fn evidence(&self, accusation: &Accusation<'_>, view: &View) -> Evidence {
        let now = self.clock.now();
        let words = self.given.evidence.iter().flat_map(|words| &words.0);
        if let Some(word) = words.rev().find(|word| word.from.after(self.start) <= now) {
            return evidence::of_word(word.is, now);
        }
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        // A fresh one for each question: what it remembers goes by the machine's clock.
        self.prober(clock).gather(accusation, view).await
    }
}
