//! The read side: what the API and the pages list.

use std::cmp::Ordering;

use bytes::Bytes;
use jiff::Timestamp;

use super::core::Core;
use crate::domain::deployment::{Deployment, Health, Instance};
use crate::domain::id::{DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service};
use crate::domain::lane::Incident;
use crate::domain::release::{Mark, Release};
use crate::domain::source::TagRecord;
use crate::enrich::catalog::{Untold, View};
use crate::enrich::ladder;
use crate::report::keep;
use crate::store::keys;
use crate::web::api::{
    AlertRecord, DeploymentState, Filter, Page, Progress, Refusal, ReleaseRecord, ReportFormat,
};

impl Core {
    /// The first of what a list would hold, cloned, with a word whether there is more.
    fn first_of<'a, T: Clone + 'a>(
        &self,
        view: &View,
        filter: &Filter,
        items: impl Iterator<Item = &'a T>,
        order: impl Fn(&T, &T) -> Ordering,
    ) -> Page<T> {
        let first = first(items, filter.limit.saturating_add(1), |a, b| order(a, b));
        self.page(view, filter, first.into_iter().cloned().collect())
    }

    pub(super) fn page<T>(&self, view: &View, filter: &Filter, mut items: Vec<T>) -> Page<T> {
        let more = items.len() > filter.limit;
        items.truncate(filter.limit);
        let freshness = view.freshness();
        Page {
            items,
            as_of: freshness.map_or_else(|| self.ground.clock.now(), |freshness| freshness.as_of),
            stale: freshness.is_none_or(|freshness| freshness.stale),
            more,
            next: None,
        }
    }

