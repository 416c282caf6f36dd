//! The facts of a recorded group: its alerts, and the release they accuse when the store knows it.
//! Metrics are not asked and nothing is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::place::open_store;
use crate::config::{Config, ServiceConfig};
use crate::domain::alert::{Alert, AlertGroup, AlertStatus, severity_rank};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::context::Resolution;
use crate::domain::id::{Env, Service};
use crate::domain::notice::{AlertLine, Notice, NoticeKind};
use crate::enrich::catalog::Catalog;
use crate::enrich::ladder;

/// The longest a preview waits for the store.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the configured store knows, or why it could not be asked.
pub(super) async fn catalog(config: &Config) -> Result<Catalog, String> {
    let folder = config.store.url.strip_prefix("file:");
    // Opening would make the folder; a preview leaves nothing behind.
    if folder.is_some_and(|folder| !Path::new(folder.trim_start_matches("//")).is_dir()) {
        return Err(format!("there is no store at `{}`", config.store.url));
    }
    let store = open_store(config).map_err(|failure| failure.message)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let catalog = Catalog::new(store, clock, &config.timing);
    match tokio::time::timeout(PATIENCE, catalog.refresh()).await {
        Ok(Ok(_)) => Ok(catalog),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
    }
}

/// What a message about this group says.
pub(super) fn notice(
    group: &AlertGroup,
    catalog: Result<&Catalog, &String>,
    services: &BTreeMap<Service, ServiceConfig>,
) -> Notice {
    let mut notice = told(group);
    match catalog {
        Err(why) => notice.context_missing = Some(format!("release unknown: {why}")),
        Ok(catalog) => {
            let view = catalog.view();
            let mut resolutions = group
                .alerts
                .iter()
                .map(|alert| ladder::resolve(alert, &view, services));
            let first = resolutions.next();
            let found = first
                .iter()
                .cloned()
                .chain(resolutions)
                .find(|resolution| resolution.context().is_some());
            if let Some(resolution) = found.or(first) {
                accuse(&mut notice, &resolution);
            }
        }
    }
    notice
}

/// The alerts of a group.
fn told(group: &AlertGroup) -> Notice {
    let label = |name: &str| {
        let values: BTreeSet<&str> = group.alerts.iter().filter_map(|a| a.label(name)).collect();
        let mut values = values.into_iter();
        values.next().filter(|_| values.next().is_none())
    };
    let firing = group.alerts.iter().any(Alert::is_firing);
    let severities = group.alerts.iter().map(Alert::severity);
    let worst = severities.min_by_key(|severity| severity_rank(severity));
    Notice {
        status: if firing {
            AlertStatus::Firing
        } else {
            AlertStatus::Resolved
        },
        severity: worst.unwrap_or("none").to_owned(),
        service: label("service").and_then(|text| Service::new(text).ok()),
        env: label("env").and_then(|text| Env::new(text).ok()),
        alerts: group.alerts.iter().map(line).collect(),
        truncated: group.truncated,
        chart_missing: Some("a preview draws no chart".to_owned()),
        ..Notice::blank(
            NoticeKind::Alert,
            &group.key,
            &subject(group),
            group.received_at,
        )
    }
}

fn subject(group: &AlertGroup) -> String {
    let names: BTreeSet<&str> = group.alerts.iter().map(Alert::name).collect();
    match names.first() {
        Some(first) if names.len() > 1 => format!("{first} +{}", names.len() - 1),
        Some(first) => (*first).to_owned(),
        None => "(no alerts)".to_owned(),
    }
}

fn line(alert: &Alert) -> AlertLine {
    AlertLine {
        fingerprint: alert.fingerprint,
        name: alert.name().to_owned(),
        severity: alert.severity().to_owned(),
        status: alert.status,
        starts_at: alert.starts_at,
        message: alert.message().to_owned(),
        labels: alert.labels.clone(),
    }
}

/// Adds the release, or says why it is missing.
fn accuse(notice: &mut Notice, resolution: &Resolution) {
    match resolution {
        Resolution::Found(context) => {
            let version = context.release.as_ref().map(|release| &release.version);
            notice.service = Some(context.service.clone());
            notice.env = Some(context.env.clone());
            notice.version =
                Some(version.map_or_else(|| context.release_id.version().to_owned(), Clone::clone));
            notice.release_id = Some(context.release_id.clone());
            notice.deployment = Some(context.deployment.id.clone());
            notice.batches.clone_from(&context.batches);
            notice.phase = Some(context.deployment.phase(notice.at));
            notice.hosts.clone_from(&context.hosts);
            notice.stale_as_of = context.freshness.stale.then_some(context.freshness.as_of);
        }
        Resolution::Ambiguous { candidates, .. } => {
            let text = format!("more than one release fits: {}", candidates.join(", "));
            notice.context_missing = Some(text);
        }
        Resolution::Unavailable { reason, .. } => {
            notice.context_missing = Some(format!("release unknown: {reason}"));
        }
    }
}
