//! What happens next in an incident: a pure function of its chain and this replica's memory.
//!
//! The memory ([`Local`]) holds nothing that may be lost: when this replica first saw the newest
//! event, what it sent itself, what it has told already. A replica that starts with none of it
//! asks Spinnaker where the other knew, waits where the other was sure, and tells again what is
//! told once by name. Reports are no step: they are written beside the others.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::seams::{Followup, Page};
use crate::config::Timing;
use crate::domain::clock::since;
use crate::domain::decision::Scope;
use crate::domain::id::{ExecutionId, ReplicaId};
use crate::domain::lane::{Ending, Incident, LaneEvent, MAX_ATTEMPTS, Origin, Stage};

/// A replica leaves an incident to whoever wrote its newest event for this many sweeps.
const GRACE_SWEEPS: u32 = 3;
/// An execution that runs longer than this is paged once.
const LONG_RUN: Duration = Duration::from_mins(30);

/// What this replica alone knows of an incident.
#[derive(Debug, Clone)]
pub struct Local {
    /// How many of its events were seen, reports not counted.
    events: usize,
    /// When the newest of them was first seen, on the clock nobody can set.
    pub since: Instant,
    /// The attempt this replica sent, and when that was over.
    pub sent: Option<(u32, Instant)>,
    /// The execution Spinnaker named to this replica, when the lane does not have it yet.
    pub named: Option<(u32, ExecutionId)>,
    /// Names of what was told.
    pub told: BTreeSet<String>,
    /// The release's mark is written.
    pub marked: bool,
    /// Since when the execution is known to have ended well.
    pub ended: Option<Instant>,
    /// Why nothing takes over from it, once that was asked.
    pub not_escalated: Option<String>,
    /// Since when the recovery question is answered with good.
    pub good_since: Option<Instant>,
    /// How often telling something failed.
    failures: std::collections::BTreeMap<String, u32>,
    /// Nothing before this.
    pub not_before: Option<Instant>,
    /// The last step, and the lane's epoch it was taken at.
    last: Option<(Step, u64)>,
}

impl Local {
    /// Knows nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            events: 0,
            since: now,
            sent: None,
            named: None,
            told: BTreeSet::new(),
            marked: false,
            ended: None,
            not_escalated: None,
            good_since: None,
            failures: std::collections::BTreeMap::new(),
            not_before: None,
            last: None,
        }
    }

    /// Notes how far the incident is. A change starts the time this replica counts anew.
    pub fn observe(&mut self, incident: &Incident, now: Instant) {
        let counts = |event: &&LaneEvent| !matches!(event, LaneEvent::Reported { .. });
        let events = incident.events.iter().map(|entry| &entry.event);
        let events = events.filter(counts).count();
        if events != self.events {
            self.events = events;
            self.since = now;
            self.not_before = None;
        }
    }

    /// Whether the same step was taken before, in a lane that has not changed since.
    pub fn repeats(&mut self, step: Step, epoch: u64) -> bool {
        let this = Some((step, epoch));
        let repeats = self.last == this;
        self.last = this;
        repeats
    }

    /// Counts one more failure of `name`.
    pub fn fails(&mut self, name: &str) -> u32 {
        let failures = self.failures.entry(name.to_owned()).or_default();
        *failures += 1;
        *failures
    }

    /// Whether a follow-up still has to be told.
    fn owes(&self, followup: &Followup) -> bool {
        !self.told.contains(&followup.name())
    }
}

/// One step of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing for this long, unless something happens.
    Wait(Duration),
    /// Prepare, claim, and send the next attempt.
    Attempt,
    /// The lane learns the execution this replica knows of.
    Name(ExecutionId),
    /// Ask Spinnaker whether it has the newest attempt.
    LookUp {
        /// "Not found" proves that it has not and never will.
        absence_counts: bool,
    },
    /// Read the execution.
    Follow(ExecutionId),
    /// Mark the release bad.
    MarkBad,
    /// Tell people.
    Tell(Followup),
    /// Ask whether it is well again.
    AskRecovery,
    /// Let something wider take over, if the rule wants that.
    Escalate,
    /// End it.
    Close(Ending, String),
    /// It is over.
    Done,
}

