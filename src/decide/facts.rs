//! Everything that is known at one moment about one accusation.
//!
//! The caller gathers it; nothing here is fetched, and the only clock is `now`. What could not be
//! read is an `Err` with the reason in words: a guard turns it into a hold, never into a guess.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::rule::Accusation;
use crate::domain::decision::Suspect;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::id::Host;
use crate::domain::lane::{Approval, Incident};
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
    /// Modes set above the policy's.
    pub switches: &'a Switches,
    /// What the sources said; None until they were asked.
    pub evidence: Option<&'a Evidence>,
    /// The accused deployment's lane.
    pub lane: Result<LaneView<'a>, &'a str>,
    /// What runs and touches the accused service and env, or may; the accused execution included.
    pub active: Result<&'a [ActiveExecution], &'a str>,
    /// Releases of the accused service and env that might be gone back to.
    pub candidates: Result<&'a [StableCandidate<'a>], &'a str>,
    /// Automatic rollbacks lately.
    pub budget: Result<BudgetView<'a>, &'a str>,
    /// The hosts of the accused service and env.
    pub fleet: Result<&'a Fleet, &'a str>,
    /// Other deployments that may be what went wrong; named, never acted on.
    pub suspects: &'a [Suspect],
    /// Limits that no policy file sets.
    pub settings: &'a Settings,
    /// The moment.
    pub now: Timestamp,
}

/// Every mode that stands above the policy's for the accused service and environment: `off` among
/// them is the kill switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    /// Those that could be read.
    pub set: Vec<Switch>,
    /// Why others could not be; what is set there is not known then.
    pub unreadable: Option<String>,
}

/// One mode above the policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// For what.
    pub reach: Reach,
    /// Which.
    pub mode: Mode,
    /// Who set it, and why: `by oncall: drill`.
    pub words: String,
}

/// What a switch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Every service everywhere.
    Everything,
    /// The service, everywhere or in this environment.
    Service,
    /// The environment, for every service.
    Env,
}

impl Reach {
    /// As people say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Service => "the service",
            Self::Env => "the environment",
        }
    }
}

impl Switches {
    /// The first one that is off. It binds people too.
    pub fn off(&self) -> Option<&Switch> {
        self.set.iter().find(|switch| switch.mode == Mode::Off)
    }

    /// The strictest, together with the policy's mode. While some can't be read nothing counts as
    /// `enforce`.
    pub fn strictest(&self, policy: Mode) -> Mode {
        let unreadable = self.unreadable.as_ref().map(|_| Mode::Approve);
        let set = self.set.iter().map(|switch| switch.mode);
        set.chain(unreadable).fold(policy, Mode::min)
    }
}

/// A lane as far as a decision looks into it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaneView<'a> {
    /// The unfinished incident.
    pub open: Option<&'a Incident>,
    /// Finished incidents, oldest first; at least those of the accused deployment and those
    /// younger than any cooldown.
    pub closed: &'a [Incident],
    /// Questions to people, oldest first; at least those about the accused deployment.
    pub approvals: &'a [Approval],
    /// The incident that is judged once more, or that this would take over from: not in its own
    /// way.
    pub own: Option<&'a Incident>,
}

/// The hosts of a service in an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// All that run some release of it.
    pub hosts: BTreeSet<Host>,
    /// Those whose record says that they are not well.
    pub unwell: BTreeSet<Host>,
}

/// A pipeline execution or a task that is not terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveExecution {
    /// Spinnaker's id.
    pub id: String,
    /// What runs, in words: `execution 01J of pipeline deploy-prod`.
    pub words: String,
    /// What of the accused service and environment it touches.
    pub touches: Touches,
}

/// What of a service in an environment an execution touches; the surer first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touches {
    /// All of it: its pipeline is configured to deploy it there, or to take it back.
    Service,
    /// A place of it, in words.
    Place(String),
    /// Nobody can tell; the words say why.
    Untold(String),
}

impl ActiveExecution {
    /// An execution of a pipeline that is configured for the service and environment.
    pub fn of_pipeline(id: &str, pipeline: &str) -> Self {
        Self {
            id: id.to_owned(),
            words: format!("execution {id} of pipeline {pipeline}"),
            touches: Touches::Service,
        }
    }
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
