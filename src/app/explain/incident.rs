//! An incident, explained by its lane: what opened it, what happened in it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{LOOK_BACK, MAX_DECISIONS, holds_of};
use crate::act::lane::LaneStore;
use crate::app::recorded;
use crate::domain::alert::Alert;
use crate::domain::clock::{self, SharedClock};
use crate::domain::decision::Decision;
use crate::domain::id::{IncidentId, ReplicaId};
use crate::domain::lane::{Incident, Origin};
use crate::domain::record::DecisionRecord;
use crate::explain::{self, AlertLine, Asked, Code, Explanation, IncidentLine, Reason, Step};
use crate::store::{Store, StoreError};
use crate::web::api::Filter;

/// Explains an incident from the store alone; None when there is none of that name.
///
/// # Errors
/// When the store can't be read.
pub async fn incident_from_store(
    store: &Store,
    clock: &SharedClock,
    id: &IncidentId,
) -> Result<Option<Explanation>, StoreError> {
    let lanes = LaneStore::new(store.clone(), Arc::clone(clock), ReplicaId::random());
    let Some((lane, _)) = id.parts() else {
        return Ok(None);
    };
    match lanes.refresh(&lane).await?.incident(id) {
        Some(incident) => of_incident(store, incident, clock.now()).await.map(Some),
        None => Ok(None),
    }
}

/// What opened an incident, and everything that happened in it.
///
/// # Errors
/// When the store can't be read.
pub(super) async fn of_incident(
    store: &Store,
    incident: &Incident,
    now: Timestamp,
) -> Result<Explanation, StoreError> {
    let opened = &incident.opened;
    let filter = Filter {
        deployment_id: Some(opened.deployment.clone()),
        from: Some(clock::before(incident.opened_at, LOOK_BACK)),
        to: Some(incident.closed_at.unwrap_or(now)),
        limit: MAX_DECISIONS,
        ..Filter::default()
    };
    let found = recorded::find(store, &filter).await?;
    let mut decisions = found.items;
    if !decisions
        .iter()
        .any(|one| one.decision.at == opened.decision.at)
    {
        // Its record expired, or could not be written; the lane has it all the same.
        decisions.push(DecisionRecord {
            decision: opened.decision.clone(),
            id: String::new(),
            by: incident.events.first().map(|entry| entry.by.clone()),
            cause: None,
            accused: String::new(),
            named: opened.alerts.iter().map(Into::into).collect(),
        });
        decisions.sort_by_key(|one| std::cmp::Reverse(one.decision.at));
    }
    let because = match &opened.origin {
        Origin::Automatic => explain::why(
            &Decision {
                incident: Some(incident.id.clone()),
                ..opened.decision.clone()
            },
            "",
        ),
        Origin::Manual { by, reason, .. } => {
            let text = format!("{by} asked for a rollback: {reason}");
            Reason::new(Code::Acted, text)
        }
    };
    let events = incident.events.iter().map(|entry| {
        let (name, detail) = explain::event_words(entry);
        Step {
            at: entry.at,
            what: format!("{name} {detail}").trim_end().to_owned(),
        }
    });
    let mut not_known = Vec::new();
    if found.next.is_some() {
        not_known.push("older decisions were left out: too many for one answer".to_owned());
    }
    Ok(Explanation {
        alerts: opened.alerts.iter().map(alert_of).collect(),
        holds: holds_of(store, &decisions).await?,
        decisions,
        incidents: vec![incident_line(incident)],
        events: events.collect(),
        not_known,
        ..Explanation::new(Asked::Incident(incident.id.clone()), vec![because])
    })
}

/// An incident in one line.
pub(super) fn incident_line(incident: &Incident) -> IncidentLine {
    let word = |value: serde_json::Value| {
        let word = value.as_str().or_else(|| value.get("stage")?.as_str());
        word.unwrap_or("?").replace('_', " ")
    };
    IncidentLine {
        id: incident.id.clone(),
        opened_at: incident.opened_at,
        closed_at: incident.closed_at,
        scope: incident.opened.scope.to_string(),
        release_id: incident.opened.release_id.clone(),
        target: incident.opened.target.clone(),
        state: match &incident.ending {
            Some(ending) => word(serde_json::to_value(ending).unwrap_or_default()),
            None => word(serde_json::to_value(&incident.stage).unwrap_or_default()),
        },
    }
}

/// An alert as it came, without what became of it.
pub(in crate::app) fn alert_of(alert: &Alert) -> AlertLine {
    AlertLine {
        fingerprint: alert.fingerprint,
        name: alert.name().to_owned(),
        severity: alert.severity().to_owned(),
        instance: alert.label("instance").map(str::to_owned),
        source: alert.source,
        from: alert.starts_at,
        until: alert.ends_at.filter(|_| !alert.is_firing()),
        end: if alert.is_firing() {
            "firing"
        } else {
            "resolved"
        }
        .to_owned(),
    }
}