/// The moment a step is decided at.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the clock nobody can set.
    pub instant: Instant,
    /// By this replica's wall clock.
    pub wall: Timestamp,
}

/// Who decides, and by which times.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// This replica.
    pub me: &'a ReplicaId,
    /// The configured times.
    pub timing: &'a Timing,
    /// The longest one call to Spinnaker takes.
    pub http_timeout: Duration,
}

impl Rules<'_> {
    /// From another replica's claim or submitting, as first seen here, until its owner can no
    /// longer be sending.
    fn owner_is_gone(&self) -> Duration {
        self.timing.lease + self.http_timeout + self.timing.skew
    }
}

/// What happens next.
pub fn next_step(incident: &Incident, local: &Local, now: Now, rules: Rules<'_>) -> Step {
    // An escalation closes its predecessor at once, whatever that one still owes.
    if incident.is_closed() && incident.ending != Some(Ending::Superseded) {
        return Step::Done;
    }
    if let Some(wait) = left_to_another(incident, local, now, rules) {
        return Step::Wait(wait);
    }
    if let Some(wait) = local
        .not_before
        .and_then(|then| then.checked_duration_since(now.instant))
        .filter(|wait| !wait.is_zero())
    {
        return Step::Wait(wait);
    }
    if let Some(step) = owed(incident, local) {
        return step;
    }
    if incident.is_closed() {
        return Step::Done;
    }
    if let Some((by, why)) = &incident.abandoned
        && !incident.may_be_touching()
        && !may_be_sending(incident)
    {
        return Step::Close(Ending::Abandoned, format!("abandoned by {by}: {why}"));
    }
    by_stage(incident, local, now, rules)
}

/// Whether something is on its way that nothing would refuse: an incident that is given up waits
/// until it has arrived, or nobody can tell.
fn may_be_sending(incident: &Incident) -> bool {
    incident.stage == Stage::Submitting && !incident.asks_for_admission()
}

/// How long an incident is still left to the replica that moved it on last; None when it is not.
pub fn left_to_another(
    incident: &Incident,
    local: &Local,
    now: Now,
    rules: Rules<'_>,
) -> Option<Duration> {
    let age = now.instant.duration_since(local.since);
    let left = (rules.timing.sweep * GRACE_SWEEPS).saturating_sub(age);
    (incident.newest_by() != Some(rules.me) && !left.is_zero()).then_some(left)
}

fn by_stage(incident: &Incident, local: &Local, now: Now, rules: Rules<'_>) -> Step {
    let age = now.instant.duration_since(local.since);
    match &incident.stage {
        Stage::Opened => unsent(incident, local, now, rules),
        Stage::Claimed { owner, .. } => {
            let left = rules.owner_is_gone().saturating_sub(age);
            if owner == rules.me || left.is_zero() {
                unsent(incident, local, now, rules)
            } else {
                Step::Wait(left)
            }
        }
        Stage::Submitting | Stage::Unknown => match &local.named {
            Some((attempt, execution)) if *attempt == incident.attempt => {
                Step::Name(execution.clone())
            }
            _ => Step::LookUp {
                absence_counts: absence_counts(incident, local, now, rules),
            },
        },
        Stage::Submitted | Stage::Admitted => match &incident.execution {
            Some(execution) => {
                let page = Followup::Page(Page::StillRunning(format!(
                    "execution {execution} has been running for more than 30 minutes"
                )));
                let began = incident.submitted_at.unwrap_or(incident.opened_at);
                if since(now.wall, began) >= LONG_RUN && local.owes(&page) {
                    return Step::Tell(page);
                }
                Step::Follow(execution.clone())
            }
            None => Step::Wait(rules.timing.sweep),
        },
        Stage::Finished => match &incident.finished {
            Some(end) if !end.succeeded => {
                let why = format!("the execution ended {}: {}", end.status, end.detail);
                page_then_close(
                    local,
                    Page::Failed(why.clone()),
                    Ending::RollbackFailed,
                    why,
                )
            }
            _ => Step::AskRecovery,
        },
        Stage::Answered => match &incident.recovery {
            Some((Ending::Recovered, detail)) => Step::Close(Ending::Recovered, detail.clone()),
            Some((Ending::StillBad, _)) if may_escalate(incident, local, now, rules) => {
                Step::Escalate
            }
            Some((ending, detail)) => {
                let words = match &local.not_escalated {
                    Some(why) => format!("{detail}; {why}"),
                    None => detail.clone(),
                };
                page_then_close(
                    local,
                    Page::NotRecovered(words),
                    ending.clone(),
                    detail.clone(),
                )
            }
            None => Step::Wait(rules.timing.sweep),
        },
        Stage::Closed => Step::Done,
    }
}

