//! What the store recorded about a moment, an incident or a body, read for `explain`.
//!
//! Everything here reads. It works in a gateway and, for when none answers, in a program that has
//! nothing but the store.

mod holds;
mod incident;
mod signs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::holds::holds_of;
pub(super) use self::incident::alert_of;
pub use self::incident::incident_from_store;
use self::incident::{incident_line, of_incident};
use self::signs::summed;
use super::core::Core;
use super::house::EPISODES;
use super::presence::{self, Sign};
use super::recorded;
use crate::act::lane::LaneStore;
use crate::config::Config;
use crate::domain::alert::Fingerprint;
use crate::domain::clock::{self, SharedClock};
use crate::domain::decision::Decision;
use crate::domain::id::{IncidentId, LaneName, ReplicaId, Service};
use crate::domain::lane::Incident;
use crate::domain::record::DecisionRecord;
use crate::enrich::catalog::{Catalog, View};
use crate::enrich::ladder;
use crate::explain::{self, AlertLine, Explanation, IncidentLine, Known, Moment, Presence};
use crate::ingest::history::{self, End, Life};
use crate::store::{Store, StoreError, keys};
use crate::web::api::{Filter, Refusal};

/// How far back an alert that still fires may have begun: its life is written down again before.
const LOOK_BACK: Duration = Duration::from_hours(24);
/// How far behind the window the next alert is looked for.
const LOOK_AHEAD: Duration = Duration::from_mins(30);
/// How far around the window signs of life are looked for, to tell a gap from end to end.
const SIGNS_AROUND: Duration = Duration::from_hours(1);
/// Decisions kept of one answer.
const MAX_DECISIONS: usize = 200;

/// Where records are read.
pub(super) struct Archive<'a> {
    store: &'a Store,
    lanes: &'a LaneStore,
    view: View,
    config: &'a Config,
    now: Timestamp,
    /// What the asked replica has not written down yet.
    own: Option<Sign>,
}

/// Explains a moment from the store alone.
///
/// # Errors
/// When the store can't be read.
pub async fn from_store(
    store: &Store,
    config: &Config,
    clock: &SharedClock,
    moment: Moment,
    zone: &TimeZone,
) -> Result<Explanation, StoreError> {
    let catalog = Catalog::new(store.clone(), Arc::clone(clock), &config.timing);
    catalog.refresh().await?;
    let lanes = LaneStore::new(store.clone(), Arc::clone(clock), ReplicaId::random());
    let archive = Archive {
        store,
        lanes: &lanes,
        view: catalog.view(),
        config,
        now: clock.now(),
        own: None,
    };
    archive.explain(moment, zone).await
}

impl Core {
    /// What happened to a service around a moment, and why nothing did.
    pub(super) async fn explain_moment(
        &self,
        moment: Moment,
        zone: &TimeZone,
    ) -> Result<Explanation, Refusal> {
        let setup = self.setup().clone();
        let archive = Archive {
            store: &self.ground.store,
            lanes: &self.lanes,
            view: self.catalog.view(),
            config: &setup.config,
            now: self.ground.clock.now(),
            own: Some(self.own_sign()),
        };
        Ok(archive.explain(moment, zone).await?)
    }

    /// Why an incident was opened, and what came of it.
    pub(super) async fn explain_incident(&self, id: &IncidentId) -> Result<Explanation, Refusal> {
        let incident = self.find_incident(id).await?;
        let now = self.ground.clock.now();
        Ok(of_incident(&self.ground.store, &incident, now).await?)
    }
}

