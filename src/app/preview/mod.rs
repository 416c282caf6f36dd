//! Messages as a delivery would be worded: judged, put together and drawn by the code that tells
//! them, in a world that is only read. Nothing is told, written down or done.
//!
//! A [`Scene`] is that world: the store and what else may be asked ([`Stored`]), or one that a
//! file describes (`rehearsal`).

mod stored;

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;

use super::intake::{part_of, related};
use super::judge::{Gather, Judge, Judgement, Occasion, Resolved, Sources};
use super::look::Look;
use super::picture::{self, Shown};
use super::tell::{self, Part};
use crate::chart::Fonts;
use crate::config::{Channel, Config};
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, Fingerprint};
use crate::domain::context::Resolution;
use crate::domain::decision::Verdict;
use crate::domain::id::{IncidentId, LaneName, ReplicaId};
use crate::domain::notice::Notice;
use crate::enrich::catalog::View;
use crate::enrich::evidence::Prober;
use crate::ingest::book::{EpisodeBook, Observation};
use crate::ingest::episode::EpisodeTiming;
use crate::store::Store;

pub(crate) use stored::{Ask, Stored};

/// The id in the address of a chart that is drawn but not kept.
const CHART_ID: &str = "preview";

/// A world that is read.
pub(crate) struct Scene<'a> {
    /// Rules, services, limits.
    pub(crate) config: &'a Config,
    /// What judging asks.
    pub(crate) sources: &'a dyn Sources,
    /// Who is asked for metrics and rules.
    pub(crate) prober: &'a Prober,
    /// Releases, deployments, hosts, with what the lanes know.
    pub(crate) view: View,
    /// Why the catalog is not known, when it is not: then no release is accused.
    pub(crate) blind: Option<String>,
    /// What charts are written in.
    pub(crate) fonts: &'a Fonts,
}

/// One message as a channel would get it.
#[derive(Debug)]
pub(crate) struct Worded {
    /// The facts.
    pub(crate) notice: Notice,
    /// The chart's bytes.
    pub(crate) png: Option<Bytes>,
    /// Whether rules and settings send it to this channel at all.
    pub(crate) is_for_it: bool,
}

