//! Why an event may not follow.

use crate::domain::id::{ApprovalId, DeploymentId, ExecutionId, IncidentId, ReplicaId};

/// Why an event is not legal in a lane's present state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The link is not the one that comes next.
    #[error("link {got} does not follow, {expected} would")]
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
        /// The number it has.
        got: u64,
    },
    /// An incident has stopped the deployment.
    #[error("deployment `{0}` was stopped by an incident")]
    Stopped(DeploymentId),
    /// The batch has started before.
    #[error("batch {n} of deployment `{deployment}` has already started")]
    BatchStarted {
        /// The deployment.
        deployment: DeploymentId,
        /// The batch.
        n: u32,
    },
    /// Another incident of the lane is not over.
    #[error("incident `{0}` of this lane is not over")]
    Busy(IncidentId),
    /// The incident to escalate may still be at work.
    #[error("the execution of incident `{0}` has not ended")]
    NotEnded(IncidentId),
    /// After a failed rollback only a person goes on.
    #[error("the rollback of incident `{0}` failed: a person must act")]
    PersonMustAct(IncidentId),
    /// An earlier incident has taken as much back already.
    #[error("incident `{0}` has already taken this back")]
    TakenBack(IncidentId),
    /// The same, or more, is being asked.
    #[error("people are asked that already, as `{0}`")]
    Asked(ApprovalId),
    /// There is no such question.
    #[error("nobody was asked `{0}`")]
    NotAsked(ApprovalId),
    /// A question gets one answer.
    #[error("`{approval}` is {outcome} already")]
    Settled {
        /// The question.
        approval: ApprovalId,
        /// What became of it.
        outcome: &'static str,
    },
    /// A person said no, which binds until it is cleared.
    #[error("a person denied `{0}`")]
    Denied(ApprovalId),
    /// The consent an incident names is none, is used, or was to something else.
    #[error("`{0}` is no consent to this")]
    NoConsent(ApprovalId),
    /// Service and env make no lane.
    #[error("service and env make no lane name")]
    NoLane,
    /// There is no such unfinished incident.
    #[error("incident `{0}` is not open")]
    NotOpen(IncidentId),
    /// A person gave the incident up.
    #[error("incident `{0}` was abandoned")]
    Abandoned(IncidentId),
    /// The incident is at another point.
    #[error("an incident that is {stage} can't become {event}")]
    NotNow {
        /// What was to happen.
        event: &'static str,
        /// Where it stands.
        stage: &'static str,
    },
    /// The attempt is not the newest, or does not follow it.
    #[error("attempt {got} does not fit: the newest is {newest}")]
    WrongAttempt {
        /// The newest.
        newest: u32,
        /// The one named.
        got: u32,
    },
    /// It was sent as often as it may be.
    #[error("there were {0} attempts already")]
    TooManyAttempts(u32),
    /// Another replica has it in hand.
    #[error("replica `{0}` has it in hand")]
    NotOwner(ReplicaId),
    /// The attempt belongs to another execution.
    #[error("the attempt belongs to execution `{0}`")]
    OtherExecution(ExecutionId),
    /// It says what is so already.
    #[error("it is so already")]
    Already,
    /// The ending contradicts what happened.
    #[error("the incident can't end this way now")]
    WrongEnding,
}
