//! The fold of a lane: which event is legal when, and what it changes.
//!
//! `check` decides on the state before the event; `apply` is `check` and then the change. A link
//! that stands in the chain and is not legal has no effect, on every replica alike.

use super::{
    BatchStart, Ending, Illegal, Incident, LaneEntry, LaneEvent, LaneState, Opened, Origin, Stage,
};
use crate::domain::id::{DeploymentId, IncidentId, LaneName, ReplicaId};

impl Default for LaneState {
    fn default() -> Self {
        Self {
            next_seq: 1,
            batches: std::collections::BTreeMap::new(),
            approvals: Vec::new(),
            open: None,
            closed: Vec::new(),
            stopped: std::collections::BTreeSet::new(),
            skipped: 0,
        }
    }
}

impl Stage {
    /// Its word in reasons and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Claimed { .. } => "claimed",
            Self::Submitting => "submitting",
            Self::Submitted => "submitted",
            Self::Admitted => "admitted",
            Self::Unknown => "unknown",
            Self::Finished => "finished",
            Self::Answered => "answered",
            Self::Closed => "closed",
        }
    }
}

impl LaneEvent {
    /// Its word in reasons, timelines and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Batch { .. } => "batch",
            Self::Asked(_) => "asked",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Cleared { .. } => "cleared",
            Self::Expired { .. } => "expired",
            Self::Lapsed { .. } => "lapsed",
            Self::Opened(_) => "opened",
            Self::Claimed { .. } => "claimed",
            Self::Submitting { .. } => "submitting",
            Self::Submitted { .. } => "submitted",
            Self::Admitted { .. } => "admitted",
            Self::Voided { .. } => "voided",
            Self::Unknown { .. } => "unknown",
            Self::Finished { .. } => "finished",
            Self::Recovery { .. } => "recovery",
            Self::Reported { .. } => "reported",
            Self::Abandoned { .. } => "abandoned",
            Self::Closed { .. } => "closed",
        }
    }

    /// The incident it speaks of; None for batches, questions to people and openings.
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            Self::Batch { .. }
            | Self::Asked(_)
            | Self::Approved { .. }
            | Self::Denied { .. }
            | Self::Cleared { .. }
            | Self::Expired { .. }
            | Self::Lapsed { .. }
            | Self::Opened(_) => None,
            Self::Claimed { incident, .. }
            | Self::Submitting { incident, .. }
            | Self::Submitted { incident, .. }
            | Self::Admitted { incident, .. }
            | Self::Voided { incident, .. }
            | Self::Unknown { incident, .. }
            | Self::Finished { incident, .. }
            | Self::Recovery { incident, .. }
            | Self::Reported { incident, .. }
            | Self::Abandoned { incident, .. }
            | Self::Closed { incident, .. } => Some(incident),
        }
    }
}

impl LaneState {
    /// The number of the newest link: what agents obey.
    pub fn epoch(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    /// An incident of this lane, open or closed.
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.open
            .iter()
            .chain(self.closed.iter().rev())
            .find(|incident| incident.id == *id)
    }

    /// The open incident that `opened` may take over from: one of its own deployment.
    pub fn gives_way(&self, opened: &Opened) -> Option<IncidentId> {
        let open = self.open.as_ref()?;
        let same = open.opened.deployment == opened.deployment;
        (same && open.may_yield_to(&opened.scope)).then(|| open.id.clone())
    }