impl Scene<'_> {
    /// The messages that `group`, delivered now, comes to in `channel`.
    pub(crate) async fn messages(&self, group: &AlertGroup, channel: &Channel) -> Vec<Worded> {
        let (book, observation) = self.observed(group);
        let open = book.open_where(related(group));
        let judge = Judge {
            config: self.config,
            sources: self.sources,
        };
        let resolved = judge.resolve(&self.view, open);
        let resolved: Vec<Resolved> = resolved.into_iter().map(|one| self.seen(one)).collect();
        let firing: BTreeSet<Fingerprint> = group
            .alerts
            .iter()
            .filter(|alert| alert.is_firing())
            .map(|alert| alert.fingerprint)
            .collect();
        let occasion = Occasion {
            truncated: group.truncated,
            received_at: group.received_at,
            held_since: None,
            gather: Gather::Now(self.config.timing.evidence_deadline),
            again: false,
        };
        let judgements = judge.judge(&self.view, &resolved, &firing, occasion);
        let mut parts = Vec::new();
        for mut judgement in judgements.await {
            judgement.route(self.config, group);
            self.number(&mut judgement).await;
            parts.push(part_of(group, &observation, judgement, group.key.clone()));
        }
        parts.extend(self.ended(group, &observation));
        let mut worded = Vec::new();
        for part in parts {
            worded.push(self.worded(group, &part, channel).await);
        }
        worded
    }

    /// A book that has heard of this group only: everything it tells is news. What is over began
    /// in it.
    fn observed(&self, group: &AlertGroup) -> (EpisodeBook, Observation) {
        let timing = &self.config.timing;
        let episodes = EpisodeTiming {
            gap: timing.episode_gap,
            remind_after: timing.remind_after,
        };
        let me = ReplicaId::random();
        let book = EpisodeBook::new(Store::in_memory(), me, episodes, timing.skew);
        let over = group.alerts.iter().filter(|alert| !alert.is_firing());
        let began = over.map(|alert| Alert {
            status: AlertStatus::Firing,
            ends_at: None,
            ..alert.clone()
        });
        let before = AlertGroup {
            alerts: began.collect(),
            ..group.clone()
        };
        book.observe(&before, group.received_at);
        let observation = book.observe(group, group.received_at);
        (book, observation)
    }

    /// An alert with what it accuses; without a catalog nobody is accused.
    fn seen(&self, one: Resolved) -> Resolved {
        match &self.blind {
            Some(why) => Resolved {
                resolution: blind(&one.resolution, why),
                ..one
            },
            None => one,
        }
    }

    /// The incident a rollback would be: the lane's next number, as it stands.
    async fn number(&self, judgement: &mut Judgement) {
        let decision = &mut judgement.decision;
        let Some(lane) = lane_of(&judgement.resolution) else {
            return;
        };
        if decision.shadow || !matches!(decision.verdict, Verdict::Rollback(_)) {
            return;
        }
        if let Ok(state) = self.sources.lane(&lane).await {
            decision.incident = IncidentId::of(&lane, state.next_seq).ok();
        }
    }

    /// Alerts that are over, each for whoever was told of it.
    fn ended<'g>(&self, group: &'g AlertGroup, observation: &Observation) -> Vec<Part<'g>> {
        let resolve = |alert: &Alert| {
            let services = &self.config.services;
            let found = crate::enrich::ladder::resolve(alert, &self.view, services);
            match &self.blind {
                Some(why) => blind(&found, why),
                None => found,
            }
        };
        super::intake::ended_parts(self.config, group, observation, resolve, |_| {
            group.key.clone()
        })
    }

    async fn worded(&self, group: &AlertGroup, part: &Part<'_>, channel: &Channel) -> Worded {
        let now = self.sources.now();
        let shown = match part.alerts.first() {
            Some(first) => self.shown(first, part, &Look::of(channel), now).await,
            None => Shown::default(),
        };
        let (notice, png) = tell::notice_of(self.config, group, part, shown, now);
        let fires = part.alerts.iter().any(|alert| alert.is_firing());
        Worded {
            is_for_it: part.channels.contains(channel.name()) && (fires || channel.send_resolved),
            notice,
            png,
        }
    }

    /// The metric of a message and its chart.
    async fn shown(&self, alert: &Alert, part: &Part<'_>, look: &Look, now: Timestamp) -> Shown {
        if self.config.metrics.is_none() && !self.prober.has_metrics() {
            return Shown::without(Shown::NO_STORE);
        }
        let Some(source) = self.prober.chart_source(alert).await else {
            return Shown::without(Shown::NO_EXPRESSION);
        };
        let mut shown = Shown::measuring(&source);
        let context = part.resolution.context();
        let asked = picture::measure(self.prober, &self.view, alert, context, &source, now);
        let drawn = match asked.await {
            Ok(measured) => {
                let png = picture::paint(&measured, look, self.fonts).await;
                png.map(|png| (measured, png))
            }
            Err(why) => Err(why),
        };
        match drawn {
            Ok((measured, png)) => {
                let url = picture::chart_url(self.config, CHART_ID, now);
                shown.fill(look, &measured, (CHART_ID.to_owned(), url), png);
            }
            Err(why) => shown.missing = Some(why),
        }
        shown
    }
}

impl Judgement {
    /// Whom a group's routes tell, where no rule names anybody.
    pub(super) fn route(&mut self, config: &Config, group: &AlertGroup) {
        if self.names_nobody && !group.route_labels.is_empty() {
            let alerts = self.alerts.iter().map(|open| &*open.alert);
            self.channels = super::audience::audience_of(
                config,
                None,
                &self.resolution,
                alerts,
                &group.route_labels,
            );
        }
    }
}

fn lane_of(resolution: &Resolution) -> Option<LaneName> {
    let context = resolution.context()?;
    LaneName::of(&context.service, &context.env).ok()
}

fn blind(resolution: &Resolution, why: &str) -> Resolution {
    Resolution::Unavailable {
        service: resolution.service().cloned(),
        env: resolution.env().cloned(),
        reason: why.to_owned(),
    }
}
