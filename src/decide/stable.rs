//! Which release to go back to.
//!
//! "The one before" is not "the last good one": a release is stable when it was fully deployed
//! and has soaked, no incident about it is open, and it was neither rolled back nor marked bad; or
//! when a person marked it stable, since Spinnaker forgets old deployments.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts::StableCandidate;
use super::words::{ago, left};
use crate::domain::clock;
use crate::domain::deployment::Status;
use crate::domain::id::ReleaseId;
use crate::domain::release::MarkKind;

/// How many refused candidates an error names.
const NAMED: usize = 3;

/// The newest stable release that is not the accused one.
///
/// Newest by when it was last deployed, and where no deployment is known, by when it was
/// published. The newest deployment of a release speaks for it.
///
/// # Errors
/// In words: why each candidate is none.
pub fn stable_target(
    candidates: &[StableCandidate<'_>],
    accused: &ReleaseId,
    now: Timestamp,
) -> Result<ReleaseId, String> {
    let mut newest: BTreeMap<&ReleaseId, &StableCandidate<'_>> = BTreeMap::new();
    let mut under_incident = std::collections::BTreeSet::new();
    for candidate in candidates {
        if candidate.release.id == *accused {
            continue;
        }
        if candidate.open_incident {
            under_incident.insert(&candidate.release.id);
        }
        let place = newest.entry(&candidate.release.id).or_insert(candidate);
        if recency(candidate) > recency(place) {
            *place = candidate;
        }
    }
    let mut ordered: Vec<&StableCandidate<'_>> = newest.into_values().collect();
    ordered.sort_by_key(|candidate| std::cmp::Reverse(recency(candidate)));
    let mut refused = Vec::new();
    for candidate in ordered {
        let obstacle = if under_incident.contains(&candidate.release.id) {
            Some("an incident about it is open".to_owned())
        } else {
            obstacle(candidate, now)
        };
        match obstacle {
            None => return Ok(candidate.release.id.clone()),
            Some(obstacle) => refused.push(format!("{}: {obstacle}", candidate.release.id)),
        }
    }
    if refused.is_empty() {
        return Err("no other release of this service is known".to_owned());
    }
    let more = refused.len().saturating_sub(NAMED);
    refused.truncate(NAMED);
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(format!("{}{more}", refused.join("; ")))
}

/// Orders candidates: whether it was deployed at all, and when.
fn recency(candidate: &StableCandidate<'_>) -> (Timestamp, Timestamp) {
    let created = candidate.release.created_at;
    let deployed = candidate
        .deployment
        .and_then(|deployment| deployment.finished_at.or(deployment.started_at));
    (deployed.unwrap_or(created), created)
}

fn obstacle(candidate: &StableCandidate<'_>, now: Timestamp) -> Option<String> {
    match candidate.mark {
        Some(mark) if mark.kind == MarkKind::Stable => return None,
        Some(mark) if mark.kind == MarkKind::Bad => {
            return Some(format!(
                "marked bad by {} {} ago ({})",
                mark.by,
                ago(now, mark.at),
                mark.reason
            ));
        }
        Some(_) | None => {}
    }
    let Some(deployment) = candidate.deployment else {
        return Some("no deployment of it is known and nobody marked it stable".to_owned());
    };
    match deployment.status {
        Status::Pending | Status::Running => Some("still being deployed".to_owned()),
        Status::Failed => Some("its deployment failed".to_owned()),
        Status::RolledBack => Some("it was rolled back".to_owned()),
        Status::Success if deployment.is_soaked(now) => None,
        Status::Success => {
            let end = deployment.finished_at.or(deployment.started_at);
            let until = clock::after(end.unwrap_or(now), deployment.soak);
            Some(format!("soaking for {} more", left(now, until)))
        }
    }
}