/// Whether something wider may still take over: a batch was taken back by the rules, nobody gave
/// it up, and what holds the wider one has not held it for too long.
fn may_escalate(incident: &Incident, local: &Local, now: Now, rules: Rules<'_>) -> bool {
    let answered =
        incident.events.iter().rev().find_map(|entry| {
            matches!(entry.event, LaneEvent::Recovery { .. }).then_some(entry.at)
        });
    let waited = since(now.wall, answered.unwrap_or(incident.opened_at));
    matches!(incident.scope(), Scope::Batch(_))
        && incident.opened.origin == Origin::Automatic
        && incident.abandoned.is_none()
        && local.not_escalated.is_none()
        && waited < rules.timing.hold_end
}

/// While nothing is sent: give up, say that it is held, or send.
fn unsent(incident: &Incident, local: &Local, now: Now, rules: Rules<'_>) -> Step {
    if incident.attempt >= MAX_ATTEMPTS {
        let why = format!(
            "{MAX_ATTEMPTS} attempts came to nothing: {}",
            last_void(incident)
        );
        return page_then_close(
            local,
            Page::NotSent(why.clone()),
            Ending::RollbackFailed,
            why,
        );
    }
    let held = since(now.wall, incident.opened_at);
    if held >= rules.timing.hold_end {
        let why = "held for too long".to_owned();
        let page = Page::Withdrawn(why.clone());
        return page_then_close(local, page, Ending::Withdrawn, why);
    }
    let page = Followup::Page(Page::Held("nothing could be sent yet".into()));
    if held >= rules.timing.hold_page && local.owes(&page) {
        return Step::Tell(page);
    }
    Step::Attempt
}

/// Whether an execution that Spinnaker does not list can't come any more: the last possible send
/// of the newest attempt is more than `settle` ago.
fn absence_counts(incident: &Incident, local: &Local, now: Now, rules: Rules<'_>) -> bool {
    let sent_here = local
        .sent
        .filter(|(attempt, _)| *attempt == incident.attempt)
        .map(|(_, at)| at);
    let last_send = sent_here.unwrap_or(local.since + rules.owner_is_gone());
    now.instant > last_send + rules.timing.settle
}

/// Messages and marks that the stage reached calls for.
fn owed(incident: &Incident, local: &Local) -> Option<Step> {
    let tell = |followup: Followup| local.owes(&followup).then_some(Step::Tell(followup));
    if incident.execution.is_some() {
        let attempt = incident.attempt;
        if let Some(step) = tell(Followup::Started { attempt }) {
            return Some(step);
        }
    }
    if incident.finished.is_some() {
        let mark = (!local.marked).then_some(Step::MarkBad);
        if let Some(step) = mark.or_else(|| tell(Followup::Finished)) {
            return Some(step);
        }
    }
    if incident.recovery.is_some() {
        return tell(Followup::Recovery);
    }
    None
}

fn page_then_close(local: &Local, page: Page, ending: Ending, why: String) -> Step {
    let page = Followup::Page(page);
    if local.owes(&page) {
        Step::Tell(page)
    } else {
        Step::Close(ending, why)
    }
}

fn last_void(incident: &Incident) -> &str {
    let mut newest = incident.events.iter().rev();
    newest
        .find_map(|entry| match &entry.event {
            LaneEvent::Voided { why, .. } => Some(why.as_str()),
            _ => None,
        })
        .unwrap_or("nothing is known")
}

#[cfg(test)]
mod tests;
