//! The right to send: won on the lane, good for a lease, checked right before the request.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::lane::LaneStore;
use crate::domain::clock::{Clock, after};
use crate::domain::id::IncidentId;
use crate::domain::lane::{Incident, LaneEvent, LaneState, Stage};
use crate::store::StoreError;

/// Proof that this replica holds an incident. Only [`claim`] makes one, so nothing can be sent
/// unclaimed.
#[derive(Debug)]
pub struct ClaimProof {
    incident: IncidentId,
    until: Timestamp,
    /// The same moment on the clock that nobody can set.
    deadline: Instant,
}

impl ClaimProof {
    /// Whose.
    pub fn incident(&self) -> &IncidentId {
        &self.incident
    }

    /// Whether a request that takes at most `longest` would be over before the lease is, by both
    /// clocks: one stands still while the machine sleeps, the other can be set.
    pub fn covers(&self, longest: Duration, clock: &dyn Clock) -> bool {
        Instant::now() + longest <= self.deadline && after(clock.now(), longest) <= self.until
    }

    /// Whether the lane still says so.
    pub fn stands_in(&self, lane: &LaneState, me: &crate::domain::id::ReplicaId) -> bool {
        let stage = lane
            .open
            .as_ref()
            .filter(|open| open.id == self.incident)
            .map(|open| &open.stage);
        matches!(stage, Some(Stage::Claimed { owner, until }) if owner == me && *until == self.until)
    }
}

/// Claims an incident as it was seen. None when anything has happened in it since.
///
/// # Errors
/// When the store can't be reached or the outcome is unknown.
pub async fn claim(
    lanes: &LaneStore,
    clock: &dyn Clock,
    seen: &Incident,
    lease: Duration,
) -> Result<Option<ClaimProof>, StoreError> {
    // Counted from before the append: whoever takes over counts from after it.
    let deadline = Instant::now() + lease;
    let until = after(clock.now(), lease);
    let appended = lanes
        .append_with(&seen.lane, |lane| {
            let open = lane.open.as_ref()?;
            let unchanged = open.id == seen.id && open.events.len() == seen.events.len();
            unchanged.then(|| LaneEvent::Claimed {
                incident: seen.id.clone(),
                owner: lanes.me().clone(),
                until,
            })
        })
        .await?;
    Ok(appended.is_won().then(|| ClaimProof {
        incident: seen.id.clone(),
        until,
        deadline,
    }))
}
