//! How calls to Gate fail, told apart by what a caller may do next.

use crate::http::{CallError, CallErrorKind};

/// A trigger that did not return an execution id.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Nothing was started: Gate was not reached, did not accept the login, or could itself not
    /// reach Orca. The same attempt may be sent again, **with the same correlation id**: Gate's
    /// own client may retry inside one call, so "could not connect" is Gate's word for its last try.
    #[error("the pipeline was not started: {0}")]
    NotSent(#[source] CallError),
    /// Nothing was started and the same call would never work. A disabled pipeline leaves a
    /// `TERMINAL` execution behind, which has run no stage.
    #[error("Spinnaker refuses to start the pipeline: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Gate's own words.
        message: String,
    },
    /// Nobody knows: look the execution up before anything else is sent.
    #[error("it is not known whether the pipeline was started: {0}")]
    Unclear(#[source] CallError),
}

impl TriggerError {
    /// The class, for metrics.
    pub const fn kind(&self) -> CallErrorKind {
        match self {
            Self::NotSent(error) | Self::Unclear(error) => error.kind,
            Self::Refused { .. } => CallErrorKind::Client,
        }
    }
}

/// A read or a cancel that failed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Gate does not know the execution that was to be canceled.
    #[error("Spinnaker knows no execution `{0}`")]
    UnknownExecution(String),
    /// The call failed.
    #[error("Gate: {0}")]
    Call(#[from] CallError),
}

impl GateError {
    /// The class, for metrics.
    pub const fn kind(&self) -> CallErrorKind {
        match self {
            Self::Call(error) => error.kind,
            Self::UnknownExecution(_) => CallErrorKind::Client,
        }
    }
}