    pub(super) fn list_releases(&self, filter: &Filter) -> Page<ReleaseRecord> {
        let view = self.catalog.view();
        let fits = |release: &Release| {
            filter
                .release_id
                .as_ref()
                .is_none_or(|id| *id == release.id)
                && filter
                    .service
                    .as_ref()
                    .is_none_or(|service| *service == release.service)
        };
        let all = view.releases().map(AsRef::as_ref);
        let found = self.first_of(&view, filter, all.filter(|one| fits(one)), |a, b| {
            b.created_at
                .cmp(&a.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        let record = |release: Release| ReleaseRecord {
            mark: view.mark(&release.id).map(|mark| Mark::clone(mark)),
            source: view.tag(&release.id).map(|tag| TagRecord::clone(tag)),
            release,
        };
        found.map(record)
    }

    pub(super) async fn list_deployments(&self, filter: &Filter) -> Page<DeploymentState> {
        let view = self.catalog.view();
        let fits = |one: &Deployment| {
            filter
                .release_id
                .as_ref()
                .is_none_or(|id| *id == one.release_id)
                && filter.deployment_id.as_ref().is_none_or(|id| *id == one.id)
        };
        let lanes = view.lanes(filter.service.as_ref(), filter.env.as_ref());
        let all = lanes.iter().flat_map(|(_, index)| index.deployments());
        let all = all.map(AsRef::as_ref).filter(|one| fits(one));
        let found = self.first_of(&view, filter, all, |a, b| {
            b.started_at
                .cmp(&a.started_at)
                .then_with(|| b.id.cmp(&a.id))
        });
        let mut rules = self.rules_by_deployment().await;
        let setup = self.setup();
        let spinnaker = setup.config.spinnaker.as_ref();
        let deck = spinnaker.and_then(|spinnaker| spinnaker.deck.as_ref());
        let state = |deployment: Deployment| DeploymentState {
            phase: deployment.phase(view.now()),
            progress: Progress::of(&deployment),
            url: deck.map(|deck| page_of(deck, &deployment)),
            canary_rules: rules.remove(&deployment.id).unwrap_or_default(),
            deployment,
        };
        found.map(state)
    }

    pub(super) fn list_instances(&self, filter: &Filter) -> Page<Instance> {
        let view = self.catalog.view();
        let fits = |release: &ReleaseId, deployment: &DeploymentId, host: &Host| {
            filter.release_id.as_ref().is_none_or(|id| id == release)
                && filter
                    .deployment_id
                    .as_ref()
                    .is_none_or(|id| id == deployment)
                && filter.host.as_ref().is_none_or(|wanted| wanted == host)
        };
        let lanes = view.lanes(filter.service.as_ref(), filter.env.as_ref());
        let told = lanes.iter().flat_map(|(_, index)| index.instances());
        let told = told.filter(|one| fits(&one.release_id, &one.deployment_id, &one.host));
        let untold = lanes.iter().flat_map(|(_, index)| index.untold());
        let untold = untold.filter(|one| {
            let deployment = one.deployment;
            fits(&deployment.release_id, &deployment.id, one.host)
        });
        let lines = told.map(Line::Told).chain(untold.map(Line::Untold));
        let found = first(lines, filter.limit.saturating_add(1), |a, b| {
            let ((a, of_a), (b, of_b)) = (a.place(), b.place());
            b.cmp(&a).then_with(|| of_a.cmp(of_b))
        });
        let found = found.into_iter().map(Line::whole).collect();
        self.page(&view, filter, found)
    }

    pub(super) fn list_alerts(&self, filter: &Filter) -> Page<AlertRecord> {
        let setup = self.setup();
        let view = self.catalog.view();
        let mut found = Vec::new();
        for open in self.book.open_alerts() {
            let resolution = ladder::resolve(&open.alert, &view, &setup.config.services);
            let context = resolution.context();
            let fits = filter
                .release_id
                .as_ref()
                .is_none_or(|id| context.is_some_and(|context| context.release_id == *id))
                && filter
                    .deployment_id
                    .as_ref()
                    .is_none_or(|id| context.is_some_and(|context| context.deployment.id == *id))
                && filter
                    .service
                    .as_ref()
                    .is_none_or(|service| resolution.service() == Some(service))
                && filter
                    .env
                    .as_ref()
                    .is_none_or(|env| resolution.env() == Some(env));
            if fits {
                found.push(AlertRecord {
                    release_id: context.map(|context| context.release_id.clone()),
                    deployment_id: context.map(|context| context.deployment.id.clone()),
                    batches: context
                        .map(|context| context.batches.clone())
                        .unwrap_or_default(),
                    metric: open.alert.name().to_owned(),
                    severity: open.alert.severity().to_owned(),
                    timestamp: open.last_copy,
                    message: open.alert.message().to_owned(),
                    status: open.alert.status,
                    starts_at: open.alert.starts_at,
                    ends_at: open.alert.ends_at,
                    fingerprint: open.alert.fingerprint,
                    source: open.alert.source,
                    labels: open.alert.labels.clone(),
                    annotations: open.alert.annotations.clone(),
                });
            }
        }
        found.sort_by(|a, b| {
            b.timestamp
                .cmp(&a.timestamp)
                .then_with(|| a.fingerprint.cmp(&b.fingerprint))
        });
        self.page(&view, filter, found)
    }

    pub(super) async fn list_incidents(&self, filter: &Filter) -> Result<Page<Incident>, Refusal> {
        let mut found = Vec::new();
        for name in self.ground.store.folders("lanes").await? {
            let Ok(lane) = LaneName::new(name) else {
                continue;
            };
            let state = self.lanes.refresh(&lane).await?;
            let fits = |incident: &&Incident| {
                let opened = &incident.opened;
                filter
                    .service
                    .as_ref()
                    .is_none_or(|service: &Service| *service == opened.service)
                    && filter
                        .env
                        .as_ref()
                        .is_none_or(|env: &Env| *env == opened.env)
                    && filter
                        .release_id
                        .as_ref()
                        .is_none_or(|id| *id == opened.release_id)
                    && filter
                        .deployment_id
                        .as_ref()
                        .is_none_or(|id| *id == opened.deployment)
            };
            found.extend(state.closed.iter().chain(&state.open).filter(fits).cloned());
        }
        found.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then_with(|| a.id.cmp(&b.id)));
        Ok(self.page(&self.catalog.view(), filter, found))
    }

    pub(super) async fn find_incident(&self, id: &IncidentId) -> Result<Incident, Refusal> {
        let missing = || Refusal::Missing(format!("incident `{id}`"));
        let (lane, _) = id.parts().ok_or_else(missing)?;
        let state = self.lanes.refresh(&lane).await?;
        state.incident(id).cloned().ok_or_else(missing)
    }

    pub(super) async fn read_report(
        &self,
        id: &IncidentId,
        format: ReportFormat,
    ) -> Result<Bytes, Refusal> {
        let store = &self.ground.store;
        let missing = || Refusal::Missing(format!("report of `{id}`"));
        let revision = keep::latest(store, id).await?.ok_or_else(missing)?;
        let found = match format {
            ReportFormat::Json => {
                let record = keep::load(store, id, revision).await?.ok_or_else(missing)?;
                let json = serde_json::to_vec_pretty(&record)
                    .map_err(|error| Refusal::Failed(error.into()))?;
                return Ok(json.into());
            }
            ReportFormat::Markdown => keep::page(store, id, revision, keep::Page::Markdown).await?,
            ReportFormat::Html => keep::page(store, id, revision, keep::Page::Html).await?,
        };
        found.ok_or_else(missing)
    }

    pub(super) async fn read_chart(&self, id: &str) -> Result<Bytes, Refusal> {
        let bytes = self.ground.store.get_bytes(&keys::chart(id)).await?;
        bytes.ok_or_else(|| Refusal::Missing(format!("chart `{id}`")))
    }
}

/// A deployment's execution with the logs of its stages, in Spinnaker's pages.
fn page_of(deck: &url::Url, deployment: &Deployment) -> String {
    let (base, application) = (deck.as_str(), &deployment.application);
    let (base, id) = (base.trim_end_matches('/'), &deployment.id);
    format!("{base}/#/applications/{application}/executions/details/{id}")
}

/// The first `most` of `items`. However many there are, few are held at a time.
fn first<T>(
    items: impl Iterator<Item = T>,
    most: usize,
    order: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    let room = most.saturating_mul(2).max(64);
    let mut found = Vec::new();
    for item in items {
        found.push(item);
        if found.len() >= room.max(most.saturating_add(1)) {
            found.sort_by(&order);
            found.truncate(most);
        }
    }
    found.sort_by(&order);
    found.truncate(most);
    found
}

/// Who ran what: an agent's own record, which knows better, or a deployment's batch.
#[derive(Clone, Copy)]
enum Line<'a> {
    Told(&'a Instance),
    Untold(Untold<'a>),
}

impl Line<'_> {
    fn place(&self) -> (Option<Timestamp>, &Host) {
        match self {
            Self::Told(one) => (one.from, &one.host),
            Self::Untold(one) => (Some(one.from), one.host),
        }
    }

    fn whole(self) -> Instance {
        let stay = match self {
            Self::Told(one) => return one.clone(),
            Self::Untold(stay) => stay,
        };
        let deployment = stay.deployment;
        let mut batches = deployment.batches.iter();
        let batch = batches.find(|batch| batch.n == stay.batch);
        Instance {
            host: stay.host.clone(),
            ip: None,
            status: batch.map_or(deployment.status, |batch| batch.status),
            deployed_at: batch.and_then(|batch| batch.finished_at),
            health_status: Health::Unknown,
            error_message: None,
            deployment_id: deployment.id.clone(),
            release_id: deployment.release_id.clone(),
            service: deployment.service.clone(),
            env: deployment.env.clone(),
            batch: stay.batch,
            from: Some(stay.from),
            to: stay.to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_the_first_of_all_in_order() {
        let many = (0..10_000_u64).map(|n| n * 7_919 % 10_007);
        let mut all: Vec<u64> = many.clone().collect();
        all.sort_unstable();
        for most in [0, 1, 63, 64, 1_000, 20_000] {
            let found = first(many.clone(), most, Ord::cmp);
            assert_eq!(found, all.iter().copied().take(most).collect::<Vec<_>>());
        }
    }
}
