//! Values of labels that code chooses.

/// A step on the way from an alert to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The gateway read the alert.
    Received,
    /// The first channel has a message about it.
    Told,
    /// The rollback was decided.
    Decided,
    /// Its incident is open.
    Opened,
    /// Gate is about to be asked.
    Asked,
    /// Gate named an execution.
    Accepted,
    /// The execution was let in.
    Admitted,
    /// The report's first revision is in the store.
    Reported,
    /// The execution ended.
    Finished,
    /// The recovery question was answered with yes.
    Recovered,
}

impl Step {
    /// All, in the order in which they should follow.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Told,
        Self::Decided,
        Self::Opened,
        Self::Asked,
        Self::Accepted,
        Self::Admitted,
        Self::Reported,
        Self::Finished,
        Self::Recovered,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Told => "told",
            Self::Decided => "decided",
            Self::Opened => "opened",
            Self::Asked => "asked",
            Self::Accepted => "accepted",
            Self::Admitted => "admitted",
            Self::Reported => "reported",
            Self::Finished => "finished",
            Self::Recovered => "recovered",
        }
    }
}

/// What became of a self-test that did not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTestFailure {
    /// Alertmanager can't be reached.
    Unreachable,
    /// Alertmanager does not take it.
    Refused,
    /// It came back, and to no decision.
    NotDecided,
}

impl SelfTestFailure {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "alertmanager_unreachable",
            Self::Refused => "alertmanager_refused",
            Self::NotDecided => "not_decided",
        }
    }
}
