//! The fold of one incident: its part of the lane's rules.

use super::{
    Ending, FinishedExecution, Illegal, Incident, LaneEntry, LaneEvent, MAX_ATTEMPTS, Opened, Stage,
};
use crate::domain::decision::Scope;
use crate::domain::id::{DeploymentId, ExecutionId, IncidentId, LaneName, ReplicaId};

impl Incident {
    pub(super) fn open(seq: u64, entry: &LaneEntry, opened: &Opened) -> Result<Self, Illegal> {
        let lane = LaneName::of(&opened.service, &opened.env).map_err(|_| Illegal::NoLane)?;
        let id = IncidentId::of(&lane, seq).map_err(|_| Illegal::NoLane)?;
        Ok(Self {
            id,
            lane,
            opened: opened.clone(),
            opened_at: entry.at,
            stage: Stage::Opened,
            attempt: 0,
            plan: None,
            submitting_at: None,
            execution: None,
            submitted_at: None,
            admitted: None,
            admitted_seq: None,
            finished: None,
            recovery: None,
            revision: 0,
            abandoned: None,
            ending: None,
            closed_at: None,
            events: vec![entry.clone()],
        })
    }

    /// What is taken back: as sent, or as decided while nothing was sent.
    pub fn scope(&self) -> &Scope {
        self.plan
            .as_ref()
            .map_or(&self.opened.scope, |plan| &plan.scope)
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether its execution has ended for sure.
    pub fn has_ended(&self) -> bool {
        matches!(
            self.stage,
            Stage::Finished | Stage::Answered | Stage::Closed
        )
    }

    /// Whether an execution of it got past admission, or ran without one.
    pub fn took_effect(&self) -> bool {
        self.admitted.is_some() || self.finished.is_some()
    }

    /// Whether it took effect, or may have without anybody being able to tell: what was sent, with
    /// nothing to ask for admission, and left no trace when it was given up.
    pub fn may_have_taken_effect(&self) -> bool {
        let lost = |entry: &LaneEntry| matches!(entry.event, LaneEvent::Unknown { .. });
        self.took_effect() || (!self.asks_for_admission() && self.events.iter().any(lost))
    }

    /// When its execution was let in.
    pub fn admitted_at(&self) -> Option<jiff::Timestamp> {
        let let_in = |entry: &&LaneEntry| matches!(entry.event, LaneEvent::Admitted { .. });
        self.events.iter().rev().find(let_in).map(|entry| entry.at)
    }

    /// Whether an execution of it must ask before it touches anything.
    pub fn asks_for_admission(&self) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan.admission)
    }

    /// Whether `deployment` is the execution that was let in.
    pub(super) fn is_run_by(&self, deployment: &DeploymentId) -> bool {
        let admitted = self.admitted.as_ref();
        admitted.is_some_and(|execution| execution.as_str() == deployment.as_str())
    }

    /// Whether hosts may be changing on its behalf now.
    pub fn may_be_touching(&self) -> bool {
        match self.stage {
            Stage::Admitted => true,
            Stage::Submitted => !self.asks_for_admission(),
            _ => false,
        }
    }

    /// Whether its execution was let in, or ran, and failed.
    pub fn has_failed(&self) -> bool {
        self.ending == Some(Ending::RollbackFailed)
            || self.finished.as_ref().is_some_and(|end| !end.succeeded)
    }

    /// Whether something that takes `wanted` back may take over from it: its execution has ended
    /// well, and `wanted` is all it took back and more.
    pub fn may_yield_to(&self, wanted: &Scope) -> bool {
        let mine = self.scope();
        self.has_ended()
            && !self.is_closed()
            && !self.has_failed()
            && wanted.covers(mine)
            && !mine.covers(wanted)
    }

    /// Who moved it on last. A report does not: that is written beside everything else.
    pub fn newest_by(&self) -> Option<&ReplicaId> {
        let mut newest = self.events.iter().rev();
        newest
            .find(|entry| !matches!(entry.event, LaneEvent::Reported { .. }))
            .map(|entry| &entry.by)
    }

    /// The newest revision of its report that what has happened calls for; 0 while Spinnaker has
    /// named no execution.
    pub fn due_revision(&self) -> u32 {
        if self.recovery.is_some() {
            3
        } else if self.finished.is_some() {
            2
        } else {
            u32::from(self.execution.is_some())
        }
    }

    fn not_now(&self, event: &LaneEvent) -> Result<(), Illegal> {
        Err(Illegal::NotNow {
            event: event.as_str(),
            stage: self.stage.as_str(),
        })
    }

    fn newest(&self, attempt: u32) -> Result<(), Illegal> {
        if attempt == self.attempt {
            return Ok(());
        }
        Err(Illegal::WrongAttempt {
            newest: self.attempt,
            got: attempt,
        })
    }

    fn alive(&self) -> Result<(), Illegal> {
        match self.abandoned {
            Some(_) => Err(Illegal::Abandoned(self.id.clone())),
            None => Ok(()),
        }
    }

    fn same_execution(&self, execution: &ExecutionId) -> Result<(), Illegal> {
        match &self.execution {
            Some(known) if known != execution => Err(Illegal::OtherExecution(known.clone())),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, by: &ReplicaId, event: &LaneEvent) -> Result<(), Illegal> {
        match event {
            LaneEvent::Claimed { .. } => {
                self.alive()?;
                match self.stage {
                    Stage::Opened | Stage::Claimed { .. } => self.attempts_left(),
                    _ => self.not_now(event),
                }
            }
            LaneEvent::Submitting { attempt, .. } => self.check_submitting(by, *attempt, event),
            LaneEvent::Submitted {
                attempt, execution, ..
            } => self.check_submitted(*attempt, execution, event),
            LaneEvent::Admitted {
                attempt, execution, ..
            } => self.check_admitted(*attempt, execution, event),
            LaneEvent::Voided { attempt, .. } => {
                self.newest(*attempt)?;
                match self.stage {
                    Stage::Submitting | Stage::Submitted | Stage::Unknown | Stage::Admitted => {
                        Ok(())
                    }
                    _ => self.not_now(event),
                }
            }
            LaneEvent::Unknown { attempt, .. } => {
                self.newest(*attempt)?;
                match self.stage {
                    Stage::Submitting => Ok(()),
                    Stage::Unknown => Err(Illegal::Already),
                    _ => self.not_now(event),
                }
            }
            LaneEvent::Finished { execution, .. } => match self.stage {
                Stage::Submitted | Stage::Admitted => self.same_execution(execution),
                _ => self.not_now(event),
            },
            LaneEvent::Recovery { ending, .. } => self.check_recovery(ending, event),
            LaneEvent::Reported { revision, .. } if *revision <= self.revision => {
                Err(Illegal::Already)
            }
            LaneEvent::Abandoned { .. } if self.abandoned.is_some() => Err(Illegal::Already),
            LaneEvent::Reported { .. } | LaneEvent::Abandoned { .. } => Ok(()),
            LaneEvent::Closed { ending, .. } => self.check_closed(ending),
            _ => self.not_now(event),
        }
    }

    fn attempts_left(&self) -> Result<(), Illegal> {
        if self.attempt >= MAX_ATTEMPTS {
            return Err(Illegal::TooManyAttempts(self.attempt));
        }
        Ok(())
    }

    fn check_submitting(
        &self,
        by: &ReplicaId,
        attempt: u32,
        event: &LaneEvent,
    ) -> Result<(), Illegal> {
        self.alive()?;
        let Stage::Claimed { owner, .. } = &self.stage else {
            return self.not_now(event);
        };
        if owner != by {
            return Err(Illegal::NotOwner(owner.clone()));
        }
        self.attempts_left()?;
        if attempt != self.attempt + 1 {
            return Err(Illegal::WrongAttempt {
                newest: self.attempt,
                got: attempt,
            });
        }
        Ok(())
    }

    fn check_submitted(
        &self,
        attempt: u32,
        execution: &ExecutionId,
        event: &LaneEvent,
    ) -> Result<(), Illegal> {
        self.newest(attempt)?;
        match self.stage {
            Stage::Submitting | Stage::Unknown => Ok(()),
            Stage::Submitted | Stage::Admitted | Stage::Finished | Stage::Answered => {
                self.same_execution(execution)?;
                Err(Illegal::Already)
            }
            _ => self.not_now(event),
        }
    }

    fn check_admitted(
        &self,
        attempt: u32,
        execution: &ExecutionId,
        event: &LaneEvent,
    ) -> Result<(), Illegal> {
        self.newest(attempt)?;
        if let Some(admitted) = &self.admitted {
            return Err(if admitted == execution {
                Illegal::Already
            } else {
                Illegal::OtherExecution(admitted.clone())
            });
        }
        self.alive()?;
        match self.stage {
            Stage::Submitting | Stage::Unknown => Ok(()),
            Stage::Submitted => self.same_execution(execution),
            _ => self.not_now(event),
        }
    }

    fn check_recovery(&self, ending: &Ending, event: &LaneEvent) -> Result<(), Illegal> {
        match (&self.stage, &self.finished) {
            (Stage::Finished, Some(end)) if end.succeeded => {}
            (Stage::Answered, _) => return Err(Illegal::Already),
            _ => return self.not_now(event),
        }
        match ending {
            Ending::Recovered | Ending::Unverified | Ending::StillBad => Ok(()),
            _ => Err(Illegal::WrongEnding),
        }
    }

    fn check_closed(&self, ending: &Ending) -> Result<(), Illegal> {
        let fits = match ending {
            Ending::Recovered | Ending::Unverified | Ending::StillBad => {
                self.stage == Stage::Answered
                    && self
                        .recovery
                        .as_ref()
                        .is_some_and(|(said, _)| said == ending)
            }
            Ending::RollbackFailed => match self.stage {
                // Nothing of it was let in, and closing it keeps it so.
                Stage::Opened | Stage::Submitting => self.attempt > 0,
                Stage::Finished => self.has_failed(),
                _ => false,
            },
            Ending::Withdrawn => matches!(self.stage, Stage::Opened | Stage::Claimed { .. }),
            Ending::Abandoned => self.abandoned.is_some() && !self.may_be_touching(),
            Ending::Superseded => false,
        };
        if fits {
            Ok(())
        } else {
            Err(Illegal::WrongEnding)
        }
    }

    pub(super) fn close(&mut self, entry: &LaneEntry, ending: Ending) {
        self.stage = Stage::Closed;
        self.ending = Some(ending);
        self.closed_at = Some(entry.at);
    }

    fn name(&mut self, entry: &LaneEntry, execution: &ExecutionId) {
        self.execution = Some(execution.clone());
        self.submitted_at.get_or_insert(entry.at);
    }

    /// The change a legal event makes.
    pub(super) fn take_in(&mut self, entry: &LaneEntry, event: &LaneEvent) {
        self.events.push(entry.clone());
        match event {
            LaneEvent::Claimed { owner, until, .. } => {
                self.stage = Stage::Claimed {
                    owner: owner.clone(),
                    until: *until,
                };
            }
            LaneEvent::Submitting { attempt, plan, .. } => {
                self.stage = Stage::Submitting;
                self.attempt = *attempt;
                self.plan = Some(plan.clone());
                self.submitting_at = Some(entry.at);
            }
            LaneEvent::Submitted { execution, .. } => {
                self.stage = Stage::Submitted;
                self.name(entry, execution);
            }
            LaneEvent::Admitted { execution, .. } => {
                self.stage = Stage::Admitted;
                self.name(entry, execution);
                self.admitted = Some(execution.clone());
            }
            LaneEvent::Voided { .. } => {
                self.stage = Stage::Opened;
                self.execution = None;
                self.submitted_at = None;
                self.admitted = None;
                self.admitted_seq = None;
            }
            LaneEvent::Unknown { .. } => self.stage = Stage::Unknown,
            LaneEvent::Finished {
                status,
                succeeded,
                detail,
                ..
            } => {
                self.stage = Stage::Finished;
                self.finished = Some(FinishedExecution {
                    at: entry.at,
                    status: status.clone(),
                    succeeded: *succeeded,
                    detail: detail.clone(),
                });
            }
            LaneEvent::Recovery { ending, detail, .. } => {
                self.stage = Stage::Answered;
                self.recovery = Some((ending.clone(), detail.clone()));
            }
            LaneEvent::Reported { revision, .. } => self.revision = *revision,
            LaneEvent::Abandoned { by, why, .. } => {
                self.abandoned = Some((by.clone(), why.clone()));
            }
            LaneEvent::Closed { ending, .. } => self.close(entry, ending.clone()),
            _ => {}
        }
    }
}
