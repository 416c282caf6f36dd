//! The gateway's own sources: store, Gate, metrics store.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::active;
use super::super::core::Core;
use super::super::live;
use super::super::setup::Setup;
use super::{Again, Granted, Judge, Judgement, Occasion, Resolved, Sources};
use crate::decide::{ActiveExecution, Switches};
use crate::domain::alert::Fingerprint;
use crate::domain::context::Context;
use crate::domain::decision::Decision;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::id::{Env, LaneName, Service};
use crate::domain::lane::{Incident, LaneState};
use crate::enrich::catalog::View;
use crate::enrich::evidence;
use crate::ingest::episode::Open;

/// The sources of a running gateway under one setup.
struct Live<'a> {
    core: &'a Core,
    setup: &'a Setup,
}

#[async_trait]
impl Sources for Live<'_> {
    fn now(&self) -> Timestamp {
        self.core.ground.clock.now()
    }

    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String> {
        let lane = self.core.lanes.refresh(lane).await;
        lane.map_err(|error| error.to_string())
    }

    async fn switches(&self, service: Option<&Service>, env: Option<&Env>) -> Switches {
        self.core.switches_of(self.setup, service, env).await
    }

    async fn granted(&self) -> Result<Granted, String> {
        self.core.granted().await
    }

    async fn active(&self, context: &Context) -> Result<Vec<ActiveExecution>, String> {
        let (service, env) = (&context.service, &context.env);
        active::active(self.setup, service, env, &context.deployment.id).await
    }

    async fn deployment(&self, context: &Context) -> Result<Deployment, String> {
        live::deployment(
            self.setup,
            &context.service,
            &context.env,
            &context.deployment,
        )
        .await
    }

    async fn evidence(&self, accusation: &evidence::Accusation<'_>, view: &View) -> Evidence {
        self.setup.prober.gather(accusation, view).await
    }
}

impl Core {
    /// Every open alert with what it accuses.
    pub(in crate::app) fn resolve(
        &self,
        setup: &Setup,
        view: &View,
        open: Vec<Open>,
    ) -> Vec<Resolved> {
        let live = Live { core: self, setup };
        live.judge().resolve(view, open)
    }

    /// Judges the accusations that `focus` has a part in.
    pub(in crate::app) async fn judge(
        &self,
        setup: &Setup,
        view: &View,
        resolved: &[Resolved],
        focus: &BTreeSet<Fingerprint>,
        occasion: Occasion,
    ) -> Vec<Judgement> {
        let live = Live { core: self, setup };
        live.judge().judge(view, resolved, focus, occasion).await
    }

    /// Judges whether everything goes back after an incident's batch did.
    pub(in crate::app) async fn escalation_of(
        &self,
        setup: &Setup,
        view: &View,
        incident: &Incident,
    ) -> Result<Option<Decision>, String> {
        let live = Live { core: self, setup };
        live.judge().escalation(view, incident).await
    }

    /// Judges what is held, or about to be sent, once more.
    pub(in crate::app) async fn judge_again(
        &self,
        setup: &Setup,
        view: &View,
        asked: Again<'_>,
    ) -> Vec<Judgement> {
        let live = Live { core: self, setup };
        let judge = live.judge();
        let resolved = judge.resolve(view, self.book.open_alerts());
        judge.ask_again(view, &resolved, asked).await
    }
}

impl Live<'_> {
    fn judge(&self) -> Judge<'_> {
        Judge {
            config: &self.setup.config,
            sources: self,
        }
    }
}
