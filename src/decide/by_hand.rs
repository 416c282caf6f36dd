//! The guards that bind a person who rolls back by hand.
//!
//! Mode, cooldown and budget govern automatic action only, and what the rules ask for is the
//! person's to judge. A hold may be overridden with a reason, a no never.

use jiff::Timestamp;

use super::facts::{ActiveExecution, Switches};
use super::guard::Finding;
use super::guard::{consent, limits, traffic, way};
use crate::domain::decision::{Code, Guard, GuardVerdict};
use crate::domain::freeze::Freeze;
use crate::domain::id::{DeploymentId, ReleaseId};
use crate::domain::lane::Incident;
use crate::domain::release::Release;

/// What is known about a rollback that a person asks for.
#[derive(Debug, Clone, Copy)]
pub struct ByHand<'a> {
    /// Modes set above the policy's.
    pub switches: &'a Switches,
    /// Whether the deployment could be read from Spinnaker.
    pub live: Result<(), &'a str>,
    /// The lane's unfinished incident.
    pub open: Option<&'a Incident>,
    /// The deployment that is taken back.
    pub deployment: &'a DeploymentId,
    /// What it runs.
    pub current: &'a ReleaseId,
    /// Its document, when one was published.
    pub release: Option<&'a Release>,
    /// Where it goes.
    pub target: &'a ReleaseId,
    /// Whether the target has a document, without which nothing can be fetched.
    pub target_is_published: bool,
    /// The windows of the service's policy.
    pub freeze: &'a [Freeze],
    /// What runs and touches the service and env, or may.
    pub active: Result<&'a [ActiveExecution], &'a str>,
    /// The moment.
    pub now: Timestamp,
}

/// What each of those guards says, in their order.
pub fn guards_by_hand(asked: &ByHand<'_>) -> Vec<GuardVerdict> {
    vec![
        consent::kill_switch(asked.switches).of(Guard::KillSwitch),
        phase(asked).of(Guard::Phase),
        lane(asked).of(Guard::Lane),
        target(asked).of(Guard::Target),
        way::irreversible(asked.release).of(Guard::Irreversible),
        limits::freeze(asked.freeze, asked.now).of(Guard::Freeze),
        traffic::other_executions(asked.active, asked.deployment).of(Guard::OtherExecutions),
    ]
}

fn phase(asked: &ByHand<'_>) -> Finding {
    match asked.live {
        Ok(()) => Finding::pass("read from Spinnaker"),
        Err(why) => Finding::hold(Code::Unreadable, why),
    }
}

fn lane(asked: &ByHand<'_>) -> Finding {
    match asked.open {
        Some(open) => Finding::hold(
            Code::OtherIncident,
            format!("incident `{}` is open", open.id),
        ),
        None => Finding::pass("free"),
    }
}

fn target(asked: &ByHand<'_>) -> Finding {
    let target = asked.target;
    if target == asked.current {
        Finding::deny(Code::NoStableRelease, format!("`{target}` is what runs"))
    } else if asked.target_is_published {
        Finding::pass(format!("`{target}`"))
    } else {
        Finding::deny(
            Code::NoStableRelease,
            format!("release `{target}` was never published"),
        )
    }
}
