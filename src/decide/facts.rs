//! Everything that is known at one moment about one accusation.
//!
//! The caller gathers it; nothing here is fetched, and the only clock is `now`. What could not be
//! read is an `Err` with the reason in words: a guard turns it into a hold, never into a guess.

use std::time::Duration;

use jiff::Timestamp;

use super::rule::Accusation;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::lane::Incident;
use crate::domain::policy::Mode;
use crate::domain::release::{Mark, Release};

/// What `decide` decides from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The open alerts of one deployment under one rule; see [`super::accuse`].
    pub accusation: &'a Accusation<'a>,
    /// Alerts that were cut from the delivery.
    pub truncated: u64,
    /// When the newest delivery that named the accusation was read.
    pub received_at: Timestamp,
    /// Since when it is held, when a hold is asked again: then its age counts, not the payload's.
    pub held_since: Option<Timestamp>,
    /// Modes set by people, beside the policy's.
    pub modes: Result<Modes, &'a str>,
    /// What the sources said; None until they were asked.
    pub evidence: Option<&'a Evidence>,
    /// The accused deployment's lane.
    pub lane: Result<LaneView<'a>, &'a str>,
    /// Executions on the accused service and env that are not terminal, the accused one included.
    pub active: Result<&'a [ActiveExecution], &'a str>,
    /// Releases of the accused service and env that might be gone back to.
    pub candidates: Result<&'a [StableCandidate<'a>], &'a str>,
    /// Automatic rollbacks lately.
    pub budget: Result<BudgetView<'a>, &'a str>,
    /// Limits that no policy file sets.
    pub settings: &'a Settings,
    /// The moment.
    pub now: Timestamp,
}

/// The kill switch and other modes set by people; None: not set there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modes {
    /// For everything.
    pub global: Option<Mode>,
    /// For the service.
    pub service: Option<Mode>,
    /// For the environment.
    pub env: Option<Mode>,
}

/// A lane as far as a decision looks into it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaneView<'a> {
    /// The unfinished incident.
    pub open: Option<&'a Incident>,
    /// Finished incidents, oldest first; at least those of the accused deployment and those
    /// younger than any cooldown.
    pub closed: &'a [Incident],
}

/// A pipeline execution that is not terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveExecution {
    /// Spinnaker's id.
    pub id: String,
    /// The pipeline's name.
    pub pipeline: String,
}

/// A release that might be gone back to, by one of its deployments. A release that only a mark
/// knows has none.
#[derive(Debug, Clone, Copy)]
pub struct StableCandidate<'a> {
    /// Its document; without it nothing can be fetched.
    pub release: &'a Release,
    /// One of its deployments to the accused env.
    pub deployment: Option<&'a Deployment>,
    /// The newest mark.
    pub mark: Option<&'a Mark>,
    /// Whether an incident about this deployment is unfinished.
    pub open_incident: bool,
}

/// At most so many in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: usize,
    /// In how long.
    pub window: Duration,
}

/// Grants of automatic rollbacks; those of incidents that closed unadmitted are left out.
#[derive(Debug, Clone, Copy)]
pub struct BudgetView<'a> {
    /// When the accused service got one.
    pub service_grants: &'a [Timestamp],
    /// When any service got one.
    pub overall_grants: &'a [Timestamp],
    /// For one service.
    pub per_service: Limit,
    /// For all services together.
    pub overall: Limit,
}

impl BudgetView<'static> {
    /// One per service in 30 minutes, three over all in 10.
    pub const DEFAULT: Self = Self {
        service_grants: &[],
        overall_grants: &[],
        per_service: Limit {
            count: 1,
            window: Duration::from_mins(30),
        },
        overall: Limit {
            count: 3,
            window: Duration::from_mins(10),
        },
    };
}

/// Limits that no policy file sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Oldest delivery that may still lead to an action.
    pub max_payload_age: Duration,
    /// Oldest hold that may still lead to one.
    pub max_hold: Duration,
    /// Oldest evidence that counts as "now".
    pub max_evidence_age: Duration,
    /// How far a sender's clock may run ahead.
    pub clock_skew: Duration,
    /// When a hold is asked again that waits for something without a known end.
    pub recheck: Duration,
    /// When a hold is asked again at the latest, unless only a person can release it.
    pub longest_recheck: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_payload_age: Duration::from_mins(5),
            max_hold: Duration::from_hours(6),
            max_evidence_age: Duration::from_mins(1),
            clock_skew: Duration::from_secs(30),
            recheck: Duration::from_secs(10),
            longest_recheck: Duration::from_mins(5),
        }
    }
}