    /// Whether `by` may append `event` now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, by: &ReplicaId, event: &LaneEvent) -> Result<(), Illegal> {
        match event {
            LaneEvent::Batch { deployment, n, .. } => self.check_batch(deployment, *n),
            LaneEvent::Opened(opened) => self.check_opened(opened),
            LaneEvent::Asked(asked) => self.check_asked(asked),
            LaneEvent::Approved { approval, .. }
            | LaneEvent::Denied { approval, .. }
            | LaneEvent::Cleared { approval, .. }
            | LaneEvent::Expired { approval }
            | LaneEvent::Lapsed { approval, .. } => self.check_settled(approval, event),
            _ => match (event.incident(), &self.open) {
                (Some(id), Some(open)) if open.id == *id => open.check(by, event),
                // Reports may be written after the end.
                (Some(id), _) => match (event, self.incident(id)) {
                    (LaneEvent::Reported { .. }, Some(closed)) => closed.check(by, event),
                    _ => Err(Illegal::NotOpen(id.clone())),
                },
                (None, _) => Ok(()),
            },
        }
    }

    /// Takes link `seq` in. A link that is not legal is counted in [`LaneState::skipped`] and
    /// changes nothing else.
    ///
    /// # Errors
    /// Why it has no effect; [`Illegal::OutOfOrder`] alone leaves even the numbers as they were.
    pub fn apply(&mut self, seq: u64, entry: &LaneEntry) -> Result<(), Illegal> {
        self.expect(seq)?;
        self.next_seq = seq + 1;
        if let Err(illegal) = self.try_apply(seq, entry) {
            self.skipped += 1;
            return Err(illegal);
        }
        Ok(())
    }

    /// Steps over link `seq`, which is not of this version's vocabulary.
    ///
    /// # Errors
    /// [`Illegal::OutOfOrder`].
    pub fn skip(&mut self, seq: u64) -> Result<(), Illegal> {
        self.expect(seq)?;
        self.next_seq = seq + 1;
        self.skipped += 1;
        Ok(())
    }

    fn expect(&self, seq: u64) -> Result<(), Illegal> {
        if seq == self.next_seq {
            return Ok(());
        }
        Err(Illegal::OutOfOrder {
            expected: self.next_seq,
            got: seq,
        })
    }

    fn try_apply(&mut self, seq: u64, entry: &LaneEntry) -> Result<(), Illegal> {
        self.check(&entry.by, &entry.event)?;
        match &entry.event {
            LaneEvent::Batch {
                deployment,
                release_id,
                n,
                of,
                hosts,
            } => {
                let start = BatchStart {
                    seq,
                    at: entry.at,
                    release_id: release_id.clone(),
                    of: *of,
                    hosts: hosts.clone(),
                };
                let batches = self.batches.entry(deployment.clone()).or_default();
                batches.insert(*n, start);
            }
            LaneEvent::Opened(opened) => {
                let mut incident = Incident::open(seq, entry, opened)?;
                let consent = self.use_consent(opened, &incident.id);
                incident.events.splice(0..0, consent);
                if let Some(mut old) = self.open.take() {
                    old.close(entry, Ending::Superseded);
                    self.closed.push(old);
                }
                self.stopped.insert(opened.deployment.clone());
                self.open = Some(incident);
            }
            LaneEvent::Asked(asked) => self.ask(seq, entry, asked)?,
            event if event.incident().is_none() => self.settle(entry),
            event => {
                let all = self.open.iter_mut().chain(self.closed.iter_mut().rev());
                let about = |one: &&mut Incident| event.incident() == Some(&one.id);
                if let Some(incident) = all.into_iter().find(about) {
                    incident.take_in(entry, event);
                    if let LaneEvent::Admitted { .. } = event {
                        incident.admitted_seq = Some(seq);
                    }
                }
                if self.open.as_ref().is_some_and(Incident::is_closed) {
                    self.closed.extend(self.open.take());
                }
            }
        }
        Ok(())
    }

    fn check_batch(&self, deployment: &DeploymentId, n: u32) -> Result<(), Illegal> {
        if self.stopped.contains(deployment) {
            return Err(Illegal::Stopped(deployment.clone()));
        }
        let starts = self.batches.get(deployment);
        if starts.is_some_and(|starts| starts.contains_key(&n)) {
            return Err(Illegal::BatchStarted {
                deployment: deployment.clone(),
                n,
            });
        }
        match &self.open {
            // The rollback itself may deploy in batches.
            Some(open) if !open.has_ended() && !open.is_run_by(deployment) => {
                Err(Illegal::Busy(open.id.clone()))
            }
            _ => Ok(()),
        }
    }

    fn check_opened(&self, opened: &Opened) -> Result<(), Illegal> {
        LaneName::of(&opened.service, &opened.env).map_err(|_| Illegal::NoLane)?;
        let before = match (&self.open, &opened.supersedes) {
            (None, None) => None,
            (None, Some(old)) => match self.incident(old) {
                Some(_) => None,
                None => return Err(Illegal::NotOpen(old.clone())),
            },
            (Some(open), Some(old)) if open.id == *old => {
                if !open.has_ended() {
                    return Err(Illegal::NotEnded(open.id.clone()));
                }
                Some(open)
            }
            (Some(open), _) => return Err(Illegal::Busy(open.id.clone())),
        };
        self.check_consent(opened)?;
        if opened.origin != Origin::Automatic {
            return Ok(());
        }
        let mut earlier = self
            .closed
            .iter()
            .chain(before)
            .rev()
            .filter(|incident| incident.opened.deployment == opened.deployment)
            .peekable();
        if let Some(last) = earlier.peek().filter(|last| last.has_failed()) {
            return Err(Illegal::PersonMustAct(last.id.clone()));
        }
        let taken = earlier.find(|old| old.took_effect() && old.scope().covers(&opened.scope));
        taken.map_or(Ok(()), |old| Err(Illegal::TakenBack(old.id.clone())))
    }
}