impl Archive<'_> {
    async fn explain(&self, moment: Moment, zone: &TimeZone) -> Result<Explanation, StoreError> {
        let mut known = Known::default();
        if moment.from < clock::before(self.now, EPISODES) {
            let text = "which alerts came and who was there is kept for seven days only".to_owned();
            known.not_known.push(text);
        }
        let lives = self.lives(&moment, &mut known).await?;
        let decisions = self.decisions(&moment, &lives, &mut known).await?;
        let decided: BTreeSet<Fingerprint> = decisions
            .iter()
            .filter(|record| record.decision.service.as_ref() == Some(&moment.service))
            .flat_map(|record| record.decision.alerts.iter().copied())
            .collect();
        self.sort_out(&moment, &lives, &decided, &mut known);
        known.holds = holds_of(self.store, &decisions).await?;
        known.decisions = decisions;
        known.incidents = self.incidents(&moment).await?;
        known.presence = self.presence(&moment, &mut known.not_known).await?;
        Ok(explain::of_moment(moment, known, zone))
    }

    async fn lives(&self, moment: &Moment, known: &mut Known) -> Result<Vec<Life>, StoreError> {
        let from = clock::before(moment.from, LOOK_BACK);
        let to = clock::after(moment.to, LOOK_AHEAD).min(self.now);
        let gap = self.config.timing.episode_gap;
        let history = history::read(self.store, from, to, gap).await?;
        if history.left_out > 0 {
            known.not_known.push(format!(
                "{} older records of alerts were left out: too many for one answer, or damaged",
                history.left_out
            ));
        }
        Ok(history.lives)
    }

    /// Decisions about the service, and those about its alerts that could not tell the service.
    async fn decisions(
        &self,
        moment: &Moment,
        lives: &[Life],
        known: &mut Known,
    ) -> Result<Vec<DecisionRecord>, StoreError> {
        let firing = lives
            .iter()
            .filter(|life| life.meets(moment.from, moment.to));
        let of_it: BTreeSet<Fingerprint> = firing
            .clone()
            .filter(|life| names_service(life, &moment.service))
            .map(|life| life.alert.fingerprint)
            .collect();
        let earliest = firing.map(|life| life.began).min();
        let filter = Filter {
            from: Some(earliest.unwrap_or(moment.from).min(moment.from)),
            to: Some(moment.to),
            limit: MAX_DECISIONS,
            ..Filter::default()
        };
        let in_env = |decision: &Decision| {
            moment.env.is_none() || decision.env.is_none() || decision.env == moment.env
        };
        let fits = |decision: &Decision| {
            let mine = decision.service.as_ref() == Some(&moment.service)
                || (decision.service.is_none() && !decision.alerts.is_disjoint(&of_it));
            mine && in_env(decision)
        };
        let found = recorded::search(self.store, &filter, fits).await?;
        if found.next.is_some() {
            let text = "older decisions were left out: too many for one answer".to_owned();
            known.not_known.push(text);
        }
        Ok(found.items)
    }

    /// Whose each alert is.
    fn sort_out(
        &self,
        moment: &Moment,
        lives: &[Life],
        decided: &BTreeSet<Fingerprint>,
        known: &mut Known,
    ) {
        let mut before: Option<&Life> = None;
        let mut after: Option<&Life> = None;
        let mut during = Vec::new();
        for life in lives {
            let resolution = ladder::resolve(&life.alert, &self.view, &self.config.services);
            let service = resolution.service();
            let mine = service == Some(&moment.service)
                || decided.contains(&life.alert.fingerprint)
                || names_service(life, &moment.service);
            let elsewhere = moment.env.is_some()
                && resolution.env().is_some()
                && resolution.env() != moment.env.as_ref();
            if mine && !elsewhere {
                if life.meets(moment.from, moment.to) {
                    during.push(life);
                } else if life.until < moment.from {
                    before = before
                        .filter(|best| best.until >= life.until)
                        .or(Some(life));
                } else {
                    after = after.or(Some(life));
                }
            } else if service.is_none_or(|service| !self.config.services.contains_key(service))
                && life.meets(moment.from, moment.to)
                && !mine
            {
                known.strangers.push(self.line(life));
            }
        }
        let shown = before.into_iter().chain(during).chain(after);
        known.alerts = shown.map(|life| self.line(life)).collect();
    }

    fn line(&self, life: &Life) -> AlertLine {
        let fires = life.end == End::Unseen && life.until > self.now;
        AlertLine {
            from: life.began,
            until: (!fires).then_some(life.until),
            end: match life.end {
                End::Resolved => "resolved",
                End::Expired => "expired",
                End::Unseen if fires => "firing",
                End::Unseen => "unseen",
            }
            .to_owned(),
            ..alert_of(&life.alert)
        }
    }

    async fn incidents(&self, moment: &Moment) -> Result<Vec<IncidentLine>, StoreError> {
        let mut found = Vec::new();
        for name in self.store.folders("lanes").await? {
            let Ok(lane) = LaneName::new(name) else {
                continue;
            };
            let state = self.lanes.refresh(&lane).await?;
            let mine = |incident: &&Incident| {
                incident.opened.service == moment.service
                    && moment
                        .env
                        .as_ref()
                        .is_none_or(|env| *env == incident.opened.env)
            };
            let all = state.closed.iter().chain(&state.open);
            found.extend(all.filter(mine).map(incident_line));
        }
        found.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    async fn presence(
        &self,
        moment: &Moment,
        not_known: &mut Vec<String>,
    ) -> Result<Option<Presence>, StoreError> {
        let from = clock::before(moment.from, SIGNS_AROUND);
        let to = clock::after(moment.to, SIGNS_AROUND).min(self.now);
        let mut signs = presence::read(self.store, from, to).await?;
        signs.extend(self.own.clone());
        let oldest = self.store.folders("presence").await?.into_iter().next();
        let kept_then = oldest.is_some_and(|day| day <= keys::day(moment.from));
        if signs.is_empty() && !kept_then {
            let text =
                "no replica left signs of life then: whether anybody was there can't be told";
            not_known.push(text.to_owned());
            return Ok(None);
        }
        Ok(Some(summed(&signs, moment, self.now, not_known)))
    }
}

/// Whether an alert says that it is about the service, in a label of its own.
fn names_service(life: &Life, service: &Service) -> bool {
    let label = |name: &str| life.alert.label(name);
    label("service") == Some(service.as_str())
        || label("release_id")
            .and_then(|release| release.split_once('@'))
            .is_some_and(|(name, _)| name == service.as_str())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
